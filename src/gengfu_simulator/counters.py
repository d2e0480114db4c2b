"""What the simulator has seen: the calls, one by one and in numbers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_LOGGED = 10_000


@dataclass(slots=True)
class Call:
    """One call from its arrival to its answer; `status` stays `None` when the client never got a whole answer."""

    path: str
    query: str
    at: float
    page: int | None = None
    status: int | None = None
    fault: str | None = None

    def describe(self, start: float, end: float) -> dict[str, Any]:
        """Plain JSON values; `at` counts from `start`."""
        return {
            "at": self.at - start,
            "took": end - self.at,
            "path": self.path,
            "page": self.page,
            "query": self.query,
            "status": self.status,
            "fault": self.fault,
        }


class Counters:
    """Counts calls as they arrive and answers as they leave; remembers the last ten thousand."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self.concurrent = 0
        self.reset()

    def reset(self) -> None:
        """Everything from zero, except the calls under way."""
        self.calls = 0
        self.max_concurrent = self.concurrent
        self.rows_sent = 0
        self.statuses: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()
        self.pages: Counter[int] = Counter()
        self.delete_types: Counter[str] = Counter()
        self.last_query = ""
        self.last_headers: Mapping[str, str] = {}
        self._first = self._last = 0.0
        self._log: deque[tuple[Call, float]] = deque(maxlen=_LOGGED)

    def arrived(self, path: str, query: str) -> Call:
        """A call begins."""
        now = self._clock()
        self.calls += 1
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        self._first = self._first or now
        return Call(path, query, now)

    def ended(self, call: Call) -> None:
        """The call was answered, or broken off."""
        self.concurrent -= 1
        self._last = self._clock()
        self.statuses["none" if call.status is None else str(call.status)] += 1
        if call.fault is not None:
            self.injected[call.fault] += 1
        self._log.append((call, self._last))

    def log(self) -> list[dict[str, Any]]:
        """The last calls, in the order in which they were answered."""
        return [call.describe(self._start, end) for call, end in self._log]

    def describe(self) -> dict[str, Any]:
        """All numbers, as plain JSON values."""
        return {
            "calls": self.calls,
            "logins": self.lists["login"],
            "device_calls": self.lists["device"],
            "statuses": self.statuses,
            "injected": self.injected,
            "concurrent": self.concurrent,
            "max_concurrent": self.max_concurrent,
            "pages": {str(page): count for page, count in sorted(self.pages.items())},
            "delete_types": self.delete_types,
            "lists": {name: count for name, count in self.lists.items() if name != "login"},
            "rows_sent": self.rows_sent,
            "span": max(0.0, self._last - self._first),
            "last_query": self.last_query,
            "last_headers": {
                name: "******" if name.lower() == "authorization" else value
                for name, value in self.last_headers.items()
            },
        }

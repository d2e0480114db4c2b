"""Signs of life of the threads of a worker, and when their absence means that the process must end."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from gengfu.clock import monotonic

SLOW_AFTER = 20.0
"""Seconds without a turn after which others are told that a loop is stuck, long before the process ends over it."""
DEAF_AFTER = 30.0
"""Seconds without a successful poll, while Redis answers others, after which a worker ends itself."""
BLIND_AFTER = 3.5
"""Seconds between two looks; what goes beyond was not watched, and is not counted as silence."""


class Pulse:
    """Says when a loop last came round."""

    def __init__(self, name: str, longest: float) -> None:
        self.name = name
        self.longest = longest
        """Seconds that one turn may take."""
        self._turned = monotonic()

    def turn(self) -> None:
        """The loop came round."""
        self._turned = monotonic()

    def seconds(self) -> float:
        """Seconds since the loop last came round."""
        return monotonic() - self._turned

    @property
    def stuck(self) -> bool:
        """Whether a turn has taken too long."""
        return self.seconds() > self.longest


class Watch:
    """Measures for how long a mark was seen unchanged. Only time in which somebody looked is counted, and only on the
    monotonic clock: neither a clock that jumps, nor a watcher that slept or could not see, makes anybody look dead."""

    def __init__(self, blind_after: float = BLIND_AFTER) -> None:
        """`blind_after`: the most seconds between two looks that count as watched."""
        self._blind_after = blind_after
        self._last: float | None = None
        self._seen: dict[int, tuple[Hashable, float]] = {}

    def look(self, now: float, marks: Mapping[int, Hashable]) -> dict[int, float]:
        """By id, the seconds for which the mark is known to be unchanged; ids that are not named are forgotten."""
        watched = min(now - self._last, self._blind_after) if self._last is not None else 0.0
        self._last = now
        fresh = {}
        for key, mark in marks.items():
            before = self._seen.get(key)
            fresh[key] = (mark, before[1] + watched if before is not None and before[0] == mark else 0.0)
        self._seen = fresh
        return {key: silence for key, (_, silence) in fresh.items()}


def is_deaf(since_poll: float, answered_for: float) -> bool:
    """Whether a worker hears nothing although there is something to hear.

    A Redis that is down is no reason to end: the worker goes on asking, and so would its successor. But when a
    connection made for the occasion is answered and the worker's own is not, only a new process helps.

    Args:
        since_poll: seconds since the worker last asked Redis for messages and was answered.
        answered_for: seconds for which Redis has answered every new connection.
    """
    return min(since_poll, answered_for) > DEAF_AFTER

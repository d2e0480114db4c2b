"""Whether loops make progress, and for how long something has not moved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from gengfu.clock import monotonic

SLOW_AFTER = 20.0
"""Seconds without progress after which others are told that a loop is stuck, long before the process ends over it."""
BLIND_AFTER = 3.5
"""Seconds between two looks; what goes beyond was not watched, and is not counted as silence."""


class Liveness:
    """Says when a loop last came round."""

    def __init__(self) -> None:
        self._last = monotonic()

    def progressed(self) -> None:
        """The loop came round."""
        self._last = monotonic()

    def seconds(self) -> float:
        """Seconds since the loop last came round."""
        return monotonic() - self._last


class StallDetector:
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

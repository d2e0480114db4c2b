"""Tells which schedulers live, by the beats of the ticks that they hold."""

from __future__ import annotations

from collections.abc import Iterable

from gengfu.process.liveness import Watch
from gengfu.store.tick_rows import Tick, TickState

BEAT_EVERY = 2.0
"""Seconds between two beats of a scheduler."""
ORPHANED_AFTER = 10.0
"""Seconds without a beat after which a claimed tick is taken over."""
LOST_AFTER = 15.0
"""Seconds without a beat after which a running tick counts as lost."""


class Beats:
    """Watches the ticks that other schedulers hold. Only time in which somebody looked counts as silence, on the
    monotonic clock, so neither a clock that jumps nor a machine that slept makes a scheduler look dead."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._silent: dict[int, float] = {}
        self._marks: dict[int, tuple[int, int]] = {}
        self._moved: set[int] = set()

    def look(self, now: float, ticks: Iterable[Tick]) -> None:
        """Takes in the ticks as they stand in the database. `now`: on the monotonic clock."""
        marks = {tick.id: (tick.claim, tick.beat) for tick in ticks if tick.state is not TickState.WAITING}
        self._moved &= set(marks)
        self._moved |= {key for key, mark in marks.items() if self._marks.get(key, mark) != mark}
        self._marks = marks
        self._silent = self._watch.look(now, dict(marks))

    def is_dead(self, tick: Tick) -> bool:
        """Whether the scheduler that holds the tick has been silent for too long."""
        longest = LOST_AFTER if tick.state is TickState.RUNNING else ORPHANED_AFTER
        return self._silent.get(tick.id, 0.0) >= longest

    def is_known(self, tick: Tick) -> bool:
        """Whether its scheduler was heard of, and not too long ago."""
        return tick.id in self._moved and self._silent.get(tick.id, 0.0) < 2 * BEAT_EVERY + 1

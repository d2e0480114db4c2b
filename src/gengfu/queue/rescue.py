"""Takes jobs from workers that died: those whose beats stand still although the database takes writes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from gengfu.clock import monotonic
from gengfu.process.liveness import Watch
from gengfu.queue.claim import Claimed, Fate
from gengfu.queue.door import Desk
from gengfu.queue.endings import Endings
from gengfu.queue.ledger import Ledger
from gengfu.store.jobs import Beating

log = logging.getLogger("gengfu.queue.rescue")

DEAD_AFTER = 10.0
"""Seconds for which a beat must be seen unchanged until its worker counts as dead."""
DOUBTFUL = 0.3
"""The part of these seconds after which a silence is looked into."""


class Rescue:
    """Watches the beats of running jobs, takes those whose worker is dead, and buries those that are out of tries.

    A database that takes no writes for a while, such as a locked file, silences live workers too. So as soon as a beat
    is late, each look begins with a write: where that has to wait, nobody looks, and what was not watched is no
    silence (see `Watch`).
    """

    def __init__(
        self,
        ledger: Ledger,
        endings: Endings,
        desk: Desk,
        worker: str,
        *,
        step: Callable[[], None] = lambda: None,
        queued: Callable[[int], object] = lambda job_id: None,
    ) -> None:
        """
        Args:
            desk: the jobs on it are this process's own.
            worker: the name under which it holds those that are out of tries.
            step: called before each job is taken.
            queued: told of each job that waits again.
        """
        self._ledger = ledger
        self._endings = endings
        self._desk = desk
        self._worker = worker
        self._step = step
        self._queued = queued
        self._beats = Watch()
        self._is_doubtful = False

    def turn(self, running: Iterable[Beating]) -> float | None:
        """Looks at the running jobs; gives the seconds until the next of them may count as dead.

        Raises:
            StoreError: the database takes no writes.
        """
        if self._is_doubtful:
            self._ledger.touch()
        own = {(held.claimed.job_id, held.claimed.claim) for held in self._desk.held()}
        others = {seen.id: seen for seen in running if (seen.id, seen.claim) not in own}
        silent = self._beats.look(monotonic(), {seen.id: (seen.claim, seen.beat) for seen in others.values()})
        self._is_doubtful = any(seconds > DEAD_AFTER * DOUBTFUL for seconds in silent.values())
        for job_id, seconds in silent.items():
            if seconds >= DEAD_AFTER:
                self._step()
                self._take_over(others[job_id])
        return min((DEAD_AFTER - seconds for seconds in silent.values() if seconds < DEAD_AFTER), default=None)

    def _take_over(self, seen: Beating) -> None:
        taken = self._ledger.give_up_on(seen, self._worker)
        if taken is Fate.QUEUED:
            log.warning("job taken from a dead worker; it is queued again", extra={"job": seen.id, "queue": seen.queue})
            self._queued(seen.id)
        elif isinstance(taken, Claimed):
            held = self._desk.take(taken, None)
            try:
                self._endings.bury(taken, taken.spent or "out of tries")
            finally:
                self._desk.put_down(held)

"""The part of a worker that finds due jobs, takes leases on them, and records how they ended."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gengfu.clock import Clock, monotonic
from gengfu.errors import GengfuError
from gengfu.process.liveness import Liveness
from gengfu.queue.executor import Executor, who
from gengfu.queue.job import LeasedJob
from gengfu.queue.ledger import LeaseRequest, Ledger
from gengfu.queue.notify import Listener
from gengfu.queue.outcomes import Ending
from gengfu.store.database import Database
from gengfu.store.jobs import Outcome, Selection

log = logging.getLogger("gengfu.queue.worker")

CHANGES_EVERY = 0.033
"""Seconds between two looks at whether somebody wrote into an SQLite file."""
SERVER_EVERY = 0.28
"""Seconds between two looks into a ledger on a server, where nobody else tells of jobs."""
LOOK_AT_LEAST = 2.5
"""Seconds after which a dispatcher that is never idle looks for the jobs of dead workers, too."""
LONGEST = 300.0
"""Seconds that one round may take."""
AGAIN = 0.5
"""Seconds after which a database that was away is asked again."""
PRUNE_EVERY = 3600.0


@dataclass(frozen=True, slots=True)
class DispatchOptions:
    """What a dispatcher does for its worker."""

    wanted: Selection
    worker: str
    interval: float
    """The most seconds between two looks into the ledger while there is room for a job."""
    tries: int | None = None
    limit: int | None = None
    """The most jobs to take."""


class Dispatcher(threading.Thread):
    """Gives due jobs to an executor, for as long as it has room for any. Each round has three steps:

    1. It records the ends of those that are over, and takes as many due ones as there is room for, in one transaction.
       A database that is away is asked again until it answers; nothing is forgotten meanwhile.
    2. It hands them to the executor.
    3. It waits: until a job ends, until somebody tells of a new one, until an SQLite file was written, until the next
       delay ends, and for `interval` at most.

    A look comes before a lease, so that an idle worker only reads. The same look tells of jobs whose workers died.
    """

    def __init__(
        self,
        ledger: Ledger,
        db: Database,
        options: DispatchOptions,
        lease: Callable[[], int],
        clock: Clock,
        listener: Callable[[Callable[[], None]], Listener | None] = lambda wake: None,
    ) -> None:
        """
        Args:
            lease: the id of this process's lease.
            listener: makes what calls the function that it is given when a job is due.
        """
        super().__init__(name="gengfu-dispatcher", daemon=True)
        self.liveness = Liveness()
        self.taken = 0
        """How many jobs were taken so far."""
        self.queues: set[str] = set()
        """Those of the jobs that were taken."""
        self.is_empty = False
        """Whether the latest look found nothing to do, and nothing runs here."""
        self._ledger = ledger
        self._options = options
        self._lease = lease
        self._clock = clock
        self._wake = threading.Event()
        self._changes = db.file_changes()
        self._is_server = db.path is None
        self._listener = listener(self.wake)
        self._has_room = False
        self._is_quiet = False
        self._submitting = threading.Lock()
        self._ended = False
        self._is_away = False
        self._looked_at = 0.0
        self._next_prune = monotonic() + random.uniform(60.0, 600.0)
        self._executor: Executor

    def serve(self, executor: Executor) -> None:
        """Starts to give jobs to that executor."""
        self._executor = executor
        self.start()
        if self._listener is not None:
            self._listener.start()

    def wake(self) -> None:
        """Ends the wait."""
        self._wake.set()

    def quiet(self) -> None:
        """Takes no more jobs; what runs is still recorded. Jobs that were leased at this very moment are given back."""
        with self._submitting:
            self._is_quiet = True

    def end(self) -> None:
        """Stops the thread, once the ends of all jobs are recorded."""
        self.quiet()
        self._ended = True
        if self._listener is not None:
            self._listener.end()
        self.wake()

    def run(self) -> None:
        """Runs until `end` is called."""
        if self._changes is not None:
            self._changes.seen()
        while not (self._ended and not self._executor.in_flight()):
            self.liveness.progressed()
            self._wait(self._safe_round())
        if self._changes is not None:
            self._changes.close()

    def _safe_round(self) -> float:
        """One round; the seconds until the next one has to come, soon where the database is away."""
        try:
            pause = self._round()
        except GengfuError as error:
            if not self._is_away:
                log.warning("the ledger cannot be reached; asking on", extra={"error": str(error)})
            self._is_away = True
            return AGAIN
        except Exception:
            log.exception("a round of the dispatcher failed; it goes on")
            return AGAIN
        if self._is_away:
            self._is_away = False
            log.info("the ledger is back")
        return pause

    def _round(self) -> float:
        if endings := self._executor.endings():
            self._settle(endings)
        self._has_room = self._room() > 0
        if self._is_quiet or (not self._has_room and monotonic() < self._looked_at + LOOK_AT_LEAST):
            return LOOK_AT_LEAST
        return self._look()

    def _settle(self, endings: Sequence[Ending]) -> None:
        stale, leased = self._ledger.settle_and_lease(endings, self._request(self._room(len(endings))))
        self._executor.recorded(endings)
        for ending in endings:
            _log_ending(ending, stale)
        self._submit(leased)

    def _look(self) -> float:
        own = [running.leased.id for running in self._executor.in_flight()]
        seen = self._ledger.look(self._options.wanted, self._lease(), own)
        self._looked_at = monotonic()
        if seen.orphans and (found := self._ledger.recover(self._options.wanted, self._lease(), own)):
            log.warning("jobs of dead workers wait again", extra={"jobs": found})
            return 0.0
        if seen.due and self._has_room:
            self._submit(self._ledger.lease_due(self._request(self._room())))
            self._has_room = self._room() > 0
        self.is_empty = not seen.due and not self._executor.in_flight()
        if self.is_empty and monotonic() >= self._next_prune:
            self._prune()
        return self._pause(seen.next_due)

    def _room(self, ending: int = 0) -> int:
        """How many jobs may be taken, once so many more are over."""
        if self._is_quiet:
            return 0
        room = self._executor.free + ending
        return room if self._options.limit is None else min(room, self._options.limit - self.taken)

    def _request(self, room: int) -> LeaseRequest:
        return LeaseRequest(self._options.wanted, room, self._lease(), self._options.worker, self._options.tries)

    def _submit(self, leased: Sequence[LeasedJob]) -> None:
        self.taken += len(leased)
        self.queues |= {job.queue for job in leased}
        with self._submitting:
            if self._is_quiet:
                self._executor.decline(leased)
            else:
                self._executor.submit(leased)

    def _prune(self) -> None:
        if not self._ledger.prune():
            self._next_prune = monotonic() + PRUNE_EVERY

    def _pause(self, next_due: datetime | None) -> float:
        pause = self._options.interval
        if self._is_server and not (self._listener is not None and self._listener.hears):
            pause = min(pause, SERVER_EVERY)
        return pause if next_due is None else min(pause, (next_due - self._clock()).total_seconds())

    def _wait(self, seconds: float) -> None:
        if self._listener is not None:
            self._listener.has_room(self._has_room)
        deadline = monotonic() + seconds
        watches = self._has_room and self._changes is not None
        while not self._wake.is_set() and (left := deadline - monotonic()) > 0:
            self._wake.wait(min(left, CHANGES_EVERY) if watches else left)
            if watches and self._changes is not None and self._changes.seen():
                break
        self._wake.clear()


def _log_ending(ending: Ending, stale: set[LeasedJob]) -> None:
    job, text = ending.job, ending.text
    if job in stale:
        log.warning("the end of an attempt was not written: the job passed on", extra=who(job, ending=ending.outcome))
    elif ending.outcome is Outcome.DONE:
        log.info("job done", extra=who(job, note=text))
    elif ending.outcome is Outcome.RELEASED:
        log.info("job given back", extra=who(job))
    elif ending.outcome is Outcome.POSTPONED:
        log.info("job postponed", extra=who(job, reason=text, seconds=round(ending.again_in or 0.0, 1)))
    elif ending.again_in is None:
        log.error("job failed", extra=who(job, cause=text))
    else:
        log.warning("attempt failed", extra=who(job, cause=text, retry_in=round(ending.again_in, 2)))

"""Doing jobs in this process: for a person who does not want to wait for a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from gengfu.clock import Clock, utcnow
from gengfu.process.monitor import Monitor
from gengfu.process.pids import process_name
from gengfu.queue.dispatcher import Dispatcher, DispatchOptions
from gengfu.queue.executor import Executor
from gengfu.queue.job import Jobs
from gengfu.queue.ledger import Ledger
from gengfu.queue.outcomes import Stopping
from gengfu.store.jobs import Selection

if TYPE_CHECKING:
    from gengfu.store.database import Database

LOOK = 0.25
"""The most seconds between two looks into the ledger."""
STOP_GRACE = 10.0
"""Seconds that a running job has when told to stop."""
GIVE_BACK = 5.0
"""Seconds for recording what is left."""


class Inline:
    """Does the jobs of one subject, one after the other, with a worker's guarantees, while the `with` block lasts.

    Jobs that wait are taken, also those that were queued for workers, and those of a worker that died. A job that runs
    when the block ends is told to stop and given back, with no try counted.
    """

    def __init__(self, db: Database, jobs: Jobs, subject: str, clock: Clock = utcnow) -> None:
        name = process_name()
        self.monitor = Monitor(db, "console", name, {}, clock=clock, on_lost=self._lost, look=self._keep_limits)
        options = DispatchOptions(Selection(subject=subject), name, LOOK)
        self._dispatcher = Dispatcher(Ledger(db, clock), db, options, self.monitor.lease, clock)
        self._executor = Executor(jobs, 1, None, self._dispatcher.wake)

    def __enter__(self) -> Self:
        self._executor.start()
        self._dispatcher.serve(self._executor)
        self.monitor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._dispatcher.quiet()
        self._executor.stop_all(Stopping.SHUTDOWN)
        self._executor.end()
        self._dispatcher.end()
        self._dispatcher.join(STOP_GRACE)
        self._executor.give_back_all()
        self._dispatcher.wake()
        self._dispatcher.join(GIVE_BACK)
        self.monitor.end()

    def _lost(self) -> None:
        self._executor.stop_all(Stopping.LOST)

    def _keep_limits(self) -> None:
        self._executor.keep_limits()

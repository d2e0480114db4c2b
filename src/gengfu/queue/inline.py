"""Doing jobs in this process, without Redis: for a person who does not want to wait for a worker."""

from __future__ import annotations

import logging
import threading
from typing import Self

from gengfu.clock import Clock, utcnow
from gengfu.errors import GengfuError
from gengfu.process.pids import process_name
from gengfu.queue.door import Desk, Door, Stopping
from gengfu.queue.endings import Endings
from gengfu.queue.job import Jobs
from gengfu.queue.keeper import Keeper
from gengfu.queue.ledger import Ledger
from gengfu.queue.options import WorkerOptions
from gengfu.queue.perform import Performer
from gengfu.queue.rescue import Rescue
from gengfu.store.jobs import Beating, JobState, is_due

log = logging.getLogger("gengfu.queue.inline")

LOOK = 0.05
"""Seconds between two looks into the ledger."""
LAST_WORDS = 10.0
"""Seconds that a running job has when told to stop."""


class Inline:
    """Does the jobs of one subject, one after the other, with a worker's guarantees, while the `with` block lasts.

    Jobs that wait are claimed, also those that were queued for workers; a job whose worker died is taken from it, after
    the same silence as everywhere. A job that runs when the block ends is told to stop and given back, with no try
    counted.
    """

    def __init__(self, ledger: Ledger, jobs: Jobs, subject: str, clock: Clock = utcnow) -> None:
        self._ledger = ledger
        self._subject = subject
        self._clock = clock
        self._name = process_name()
        self._door = Door(1)
        self._desk = Desk()
        self._wake = threading.Event()
        self._endings = Endings(ledger, jobs, self._wake)
        options = WorkerOptions(concurrency=1)
        self._perform = Performer(ledger, self._endings, self._desk, self._door, options, self._name, self._wake.set)
        self._keeper = Keeper(ledger, self._endings, self._desk, self._door, lambda running: None)
        self._rescue = Rescue(ledger, self._endings, self._desk, f"{self._name}/rescue")
        self._ended = False
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gengfu-inline", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._door.shut()
        self._wake.set()
        for running in self._desk.held():
            running.stop(Stopping.SHUTDOWN)
        self._thread.join(LAST_WORDS)
        for running in self._desk.held():
            self._endings.give_back(running.claimed, patience=LAST_WORDS / 2)
        self._keeper.end()

    def check(self) -> None:
        """Raises what stopped the work, if anything did that nobody foresaw."""
        if self._broken is not None:
            raise self._broken

    def _run(self) -> None:
        try:
            while not self._ended:
                try:
                    busy = self._turn()
                except GengfuError as error:
                    log.warning("the ledger cannot be read; trying on", extra={"error": str(error)})
                    busy = False
                if not busy:
                    self._wake.wait(LOOK)
                    self._wake.clear()
        except BaseException as error:
            self._broken = error

    def _turn(self) -> bool:
        """Does one job; False where none is due."""
        listed = self._ledger.of_subject(self._subject)
        running = [job for job in listed if job.state is JobState.RUNNING]
        self._rescue.turn(Beating(job.id, job.queue, job.claim, job.beat) for job in running)
        now = self._clock()
        due = [job.id for job in listed if job.state is JobState.QUEUED and is_due(job.available_at, now)]
        if not due or not self._door.enter():
            return False
        self._perform(due[0])
        return True

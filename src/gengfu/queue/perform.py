"""What a worker's thread does with a message: claim the job it names, run it, write how it ended."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from enum import StrEnum

from gengfu.errors import GengfuError, Postpone
from gengfu.queue.claim import Claimed, Refusal
from gengfu.queue.door import Desk, Door, Running, Stopping
from gengfu.queue.endings import Endings
from gengfu.queue.job import Job
from gengfu.queue.ledger import Ledger
from gengfu.queue.options import WorkerOptions
from gengfu.store.jobs import Outcome

log = logging.getLogger("gengfu.queue.worker")


class Verdict(StrEnum):
    """What an attempt came to."""

    DONE = "done"
    """It returned."""
    POSTPONED = "postponed"
    """It asked to be taken up later."""
    FAILED = "failed"
    """It raised an error, and may be tried again."""
    FATAL = "fatal"
    """It raised an error against which no further try can help."""
    TIMED_OUT = "timed out"
    """It ended because its time was over."""
    GIVEN_BACK = "given back"
    """It ended because the worker ends."""


def judge(error: BaseException | None, stopping: Stopping | None, fatal: bool) -> Verdict:
    """What an attempt came to. After a stop, whatever the job raises is a consequence of it.

    Args:
        error: what the job raised, if anything.
        stopping: why it was told to stop, if it was.
        fatal: whether the job says that no further try can help after this error.
    """
    if error is None:
        return Verdict.DONE
    if isinstance(error, Postpone):
        return Verdict.POSTPONED
    if fatal:
        return Verdict.FATAL
    if stopping is Stopping.SHUTDOWN:
        return Verdict.GIVEN_BACK
    return Verdict.TIMED_OUT if stopping is Stopping.TIMEOUT else Verdict.FAILED


class Performer:
    """Performs jobs, one in each thread that calls it, and never raises: a job that fails must not take its worker
    along, and one that was delivered twice, or too late, is refused by the ledger and forgotten."""

    def __init__(
        self,
        ledger: Ledger,
        endings: Endings,
        desk: Desk,
        door: Door,
        options: WorkerOptions,
        worker: str,
        told: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._endings = endings
        self._desk = desk
        self._door = door
        self._options = options
        self._worker = worker
        self._told = told
        self._numbers = itertools.count(1)
        self._local = threading.local()

    def __call__(self, job_id: int) -> None:
        """Performs the job that a message names."""
        counted = False
        try:
            claimed = self._ledger.claim(job_id, self._thread_name(), self._options.tries)
            if isinstance(claimed, Refusal):
                log.debug("message without work", extra={"job": job_id, "reason": claimed})
            else:
                counted = True
                self._perform(claimed)
        except GengfuError as error:
            log.error("job not claimed; its message is sent again later", extra={"job": job_id, "error": str(error)})
        finally:
            if not counted:
                self._door.leave(counted=False)
            self._told()

    def _thread_name(self) -> str:
        if not hasattr(self._local, "name"):
            self._local.name = f"{self._worker}/{next(self._numbers)}"
        return str(self._local.name)

    def _perform(self, claimed: Claimed) -> None:
        job = self._endings.job(claimed)
        running = self._desk.take(claimed, self._limit(job))
        try:
            if claimed.spent is not None:
                self._endings.bury(claimed, claimed.spent)
            elif job is None:
                self._endings.fail(claimed, None, f"this version of the program knows no job named {claimed.name!r}")
            else:
                self._run(running, job)
        finally:
            self._desk.put_down(running, then=lambda: self._door.leave(counted=True))

    def _limit(self, job: Job | None) -> float | None:
        limits = [limit for limit in (job.timeout if job else None, self._options.timeout) if limit is not None]
        return min(limits, default=None)

    def _run(self, running: Running, job: Job) -> None:
        claimed = running.claimed
        error: BaseException | None = None
        note = None
        log.info("job started", extra={"job": claimed.job_id, "job_name": claimed.name, "attempt": claimed.attempt})
        try:
            note = job.fire(running.hold, **claimed.args)
        except (Exception, SystemExit) as raised:
            error = raised
        running.returned = True
        verdict = judge(error, running.stopping, fatal=isinstance(error, Exception) and job.fatal(error))
        if verdict is Verdict.DONE:
            self._endings.succeed(claimed, note)
        elif verdict is Verdict.POSTPONED and isinstance(error, Postpone):
            self._endings.postpone(claimed, str(error), error.seconds)
        elif verdict is Verdict.GIVEN_BACK:
            self._endings.give_back(claimed)
        elif verdict is Verdict.TIMED_OUT:
            self._endings.fail(claimed, job, timed_out(running), Outcome.TIMEOUT)
        else:
            assert error is not None
            self._endings.fail(claimed, job, self._cause(claimed, error), final=verdict is Verdict.FATAL)

    @staticmethod
    def _cause(claimed: Claimed, error: BaseException) -> str:
        if isinstance(error, GengfuError):
            return str(error)
        log.error("a job raised an error that nobody foresaw", exc_info=error, extra={"job": claimed.job_id})
        return f"{type(error).__name__}: {error}"


def timed_out(running: Running) -> str:
    """The cause of an attempt that ran into its limit."""
    return f"it ran into its time limit of {running.limit or 0.0:g} seconds"

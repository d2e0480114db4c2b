"""The threads of a worker that do jobs, and the jobs in their hands."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Iterable

from gengfu.clock import monotonic
from gengfu.errors import Fenced, GengfuError, Postpone, StoreError
from gengfu.language import tr
from gengfu.logs import redact
from gengfu.queue.job import Job, JobContext, Jobs, LeasedJob
from gengfu.queue.outcomes import UNKNOWN_BACKOFF, Ending, Stopping, outcome_of, wait_before_retry
from gengfu.store.jobs import Outcome

log = logging.getLogger("gengfu.queue.worker")

STOP_GRACE = 10.0
"""Seconds between a job's time limit, when it is told to stop, and the moment at which it is given up."""
FAILED_AGAIN_IN = 2.0
"""Seconds until a job is told again that it failed, where the database was away when it was told."""


class RunningJob:
    """A job in the hands of this process, from its lease until its end is recorded."""

    def __init__(self, leased: LeasedJob) -> None:
        self.leased = leased
        self.context = JobContext(leased.id, leased.attempt, leased.fence, threading.Event())
        self.limit: float | None = None
        """Seconds that it may take."""
        self.deadline: float | None = None
        """The moment of its time limit on the monotonic clock."""
        self.stopping: Stopping | None = None
        self.ending: Ending | None = None
        """How the attempt ended, as soon as it has; whoever says so first is right."""

    def stop(self, why: Stopping) -> None:
        """Tells the job to stop; the first reason counts."""
        if self.stopping is None and self.ending is None:
            self.stopping = why
            self.context.stop.set()

    @property
    def timed_out(self) -> str:
        """The cause of an attempt that ran into its limit."""
        return tr("it ran into its time limit of {limit:g} seconds", limit=self.limit or 0.0)


class Executor:
    """Does jobs in so many threads, and keeps how each ended until the dispatcher has recorded it; until then the job
    takes up a thread's place.

    No job takes its thread along, whatever it raises. A thread cannot be killed: an attempt that does not heed its time
    limit is ended without it, and whatever it brings later is dropped.
    """

    def __init__(self, jobs: Jobs, threads: int, timeout: float | None, changed: Callable[[], None]) -> None:
        """
        Args:
            timeout: seconds for one job, where the job's own limit is not shorter.
            changed: called whenever a job ended.
        """
        self.threads = threads
        self._jobs = jobs
        self._timeout = timeout
        self._changed = changed
        self._todo: queue.SimpleQueue[RunningJob | None] = queue.SimpleQueue()
        self._in_flight: dict[LeasedJob, RunningJob] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the threads."""
        for number in range(1, self.threads + 1):
            threading.Thread(target=self._run, name=f"gengfu-executor-{number}", daemon=True).start()

    def end(self) -> None:
        """Lets each thread end after the job that it does."""
        for _ in range(self.threads):
            self._todo.put(None)

    def submit(self, leased: Iterable[LeasedJob]) -> None:
        """Gives jobs to the threads."""
        fresh = [RunningJob(job) for job in leased]
        with self._lock:
            self._in_flight.update((running.leased, running) for running in fresh)
        for running in fresh:
            self._todo.put(running)

    def decline(self, leased: Iterable[LeasedJob]) -> None:
        """Has jobs given back that no thread has begun; no try is counted."""
        declined = [RunningJob(job) for job in leased]
        with self._lock:
            self._in_flight.update((running.leased, running) for running in declined)
        for running in declined:
            self._finish(running, Ending(running.leased, Outcome.RELEASED, None, 0.0))

    def in_flight(self) -> list[RunningJob]:
        """All jobs whose end is not recorded yet."""
        with self._lock:
            return list(self._in_flight.values())

    @property
    def free(self) -> int:
        """How many more jobs there is a thread for."""
        with self._lock:
            return self.threads - len(self._in_flight)

    def endings(self) -> list[Ending]:
        """The ends that are to be recorded."""
        return [running.ending for running in self.in_flight() if running.ending is not None]

    def recorded(self, endings: Collection[Ending]) -> None:
        """They are; the places are free."""
        with self._lock:
            for ending in endings:
                self._in_flight.pop(ending.job, None)

    def stop_all(self, why: Stopping) -> None:
        """Tells all running jobs to stop."""
        for running in self.in_flight():
            running.stop(why)

    def give_back_all(self) -> None:
        """Ends all attempts that still run, so that other workers take the jobs; no try is counted."""
        for running in self.in_flight():
            self._finish(running, Ending(running.leased, Outcome.RELEASED, None, 0.0))

    def keep_limits(self) -> bool:
        """Tells jobs whose time is over to stop, and ends the attempts of those that did not; whether there are such,
        for whose threads the process has to end."""
        is_stuck = False
        for running in self.in_flight():
            if running.deadline is None or running.ending is not None or monotonic() < running.deadline:
                continue
            running.stop(Stopping.TIMEOUT)
            if monotonic() >= running.deadline + STOP_GRACE:
                is_stuck = True
                cause = tr("{running.timed_out} and did not stop when told to", running=running)
                log.error("job does not stop; this process ends", extra={"job": running.leased.id, "cause": cause})
                # Where no try is left, the next worker tells the job so: nobody knows for how long that may take.
                self._finish(running, Ending(running.leased, Outcome.TIMEOUT, cause, 0.0))
        return is_stuck

    def _finish(self, running: RunningJob, ending: Ending) -> None:
        with self._lock:
            if running.ending is None:
                running.ending = ending
        self._changed()

    def _run(self) -> None:
        while (running := self._todo.get()) is not None:
            if running.ending is None:
                self._finish(running, self._safe_ending_of(running))

    def _safe_ending_of(self, running: RunningJob) -> Ending:
        leased = running.leased
        try:
            return self._ending_of(running)
        except BaseException as error:
            again_in = UNKNOWN_BACKOFF[0] if leased.attempt < leased.tries else None
            return Ending(leased, Outcome.FAILED, self._cause(leased, error), again_in)

    def _ending_of(self, running: RunningJob) -> Ending:
        leased = running.leased
        try:
            make = self._jobs.get(leased.name)
            job = make() if make is not None else None
        except Exception as error:
            return self._failed(leased, None, self._cause(leased, error))
        if leased.spent:
            return self._failed(leased, job, leased.cause or "out of tries")
        if job is None:
            return self._failed(
                leased, None, tr("this version of the program knows no job named {leased.name!r}", leased=leased)
            )
        return self._fire(running, job)

    def _fire(self, running: RunningJob, job: Job) -> Ending:
        leased = running.leased
        running.limit = min((limit for limit in (job.timeout, self._timeout) if limit is not None), default=None)
        running.deadline = monotonic() + running.limit if running.limit is not None else None
        log.info("job started", extra=who(leased))
        error: Exception | SystemExit | None = None
        note = None
        try:
            note = job.fire(running.context, **leased.args)
        except (Exception, SystemExit) as raised:
            error = raised
        outcome = outcome_of(error, running.stopping)
        if error is None:
            return Ending(leased, outcome, None if note is None else redact(str(note)))
        if isinstance(error, Postpone):
            return Ending(leased, outcome, redact(str(error)), float(error.seconds))
        if isinstance(error, Exception) and job.fatal(error):
            return self._failed(leased, job, self._cause(leased, error), final=True)
        if outcome is Outcome.RELEASED:
            return Ending(leased, outcome, None, 0.0)
        cause = running.timed_out if outcome is Outcome.TIMEOUT else self._cause(leased, error)
        return self._failed(leased, job, cause, outcome)

    def _failed(
        self,
        leased: LeasedJob,
        job: Job | None,
        cause: str,
        outcome: Outcome = Outcome.FAILED,
        *,
        final: bool = False,
    ) -> Ending:
        """The job is tried again after its backoff; where no try is left it is told first, and recorded afterwards, so
        that a worker that dies in between leaves it to the next one to tell the job again."""
        if not final and leased.attempt < leased.tries:
            backoff = job.backoff if job is not None else UNKNOWN_BACKOFF
            return Ending(leased, outcome, cause, wait_before_retry(backoff, leased.attempt))
        try:
            if job is not None:
                job.failed(leased.id, cause, **leased.args)
        except (StoreError, Fenced) as error:
            log.warning("a job could not be told that it failed", extra=who(leased, error=str(error)))
            return Ending(leased, outcome, cause, FAILED_AGAIN_IN)
        except Exception:
            log.exception("what the job does when it failed has failed itself", extra=who(leased))
        return Ending(leased, outcome, cause)

    @staticmethod
    def _cause(leased: LeasedJob, error: BaseException) -> str:
        if isinstance(error, GengfuError):
            return redact(str(error))
        log.error("a job raised an unexpected error", exc_info=error, extra={"job": leased.id})
        return redact(f"{type(error).__name__}: {error}")


def who(leased: LeasedJob, **more: object) -> dict[str, object]:
    """What a log line says of a job."""
    return {"job": leased.id, "job_name": leased.name, "queue": leased.queue, "attempt": leased.attempt, **more}

"""Writes how an attempt ended, and sees to what follows from it: another try, or the burial of a job without tries."""

from __future__ import annotations

import logging
import random
import threading

from gengfu.errors import BrokerError, Fenced, StoreError
from gengfu.queue.claim import Claimed, Fate
from gengfu.queue.job import Job, Jobs
from gengfu.queue.ledger import CLOSING_PATIENCE, Ledger
from gengfu.store.jobs import Outcome

log = logging.getLogger("gengfu.queue.worker")

UNKNOWN_BACKOFF = (60.0, 600.0)
"""The most seconds until a job that this program does not know is tried again, perhaps by a worker that does: where
several hosts are brought up to date, one is the first."""


def wait_before_retry(backoff: tuple[float, ...], attempt: int) -> float:
    """Seconds to wait after that failed attempt: a random share of its backoff, so that jobs that failed together are
    not tried together."""
    return random.uniform(0.0, backoff[min(attempt, len(backoff)) - 1]) if backoff else 0.0


class Endings:
    """Every end of an attempt goes through here once. A claim that passed on, or a database that stays away, is logged
    and raises nothing: the ledger then holds what the other worker, or the sweeper, goes by."""

    def __init__(self, ledger: Ledger, jobs: Jobs, wake: threading.Event) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._wake = wake
        """Wakes the sweeper, which is to send the job when its delay ends."""

    def job(self, claimed: Claimed) -> Job | None:
        """The job to do, or None where this program knows none of that name."""
        make = self._jobs.get(claimed.name)
        return make() if make is not None else None

    def succeed(self, claimed: Claimed, note: str | None) -> None:
        """The job is done."""
        try:
            self._ledger.finish(claimed, note)
            log.info("job done", extra=_who(claimed, note=note))
        except (Fenced, StoreError) as error:
            _refused(claimed, "done", error)

    def postpone(self, claimed: Claimed, reason: str, seconds: float) -> None:
        """The job asked to be taken up later."""
        try:
            self._ledger.postpone(claimed, reason, seconds)
            self._wake.set()
            log.info("job postponed", extra=_who(claimed, reason=reason, seconds=round(seconds, 1)))
        except (Fenced, StoreError) as error:
            _refused(claimed, "postponed", error)

    def give_back(self, claimed: Claimed, patience: float = CLOSING_PATIENCE) -> None:
        """The worker ends before the job; another one takes it up, and no try was counted."""
        try:
            self._ledger.release(claimed, patience=patience)
            log.info("job given back", extra=_who(claimed))
            self._ledger.nudge([claimed.job_id])
        except (Fenced, StoreError) as error:
            _refused(claimed, "given back", error)

    def fail(
        self, claimed: Claimed, job: Job | None, cause: str, outcome: Outcome = Outcome.FAILED, *, final: bool = False
    ) -> None:
        """The attempt failed; the job is tried again after its backoff, or buried."""
        backoff = job.backoff if job is not None else UNKNOWN_BACKOFF
        retry_in = None if final else wait_before_retry(backoff, claimed.attempt)
        try:
            fate = self._ledger.fail_attempt(claimed, cause, retry_in, outcome)
        except (Fenced, StoreError) as error:
            _refused(claimed, outcome, error)
            return
        if fate is Fate.EXHAUSTED:
            self.bury(claimed, cause)
        else:
            self._wake.set()
            log.warning("attempt failed", extra=_who(claimed, cause=cause, retry_in=round(retry_in or 0.0, 2)))

    def bury(self, claimed: Claimed, cause: str) -> None:
        """No try is left: the job is told first, then the ledger, so that a worker that dies in between leaves it to
        the next sweeper to tell the job again."""
        try:
            if (job := self.job(claimed)) is not None:
                _tell(job, claimed, cause)
            self._ledger.bury(claimed, cause)
            log.error("job failed", extra=_who(claimed, cause=cause))
        except (Fenced, StoreError, BrokerError) as error:
            _refused(claimed, "failed", error)


def _tell(job: Job, claimed: Claimed, cause: str) -> None:
    try:
        job.failed(claimed.job_id, cause, **claimed.args)
    except (StoreError, BrokerError, Fenced):
        raise
    except Exception:
        log.exception("what the job does when it failed has failed itself", extra=_who(claimed))


def _who(claimed: Claimed, **more: object) -> dict[str, object]:
    return {"job": claimed.job_id, "job_name": claimed.name, "queue": claimed.queue, "attempt": claimed.attempt, **more}


def _refused(claimed: Claimed, ending: str, error: Exception) -> None:
    log.warning("the end of an attempt was not written", extra=_who(claimed, ending=ending, error=str(error)))

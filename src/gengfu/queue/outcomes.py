"""What an attempt at a job came to, and what follows from it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from gengfu.errors import Postpone
from gengfu.queue.job import LeasedJob
from gengfu.store.jobs import Outcome

UNKNOWN_BACKOFF = (60.0, 600.0)
"""The most seconds until a job that this program does not know is tried again, perhaps by a worker that does: where
several hosts are brought up to date, one is the first."""


class Stopping(StrEnum):
    """Why a running job was told to stop."""

    SHUTDOWN = "shutdown"
    """The worker ends, and the grace period is over."""
    TIMEOUT = "timeout"
    """The job ran into its time limit."""
    LOST = "lost"
    """Others took this worker for dead, so the job may be another's by now."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an attempt, as the ledger is to record it."""

    job: LeasedJob
    outcome: Outcome
    text: str | None = None
    """The note of a job that is done, else the cause."""
    again_in: float | None = None
    """Seconds until the job is due again; None where it is over, by then with `Job.failed` called if it failed."""


def outcome_of(error: BaseException | None, stopping: Stopping | None) -> Outcome:
    """How an attempt ended that raised `error`, if anything. After a stop, whatever it raises is a consequence of it.

    Args:
        stopping: why the job was told to stop, if it was.
    """
    if error is None:
        return Outcome.DONE
    if isinstance(error, Postpone):
        return Outcome.POSTPONED
    if stopping is Stopping.TIMEOUT:
        return Outcome.TIMEOUT
    return Outcome.RELEASED if stopping is not None else Outcome.FAILED


def wait_before_retry(backoff: tuple[float, ...], attempt: int) -> float:
    """Seconds to wait after that failed attempt: a random share of its backoff, so that jobs that failed together are
    not tried together."""
    return random.uniform(0.0, backoff[min(attempt, len(backoff)) - 1]) if backoff else 0.0

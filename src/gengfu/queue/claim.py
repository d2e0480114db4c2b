"""What the ledger answers: a job in a worker's hands, why there is none, and what became of one that failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gengfu.store.jobs import Beating, JobRecord, Waiting


class Refusal(StrEnum):
    """Why a job was not handed out."""

    MISSING = "missing"
    """The ledger has no job of that id (any more)."""
    NOT_QUEUED = "not queued"
    """Another worker holds it, or it is over."""
    NOT_DUE = "not due"
    """Its delay has not ended."""


class Fate(StrEnum):
    """What becomes of a job after an attempt that failed."""

    QUEUED = "queued"
    """It is tried again."""
    EXHAUSTED = "exhausted"
    """It is out of tries and still held, so that whoever holds it can call `Job.failed` and then `bury` it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job in the hands of one worker. `claim` is the fencing number: once another holds the job, every write under
    this claim is refused."""

    job_id: int
    claim: int
    worker: str
    queue: str = field(compare=False)
    name: str = field(compare=False)
    args: dict[str, Any] = field(compare=False, repr=False)
    attempt: int = field(compare=False)
    tries: int = field(compare=False)
    spent: str | None = field(compare=False, default=None)
    """Set when no try is left and the job is held only to be buried: the cause."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a sweeper sees at one look."""

    unsent: list[Waiting]
    """Due, and no message was sent yet."""
    sent: dict[str, int]
    """By queue: how many due jobs wait for which a message was sent."""
    running: list[Beating]
    next_due: float | None
    """Seconds until the next delay ends."""
    queues: list[str]
    """All queues with live jobs."""


def claimed_from(
    found: JobRecord, worker: str, claim: int, *, attempt: int, tries: int, spent: str | None = None
) -> Claimed:
    """The hold of `worker` on the job that the ledger shows."""
    return Claimed(found.id, claim, worker, found.queue, found.name, found.args, attempt, tries, spent)

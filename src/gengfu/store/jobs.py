"""Jobs and their attempts as rows; a job changes in one statement, on the condition that its claim is unchanged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select, update

from gengfu.store.doorstep import LONGEST_DELAY
from gengfu.store.tables import job, job_attempt


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """It waits for a worker, or for the end of its delay."""
    RUNNING = "running"
    """A worker holds it, and its beat grows while that worker lives."""
    DONE = "done"
    """It succeeded; final."""
    FAILED = "failed"
    """It is out of tries, or cannot succeed; the cause is kept and `queue:retry` sends it again."""


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    """The job succeeded."""
    FAILED = "failed"
    """The job raised an error."""
    LOST = "lost"
    """The worker died, or was out of reach for so long that it was given up."""
    RELEASED = "released"
    """The worker was stopped and gave the job back; no try was counted."""
    POSTPONED = "postponed"
    """The job asked to be taken up later; no try was counted."""
    TIMEOUT = "timeout"
    """The job ran into its time limit."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One row of the ledger; the columns of `job`."""

    id: int
    queue: str
    name: str
    args: dict[str, Any]
    subject: str | None
    state: JobState
    tries: int
    attempts: int
    claim: int
    beat: int
    worker: str | None
    available_at: datetime
    nudges: int
    cause: str | None
    note: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at a job; the columns of `job_attempt`. `outcome` is None while it runs."""

    job_id: int
    claim: int
    attempt: int
    worker: str
    outcome: Outcome | None
    cause: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job that is due."""

    id: int
    queue: str
    claim: int
    nudges: int


@dataclass(frozen=True, slots=True)
class Beating:
    """A running job and the beat at which it was seen."""

    id: int
    queue: str
    claim: int
    beat: int


_JOB = [job.c[f.name] for f in fields(JobRecord)]
_ATTEMPT = [job_attempt.c[f.name] for f in fields(AttemptRecord)]


def is_due(available_at: datetime, now: datetime) -> bool:
    """Whether a job with this `available_at` may start."""
    return available_at <= now or available_at > now + LONGEST_DELAY


def _due(now: datetime) -> ColumnElement[bool]:
    moment = job.c.available_at
    return and_(job.c.state == JobState.QUEUED, or_(moment <= now, moment > now + LONGEST_DELAY))


def _served(queues: Collection[str] | None) -> ColumnElement[bool]:
    return job.c.queue.in_(list(queues)) if queues is not None else job.c.id.is_not(None)


def insert_job(connection: Connection, row: Mapping[str, Any]) -> int:
    """Records a job and returns its id."""
    key = connection.execute(insert(job).values(**row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def load(connection: Connection, job_id: int) -> JobRecord | None:
    """The job, or None where there is none of that id."""
    row = connection.execute(select(*_JOB).where(job.c.id == job_id)).first()
    return _record(row) if row is not None else None


def _record(row: Row[Any]) -> JobRecord:
    return JobRecord(**{**row._mapping, "state": JobState(row.state)})


def change(
    connection: Connection,
    job_id: int,
    state: JobState,
    claim: int,
    values: Mapping[str, Any],
    *,
    beat: int | None = None,
) -> bool:
    """Changes the job if it is still in `state` under `claim`, at that `beat` if one is named; False where it is not,
    and nothing was changed."""
    held = and_(job.c.id == job_id, job.c.state == state, job.c.claim == claim)
    if beat is not None:
        held = and_(held, job.c.beat == beat)
    return connection.execute(update(job).where(held).values(**values)).rowcount == 1


def open_attempt(connection: Connection, job_id: int, claim: int, attempt: int, worker: str, now: datetime) -> None:
    """Records that an attempt began."""
    row = {"job_id": job_id, "claim": claim, "attempt": attempt, "worker": worker, "started_at": now}
    connection.execute(insert(job_attempt).values(**row))


def close_attempt(
    connection: Connection, job_id: int, claim: int, outcome: Outcome, cause: str | None, now: datetime
) -> bool:
    """Records how the attempt ended, once: False where it is closed already or there is none."""
    still_open = and_(job_attempt.c.job_id == job_id, job_attempt.c.claim == claim, job_attempt.c.outcome.is_(None))
    ending = {"outcome": outcome, "cause": cause, "finished_at": now}
    return connection.execute(update(job_attempt).where(still_open).values(**ending)).rowcount == 1


def outcome_of(connection: Connection, job_id: int, claim: int) -> Outcome | None:
    """How the attempt ended, or None while it runs or where there is none."""
    at = and_(job_attempt.c.job_id == job_id, job_attempt.c.claim == claim)
    found = connection.execute(select(job_attempt.c.outcome).where(at)).scalar()
    return Outcome(found) if found is not None else None


def attempts_of(connection: Connection, job_id: int) -> list[AttemptRecord]:
    """The attempts at the job, the first one first."""
    rows = connection.execute(select(*_ATTEMPT).where(job_attempt.c.job_id == job_id).order_by(job_attempt.c.claim))
    return [
        AttemptRecord(**{**row._mapping, "outcome": Outcome(row.outcome) if row.outcome is not None else None})
        for row in rows
    ]


def beat(connection: Connection, held: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Lets the beat of the running jobs among `held`, pairs of job id and claim, grow; returns those pairs."""
    running = and_(
        job.c.state == JobState.RUNNING,
        or_(*(and_(job.c.id == job_id, job.c.claim == claim) for job_id, claim in held)),
    )
    connection.execute(update(job).where(running).values(beat=job.c.beat + 1))
    return {(row.id, row.claim) for row in connection.execute(select(job.c.id, job.c.claim).where(running))}


def queues_of(connection: Connection, job_ids: Iterable[int], now: datetime) -> list[tuple[int, str]]:
    """Id and queue of those jobs that are queued and due."""
    wanted = and_(_due(now), job.c.id.in_(list(job_ids)))
    return [
        (row.id, row.queue)
        for row in connection.execute(select(job.c.id, job.c.queue).where(wanted).order_by(job.c.id))
    ]


def unsent(connection: Connection, queues: Collection[str] | None, now: datetime, limit: int) -> list[Waiting]:
    """The due jobs that no message was ever sent for in their present hold."""
    return _waiting(connection, and_(_due(now), job.c.nudges == 0, _served(queues)), limit)


def sent(connection: Connection, queue: str, now: datetime, limit: int) -> list[Waiting]:
    """The due jobs of a queue that a message was sent for; those with the fewest messages first."""
    return _waiting(connection, and_(_due(now), job.c.nudges > 0, job.c.queue == queue), limit)


def _waiting(connection: Connection, which: ColumnElement[bool], limit: int) -> list[Waiting]:
    columns = [job.c[f.name] for f in fields(Waiting)]
    rows = connection.execute(select(*columns).where(which).order_by(job.c.nudges, job.c.id).limit(limit))
    return [Waiting(**row._mapping) for row in rows]


def count_sent(connection: Connection, queues: Collection[str] | None, now: datetime) -> dict[str, int]:
    """By queue, how many due jobs wait that a message was sent for."""
    which = and_(_due(now), job.c.nudges > 0, _served(queues))
    rows = connection.execute(select(job.c.queue, func.count().label("jobs")).where(which).group_by(job.c.queue))
    return {row.queue: row.jobs for row in rows}


def has_due(connection: Connection, queues: Collection[str] | None, now: datetime) -> bool:
    """Whether a job waits that may start now."""
    return connection.execute(select(job.c.id).where(and_(_due(now), _served(queues))).limit(1)).first() is not None


def next_due(connection: Connection, queues: Collection[str] | None, now: datetime) -> datetime | None:
    """When the next delay ends."""
    ahead = and_(job.c.available_at > now, job.c.available_at <= now + LONGEST_DELAY)
    which = and_(job.c.state == JobState.QUEUED, ahead, _served(queues))
    return connection.execute(select(func.min(job.c.available_at)).where(which)).scalar()


def running(connection: Connection, queues: Collection[str] | None) -> list[Beating]:
    """The jobs that workers hold."""
    columns = [job.c[f.name] for f in fields(Beating)]
    rows = connection.execute(select(*columns).where(and_(job.c.state == JobState.RUNNING, _served(queues))))
    return [Beating(**row._mapping) for row in rows]


def count_nudge(connection: Connection, waiting: Waiting) -> bool:
    """Takes on the sending of the next message for a job; False where another did, or the job no longer waits."""
    unchanged = and_(job.c.id == waiting.id, job.c.claim == waiting.claim, job.c.nudges == waiting.nudges)
    which = and_(unchanged, job.c.state == JobState.QUEUED)
    return connection.execute(update(job).where(which).values(nudges=waiting.nudges + 1)).rowcount == 1


def in_state(connection: Connection, state: JobState, limit: int) -> list[JobRecord]:
    """The jobs in that state, the newest first."""
    rows = connection.execute(select(*_JOB).where(job.c.state == state).order_by(job.c.id.desc()).limit(limit))
    return [_record(row) for row in rows]


def of_subject(connection: Connection, subject: str) -> list[JobRecord]:
    """The jobs that wait or run for that subject, the oldest first."""
    live = job.c.state.in_([JobState.QUEUED, JobState.RUNNING])
    rows = connection.execute(select(*_JOB).where(and_(job.c.subject == subject, live)).order_by(job.c.id))
    return [_record(row) for row in rows]


def claims_in(connection: Connection, state: JobState, job_ids: Sequence[int] | None) -> dict[int, int]:
    """By id, the claim of the jobs in that state; of those named, or of all."""
    which = job.c.state == state if job_ids is None else and_(job.c.state == state, job.c.id.in_(job_ids))
    return {row.id: row.claim for row in connection.execute(select(job.c.id, job.c.claim).where(which))}


def counts(connection: Connection) -> dict[tuple[str, JobState], int]:
    """By queue and state, how many jobs there are."""
    rows = connection.execute(
        select(job.c.queue, job.c.state, func.count().label("jobs")).group_by(job.c.queue, job.c.state)
    )
    return {(row.queue, JobState(row.state)): row.jobs for row in rows}


def live_queues(connection: Connection) -> list[str]:
    """The queues in which jobs wait or run, by name."""
    live = job.c.state.in_([JobState.QUEUED, JobState.RUNNING])
    return list(connection.execute(select(job.c.queue).where(live).distinct().order_by(job.c.queue)).scalars())


def delete_done(connection: Connection, before: datetime, limit: int) -> int:
    """Removes up to `limit` jobs that were done before that moment, with their attempts; returns how many."""
    old = (
        select(job.c.id)
        .where(and_(job.c.state == JobState.DONE, job.c.finished_at < before))
        .order_by(job.c.id)
        .limit(limit)
    )
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(delete(job_attempt).where(job_attempt.c.job_id.in_(ids)))
        connection.execute(delete(job).where(job.c.id.in_(ids)))
    return len(ids)

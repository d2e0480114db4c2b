"""Jobs and their attempts as rows; a job in a worker's hands changes only under its fence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    String,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)

from gengfu.store.enqueue import LONGEST_DELAY
from gengfu.store.leases import HELD
from gengfu.store.tables import job, job_attempt, lease


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """It waits for a worker, or for the end of its delay."""
    RUNNING = "running"
    """A worker holds it under its lease."""
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
    """One row of the ledger; the columns of `job`, and who worked on it last."""

    id: int
    queue: str
    name: str
    args: dict[str, Any]
    subject: str | None
    state: JobState
    tries: int
    attempts: int
    fence: int
    lease_id: int | None
    worker: str | None
    """The worker of the latest attempt; None while the job waits."""
    available_at: datetime
    cause: str | None
    note: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at a job; the columns of `job_attempt`. `outcome` is None while it runs."""

    job_id: int
    fence: int
    attempt: int
    worker: str
    outcome: Outcome | None
    cause: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs a dispatcher serves: those of some queues, in order of priority, those of one subject, or all."""

    queues: tuple[str, ...] = ()
    """Empty means all, by name."""
    subject: str | None = None

    @property
    def condition(self) -> ColumnElement[bool]:
        """True for the jobs that are meant."""
        if self.subject is not None:
            return job.c.subject == self.subject
        return job.c.queue.in_(self.queues) if self.queues else true()


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """What one look of a dispatcher shows."""

    due: bool
    """A job waits that may start now."""
    next_due: datetime | None
    """When the first delay ends, where nothing is due."""
    orphans: bool
    """A job is marked as running that nobody works on."""


_latest = (
    select(job_attempt.c.worker)
    .where(and_(job_attempt.c.job_id == job.c.id, job.c.state != JobState.QUEUED))
    .order_by(job_attempt.c.fence.desc())
    .limit(1)
    .scalar_subquery()
    .label("worker")
)
_JOB = [_latest if f.name == "worker" else job.c[f.name] for f in fields(JobRecord)]
_ATTEMPT = [job_attempt.c[f.name] for f in fields(AttemptRecord)]
_LEASED = [
    job.c[name] for name in ("id", "queue", "name", "args", "tries", "attempts", "fence", "cause", "available_at")
]


def _due(now: datetime) -> ColumnElement[bool]:
    moment = job.c.available_at
    return and_(job.c.state == JobState.QUEUED, or_(moment <= now, moment > now + LONGEST_DELAY))


def _orphaned(lease_id: int | None, in_flight: Collection[int]) -> ColumnElement[bool]:
    """Running, not in these hands, and under no lease that counts, or under the own one."""
    unheld = or_(job.c.lease_id.is_(None), literal_column(f"job.lease_id NOT IN {HELD}"), job.c.lease_id == lease_id)
    return and_(job.c.state == JobState.RUNNING, job.c.id.not_in(list(in_flight)), unheld)


def insert_job(connection: Connection, row: Mapping[str, Any]) -> int:
    """Records a job and returns its id."""
    key = connection.execute(insert(job).values(**row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def look(
    connection: Connection, wanted: Selection, lease_id: int | None, in_flight: Collection[int], now: datetime
) -> LedgerSnapshot:
    """What a dispatcher goes by, in one statement."""
    queued = and_(job.c.state == JobState.QUEUED, wanted.condition)
    orphans = select(func.count()).where(and_(_orphaned(lease_id, in_flight), wanted.condition)).scalar_subquery()
    row = connection.execute(
        select(func.min(job.c.available_at), func.max(job.c.available_at), orphans).where(queued)
    ).one()
    first, last = row[0], row[1]
    due = first is not None and (first <= now or last > now + LONGEST_DELAY)
    return LedgerSnapshot(due, None if due else first, bool(row[2]))


# Statements that every job passes through are built once: building one takes longer than executing it.
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_PAIRS: BindParameter[Any] = bindparam("pairs", expanding=True)
_NOW = bindparam("now", type_=job.c.available_at.type)


@cache
def _due_in(queue: str | None, subject: str | None) -> Select[Any]:
    moment = job.c.available_at
    may_start = or_(moment <= _NOW, moment > bindparam("never", type_=moment.type))
    counts = exists(select(lease.c.id).where(and_(lease.c.id == bindparam("lease"), lease.c.lost_at.is_(None))))
    which = [job.c.state == JobState.QUEUED, may_start, counts]
    which += [job.c.queue == queue] if queue is not None else []
    which += [job.c.subject == subject] if subject is not None else []
    query = select(*_LEASED).where(*which).order_by(job.c.queue, job.c.available_at, job.c.id)
    return query.limit(bindparam("room", type_=Integer)).with_for_update(of=job, skip_locked=True)


def take(
    connection: Connection,
    wanted: Selection,
    limit: int,
    lease_id: int,
    worker: str,
    tries: int | None,
    now: datetime,
) -> Sequence[Row[Any]]:
    """Gives up to `limit` jobs that may start now to a worker, under their next fence, with their tries counted and
    their attempts begun; those of an earlier queue first, then those due for longest. One that has no try left is given
    without. None for whom others took for dead: what it took would be anybody's at once.

    Args:
        tries: in place of each job's own.

    Returns:
        The jobs as they were before.
    """
    given = {"now": now, "never": now + LONGEST_DELAY, "lease": lease_id, "by": worker, "allowed": tries}
    queues = wanted.queues if wanted.subject is None and wanted.queues else (None,)
    take_in = _take_at_once if connection.dialect.name == "postgresql" else _take_in_steps
    found: list[Row[Any]] = []
    for queue in queues:
        if len(found) < limit:
            found += take_in(connection, queue, wanted.subject, given | {"room": limit - len(found)})
    return found


def leased_before(connection: Connection, lease_id: int, pairs: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Which of these pairs of job and fence are running under that lease."""
    ids = [job_id for job_id, _ in pairs]
    running = and_(job.c.id.in_(ids), job.c.state == JobState.RUNNING, job.c.lease_id == lease_id)
    found = connection.execute(select(job.c.id, job.c.fence).where(running))
    return {(row.id, row.fence) for row in found} & set(pairs)


_ALLOWED = bindparam("allowed", type_=Integer)
_NEXT_HOLDER: dict[str, Any] = {
    "state": JobState.RUNNING,
    "fence": job.c.fence + 1,
    "lease_id": bindparam("lease"),
    "tries": func.coalesce(_ALLOWED, job.c.tries),
}
_TAKE = (
    update(job)
    .where(job.c.id.in_(_IDS))
    .values(**_NEXT_HOLDER, attempts=job.c.attempts + 1, started_at=bindparam("now"))
)
_TAKE_SPENT = update(job).where(job.c.id.in_(_IDS)).values(**_NEXT_HOLDER)
_BEGUN = ["job_id", "fence", "attempt", "worker", "started_at"]
_BY = bindparam("by", type_=String)
_OPEN = insert(job_attempt).from_select(
    _BEGUN, select(job.c.id, job.c.fence, job.c.attempts, _BY, _NOW).where(job.c.id.in_(_IDS))
)


def _take_in_steps(
    connection: Connection, queue: str | None, subject: str | None, given: dict[str, Any]
) -> Sequence[Row[Any]]:
    found = connection.execute(_due_in(queue, subject), given).all()
    spent = {row.id for row in found if row.attempts >= (row.tries if given["allowed"] is None else given["allowed"])}
    if fresh := [row.id for row in found if row.id not in spent]:
        connection.execute(_TAKE, given | {"ids": fresh})
        connection.execute(_OPEN, given | {"ids": fresh})
    if spent:
        connection.execute(_TAKE_SPENT, given | {"ids": list(spent)})
    return found


def _take_at_once(
    connection: Connection, queue: str | None, subject: str | None, given: dict[str, Any]
) -> Sequence[Row[Any]]:
    return connection.execute(_taking(queue, subject), given).all()


@cache
def _taking(queue: str | None, subject: str | None) -> Select[Any]:
    """The same in one statement."""
    found = _due_in(queue, subject).cte("found")
    is_fresh = found.c.attempts < func.coalesce(_ALLOWED, found.c.tries)
    counted = {
        "attempts": job.c.attempts + case((is_fresh, 1), else_=0),
        "started_at": case((is_fresh, _NOW), else_=job.c.started_at),
    }
    taken = update(job).where(job.c.id == found.c.id).values(**_NEXT_HOLDER, **counted)
    given = taken.returning(job.c.id, job.c.fence, job.c.attempts, is_fresh.label("is_fresh")).cte("taken")
    begun = select(given.c.id, given.c.fence, given.c.attempts, _BY, _NOW).where(given.c.is_fresh)
    opened = insert(job_attempt).from_select(_BEGUN, begun).returning(job_attempt.c.job_id).cte("opened")
    return select(found).add_cte(given, opened).order_by(found.c.queue, found.c.available_at, found.c.id)


def held(connection: Connection, pairs: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Which of these pairs of job and fence are running, locked."""
    ids = sorted(job_id for job_id, _ in pairs)
    query = select(job.c.id, job.c.fence).where(and_(job.c.id.in_(ids), job.c.state == JobState.RUNNING))
    locked = connection.execute(query.order_by(job.c.id).with_for_update())
    return {(row.id, row.fence) for row in locked} & set(pairs)


# By id first, since that is what the index knows.
_RUNNING = and_(job.c.id.in_(_IDS), tuple_(job.c.id, job.c.fence).in_(_PAIRS), job.c.state == JobState.RUNNING)
_END = (
    update(job)
    .where(_RUNNING)
    .values(
        state=bindparam("to"),
        lease_id=None,
        cause=bindparam("why"),
        note=bindparam("told"),
        finished_at=bindparam("now"),
    )
)
_REQUEUE = (
    update(job)
    .where(_RUNNING)
    .values(
        state=bindparam("to"),
        lease_id=None,
        cause=bindparam("why"),
        attempts=bindparam("used"),
        available_at=bindparam("due"),
    )
)
_CLOSE = (
    update(job_attempt)
    .where(
        and_(
            job_attempt.c.job_id.in_(_IDS),
            tuple_(job_attempt.c.job_id, job_attempt.c.fence).in_(_PAIRS),
            job_attempt.c.outcome.is_(None),
        )
    )
    .values(outcome=bindparam("ended"), cause=bindparam("said"), finished_at=bindparam("now"))
)


def _with_attempts(change: Update) -> Select[Any]:
    """The change of jobs and the end of their attempts in one statement; how many rows of both."""
    rows = (change.returning(job.c.id).cte("moved"), _CLOSE.returning(job_attempt.c.job_id).cte("closed"))
    moved, closed = (select(func.count()).select_from(each).scalar_subquery() for each in rows)
    return select(moved + closed)


_END_BOTH = _with_attempts(_END)
_REQUEUE_BOTH = _with_attempts(_REQUEUE)


@dataclass(frozen=True, slots=True)
class Transition:
    """What becomes of a running job, and of the attempt at it."""

    state: JobState
    """Done, failed, or queued, to wait once more."""
    cause: str | None
    note: str | None = None
    attempts: int = 0
    """How many tries count as used, where it waits once more ..."""
    due: datetime | None = None
    """... and until when."""
    outcome: Outcome | None = None
    """How the attempt ended; None where there is none."""
    attempt_cause: str | None = None


def move(connection: Connection, pairs: Sequence[tuple[int, int]], to: Transition, now: datetime) -> int:
    """Changes running jobs, by id and fence, and ends the open attempts at them; how many rows of both there were."""
    given: dict[str, Any] = {"ids": [job_id for job_id, _ in pairs], "pairs": pairs, "now": now}
    given |= {"to": to.state, "why": to.cause, "told": to.note}
    given |= {"used": to.attempts, "due": to.due, "ended": to.outcome, "said": to.attempt_cause}
    waits = to.state is JobState.QUEUED
    if to.outcome is not None and connection.dialect.name == "postgresql":
        return int(connection.scalar(_REQUEUE_BOTH if waits else _END_BOTH, given) or 0)
    changed = connection.execute(_REQUEUE if waits else _END, given).rowcount
    return changed + (connection.execute(_CLOSE, given).rowcount if to.outcome is not None else 0)


def orphans(
    connection: Connection, wanted: Selection, lease_id: int | None, in_flight: Collection[int], limit: int
) -> Sequence[Row[Any]]:
    """Up to `limit` running jobs that nobody works on, locked."""
    query = (
        select(*_LEASED).where(and_(_orphaned(lease_id, in_flight), wanted.condition)).order_by(job.c.id).limit(limit)
    )
    return connection.execute(query.with_for_update(skip_locked=True)).all()


def attempts_at(connection: Connection, pairs: Collection[tuple[int, int]]) -> dict[tuple[int, int], AttemptRecord]:
    """The attempts that were made under these pairs of job and fence."""
    query = select(*_ATTEMPT).where(job_attempt.c.job_id.in_([job_id for job_id, _ in pairs]))
    found = {(row.job_id, row.fence): _attempt(row) for row in connection.execute(query)}
    return {pair: found[pair] for pair in pairs if pair in found}


def states_of(connection: Connection, job_ids: Iterable[int]) -> dict[int, tuple[JobState, int]]:
    """By id, state and fence of these jobs."""
    query = select(job.c.id, job.c.state, job.c.fence).where(job.c.id.in_(list(job_ids)))
    return {row.id: (JobState(row.state), row.fence) for row in connection.execute(query)}


def load(connection: Connection, job_id: int) -> JobRecord | None:
    """The job, or None where there is none of that id."""
    row = connection.execute(select(*_JOB).where(job.c.id == job_id)).first()
    return _record(row) if row is not None else None


def _record(row: Row[Any]) -> JobRecord:
    return JobRecord(**{**row._mapping, "state": JobState(row.state)})


def attempts_of(connection: Connection, job_id: int) -> list[AttemptRecord]:
    """The attempts at the job, the first one first."""
    rows = connection.execute(select(*_ATTEMPT).where(job_attempt.c.job_id == job_id).order_by(job_attempt.c.fence))
    return [_attempt(row) for row in rows]


def _attempt(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(**{**row._mapping, "outcome": Outcome(row.outcome) if row.outcome is not None else None})


def in_state(connection: Connection, state: JobState, limit: int) -> list[JobRecord]:
    """The jobs in that state, the newest first."""
    rows = connection.execute(select(*_JOB).where(job.c.state == state).order_by(job.c.id.desc()).limit(limit))
    return [_record(row) for row in rows]


def failed_of(connection: Connection, job_id: int | None) -> list[JobRecord]:
    """The failed jobs, or the one that is named, if it failed; locked."""
    which = job.c.state == JobState.FAILED
    if job_id is not None:
        which = and_(which, job.c.id == job_id)
    query = select(*_JOB).where(which).order_by(job.c.id)
    return [_record(row) for row in connection.execute(query.with_for_update())]


def send_again(connection: Connection, job_ids: Collection[int], now: datetime) -> None:
    """Lets failed jobs wait once more, with all their tries."""
    which = and_(job.c.id.in_(list(job_ids)), job.c.state == JobState.FAILED)
    fresh = {"state": JobState.QUEUED, "attempts": 0, "available_at": now, "finished_at": None}
    connection.execute(update(job).where(which).values(**fresh))


def call_back(connection: Connection, now: datetime) -> list[tuple[int, str]]:
    """Makes jobs due that were put off without having failed; the id and the queue of each."""
    latest = and_(job_attempt.c.job_id == job.c.id, job_attempt.c.fence == job.c.fence)
    put_off = select(job.c.id, job.c.queue).join(job_attempt, latest)
    put_off = put_off.where(job.c.state == JobState.QUEUED, job.c.available_at > now)
    found = connection.execute(put_off.where(job_attempt.c.outcome == Outcome.POSTPONED)).all()
    waiting = (job.c.id.in_([row.id for row in found]), job.c.state == JobState.QUEUED)
    connection.execute(update(job).where(*waiting).values(available_at=now))
    return [(row.id, row.queue) for row in found]


def open_of(connection: Connection, subject: str) -> list[JobRecord]:
    """The jobs of a subject that wait or run, the first due first."""
    mine = (job.c.subject == subject, job.c.state.in_([JobState.QUEUED, JobState.RUNNING]))
    return [_record(row) for row in connection.execute(select(*_JOB).where(*mine).order_by(job.c.available_at))]


def counts(connection: Connection) -> dict[tuple[str, JobState], int]:
    """By queue and state, how many jobs there are."""
    rows = connection.execute(
        select(job.c.queue, job.c.state, func.count().label("jobs")).group_by(job.c.queue, job.c.state)
    )
    return {(row.queue, JobState(row.state)): row.jobs for row in rows}

"""The record of every job: who holds it, how often it was tried, how it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gengfu.clock import Clock, utcnow
from gengfu.language import tr
from gengfu.queue.job import LeasedJob
from gengfu.queue.outcomes import Ending
from gengfu.store import jobs as rows
from gengfu.store import retention
from gengfu.store.enqueue import LONGEST_DELAY, new_job
from gengfu.store.jobs import AttemptRecord, JobRecord, JobState, LedgerSnapshot, Outcome, Selection, Transition

if TYPE_CHECKING:
    from gengfu.store.database import Database, Transaction

ALL = Selection()

_Pair = tuple[int, int]
"""Id and fence of a job."""

TEXT_LIMIT = 4000
"""Characters kept of a cause or a note."""
BATCH = 100
"""The most jobs taken from dead workers at once."""


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What a dispatcher asks of the ledger: up to `room` jobs of those wanted, for a worker with that lease."""

    wanted: Selection
    room: int
    lease: int
    worker: str
    tries: int | None = None
    """In place of each job's own."""


class Ledger:
    """Guarantees that a job is held by one worker at a time, that each attempt is counted once, here and nowhere else,
    and that a write under a fence that has passed on changes nothing.

    Every method that writes is safe to be run again by `Database.write` after a commit whose answer was lost.
    """

    def __init__(self, db: Database, clock: Clock = utcnow) -> None:
        self._db = db
        self._clock = clock

    def add(
        self,
        connection: Transaction,
        name: str,
        args: Mapping[str, Any],
        *,
        queue: str,
        tries: int,
        subject: str | None = None,
        delay: float = 0.0,
    ) -> int:
        """Records a job inside the caller's transaction and returns its id; notify workers after the commit.

        Args:
            args: what `Job.fire` is called with; goes through JSON.
            delay: seconds until it may start, at most 900.
        """
        row = new_job(name, args, queue=queue, tries=tries, subject=subject, now=self._clock(), delay=delay)
        return rows.insert_job(connection, row)

    def look(self, wanted: Selection, lease: int | None = None, in_flight: Collection[int] = ()) -> LedgerSnapshot:
        """Whether there is anything to do for a dispatcher, in one statement."""
        now = self._clock()
        return self._db.look(lambda connection: rows.look(connection, wanted, lease, in_flight, now))

    def lease_due(self, request: LeaseRequest) -> list[LeasedJob]:
        """Takes due jobs and counts their tries."""
        return self.settle_and_lease((), request)[1]

    def settle(self, endings: Sequence[Ending]) -> set[LeasedJob]:
        """Records how attempts ended; returns the jobs that are no longer held, of which nothing was written."""
        return self.settle_and_lease(endings, None)[0]

    def settle_and_lease(
        self, endings: Sequence[Ending], request: LeaseRequest | None
    ) -> tuple[set[LeasedJob], list[LeasedJob]]:
        """Both, in one transaction."""
        tried: dict[_Pair, LeasedJob] = {}
        is_careful = False

        def work(connection: Transaction) -> tuple[set[LeasedJob], list[LeasedJob]]:
            now = self._clock()
            live, stale = _sorted_out(connection, endings) if is_careful else (endings, set())
            _settle(connection, live, now)
            return stale, _lease(connection, request, tried, now) if request is not None and request.room else []

        try:
            return self._db.write(work)
        except _NotHeld:
            is_careful = True
            return self._db.write(work)

    def recover(self, wanted: Selection, lease: int | None = None, in_flight: Collection[int] = ()) -> int:
        """Lets the jobs of dead workers wait again, also those that `lease` holds and that are in no hands; how many.
        One that is out of tries is given to the next worker as spent."""

        def work(connection: Transaction) -> int:
            found = rows.orphans(connection, wanted, lease, in_flight, BATCH)
            _take_back(connection, found, self._clock())
            return len(found)

        return self._db.write(work)

    def retry(
        self,
        job_id: int | None = None,
        prepare: Callable[[Transaction, JobRecord], None] = lambda connection, failed: None,
    ) -> list[tuple[int, str]]:
        """Lets failed jobs wait again, one or all, with all their tries; their ids and queues. What `prepare` writes
        for each of them happens in the same transaction, or nothing does."""
        chosen: dict[int, str] = {}

        def work(connection: Transaction) -> None:
            failed = rows.failed_of(connection, job_id)
            chosen.update((each.id, each.queue) for each in failed)
            for each in failed:
                prepare(connection, each)
            if failed:
                rows.send_again(connection, [each.id for each in failed], self._clock())

        self._db.write(work)
        return sorted(chosen.items())

    def call_back(self) -> list[tuple[int, str]]:
        """Makes jobs due at once that were put off without having failed; the id and the queue of each."""
        return self._db.write(lambda transaction: rows.call_back(transaction, self._clock()))

    def failed_jobs(self, limit: int = 100) -> list[JobRecord]:
        """The jobs that failed for good, the newest first."""
        with self._db.read() as connection:
            return rows.in_state(connection, JobState.FAILED, limit)

    def show(self, job_id: int) -> tuple[JobRecord, list[AttemptRecord]] | None:
        """The job with all its attempts, or None where there is none of that id."""
        with self._db.read() as connection:
            found = rows.load(connection, job_id)
            return (found, rows.attempts_of(connection, job_id)) if found is not None else None

    def counts(self) -> dict[tuple[str, JobState], int]:
        """By queue and state, how many jobs the ledger holds."""
        with self._db.read() as connection:
            return rows.counts(connection)

    def prune(self) -> int:
        """Removes some of what has been kept long enough, jobs and all else; how many rows, 0 when none is left."""
        return sum(retention.prune(self._db, self._clock()).values())


class _NotHeld(Exception):
    """Another number of rows changed than was meant."""


def _settle(connection: Transaction, endings: Collection[Ending], now: datetime) -> None:
    """Records all of them.

    Raises:
        _NotHeld: at least one of the jobs is not held any more; the transaction is to be undone.
    """
    moves: dict[Transition, list[_Pair]] = defaultdict(list)
    for ending in endings:
        moves[_transition(ending, now)].append((ending.job.id, ending.job.fence))
    changed = sum(rows.move(connection, pairs, to, now) for to, pairs in moves.items())
    if changed != len(endings) + sum(not ending.job.spent for ending in endings):
        raise _NotHeld


def _sorted_out(connection: Transaction, endings: Iterable[Ending]) -> tuple[list[Ending], set[LeasedJob]]:
    """The ends that can be written, of jobs that are locked now; and the jobs that passed on. An end that an earlier
    run of this very transaction has written is neither."""
    by_pair = {(ending.job.id, ending.job.fence): ending for ending in endings}
    held = rows.held(connection, by_pair.keys())
    left = {pair: ending for pair, ending in by_pair.items() if pair not in held}
    attempts = rows.attempts_at(connection, left.keys())
    states = rows.states_of(connection, [job_id for job_id, _ in left])

    def is_written(pair: _Pair, ending: Ending) -> bool:
        if ending.job.spent:
            expected = JobState.FAILED if ending.again_in is None else JobState.QUEUED
            return states.get(pair[0]) == (expected, pair[1])
        return pair in attempts and attempts[pair].outcome is ending.outcome

    stale = {ending.job for pair, ending in left.items() if not is_written(pair, ending)}
    return [by_pair[pair] for pair in sorted(held)], stale


def _transition(ending: Ending, now: datetime) -> Transition:
    text = _clip(ending.text)
    is_done = ending.outcome is Outcome.DONE
    outcome = None if ending.job.spent else ending.outcome
    attempt_cause = None if is_done else text
    if ending.again_in is None:
        state, cause, note = (JobState.DONE, None, text) if is_done else (JobState.FAILED, text, None)
        return Transition(state, cause, note, outcome=outcome, attempt_cause=attempt_cause)
    failed = ending.outcome in (Outcome.FAILED, Outcome.TIMEOUT)
    uncounted = not (failed or ending.job.spent)
    delay = min(max(0.0, ending.again_in), LONGEST_DELAY.total_seconds())
    return Transition(
        JobState.QUEUED,
        text if failed or ending.outcome is Outcome.POSTPONED else ending.job.cause,
        attempts=ending.job.attempt - uncounted,
        due=now + timedelta(seconds=delay),
        outcome=outcome,
        attempt_cause=attempt_cause,
    )


def _lease(
    connection: Transaction, request: LeaseRequest, tried: dict[_Pair, LeasedJob], now: datetime
) -> list[LeasedJob]:
    """`tried`: what earlier runs of this transaction took; some of it may have been committed."""
    if tried and (before := rows.leased_before(connection, request.lease, tried.keys())):
        return [tried[pair] for pair in sorted(before)]
    found = rows.take(connection, request.wanted, request.room, request.lease, request.worker, request.tries, now)
    leased = [_leased(row, request.tries) for row in found]
    tried.update({(job.id, job.fence): job for job in leased})
    return leased


def _leased(row: Any, tries: int | None) -> LeasedJob:
    allowed = row.tries if tries is None else tries
    spent = row.attempts >= allowed
    cause = row.cause or (
        tr("out of tries: {row.attempts} of {allowed} used", row=row, allowed=allowed) if spent else None
    )
    attempt = row.attempts + (not spent)
    return LeasedJob(row.id, row.fence + 1, row.queue, row.name, row.args, attempt, allowed, cause, spent)


def _take_back(connection: Transaction, found: Sequence[Any], now: datetime) -> None:
    attempts = rows.attempts_at(connection, [(row.id, row.fence) for row in found])
    for row in found:
        pair = (row.id, row.fence)
        attempt = attempts.get(pair)
        to = Transition(JobState.QUEUED, row.cause, attempts=row.attempts, due=now)
        if attempt is not None and attempt.outcome is None:
            why = tr("the worker {attempt.worker} died or was out of reach", attempt=attempt)
            to = replace(to, cause=why, outcome=Outcome.LOST, attempt_cause=why)
        rows.move(connection, [pair], to, now)


def _clip(text: str | None) -> str | None:
    """What every database can store: no NUL, no half of a character, and not without end."""
    if text is None:
        return None
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:TEXT_LIMIT]

"""The record of every job: who holds it, how often it was tried, how it ended. Messages in Redis only point here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from gengfu.clock import Clock, utcnow
from gengfu.errors import Fenced, GengfuError
from gengfu.queue.claim import Claimed, Fate, Refusal, Sight, claimed_from
from gengfu.store import jobs as rows
from gengfu.store.doorstep import LONGEST_DELAY, due_after, new_job
from gengfu.store.jobs import AttemptRecord, Beating, JobRecord, JobState, Outcome, Waiting

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.queue.wire import Wire
    from gengfu.store.database import Database

T = TypeVar("T")

log = logging.getLogger("gengfu.queue.ledger")

CLOSING_PATIENCE = 120.0
"""Seconds for which the end of an attempt is written again and again while the database is away."""
BEAT_PATIENCE = 5.0
"""Seconds for one beat; the next one says the same."""
TEXT_LIMIT = 4000
"""Characters kept of a cause or a note."""
PRUNE_BATCH = 500


class Ledger:
    """Guarantees that a job is held by one worker at a time, that each attempt is counted once, here and nowhere else,
    and that a write under a claim that has passed on is refused with `Fenced` and changes nothing.

    Every method that writes is safe to be run again by `Database.write` after a commit whose answer was lost.
    """

    def __init__(self, db: Database, wire_factory: Callable[[], Wire], clock: Clock = utcnow) -> None:
        self._db = db
        self._wire_factory = wire_factory
        self._wire: Wire | None = None
        self._clock = clock

    def add(
        self,
        connection: Connection,
        name: str,
        args: Mapping[str, Any],
        *,
        queue: str,
        tries: int,
        subject: str | None = None,
        delay: float = 0.0,
    ) -> int:
        """Records a job inside the caller's transaction and returns its id; call `nudge` with it after the commit.

        Args:
            args: what `Job.fire` is called with; goes through JSON.
            delay: seconds until it may start, at most 900. The sweeper sends it then, without a nudge.
        """
        now = self._clock()
        due = due_after(delay, now)
        row = new_job(name, args, queue=queue, tries=tries, subject=subject, now=now, available_at=due)
        return rows.insert_job(connection, row)

    def nudge(self, job_ids: Iterable[int]) -> bool:
        """Sends a message for each of these jobs that is due, so that a worker takes it at once. Where that fails it is
        logged, and the sweeper sends it later; False then."""
        from gengfu.queue.wire import push

        ids = list(job_ids)
        if not ids:
            return True
        try:
            with self._db.read() as connection:
                due = rows.queues_of(connection, ids, self._clock())
            wire = self._wire = self._wire or self._wire_factory()
            for job_id, queue in due:
                push(wire, queue, job_id)
        except GengfuError as error:
            log.warning("nudge failed; the sweeper sends it later", extra={"jobs": ids[:10], "error": str(error)})
            return False
        return True

    def claim(self, job_id: int, worker: str, tries: int | None = None) -> Claimed | Refusal:
        """Takes a due job and counts the try.

        Args:
            worker: names one thread that does one job at a time.
            tries: in place of the job's own.
        """
        tried: dict[int, Claimed] = {}

        def work(connection: Connection) -> Claimed | Refusal:
            found = rows.load(connection, job_id)
            if found is None:
                return Refusal.MISSING
            if found.state is JobState.RUNNING and found.worker == worker and found.claim in tried:
                return tried[found.claim]
            if found.state is not JobState.QUEUED:
                return Refusal.NOT_QUEUED
            now = self._clock()
            if not rows.is_due(found.available_at, now):
                return Refusal.NOT_DUE
            taken = tried[found.claim + 1] = _hand_out(found, worker, tries)
            return taken if self._record_claim(connection, found, taken, now) else Refusal.NOT_QUEUED

        return self._db.write(work)

    @staticmethod
    def _record_claim(connection: Connection, found: JobRecord, taken: Claimed, now: datetime) -> bool:
        held = {"state": JobState.RUNNING, "claim": taken.claim, "worker": taken.worker, "beat": 0, "started_at": now}
        if taken.spent is None:
            held |= {"attempts": taken.attempt, "tries": taken.tries}
        if not rows.change(connection, found.id, JobState.QUEUED, found.claim, held):
            return False
        if taken.spent is None:
            rows.open_attempt(connection, found.id, taken.claim, taken.attempt, taken.worker, now)
        return True

    def beat(self, held: Collection[Claimed]) -> set[Claimed]:
        """Shows for all these jobs that their worker lives; returns those that it no longer holds."""
        if not held:
            return set()
        pairs = {(claimed.job_id, claimed.claim) for claimed in held}
        alive = self._db.write(lambda connection: rows.beat(connection, pairs), patience=BEAT_PATIENCE)
        return {claimed for claimed in held if (claimed.job_id, claimed.claim) not in alive}

    def finish(self, claimed: Claimed, note: str | None) -> None:
        """The job is done.

        Raises:
            Fenced: the claim passed to another.
        """
        values = {"state": JobState.DONE, "note": _clip(note), "cause": None, "finished_at": self._clock()}
        self._close(claimed, Outcome.DONE, None, values)

    def release(self, claimed: Claimed, delay: float = 0.0, patience: float = CLOSING_PATIENCE) -> None:
        """Gives the job back without counting the try, to be taken again after `delay` seconds; nudge it if that is 0.

        Raises:
            Fenced: the claim passed to another.
        """
        values = self._back_in_queue(claimed, delay) | {"attempts": claimed.attempt - 1, "nudges": int(not delay)}
        self._close(claimed, Outcome.RELEASED, None, values, patience)

    def postpone(self, claimed: Claimed, reason: str, seconds: float) -> None:
        """Puts the job off, by at most 15 minutes, without counting the try.

        Raises:
            Fenced: the claim passed to another.
        """
        values = self._back_in_queue(claimed, seconds) | {"attempts": claimed.attempt - 1}
        self._close(claimed, Outcome.POSTPONED, reason, values)

    def fail_attempt(
        self, claimed: Claimed, cause: str, retry_in: float | None, outcome: Outcome = Outcome.FAILED
    ) -> Fate:
        """Ends the attempt with its cause. As long as there are tries left, the job is due again after `retry_in`
        seconds; None means that no further try can help.

        Raises:
            Fenced: the claim passed to another.
        """
        exhausted = retry_in is None or claimed.attempt >= claimed.tries
        values = {"cause": _clip(cause)}
        if retry_in is not None and not exhausted:
            values |= self._back_in_queue(claimed, retry_in)
        self._close(claimed, outcome, cause, values)
        return Fate.EXHAUSTED if exhausted else Fate.QUEUED

    def bury(self, claimed: Claimed, cause: str) -> None:
        """Marks the job as failed for good; `Job.failed` was called before.

        Raises:
            Fenced: the claim passed to another.
        """
        values = {"state": JobState.FAILED, "cause": _clip(cause), "finished_at": self._clock()}

        def work(connection: Connection) -> None:
            if not rows.change(connection, claimed.job_id, JobState.RUNNING, claimed.claim, values):
                found = rows.load(connection, claimed.job_id)
                if found is None or (found.state, found.claim) != (JobState.FAILED, claimed.claim):
                    raise _fenced(claimed)

        self._db.write(work, CLOSING_PATIENCE)

    def touch(self) -> None:
        """Waits until the database takes a write.

        Raises:
            StoreError: it does not, for now.
        """
        self._db.write(lambda connection: None, patience=0.0)

    def give_up_on(self, seen: Beating, worker: str) -> Claimed | Fate | None:
        """Takes a job from a worker that no longer beats. `QUEUED`: it waits again, nudge it. A `Claimed`: it is out of
        tries, and `worker` holds it now to bury it. None: its worker was quicker, or another sweeper."""
        tried: dict[int, Claimed | Fate] = {}

        def work(connection: Connection) -> Claimed | Fate | None:
            found = rows.load(connection, seen.id)
            if found is None:
                return None
            if found.claim in tried and found.worker in (worker, None):
                return tried[found.claim]
            if (found.state, found.claim, found.beat) != (JobState.RUNNING, seen.claim, seen.beat):
                return None
            tried[found.claim + 1] = taken = self._take_over(connection, found, worker)
            return taken

        try:
            return self._db.write(work)
        except Fenced:
            return None

    def _take_over(self, connection: Connection, found: JobRecord, worker: str) -> Claimed | Fate:
        now = self._clock()
        lost = f"the worker {found.worker} died or was out of reach"
        was_open = rows.close_attempt(connection, found.id, found.claim, Outcome.LOST, lost, now)
        cause = lost if was_open else found.cause or "out of tries"
        values: dict[str, Any] = {"claim": found.claim + 1, "cause": cause}
        again = was_open and found.attempts < found.tries
        if again:
            values |= {"state": JobState.QUEUED, "available_at": now, "nudges": 1, "worker": None}
        else:
            values |= {"worker": worker, "beat": 0}
        if not rows.change(connection, found.id, JobState.RUNNING, found.claim, values, beat=found.beat):
            raise Fenced(f"job {found.id} beat or changed hands at this moment")
        if again:
            return Fate.QUEUED
        return claimed_from(found, worker, found.claim + 1, attempt=found.attempts, tries=found.tries, spent=cause)

    def retry(self, job_id: int | None = None) -> list[int]:
        """Sends failed jobs again, one or all, with all their tries, and nudges them; returns their ids."""
        chosen: set[int] = set()

        def work(connection: Connection) -> None:
            ids = None if job_id is None else [job_id]
            fresh = {
                "state": JobState.QUEUED,
                "attempts": 0,
                "nudges": 1,
                "available_at": self._clock(),
                "worker": None,
            }
            for failed, claim in rows.claims_in(connection, JobState.FAILED, ids).items():
                if rows.change(
                    connection, failed, JobState.FAILED, claim, {**fresh, "claim": claim + 1, "finished_at": None}
                ):
                    chosen.add(failed)

        self._db.write(work)
        self.nudge(sorted(chosen))
        return sorted(chosen)

    def failed_jobs(self, limit: int = 100) -> list[JobRecord]:
        """The jobs that failed for good, the newest first."""
        with self._db.read() as connection:
            return rows.in_state(connection, JobState.FAILED, limit)

    def of_subject(self, subject: str) -> list[JobRecord]:
        """The jobs that wait or run for that subject, the oldest first."""
        with self._db.read() as connection:
            return rows.of_subject(connection, subject)

    def show(self, job_id: int) -> tuple[JobRecord, list[AttemptRecord]] | None:
        """The job with all its attempts, or None where there is none of that id."""
        with self._db.read() as connection:
            found = rows.load(connection, job_id)
            return (found, rows.attempts_of(connection, job_id)) if found is not None else None

    def counts(self) -> dict[tuple[str, JobState], int]:
        """By queue and state, how many jobs the ledger holds."""
        with self._db.read() as connection:
            return rows.counts(connection)

    def queues(self) -> list[str]:
        """The queues in which jobs wait or run."""
        with self._db.read() as connection:
            return rows.live_queues(connection)

    def has_due(self, queues: Collection[str] | None) -> bool:
        """Whether a job waits in these queues (None: in any) that may start now."""
        with self._db.read() as connection:
            return rows.has_due(connection, queues, self._clock())

    def look(self, queues: Collection[str] | None, limit: int = 500) -> Sight:
        """What a sweeper of these queues (None: of all) must know."""
        now = self._clock()
        with self._db.read() as connection:
            ahead = rows.next_due(connection, queues, now)
            return Sight(
                unsent=rows.unsent(connection, queues, now, limit),
                sent=rows.count_sent(connection, queues, now),
                running=rows.running(connection, queues),
                next_due=(ahead - now).total_seconds() if ahead is not None else None,
                queues=rows.live_queues(connection),
            )

    def sent(self, queue: str, limit: int) -> list[Waiting]:
        """The due jobs of that queue for which a message was sent; those with the fewest messages first."""
        with self._db.read() as connection:
            return rows.sent(connection, queue, self._clock(), limit)

    def take_nudges(self, waiting: Collection[Waiting]) -> list[int]:
        """Takes on the sending of a message for these jobs; returns the ids of those that no other sweeper took."""
        return self._db.write(lambda connection: [w.id for w in waiting if rows.count_nudge(connection, w)])

    def prune(self, older_than: timedelta = timedelta(days=7), step: Callable[[], None] = lambda: None) -> int:
        """Removes the jobs that were done longer ago than that, batch by batch, with a call of `step` after each;
        returns how many."""
        before = self._clock() - older_than
        removed = 0
        while batch := self._db.write(lambda connection: rows.delete_done(connection, before, PRUNE_BATCH)):
            removed += batch
            step()
        return removed

    def _back_in_queue(self, claimed: Claimed, delay: float) -> dict[str, Any]:
        due = self._clock() + timedelta(seconds=min(delay, LONGEST_DELAY.total_seconds()))
        return {"state": JobState.QUEUED, "claim": claimed.claim + 1, "worker": None, "available_at": due, "nudges": 0}

    def _close(
        self,
        claimed: Claimed,
        outcome: Outcome,
        cause: str | None,
        values: Mapping[str, Any],
        patience: float = CLOSING_PATIENCE,
    ) -> None:
        runs: list[None] = []

        def work(connection: Connection) -> None:
            again = bool(runs)
            runs.append(None)
            if rows.change(connection, claimed.job_id, JobState.RUNNING, claimed.claim, values) and rows.close_attempt(
                connection, claimed.job_id, claimed.claim, outcome, _clip(cause), self._clock()
            ):
                return
            if not again or rows.outcome_of(connection, claimed.job_id, claimed.claim) is not outcome:
                raise _fenced(claimed)

        self._db.write(work, patience)


def _hand_out(found: JobRecord, worker: str, tries: int | None) -> Claimed:
    allowed = found.tries if tries is None else tries
    claim = found.claim + 1
    if found.attempts < allowed:
        return claimed_from(found, worker, claim, attempt=found.attempts + 1, tries=allowed)
    cause = found.cause or f"out of tries: {found.attempts} of {allowed} used"
    return claimed_from(found, worker, claim, attempt=found.attempts, tries=allowed, spent=cause)


def _fenced(claimed: Claimed) -> Fenced:
    return Fenced(f"job {claimed.job_id} is no longer held under claim {claimed.claim}: nothing was written")


def _clip(text: str | None) -> str | None:
    """What every database can store: no NUL, and not without end."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:TEXT_LIMIT] if text is not None else None

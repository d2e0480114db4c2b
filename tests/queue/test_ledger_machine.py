"""The ledger under workers that take jobs, fail, die and come back in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test
from sqlalchemy import Row

from gengfu.queue.job import LeasedJob
from gengfu.queue.ledger import Ledger
from gengfu.queue.outcomes import Ending
from gengfu.store.database import Database
from gengfu.store.jobs import JobState, Outcome, Selection
from gengfu.store.tables import job, job_attempt, lease
from ledgers import Hands, Worker, add


class LedgerMachine(RuleBasedStateMachine):
    """Workers that take jobs, end them, die and come back as zombies, in any order."""

    jobs = Bundle("jobs")
    database: Database
    """Set by the test; each case empties it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Hands()
        tables = (job, job_attempt, lease)
        self.database.write(lambda connection: [connection.execute(table.delete()) for table in tables])
        self.ledger = Ledger(self.database, self.clock)
        self.workers = [Worker(self.ledger, self.database, name) for name in ("one", "two")]
        self.held: dict[int, tuple[LeasedJob, Worker]] = {}
        self.done: dict[int, object] = {}

    @rule(tries=st.integers(1, 3), delay=st.sampled_from([0.0, 20.0]))
    def add(self, tries: int, delay: float) -> None:
        add(self.ledger, self.database, tries=tries, delay=delay)

    @rule(target=jobs, number=st.integers(0, 1), room=st.integers(1, 3))
    def take(self, number: int, room: int) -> object:
        worker = self.workers[number]
        taken = worker.take(room)
        assert len(taken) <= room
        for leased in taken:
            assert leased.id not in self.held
            self.held[leased.id] = (leased, worker)
        return multiple(*taken)

    @rule(leased=jobs, outcome=st.sampled_from(Outcome), again=st.booleans())
    def settle(self, leased: LeasedJob, outcome: Outcome, again: bool) -> None:
        if outcome is Outcome.LOST or (leased.spent and outcome is not Outcome.FAILED):
            return
        is_over = outcome is Outcome.DONE or (
            outcome in (Outcome.FAILED, Outcome.TIMEOUT) and (leased.attempt >= leased.tries or not again)
        )
        ending = Ending(leased, outcome, "why", None if is_over else 10.0)
        holds = self.held.get(leased.id, (None,))[0] == leased
        before = self.table()
        stale = self.ledger.settle([ending])
        if holds:
            assert stale == set()
            del self.held[leased.id]
            if outcome is Outcome.DONE:
                self.done[leased.id] = self.table()[leased.id]
        else:
            assert self.table() == before

    @rule(number=st.integers(0, 1))
    def die(self, number: int) -> None:
        dead = self.workers[number]
        dead.die()
        orphans = [job_id for job_id, (_, worker) in self.held.items() if worker is dead]
        assert self.ledger.look(Selection()).orphans == bool(orphans)
        assert self.ledger.recover(Selection()) == len(orphans)
        for job_id in orphans:
            del self.held[job_id]
        self.workers[number] = Worker(self.ledger, self.database, f"{dead.name}+")

    @rule()
    def retry(self) -> None:
        for job_id, _ in self.ledger.retry():
            assert job_id not in self.held

    @rule(seconds=st.sampled_from([5.0, 60.0, -3600.0, 3600.0]))
    def move_clock(self, seconds: float) -> None:
        self.clock.move(seconds=seconds)

    @invariant()
    def no_try_is_counted_that_was_not_allowed(self) -> None:
        for row, _ in self.table().values():
            assert 0 <= row.attempts <= row.tries

    @invariant()
    def a_job_runs_exactly_while_one_worker_holds_it(self) -> None:
        for job_id, (row, ended) in self.table().items():
            assert (row.state == JobState.RUNNING) == (job_id in self.held)
            assert (row.lease_id is not None) == (job_id in self.held)
            if job_id in self.held:
                assert self.held[job_id][0].fence == row.fence
            assert ended.count(None) <= (row.state == JobState.RUNNING)

    @invariant()
    def done_is_final(self) -> None:
        table = self.table()
        assert {job_id: table[job_id] for job_id in self.done} == self.done

    def table(self) -> dict[int, tuple[Row[Any], list[str | None]]]:
        """All jobs with the outcomes of their attempts."""
        with self.database.read() as connection:
            attempts = connection.execute(job_attempt.select().order_by(job_attempt.c.fence)).all()
            rows = connection.execute(job.select()).all()
        return {row.id: (row, [attempt.outcome for attempt in attempts if attempt.job_id == row.id]) for row in rows}


def test_whatever_workers_do_the_ledger_stays_consistent(sqlite_database: Database) -> None:
    LedgerMachine.database = sqlite_database
    run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=60, stateful_step_count=25))

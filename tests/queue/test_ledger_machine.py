"""The ledger under workers that claim, fail, die and come back in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Row

from gengfu.errors import Fenced
from gengfu.queue.claim import Claimed, Fate
from gengfu.store.database import Database
from gengfu.store.jobs import JobState
from gengfu.store.tables import job, job_attempt
from ledgers import Hands, add, make_ledger, seen


class LedgerMachine(RuleBasedStateMachine):
    """Workers that claim, beat, fail, die and come back as zombies, in any order."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")
    database: Database
    """Set by the test; each case empties it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Hands()
        self.database.write(lambda connection: [connection.execute(table.delete()) for table in (job, job_attempt)])
        self.ledger = make_ledger(self.database, self.clock)
        self.held: dict[int, Claimed] = {}
        self.done: dict[int, object] = {}

    def write(self, claimed: Claimed, how: Callable[[], object], *, burial: bool = False) -> bool:
        """Whether the write went through: it must exactly when nobody else holds the job, and it is held for that."""
        holds = self.held.get(claimed.job_id) == claimed and (claimed.spent is None or burial)
        try:
            how()
        except Fenced:
            assert not holds
            return False
        assert holds
        return True

    @rule(target=jobs, tries=st.integers(1, 3), delay=st.sampled_from([0.0, 20.0]))
    def add(self, tries: int, delay: float) -> int:
        return add(self.ledger, self.database, tries=tries, delay=delay)

    @rule(target=claims, job_id=jobs, worker=st.sampled_from(["one/1", "one/2", "two/1"]))
    def claim(self, job_id: int, worker: str) -> object:
        claimed = self.ledger.claim(job_id, worker)
        if not isinstance(claimed, Claimed):
            return multiple()
        assert job_id not in self.held
        self.held[job_id] = claimed
        return claimed

    @rule(claimed=claims)
    def finish(self, claimed: Claimed) -> None:
        if self.write(claimed, lambda: self.ledger.finish(claimed, "done")):
            del self.held[claimed.job_id]
            self.done[claimed.job_id] = self.table()[claimed.job_id]

    @rule(claimed=claims, final=st.booleans())
    def fail(self, claimed: Claimed, final: bool) -> None:
        def fail_and_bury() -> None:
            if self.ledger.fail_attempt(claimed, "broken", None if final else 10.0) is Fate.EXHAUSTED:
                self.ledger.bury(claimed, "broken")

        if self.write(claimed, fail_and_bury):
            del self.held[claimed.job_id]

    @rule(claimed=claims, postpone=st.booleans())
    def give_back(self, claimed: Claimed, postpone: bool) -> None:
        def give_back() -> None:
            if postpone:
                self.ledger.postpone(claimed, "later", 10.0)
            else:
                self.ledger.release(claimed)

        if self.write(claimed, give_back):
            del self.held[claimed.job_id]

    @rule(target=claims, job_id=jobs)
    def lose(self, job_id: int) -> object:
        if job_id not in self.held:
            return multiple()
        taken = self.ledger.give_up_on(seen(self.ledger, job_id), "two/sweeper")
        del self.held[job_id]
        if not isinstance(taken, Claimed):
            assert taken is Fate.QUEUED
            return multiple()
        self.held[job_id] = taken
        return taken

    @rule(claimed=consumes(claims))
    def bury(self, claimed: Claimed) -> None:
        if claimed.spent is None:
            return
        if self.write(claimed, lambda: self.ledger.bury(claimed, str(claimed.spent)), burial=True):
            del self.held[claimed.job_id]

    @rule()
    def retry(self) -> None:
        for job_id in self.ledger.retry():
            assert job_id not in self.held

    @rule()
    def beat(self) -> None:
        assert self.ledger.beat(list(self.held.values())) == set()

    @rule(seconds=st.sampled_from([5.0, 60.0, -3600.0, 3600.0]))
    def move_clock(self, seconds: float) -> None:
        self.clock.move(seconds=seconds)

    @invariant()
    def no_try_is_counted_that_was_not_allowed(self) -> None:
        for row, _ in self.table().values():
            assert 0 <= row.attempts <= row.tries

    @invariant()
    def a_job_runs_exactly_while_one_claim_lives(self) -> None:
        for job_id, (row, ended) in self.table().items():
            assert (row.state == JobState.RUNNING) == (job_id in self.held)
            if job_id in self.held:
                assert self.held[job_id].claim == row.claim
            assert ended.count(None) <= (row.state == JobState.RUNNING)

    @invariant()
    def done_is_final(self) -> None:
        table = self.table()
        assert {job_id: table[job_id] for job_id in self.done} == self.done

    def table(self) -> dict[int, tuple[Row[Any], list[str | None]]]:
        """All jobs with the outcomes of their attempts."""
        with self.database.read() as connection:
            attempts = connection.execute(job_attempt.select().order_by(job_attempt.c.claim)).all()
            rows = connection.execute(job.select()).all()
        return {row.id: (row, [attempt.outcome for attempt in attempts if attempt.job_id == row.id]) for row in rows}


def test_whatever_workers_do_the_ledger_stays_consistent(sqlite_database: Database) -> None:
    LedgerMachine.database = sqlite_database
    run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=60, stateful_step_count=25))

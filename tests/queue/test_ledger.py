"""The ledger: who holds a job, how tries are counted, and that a worker whose fence has passed on writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection

from gengfu.queue.job import LeasedJob
from gengfu.queue.ledger import ALL, Ledger
from gengfu.queue.outcomes import Ending
from gengfu.store.database import Database, T
from gengfu.store.jobs import JobState, Outcome, Selection
from ledgers import Hands, Worker, add, done, load, outcomes, settle


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def ledger(database: Database, clock: Hands) -> Ledger:
    return Ledger(database, clock)


@pytest.fixture
def worker(ledger: Ledger, database: Database) -> Worker:
    return Worker(ledger, database)


def test_a_job_is_handed_out_once_and_ends_as_done_with_its_note(
    ledger: Ledger, database: Database, worker: Worker
) -> None:
    job_id = add(ledger, database)
    (leased,) = worker.take(room=5)
    assert (leased.id, leased.name, leased.args, leased.attempt) == (job_id, "shown", {"run": 7, "text": "设备"}, 1)
    record = load(ledger, job_id)
    assert (record.state, record.lease_id, record.worker) == (JobState.RUNNING, worker.lease, "one")
    assert Worker(ledger, database, "two").take() == []
    assert done(ledger, leased, "2 000 devices")
    record = load(ledger, job_id)
    assert (record.state, record.note, record.attempts, record.cause) == (JobState.DONE, "2 000 devices", 1, None)
    assert (record.lease_id, outcomes(ledger, job_id)) == (None, [Outcome.DONE])
    assert worker.take() == []


def test_of_many_who_ask_at_once_each_job_goes_to_one(ledger: Ledger, database: Database) -> None:
    ids = {add(ledger, database) for _ in range(20)}
    workers = [Worker(ledger, database, f"worker {number}") for number in range(4)]
    start = threading.Barrier(4)

    def take_all(worker: Worker) -> list[int]:
        start.wait()
        taken: list[int] = []
        while ledger.look(ALL).due:
            taken += [job.id for job in worker.take(room=3)]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for part in pool.map(take_all, workers) for job_id in part]
    assert sorted(taken) == sorted(ids)


def test_ends_and_new_jobs_go_in_one_step_and_no_more_than_there_is_room_for(
    ledger: Ledger, database: Database, worker: Worker
) -> None:
    ids = [add(ledger, database) for _ in range(5)]
    first = worker.take(room=2)
    stale, second = ledger.settle_and_lease([Ending(job, Outcome.DONE) for job in first], worker.asks(room=2))
    assert (stale, [job.id for job in first + second]) == (set(), ids[:4])
    assert ledger.settle_and_lease([Ending(job, Outcome.DONE) for job in second], worker.asks(room=0)) == (set(), [])
    assert ledger.look(ALL).due


def test_earlier_queues_come_first_and_then_who_waited_longest(
    ledger: Ledger, database: Database, worker: Worker, clock: Hands
) -> None:
    late = [add(ledger, database, queue="b") for _ in range(2)]
    clock.move(seconds=1)
    early = [add(ledger, database, queue="a") for _ in range(2)]
    add(ledger, database, queue="c")
    assert [job.id for job in worker.take(3, Selection(("a", "b")))] == [*early, late[0]]
    assert [job.id for job in worker.take(3, Selection(("a", "b")))] == late[1:]


def test_the_jobs_of_one_subject_can_be_asked_for(ledger: Ledger, database: Database, worker: Worker) -> None:
    add(ledger, database)
    mine = add(ledger, database, subject="run:5", queue="other")
    assert [job.id for job in worker.take(5, Selection(subject="run:5"))] == [mine]


def test_a_failed_attempt_is_tried_again_until_no_try_is_left(
    ledger: Ledger, database: Database, worker: Worker, clock: Hands
) -> None:
    job_id = add(ledger, database, tries=2)
    assert settle(ledger, worker.take_one(), Outcome.FAILED, "first", 5.0)
    assert worker.take() == []
    clock.move(seconds=5)
    last = worker.take_one()
    assert (last.attempt, last.tries, last.cause) == (2, 2, "first")
    assert settle(ledger, last, Outcome.FAILED, "second")
    record = load(ledger, job_id)
    assert (record.state, record.cause, record.attempts) == (JobState.FAILED, "second", 2)
    assert outcomes(ledger, job_id) == [Outcome.FAILED, Outcome.FAILED]
    assert [failed.id for failed in ledger.failed_jobs()] == [job_id]


@pytest.mark.parametrize("outcome", [Outcome.RELEASED, Outcome.POSTPONED])
def test_giving_back_and_postponing_count_no_try(
    ledger: Ledger, database: Database, worker: Worker, clock: Hands, outcome: Outcome
) -> None:
    job_id = add(ledger, database, tries=1)
    for _ in range(5):
        assert settle(ledger, worker.take_one(), outcome, "later", 30.0)
        assert worker.take() == []
        clock.move(seconds=30)
        assert load(ledger, job_id).attempts == 0
    assert outcomes(ledger, job_id) == [outcome] * 5
    assert done(ledger, worker.take_one())


def test_tries_given_to_the_worker_replace_those_of_the_job(ledger: Ledger, database: Database, worker: Worker) -> None:
    job_id = add(ledger, database, tries=5)
    first = worker.take_one(tries=2)
    assert first.tries == 2
    assert settle(ledger, first, Outcome.FAILED, "first", 0.0)
    spent = worker.take_one(tries=1)
    assert (spent.spent, spent.cause, load(ledger, job_id).attempts) == (True, "first", 1)
    assert settle(ledger, spent, Outcome.FAILED, "first")
    assert (load(ledger, job_id).state, outcomes(ledger, job_id)) == (JobState.FAILED, [Outcome.FAILED])


def test_a_worker_whose_job_passed_on_writes_nothing(ledger: Ledger, database: Database, worker: Worker) -> None:
    job_id = add(ledger, database)
    zombie = worker.take_one()
    worker.die()
    assert ledger.recover(Selection()) == 1
    for is_taken in (False, True):
        if is_taken:
            now_held = Worker(ledger, database, "two").take_one()
            assert now_held.fence == zombie.fence + 1
        before = ledger.show(job_id)
        assert not done(ledger, zombie, "late")
        for outcome in (Outcome.RELEASED, Outcome.POSTPONED, Outcome.FAILED, Outcome.TIMEOUT):
            assert not settle(ledger, zombie, outcome, "late", 1.0)
        assert not settle(ledger, zombie, Outcome.FAILED, "late")
        assert ledger.show(job_id) == before
    assert outcomes(ledger, job_id) == [Outcome.LOST, None]
    assert done(ledger, now_held)


def test_of_several_ends_only_the_late_one_is_refused(ledger: Ledger, database: Database, worker: Worker) -> None:
    add(ledger, database)
    zombie = worker.take_one()
    worker.die()
    ledger.recover(Selection())
    other = Worker(ledger, database, "two")
    again = other.take_one()
    add(ledger, database)
    second = other.take_one()
    assert ledger.settle([Ending(job, Outcome.DONE) for job in (zombie, second)]) == {zombie}
    assert (load(ledger, second.id).state, load(ledger, again.id).state) == (JobState.DONE, JobState.RUNNING)


def test_the_jobs_of_a_living_worker_are_left_alone_unless_it_forgot_them(
    ledger: Ledger, database: Database, worker: Worker
) -> None:
    job_id = add(ledger, database)
    worker.take_one()
    assert not ledger.look(Selection()).orphans
    assert ledger.recover(Selection()) == 0
    assert not ledger.look(Selection(), worker.lease, [job_id]).orphans
    assert ledger.look(Selection(), worker.lease, [job_id + 1]).orphans
    assert ledger.recover(Selection(), worker.lease) == 1
    assert outcomes(ledger, job_id) == [Outcome.LOST]


def test_whoever_was_taken_for_dead_gets_no_job_under_its_old_lease(
    ledger: Ledger, database: Database, worker: Worker
) -> None:
    add(ledger, database)
    worker.die()
    assert worker.take() == []
    assert len(Worker(ledger, database, "two").take()) == 1


def test_a_job_whose_workers_die_is_given_out_as_spent_when_no_try_is_left(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database, tries=2)
    for name in ("dead/1", "dead/2"):
        doomed = Worker(ledger, database, name)
        doomed.take_one()
        doomed.die()
        assert ledger.look(Selection()).orphans
        assert ledger.recover(Selection()) == 1
    for name in ("three", "four"):
        told = Worker(ledger, database, name)
        spent = told.take_one()
        assert (spent.spent, spent.cause) == (True, "the worker dead/2 died or was out of reach")
        told.die()
        assert ledger.recover(Selection()) == 1
    last = Worker(ledger, database, "five").take_one()
    assert settle(ledger, last, Outcome.FAILED, last.cause)
    record = load(ledger, job_id)
    assert (record.state, record.attempts, record.cause) == (JobState.FAILED, 2, last.cause)
    assert outcomes(ledger, job_id) == [Outcome.LOST, Outcome.LOST]


def test_a_failed_job_is_sent_again_with_all_its_tries(ledger: Ledger, database: Database, worker: Worker) -> None:
    ids = [add(ledger, database, tries=1) for _ in range(3)]
    for _ in ids:
        settle(ledger, worker.take_one(), Outcome.FAILED, "broken")
    assert ledger.retry(ids[0]) == [(ids[0], "default")]
    assert ledger.retry(ids[0]) == []
    assert ledger.retry() == [(job_id, "default") for job_id in ids[1:]]
    assert [job.attempt for job in worker.take(room=5)] == [1, 1, 1]
    assert outcomes(ledger, ids[0]) == [Outcome.FAILED, None]
    assert load(ledger, ids[0]).finished_at is None


def test_a_delay_further_ahead_than_any_can_be_counts_as_due(
    ledger: Ledger, database: Database, worker: Worker, clock: Hands
) -> None:
    job_id = add(ledger, database, delay=900.0)
    seen = ledger.look(Selection())
    assert (worker.take(), seen.due) == ([], False)
    assert seen.next_due is not None
    assert (seen.next_due - clock()).total_seconds() == 900.0
    clock.move(hours=-1)
    assert ledger.look(ALL).due
    assert ledger.look(Selection()).due
    assert worker.take_one().id == job_id


def test_a_longer_delay_than_a_jumping_clock_allows_is_refused(ledger: Ledger, database: Database) -> None:
    with pytest.raises(ValueError, match="900"):
        add(ledger, database, delay=901.0)


class Forgetful(Database):
    """A database that loses the answer to every commit, so that each write is run once more."""

    def __init__(self, other: Database) -> None:
        self._other = other

    def read(self):  # type: ignore[no-untyped-def]
        return self._other.read()

    def write(self, work: Callable[[Connection], T], patience: float = 30.0) -> T:
        self._other.write(work, patience)
        return self._other.write(work, patience)


def test_a_write_whose_answer_was_lost_is_done_once(database: Database, worker: Worker, clock: Hands) -> None:
    ledger = worker.ledger = Ledger(Forgetful(database), clock)
    job_id = add(Ledger(database, clock), database)

    def take_one() -> LeasedJob:
        (job,) = worker.take(room=3)
        return job

    first = take_one()
    assert first.attempt == 1
    assert settle(ledger, first, Outcome.FAILED, "broken", 0.0)
    assert settle(ledger, take_one(), Outcome.RELEASED, None, 0.0)
    assert settle(ledger, take_one(), Outcome.POSTPONED, "later", 0.1)
    clock.move(seconds=1)
    take_one()
    assert ledger.recover(Selection(), worker.lease) == 0
    last = take_one()
    assert (last.attempt, load(ledger, job_id).attempts) == (3, 3)
    assert settle(ledger, last, Outcome.FAILED, "broken")
    assert ledger.retry() == [(job_id, "default")]
    again = take_one()
    add(Ledger(database, clock), database)
    stale, (second,) = ledger.settle_and_lease([Ending(again, Outcome.DONE)], worker.asks())
    assert (stale, second.id) == (set(), job_id + 1)
    ended = [Outcome.FAILED, Outcome.RELEASED, Outcome.POSTPONED, Outcome.LOST, Outcome.FAILED, Outcome.DONE]
    assert outcomes(ledger, job_id) == ended


def test_causes_and_notes_are_stored_whatever_they_hold(ledger: Ledger, database: Database, worker: Worker) -> None:
    job_id = add(ledger, database)
    text = "a NUL \x00, half \ud83d, and an emoji \N{PILE OF POO}" + "x" * 10_000
    assert settle(ledger, worker.take_one(), Outcome.FAILED, text, 0.0)
    cause = load(ledger, job_id).cause
    assert cause is not None
    assert cause.startswith("a NUL \N{REPLACEMENT CHARACTER}, half ?, and an emoji \N{PILE OF POO}x")
    assert len(cause) == 4000


def test_old_jobs_are_removed_failed_ones_much_later(
    ledger: Ledger, database: Database, worker: Worker, clock: Hands
) -> None:
    old, failed = add(ledger, database), add(ledger, database)
    done(ledger, worker.take_one())
    settle(ledger, worker.take_one(), Outcome.FAILED, "broken")
    clock.move(days=8)
    fresh = add(ledger, database)
    done(ledger, worker.take_one())
    assert (ledger.prune(), ledger.prune()) == (1, 0)
    assert ledger.show(old) is None
    assert (load(ledger, failed).state, load(ledger, fresh).state) == (JobState.FAILED, JobState.DONE)
    clock.move(days=83)
    assert (ledger.prune(), ledger.prune()) == (1, 1)
    assert ledger.show(failed) is None


def test_counts_and_queues_are_told_by_state(ledger: Ledger, database: Database, worker: Worker) -> None:
    add(ledger, database, queue="a")
    done(ledger, worker.take_one())
    add(ledger, database, queue="a")
    worker.take_one()
    add(ledger, database, queue="b")
    assert ledger.counts() == {("a", JobState.DONE): 1, ("a", JobState.RUNNING): 1, ("b", JobState.QUEUED): 1}
    assert [ledger.look(Selection(queues)).due for queues in (("a",), ("a", "b"), ())] == [False, True, True]

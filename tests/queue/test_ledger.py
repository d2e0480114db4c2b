"""The ledger: who holds a job, how tries are counted, and that a claim which has passed on writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from sqlalchemy import Connection

from gengfu.errors import Fenced
from gengfu.queue.claim import Claimed, Fate, Refusal
from gengfu.queue.ledger import Ledger
from gengfu.queue.wire import Wire
from gengfu.store.database import Database, T
from gengfu.store.jobs import JobState, Outcome
from ledgers import NOWHERE, Hands, add, claim, load, outcomes, seen


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def ledger(database: Database, clock: Hands) -> Ledger:
    return Ledger(database, lambda: Wire(NOWHERE), clock)


def test_a_job_is_handed_out_once_and_ends_as_done_with_its_note(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database)
    claimed = claim(ledger, job_id)
    assert (claimed.name, claimed.args, claimed.attempt) == ("shown", {"run": 7, "text": "设备"}, 1)
    assert ledger.claim(job_id, "two/1") is Refusal.NOT_QUEUED
    ledger.finish(claimed, "2 000 devices")
    record = load(ledger, job_id)
    assert (record.state, record.note, record.attempts, record.cause) == (JobState.DONE, "2 000 devices", 1, None)
    assert outcomes(ledger, job_id) == [Outcome.DONE]
    assert ledger.claim(job_id, "two/1") is Refusal.NOT_QUEUED
    assert ledger.claim(job_id + 1, "two/1") is Refusal.MISSING


def test_of_many_who_claim_at_once_one_gets_the_job(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database)
    start = threading.Barrier(4)

    def try_claim(number: int) -> Claimed | Refusal:
        start.wait()
        return ledger.claim(job_id, f"worker/{number}")

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(try_claim, range(4)))
    assert sum(isinstance(answer, Claimed) for answer in answers) == 1
    assert load(ledger, job_id).attempts == 1


def test_a_failed_attempt_is_tried_again_until_no_try_is_left(ledger: Ledger, database: Database, clock: Hands) -> None:
    job_id = add(ledger, database, tries=2)
    assert ledger.fail_attempt(claim(ledger, job_id), "first", 5.0) is Fate.QUEUED
    assert ledger.claim(job_id, "one/1") is Refusal.NOT_DUE
    clock.move(seconds=5)
    last = claim(ledger, job_id)
    assert last.attempt == 2
    assert ledger.fail_attempt(last, "second", 5.0) is Fate.EXHAUSTED
    assert load(ledger, job_id).state is JobState.RUNNING
    ledger.bury(last, "second")
    record = load(ledger, job_id)
    assert (record.state, record.cause, record.attempts) == (JobState.FAILED, "second", 2)
    assert outcomes(ledger, job_id) == [Outcome.FAILED, Outcome.FAILED]
    assert [failed.id for failed in ledger.failed_jobs()] == [job_id]


def test_an_error_that_no_try_can_help_exhausts_the_job_at_once(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database)
    assert ledger.fail_attempt(claim(ledger, job_id), "wrong password", None) is Fate.EXHAUSTED


@pytest.mark.parametrize("outcome", [Outcome.RELEASED, Outcome.POSTPONED])
def test_giving_back_and_postponing_count_no_try(
    ledger: Ledger, database: Database, clock: Hands, outcome: Outcome
) -> None:
    job_id = add(ledger, database, tries=1)
    for _ in range(5):
        claimed = claim(ledger, job_id)
        if outcome is Outcome.RELEASED:
            ledger.release(claimed)
        else:
            ledger.postpone(claimed, "asked to wait", 30.0)
            assert ledger.claim(job_id, "one/1") is Refusal.NOT_DUE
            clock.move(seconds=30)
        assert load(ledger, job_id).attempts == 0
    assert outcomes(ledger, job_id) == [outcome] * 5
    ledger.finish(claim(ledger, job_id), None)


def test_tries_given_to_the_worker_replace_those_of_the_job(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database, tries=5)
    first = claim(ledger, job_id, tries=2)
    assert first.tries == 2
    assert ledger.fail_attempt(first, "first", 0.0) is Fate.QUEUED
    spent = claim(ledger, job_id, tries=1)
    assert (spent.spent, load(ledger, job_id).attempts) == ("first", 1)
    ledger.bury(spent, "first")
    assert load(ledger, job_id).state is JobState.FAILED


def test_a_claim_that_passed_on_writes_nothing(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database)
    zombie = claim(ledger, job_id, "dead/1")
    assert ledger.give_up_on(seen(ledger, job_id), "two/sweeper") is Fate.QUEUED
    now_held = claim(ledger, job_id, "two/1")
    writes: list[Callable[[], object]] = [
        lambda: ledger.finish(zombie, "late"),
        lambda: ledger.release(zombie),
        lambda: ledger.postpone(zombie, "late", 1.0),
        lambda: ledger.fail_attempt(zombie, "late", 1.0),
        lambda: ledger.bury(zombie, "late"),
    ]
    before = ledger.show(job_id)
    for write in writes:
        with pytest.raises(Fenced):
            write()
    assert ledger.show(job_id) == before
    assert ledger.beat([zombie, now_held]) == {zombie}
    assert outcomes(ledger, job_id) == [Outcome.LOST, None]


def test_a_beat_keeps_a_job_from_being_taken(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database)
    held = claim(ledger, job_id)
    before = seen(ledger, job_id)
    assert ledger.beat([held]) == set()
    assert ledger.give_up_on(before, "two/sweeper") is None
    ledger.finish(held, None)


def test_a_job_whose_workers_die_is_buried_when_no_try_is_left(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database, tries=2)
    claim(ledger, job_id, "dead/1")
    assert ledger.give_up_on(seen(ledger, job_id), "two/sweeper") is Fate.QUEUED
    claim(ledger, job_id, "dead/2")
    taken = ledger.give_up_on(seen(ledger, job_id), "two/sweeper")
    assert isinstance(taken, Claimed)
    assert taken.spent is not None
    assert "dead/2" in taken.spent
    assert load(ledger, job_id).state is JobState.RUNNING
    ledger.bury(taken, taken.spent)
    assert load(ledger, job_id).state is JobState.FAILED


def test_a_burial_that_was_cut_short_is_done_again(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database, tries=3)
    assert ledger.fail_attempt(claim(ledger, job_id), "wrong password", None) is Fate.EXHAUSTED
    for _ in range(2):
        taken = ledger.give_up_on(seen(ledger, job_id), "two/sweeper")
        assert isinstance(taken, Claimed)
        assert taken.spent == "wrong password"
        with pytest.raises(Fenced):
            ledger.release(taken)
    assert outcomes(ledger, job_id) == [Outcome.FAILED]


def test_of_two_sweepers_one_takes_a_dead_workers_job(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database, tries=1)
    claim(ledger, job_id, "dead/1")
    beating = seen(ledger, job_id)
    assert isinstance(ledger.give_up_on(beating, "two/sweeper"), Claimed)
    assert ledger.give_up_on(beating, "three/sweeper") is None


def test_a_failed_job_is_sent_again_with_all_its_tries(ledger: Ledger, database: Database) -> None:
    ids = [add(ledger, database, tries=1) for _ in range(3)]
    for job_id in ids:
        held = claim(ledger, job_id)
        ledger.fail_attempt(held, "broken", 1.0)
        ledger.bury(held, "broken")
    assert ledger.retry(ids[0]) == [ids[0]]
    assert ledger.retry(ids[0]) == []
    assert ledger.retry() == ids[1:]
    for job_id in ids:
        assert claim(ledger, job_id).attempt == 1
    assert outcomes(ledger, ids[0]) == [Outcome.FAILED, None]


def test_a_delay_further_ahead_than_any_can_be_counts_as_due(ledger: Ledger, database: Database, clock: Hands) -> None:
    job_id = add(ledger, database, delay=900.0)
    assert ledger.claim(job_id, "one/1") is Refusal.NOT_DUE
    assert ledger.look(None).next_due == 900.0
    clock.move(hours=-1)
    assert ledger.has_due(None)
    assert [waiting.id for waiting in ledger.look(None).unsent] == [job_id]
    claim(ledger, job_id)


def test_a_longer_delay_than_a_jumping_clock_allows_is_refused(ledger: Ledger, database: Database) -> None:
    with pytest.raises(ValueError, match="900"):
        add(ledger, database, delay=901.0)


def test_a_write_whose_answer_was_lost_is_done_once(database: Database, clock: Hands) -> None:
    ledger = Ledger(Forgetful(database), lambda: Wire(NOWHERE), clock)
    job_id = add(ledger, database)
    first = claim(ledger, job_id)
    assert first.attempt == 1
    assert ledger.fail_attempt(first, "broken", 0.0) is Fate.QUEUED
    ledger.release(claim(ledger, job_id))
    ledger.postpone(claim(ledger, job_id), "later", 0.1)
    clock.move(seconds=1)
    claim(ledger, job_id, "dead/1")
    assert ledger.give_up_on(seen(ledger, job_id), "two/sweeper") is Fate.QUEUED
    last = claim(ledger, job_id)
    assert (last.attempt, load(ledger, job_id).attempts) == (3, 3)
    assert ledger.fail_attempt(last, "broken", 0.0) is Fate.EXHAUSTED
    ledger.bury(last, "broken")
    assert ledger.retry() == [job_id]
    ledger.finish(claim(ledger, job_id), None)
    ended = [Outcome.FAILED, Outcome.RELEASED, Outcome.POSTPONED, Outcome.LOST, Outcome.FAILED, Outcome.DONE]
    assert outcomes(ledger, job_id) == ended


class Forgetful(Database):
    """A database that loses the answer to every commit, so that each write is run once more."""

    def __init__(self, other: Database) -> None:
        self._other = other

    def read(self):  # type: ignore[no-untyped-def]
        return self._other.read()

    def write(self, work: Callable[[Connection], T], patience: float = 30.0) -> T:
        self._other.write(work, patience)
        return self._other.write(work, patience)


def test_causes_and_notes_are_stored_whatever_they_hold(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database)
    ledger.fail_attempt(claim(ledger, job_id), "a NUL \x00 and an emoji \N{PILE OF POO}" + "x" * 10_000, 0.0)
    cause = load(ledger, job_id).cause
    assert cause is not None
    assert cause.startswith("a NUL \N{REPLACEMENT CHARACTER} and an emoji \N{PILE OF POO}x")
    assert len(cause) == 4000


def test_old_done_jobs_are_removed_and_failed_ones_kept(ledger: Ledger, database: Database, clock: Hands) -> None:
    old, failed = add(ledger, database), add(ledger, database)
    ledger.finish(claim(ledger, old), None)
    held = claim(ledger, failed)
    ledger.fail_attempt(held, "broken", None)
    ledger.bury(held, "broken")
    clock.move(days=8)
    fresh = add(ledger, database)
    ledger.finish(claim(ledger, fresh), None)
    assert ledger.prune() == 1
    assert (ledger.show(old), load(ledger, failed).state, load(ledger, fresh).state) == (
        None,
        JobState.FAILED,
        JobState.DONE,
    )


def test_counts_and_queues_are_told_by_state(ledger: Ledger, database: Database) -> None:
    ledger.finish(claim(ledger, add(ledger, database, queue="a")), None)
    claim(ledger, add(ledger, database, queue="a"))
    add(ledger, database, queue="b")
    assert ledger.counts() == {("a", JobState.DONE): 1, ("a", JobState.RUNNING): 1, ("b", JobState.QUEUED): 1}
    assert ledger.queues() == ["a", "b"]
    assert (ledger.has_due(["a"]), ledger.has_due(["a", "b"]), ledger.has_due(None)) == (False, True, True)


def test_a_message_is_taken_on_by_one_sweeper(ledger: Ledger, database: Database) -> None:
    job_id = add(ledger, database)
    sight = ledger.look(None)
    assert (sight.unsent, sight.sent) == ([], {"default": 1})
    waiting = ledger.sent("default", 10)
    assert ledger.take_nudges(waiting) == [job_id]
    assert ledger.take_nudges(waiting) == []


def test_a_nudge_that_cannot_be_sent_is_no_error(ledger: Ledger, database: Database) -> None:
    assert ledger.nudge([add(ledger, database)]) is False
    assert ledger.nudge([]) is True


def test_a_nudge_puts_a_message_on_the_queue_of_each_due_job(database: Database, redis_url: str, clock: Hands) -> None:
    ledger = Ledger(database, lambda: Wire(redis_url), clock)
    ids = [
        add(ledger, database, queue="a"),
        add(ledger, database, queue="b"),
        add(ledger, database, queue="b", delay=5.0),
    ]
    assert ledger.nudge(ids) is True
    with redis.Redis.from_url(redis_url) as client:
        assert [client.llen("gengfu:a"), client.llen("gengfu:b")] == [1, 1]

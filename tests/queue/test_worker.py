"""Workers as processes that are killed, frozen, cut off and led astray."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gengfu.clock import utcnow
from gengfu.store.jobs import JobState, Outcome
from gengfu.store.leases import Leases
from servers import DatabaseServer
from stage import Nursery, Stage, freeze, refusing_postgres, wait_for

SOON = {"dead_after": 3.0}


def test_a_second_worker_finishes_the_job_of_a_killed_one_within_twenty_seconds(stage: Stage) -> None:
    first = stage.start().ready()
    job_id = stage.add("patient")
    stage.await_started(job_id)
    second = stage.start().ready()
    killed_at = time.monotonic()
    first.signal(signal.SIGKILL)
    again = stage.await_started(job_id, attempt=2, timeout=20.0)
    print(f"taken over after {again['at'] - killed_at:.1f} s")
    assert again["pid"] == second.pid
    stage.go_on()
    stage.await_done(job_id)
    assert stage.outcomes(job_id) == [Outcome.LOST, Outcome.DONE]


def test_a_job_that_kills_its_worker_is_buried_when_its_tries_are_used_up(stage: Stage) -> None:
    parent = stage.start(processes=2, more=SOON)
    job_id = stage.add("killer", run=7)
    record = stage.await_state(job_id, JobState.FAILED, timeout=40.0)
    assert "died" in str(record.cause)
    assert stage.outcomes(job_id) == [Outcome.LOST] * 3
    assert len(stage.journal.read("started")) == 3
    assert [entry["run"] for entry in stage.journal.read("failed")] == [7]
    stage.await_done(stage.add("shown"))
    parent.signal(signal.SIGTERM)
    assert parent.exit_code() == 0


def test_a_worker_that_was_asleep_cannot_write_the_end_of_a_job_that_passed_on(stage: Stage) -> None:
    zombie = stage.start(more=SOON).ready()
    job_id = stage.add("stubborn")
    stage.await_started(job_id)
    freeze(zombie.pid, stage.database)
    stage.start(more=SOON).ready()
    stage.await_started(job_id, attempt=2)
    zombie.signal(signal.SIGCONT)
    stage.go_on(attempt=1)
    wait_for(lambda: "the end of an attempt was not written" in zombie.log)
    assert stage.record(job_id).state is JobState.RUNNING
    assert zombie.alive
    stage.go_on(attempt=2)
    stage.await_done(job_id)
    assert stage.outcomes(job_id) == [Outcome.LOST, Outcome.DONE]
    assert stage.record(job_id).note == "heard nothing"


def test_a_worker_that_lost_its_job_tells_it_to_stop(stage: Stage) -> None:
    zombie = stage.start(more=SOON).ready()
    job_id = stage.add("patient")
    stage.await_started(job_id)
    freeze(zombie.pid, stage.database)
    stage.start(more=SOON).ready()
    stage.await_started(job_id, attempt=2)
    zombie.signal(signal.SIGCONT)
    wait_for(lambda: "told to stop here" in zombie.log and "was not written" in zombie.log)
    assert stage.outcomes(job_id) == [Outcome.LOST, None]


def test_a_worker_taken_for_dead_while_nobody_else_was_there_goes_on_and_no_try_is_lost(stage: Stage) -> None:
    worker = stage.start(more=SOON, sleep=0.2).ready()
    job_id = stage.add("patient")
    stage.await_started(job_id)
    (seen,) = Leases(stage.database).all()
    assert Leases(stage.database).lose(seen, utcnow())
    stage.await_started(job_id, attempt=1)
    wait_for(lambda: len(stage.journal.read("started")) == 2)
    stage.go_on()
    stage.await_done(job_id)
    assert stage.outcomes(job_id)[0] in (Outcome.LOST, Outcome.RELEASED)
    assert worker.alive


def test_a_wiped_redis_loses_no_job(redis_stage: Stage) -> None:
    stage = redis_stage
    stage.start(concurrency=1, sleep=0.2).ready()
    first = stage.add("patient")
    stage.await_started(first)
    others = [stage.add("shown") for _ in range(5)]
    stage.redis.flushall()
    later = stage.add("shown")
    stage.go_on()
    stage.await_done(first, *others, later)
    assert all(stage.outcomes(job_id) == [Outcome.DONE] for job_id in (first, *others, later))


def test_a_restarted_redis_loses_no_job(redis_stage: Stage) -> None:
    stage = redis_stage
    stage.start(concurrency=1, sleep=0.2).ready()
    first = stage.add("patient")
    stage.await_started(first)
    second = stage.add("shown")
    stage.server.close()
    stage.go_on()
    stage.await_done(first)
    third = stage.add("shown", notify=False)
    stage.server.fresh()
    stage.await_done(second, third, stage.add("shown"))
    assert stage.outcomes(second) == [Outcome.DONE]


def test_jobs_are_done_while_redis_hangs_and_its_return_is_noticed(redis_stage: Stage) -> None:
    stage = redis_stage
    worker = stage.start(sleep=0.5).ready()
    with stage.hanging_redis():
        stage.await_done(stage.add("shown", notify=False))
        wait_for(lambda: "Redis is away" in worker.log)
        stage.await_done(stage.add("shown", notify=False))
        assert stage.notifier.notify("default", [1]) is not None
    wait_for(lambda: "Redis is back" in worker.log)
    assert worker.log.count("Redis is away") == 1


def test_a_database_that_refuses_for_ten_seconds_costs_no_try(
    tmp_path: Path, database_servers: dict[str, DatabaseServer], nursery: Nursery
) -> None:
    server = database_servers["postgresql"]
    if server.absence is not None:
        pytest.skip(f"{server.label}: not reachable ({server.absence})")
    with server.migrated() as url:
        stage = Stage(tmp_path, url, nursery)
        try:
            workers = [stage.start() for _ in range(2)]
            for worker in workers:
                worker.ready()
            first = stage.add("patient")
            stage.await_started(first)
            second = stage.add("shown", delay=3.0)
            with refusing_postgres(url):
                stage.go_on()
                time.sleep(10.0)
            stage.await_done(first, second, timeout=20.0)
            assert stage.outcomes(first) == [Outcome.DONE]
            assert all(worker.alive for worker in workers)
        finally:
            stage.clear()


def test_a_delayed_job_starts_when_its_delay_ends(stage: Stage) -> None:
    stage.start(sleep=3.0).ready()
    asked_at = time.monotonic()
    waited = stage.await_started(stage.add("shown", delay=4.0))["at"] - asked_at
    assert 3.9 <= waited < 5.8


def test_a_hint_wakes_a_worker_long_before_it_would_look_itself(
    tmp_path: Path, database_servers: dict[str, DatabaseServer], nursery: Nursery, redis_stage: Stage
) -> None:
    server = database_servers["postgresql"]
    if server.absence is not None:
        pytest.skip(f"{server.label}: not reachable ({server.absence})")
    with server.migrated() as url:
        stage = Stage(tmp_path, url, nursery, redis_stage.server.binary)
        try:
            stage.start(sleep=3.0).ready()
            stage.await_done(stage.add("shown"))
            time.sleep(1.0)
            asked_at = time.monotonic()
            assert stage.await_started(stage.add("shown"))["at"] - asked_at < 1.0
        finally:
            stage.clear()


def test_earlier_queues_come_first(stage: Stage) -> None:
    stage.start(queues=["urgent", "default"], concurrency=1).ready()
    first = stage.add("patient")
    stage.await_started(first)
    usual = [stage.add("shown") for _ in range(3)]
    urgent = [stage.add("urgent", queue="urgent") for _ in range(3)]
    stage.go_on()
    stage.await_done(*usual, *urgent)
    assert [entry["job"] for entry in stage.journal.read("started")] == [first, *urgent, *usual]


def test_a_worker_leaves_other_queues_alone_and_one_without_queues_serves_all(stage: Stage) -> None:
    picky = stage.start(queues=["urgent"], sleep=0.2).ready()
    here, there = stage.add("urgent", queue="urgent"), stage.add("shown", queue="elsewhere", notify=False)
    stage.await_done(here)
    assert stage.record(there).state is JobState.QUEUED
    stage.start(sleep=0.2).ready()
    stage.await_done(there, stage.add("shown", queue="new"))
    assert {entry["pid"] for entry in stage.journal.read("started") if entry["job"] != here} != {picky.pid}


def test_a_busy_worker_keeps_no_job_from_an_idle_one(redis_stage: Stage) -> None:
    stage = redis_stage
    stage.start(concurrency=1).ready()
    stage.await_started(stage.add("patient"))
    others = [stage.add("shown") for _ in range(3)]
    idle = stage.start(concurrency=1).ready()
    stage.await_done(*others)
    assert {entry["pid"] for entry in stage.journal.read("started")[1:]} == {idle.pid}


def test_a_job_that_fails_is_kept_with_its_cause(stage: Stage) -> None:
    expected = {
        "plain": ("RuntimeError: broken", 3),
        "known": ("the vendor is closed today", 3),
        "exit": ("SystemExit: 3", 3),
        "refused": ("wrong password", 1),
        "unset": ("API_USERNAME is not set", 1),
    }
    worker = stage.start(sleep=0.2).ready()
    ids = {error: stage.add("raising", error=error) for error in expected}
    for error, (cause, attempts) in expected.items():
        record = stage.await_state(ids[error], JobState.FAILED)
        assert (record.cause, record.attempts) == (cause, attempts)
        assert stage.outcomes(ids[error]) == [Outcome.FAILED] * attempts
    told = {entry["error"]: entry["cause"] for entry in stage.journal.read("failed")}
    assert told == {error: cause for error, (cause, _) in expected.items()}
    assert worker.log.count("Traceback") == 6


def test_a_job_that_cannot_say_goodbye_is_buried_all_the_same(stage: Stage) -> None:
    worker = stage.start().ready()
    job_id = stage.add("raising", tries=1, goodbye="broken")
    assert stage.await_state(job_id, JobState.FAILED).cause == "RuntimeError: broken"
    assert "what the job does when it failed has failed itself" in worker.log


def test_a_job_whose_goodbye_found_no_database_is_told_again(stage: Stage) -> None:
    stage.start(sleep=0.2).ready()
    job_id = stage.add("raising", tries=1, goodbye="away")
    record = stage.await_state(job_id, JobState.FAILED)
    assert (record.cause, stage.outcomes(job_id)) == ("RuntimeError: broken", [Outcome.FAILED])
    assert len(stage.journal.read("failed")) == 2


def test_a_job_that_this_version_does_not_know_fails_with_a_clear_cause(stage: Stage) -> None:
    stage.start().ready()
    record = stage.await_state(stage.add("from the future", tries=1), JobState.FAILED)
    assert record.cause == "this version of the program knows no job named 'from the future'"


def test_a_job_that_this_version_does_not_know_is_left_to_others_as_long_as_it_has_tries(stage: Stage) -> None:
    stage.start().ready()
    job_id = stage.add("from the future", tries=2)
    wait_for(lambda: stage.outcomes(job_id) == [Outcome.FAILED])
    assert stage.record(job_id).state is JobState.QUEUED


def test_a_job_that_asks_for_patience_uses_no_try(stage: Stage) -> None:
    stage.start(sleep=0.2).ready()
    job_id = stage.add("postponing", tries=1)
    stage.await_done(job_id)
    assert stage.outcomes(job_id) == [Outcome.POSTPONED] * 4 + [Outcome.DONE]
    assert stage.record(job_id).attempts == 1


def test_a_clock_that_jumps_by_an_hour_lets_nobody_look_dead(stage: Stage) -> None:
    for worker in [stage.start(sleep=0.2, more=SOON) for _ in range(2)]:
        worker.ready()
    running = stage.add("patient")
    stage.await_started(running)
    for hours in (1.0, -1.0):
        delayed = stage.add("shown", delay=2.0)
        stage.move_clocks(hours)
        stage.await_done(delayed, stage.add("shown"))
        renewals = Leases(stage.database).all()[0].renewals
        wait_for(lambda before=renewals: Leases(stage.database).all()[0].renewals > before + 6)
    stage.go_on()
    stage.await_done(running)
    assert stage.outcomes(running) == [Outcome.DONE]

"""How workers end: by a signal, by a limit, by a job or a thread that is stuck, and by the end of their parent."""

from __future__ import annotations

import os
import signal
import time

import pytest

from gengfu.store.jobs import JobState, Outcome
from stage import Stage, wait_for


def test_a_job_that_heeds_its_time_limit_is_tried_again(stage: Stage) -> None:
    worker = stage.start().ready()
    job_id = stage.add("slow", tries=2)
    record = stage.await_state(job_id, JobState.FAILED)
    assert stage.outcomes(job_id) == [Outcome.TIMEOUT] * 2
    assert record.cause == "it ran into its time limit of 0.5 seconds"
    assert worker.alive


def test_a_worker_whose_job_ignores_its_time_limit_gives_it_up_and_ends(stage: Stage) -> None:
    worker = stage.start(timeout=0.3).ready()
    job_id = stage.add("stubborn", tries=1)
    other = stage.add("patient")
    assert worker.exit_code() == 1
    assert stage.outcomes(job_id) == [Outcome.TIMEOUT]
    assert "job does not stop" in worker.log
    assert set(stage.outcomes(other)) == {Outcome.TIMEOUT}
    stage.start().ready()
    assert "did not stop when told to" in str(stage.await_state(job_id, JobState.FAILED).cause)
    assert stage.outcomes(job_id) == [Outcome.TIMEOUT]
    assert [entry["cause"] for entry in stage.journal.read("failed")].count(stage.record(job_id).cause) == 1


def test_told_to_stop_a_worker_finishes_what_runs_and_takes_nothing_new(stage: Stage) -> None:
    worker = stage.start(concurrency=1).ready()
    running = stage.add("patient")
    stage.await_started(running)
    waiting = stage.add("shown")
    worker.signal(signal.SIGTERM)
    wait_for(lambda: "worker ends" in worker.log)
    stage.go_on()
    assert worker.exit_code() == 0
    assert stage.record(running).state is JobState.DONE
    assert (stage.record(waiting).state, stage.record(waiting).attempts) == (JobState.QUEUED, 0)


def test_after_the_grace_period_jobs_are_given_back_without_a_try_whether_they_heed_it_or_not(stage: Stage) -> None:
    worker = stage.start(grace=0.3).ready()
    ids = [stage.add("patient"), stage.add("stubborn")]
    for job_id in ids:
        stage.await_started(job_id)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    for job_id in ids:
        record = stage.record(job_id)
        assert (record.state, record.attempts) == (JobState.QUEUED, 0)
        assert stage.outcomes(job_id) == [Outcome.RELEASED]
    assert [entry["job"] for entry in stage.journal.read("told to stop")] == ids[:1]
    stage.go_on()
    stage.start().ready()
    stage.await_done(*ids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_a_worker_gives_back_and_ends_at_once(stage: Stage, number: signal.Signals) -> None:
    worker = stage.start().ready()
    job_id = stage.add("stubborn")
    stage.await_started(job_id)
    worker.signal(number)
    wait_for(lambda: "worker ends" in worker.log)
    told_at = time.monotonic()
    worker.signal(number)
    assert worker.exit_code() == 0
    assert time.monotonic() - told_at < 3.0
    assert (stage.record(job_id).state, stage.record(job_id).attempts) == (JobState.QUEUED, 0)
    assert stage.outcomes(job_id) == [Outcome.RELEASED]


def test_once_does_one_job(stage: Stage) -> None:
    worker = stage.start(once=True, concurrency=4)
    ids = [stage.add("shown") for _ in range(3)]
    assert worker.exit_code() == 0
    assert [stage.record(job_id).state for job_id in ids] == [JobState.DONE, JobState.QUEUED, JobState.QUEUED]


def test_a_worker_ends_after_as_many_jobs_as_it_may_do(stage: Stage) -> None:
    for _ in range(5):
        stage.add("shown")
    assert stage.start(max_jobs=3, concurrency=2).exit_code() == 0
    assert len(stage.journal.read("ended")) == 3


def test_a_worker_ends_when_its_time_is_over_and_lets_its_job_end(stage: Stage) -> None:
    worker = stage.start(max_time=0.5).ready()
    job_id = stage.add("patient")
    wait_for(lambda: "its time is over" in worker.log)
    if stage.journal.read("started"):
        stage.go_on()
    assert worker.exit_code() == 0
    assert stage.record(job_id).state in (JobState.DONE, JobState.QUEUED)


def test_a_worker_ends_when_it_has_grown_too_large(stage: Stage) -> None:
    worker = stage.start(memory=200, concurrency=1).ready()
    stage.await_done(stage.add("shown"), stage.add("hungry"), stage.add("hungry"))
    assert worker.exit_code() == 0
    assert "memory limit" in worker.log


def test_a_worker_ends_when_nothing_is_left_to_do(stage: Stage) -> None:
    assert stage.start(stop_when_empty=True).exit_code() == 0
    ids = [stage.add("shown", notify=notify) for notify in (True, False, True)]
    assert stage.start(stop_when_empty=True, sleep=0.2).exit_code() == 0
    assert [stage.record(job_id).state for job_id in ids] == [JobState.DONE] * 3


def test_a_killed_child_is_replaced_and_all_end_with_their_parent(stage: Stage) -> None:
    parent = stage.start(processes=2).ready()
    wait_for(lambda: parent.log.count("worker ready") == 2)
    pids = {stage.await_started(job_id)["pid"] for job_id in [stage.add("patient"), stage.add("patient")]}
    stage.go_on()
    os.kill(min(pids), signal.SIGKILL)
    wait_for(lambda: parent.log.count("worker ready") == 3)
    parent.signal(signal.SIGKILL)
    wait_for(lambda: parent.log.count("the parent of this process is gone") == 2)
    wait_for(lambda: parent.log.count("worker ended") >= 2)


def test_a_parent_passes_signals_on_and_ends_last(stage: Stage) -> None:
    parent = stage.start(processes=2)
    wait_for(lambda: parent.log.count("worker ready") == 2)
    job_id = stage.add("stubborn")
    stage.await_started(job_id)
    child = stage.journal.read("started")[0]["pid"]
    parent.signal(signal.SIGTERM)
    wait_for(lambda: parent.log.count("worker ends") == 2)
    os.kill(child, signal.SIGTERM)
    time.sleep(0.3)
    assert stage.outcomes(job_id) == [None]
    parent.signal(signal.SIGTERM)
    assert parent.exit_code() == 0
    assert stage.outcomes(job_id) == [Outcome.RELEASED]

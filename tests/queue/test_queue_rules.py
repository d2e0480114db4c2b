"""The decisions of the queue that need no process and no server."""

from __future__ import annotations

import pytest

from gengfu.errors import Postpone, Stopped, UsageError
from gengfu.process.liveness import StallDetector
from gengfu.process.monitor import DEAD_AFTER
from gengfu.process.supervisor import Next, pause_before
from gengfu.queue.options import WorkerOptions
from gengfu.queue.outcomes import Stopping, outcome_of, wait_before_retry
from gengfu.queue.worker import after
from gengfu.store.jobs import Outcome


def test_silence_is_measured_only_while_somebody_watches() -> None:
    watch = StallDetector()
    assert watch.look(100.0, {1: "a", 2: "a"}) == {1: 0.0, 2: 0.0}
    assert watch.look(103.0, {1: "a", 2: "b"}) == {1: 3.0, 2: 0.0}
    blind_for_an_hour = watch.look(3703.0, {1: "a", 2: "b"})
    assert blind_for_an_hour == {1: 6.5, 2: 3.5}
    assert max(blind_for_an_hour.values()) < DEAD_AFTER
    assert watch.look(3706.0, {2: "b"}) == {2: 6.5}
    assert watch.look(3706.0, {1: "a"}) == {1: 0.0}


@pytest.mark.parametrize(("attempt", "most"), [(1, 2.0), (2, 10.0), (3, 30.0), (9, 30.0)])
def test_the_wait_before_a_retry_is_a_random_share_of_its_backoff(attempt: int, most: float) -> None:
    waits = [wait_before_retry((2.0, 10.0, 30.0), attempt) for _ in range(200)]
    assert 0.0 <= min(waits) < most * 0.3
    assert most * 0.7 < max(waits) <= most
    assert wait_before_retry((), attempt) == 0.0


@pytest.mark.parametrize(
    ("code", "options", "expected"),
    [
        (0, WorkerOptions(), Next.REST),
        (0, WorkerOptions(memory=100), Next.REPLACE),
        (0, WorkerOptions(memory=100, max_jobs=5), Next.REST),
        (1, WorkerOptions(), Next.REPLACE_LATER),
        (-9, WorkerOptions(max_jobs=5), Next.REPLACE_LATER),
        (2, WorkerOptions(), Next.GIVE_UP),
    ],
)
def test_what_follows_the_end_of_a_child(code: int, options: WorkerOptions, expected: Next) -> None:
    assert after(code, options) is expected


def test_a_child_that_dies_again_and_again_is_replaced_ever_later() -> None:
    assert [pause_before(deaths) for deaths in (1, 2, 3, 7, 100)] == [1.0, 2.0, 4.0, 60.0, 60.0]


@pytest.mark.parametrize(
    ("error", "stopping", "outcome"),
    [
        (None, None, Outcome.DONE),
        (None, Stopping.TIMEOUT, Outcome.DONE),
        (Postpone("later", 5.0), Stopping.SHUTDOWN, Outcome.POSTPONED),
        (Stopped("stop"), Stopping.SHUTDOWN, Outcome.RELEASED),
        (OSError("cut"), Stopping.SHUTDOWN, Outcome.RELEASED),
        (Stopped("stop"), Stopping.TIMEOUT, Outcome.TIMEOUT),
        (Stopped("stop"), Stopping.LOST, Outcome.RELEASED),
        (Stopped("of its own accord"), None, Outcome.FAILED),
        (ValueError(), None, Outcome.FAILED),
    ],
)
def test_how_an_attempt_ended(error: Exception | None, stopping: Stopping | None, outcome: Outcome) -> None:
    assert outcome_of(error, stopping) is outcome


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"concurrency": 0}, "--concurrency"),
        ({"max_time": -1.0}, "--max-time"),
        ({"sleep": -0.1}, "--sleep"),
        ({"queues": ("a b",)}, "'a b'"),
        ({"once": True, "processes": 2}, "--once"),
    ],
)
def test_options_without_sense_are_refused(asked: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        WorkerOptions(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sleep", "interval"), [(0.0, 0.2), (1.0, 1.0), (60.0, 3.0)])
def test_a_worker_looks_into_the_ledger_every_few_seconds_at_least(sleep: float, interval: float) -> None:
    assert WorkerOptions(sleep=sleep).interval == interval

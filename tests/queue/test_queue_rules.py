"""The decisions of the queue that need no process and no server."""

from __future__ import annotations

import pytest

from gengfu.errors import Postpone, Stopped, UsageError
from gengfu.process.liveness import Watch, is_deaf
from gengfu.process.supervisor import Next, pause_before
from gengfu.queue.door import Door, Stopping
from gengfu.queue.endings import wait_before_retry
from gengfu.queue.options import WorkerOptions
from gengfu.queue.perform import Verdict, judge
from gengfu.queue.rescue import DEAD_AFTER
from gengfu.queue.sweeper import spacing, with_new
from gengfu.queue.worker_role import after


def test_silence_is_measured_only_while_somebody_watches() -> None:
    watch = Watch()
    assert watch.look(100.0, {1: "a", 2: "a"}) == {1: 0.0, 2: 0.0}
    assert watch.look(103.0, {1: "a", 2: "b"}) == {1: 3.0, 2: 0.0}
    blind_for_an_hour = watch.look(3703.0, {1: "a", 2: "b"})
    assert blind_for_an_hour == {1: 6.5, 2: 3.5}
    assert max(blind_for_an_hour.values()) < DEAD_AFTER
    assert watch.look(3706.0, {2: "b"}) == {2: 6.5}
    assert watch.look(3706.0, {1: "a"}) == {1: 0.0}


@pytest.mark.parametrize(("nudges", "seconds"), [(1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (500, 60.0)])
def test_messages_for_one_job_get_rarer(nudges: int, seconds: float) -> None:
    assert spacing(nudges) == seconds


def test_new_queues_are_served_after_the_known_ones() -> None:
    assert with_new(("urgent", "default"), ["z", "default", "a"]) == ("urgent", "default", "a", "z")


@pytest.mark.parametrize(("attempt", "most"), [(1, 2.0), (2, 10.0), (3, 30.0), (9, 30.0)])
def test_the_wait_before_a_retry_is_a_random_share_of_its_backoff(attempt: int, most: float) -> None:
    waits = [wait_before_retry((2.0, 10.0, 30.0), attempt) for _ in range(200)]
    assert 0.0 <= min(waits) < most * 0.3
    assert most * 0.7 < max(waits) <= most
    assert wait_before_retry((), attempt) == 0.0


@pytest.mark.parametrize(
    ("code", "options", "stopping", "expected"),
    [
        (0, WorkerOptions(), False, Next.REST),
        (0, WorkerOptions(memory=100), False, Next.REPLACE),
        (0, WorkerOptions(memory=100, max_jobs=5), False, Next.REST),
        (0, WorkerOptions(memory=100), True, Next.REST),
        (1, WorkerOptions(), False, Next.REPLACE_LATER),
        (-9, WorkerOptions(max_jobs=5), False, Next.REPLACE_LATER),
        (-9, WorkerOptions(), True, Next.REST),
        (2, WorkerOptions(), False, Next.GIVE_UP),
    ],
)
def test_what_follows_the_end_of_a_child(code: int, options: WorkerOptions, stopping: bool, expected: Next) -> None:
    assert after(code, options, stopping) is expected


def test_a_child_that_dies_again_and_again_is_replaced_ever_later() -> None:
    assert [pause_before(deaths) for deaths in (1, 2, 3, 7, 100)] == [1.0, 2.0, 4.0, 60.0, 60.0]


@pytest.mark.parametrize(
    ("error", "stopping", "fatal", "verdict"),
    [
        (None, None, False, Verdict.DONE),
        (None, Stopping.TIMEOUT, False, Verdict.DONE),
        (Postpone("later", 5.0), Stopping.SHUTDOWN, False, Verdict.POSTPONED),
        (ValueError(), None, True, Verdict.FATAL),
        (ValueError(), Stopping.SHUTDOWN, True, Verdict.FATAL),
        (Stopped("stop"), Stopping.SHUTDOWN, False, Verdict.GIVEN_BACK),
        (OSError("cut"), Stopping.SHUTDOWN, False, Verdict.GIVEN_BACK),
        (Stopped("stop"), Stopping.TIMEOUT, False, Verdict.TIMED_OUT),
        (Stopped("stop"), Stopping.LOST, False, Verdict.FAILED),
        (Stopped("of its own accord"), None, False, Verdict.FAILED),
        (ValueError(), None, False, Verdict.FAILED),
    ],
)
def test_what_an_attempt_came_to(
    error: Exception | None, stopping: Stopping | None, fatal: bool, verdict: Verdict
) -> None:
    assert judge(error, stopping, fatal) is verdict


@pytest.mark.parametrize(
    ("since_poll", "answered_for", "deaf"),
    [(0.0, 0.0, False), (29.0, 300.0, False), (300.0, 1.0, False), (31.0, 31.0, True)],
)
def test_only_a_worker_that_others_would_not_replace_in_vain_is_deaf(
    since_poll: float, answered_for: float, deaf: bool
) -> None:
    assert is_deaf(since_poll, answered_for) is deaf


def test_the_door_lets_in_what_threads_and_limit_allow() -> None:
    door = Door(threads=2, limit=3)
    assert [door.enter(), door.enter(), door.enter()] == [True, True, False]
    door.leave(counted=False)
    assert (door.inside, door.enter()) == (1, True)
    door.leave(counted=True)
    door.leave(counted=True)
    assert (door.used_up, door.enter(), door.used_up) == (False, True, False)
    door.leave(counted=True)
    assert (door.used_up, door.enter()) == (True, False)
    open_door = Door(threads=1)
    open_door.shut()
    assert open_door.enter() is False


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

"""Whoever can write into Redis can cost workers time, and nothing else: no work, no data, no memory without bound, and
no stop that does not stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gengfu.queue.notify import Listener
from gengfu.queue.redis_server import KEPT, LONGEST_HINT, RedisServer
from gengfu.settings import Secret, Settings
from gengfu.store.jobs import JobState, Outcome
from stage import Stage, wait_for

LIST = "gengfu:queue:default"


def megabytes(pid: int) -> float:
    """The most memory that a process ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def test_hints_that_come_again_and_again_or_mean_nothing_change_nothing(redis_stage: Stage) -> None:
    stage = redis_stage
    worker = stage.start(concurrency=2).ready()
    job_id = stage.add("patient")
    stage.await_started(job_id)
    assert stage.notifier.notify("default", [job_id] * 1000) is None
    stage.redis.rpush(LIST, "x", b"\xff{", "", "-1", "1e9", "9" * 5000, *range(10_000, 10_200))
    stage.await_done(stage.add("shown"))
    stage.go_on()
    stage.await_done(job_id, stage.add("shown"))
    assert [entry["job"] for entry in stage.journal.read("started")].count(job_id) == 1
    assert stage.outcomes(job_id) == [Outcome.DONE]
    wait_for(lambda: stage.redis.llen(LIST) == 0, timeout=60)
    assert worker.log.count("what is no hint is ignored") == 1
    assert worker.log.count("WARNING") == 1


def test_a_hint_starts_no_job_before_it_is_due_and_none_of_a_queue_that_is_not_served(redis_stage: Stage) -> None:
    stage = redis_stage
    stage.start(queues=["default"]).ready()
    later = stage.add("shown", delay=600)
    elsewhere = stage.add("shown", queue="other", notify=False)
    stage.redis.rpush(LIST, later, elsewhere, 2**63, 2**200)
    stage.await_done(stage.add("shown"))
    wait_for(lambda: stage.redis.llen(LIST) == 0)
    stage.await_done(stage.add("shown"))
    assert {stage.record(job_id).state for job_id in (later, elsewhere)} == {JobState.QUEUED}
    assert stage.outcomes(later) == stage.outcomes(elsewhere) == []


def test_a_list_of_a_million_is_cut_short_and_costs_no_memory(redis_stage: Stage) -> None:
    stage = redis_stage
    worker = stage.start().ready()
    stage.await_done(stage.add("shown"))
    before = megabytes(worker.pid)
    with stage.redis.pipeline(transaction=False) as pipeline:
        for _ in range(100):
            pipeline.rpush(LIST, *([7] * 10_000))
        pipeline.execute()
    wait_for(lambda: stage.redis.llen(LIST) <= KEPT)
    stage.await_done(stage.add("shown"))
    assert megabytes(worker.pid) < before + 20
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0


def test_something_huge_on_a_list_is_not_read(redis_stage: Stage) -> None:
    stage = redis_stage
    worker = stage.start(sleep=0.5).ready()
    stage.await_done(stage.add("shown"))
    before = megabytes(worker.pid)
    stage.redis.rpush(LIST, b"9" * 50_000_000)
    wait_for(lambda: "50000000 bytes lies on a list; it was not read" in worker.log, 60)
    stage.await_done(stage.add("shown", notify=False))
    wait_for(lambda: "Redis is back" in worker.log)
    assert megabytes(worker.pid) < before + 20


@contextmanager
def flooding(url: str, hint: str) -> Iterator[None]:
    """Somebody writes hints all the time."""
    over = threading.Event()

    def write() -> None:
        with redis.Redis.from_url(url) as client:
            while not over.is_set():
                client.rpush(LIST, *([hint] * 100))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("hint", ["7", "rubbish"])
def test_a_flood_keeps_no_worker_from_its_jobs_or_from_its_end(redis_stage: Stage, hint: str) -> None:
    stage = redis_stage
    worker = stage.start(concurrency=2).ready()
    with flooding(stage.server.url, hint):
        stage.await_done(*(stage.add("shown", notify=False) for _ in range(20)))
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    assert worker.log.count("WARNING") == (hint == "rubbish")


Spoil = Callable[[redis.Redis], object]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda client: client.set(LIST, "text"),
        lambda client: client.hset(LIST, "a", "b"),
        lambda client: client.sadd(LIST, "a"),
        lambda client: client.zadd(LIST, {"a": 1}),
        lambda client: client.xadd(LIST, {"a": "b"}),
    ],
    ids=["string", "hash", "set", "sorted-set", "stream"],
)
def test_what_is_no_list_costs_time_at_most_and_is_told_and_left_where_it_is(redis_stage: Stage, spoil: Spoil) -> None:
    stage = redis_stage
    spoil(stage.redis)
    kind = stage.redis.type(LIST)
    worker = stage.start(sleep=0.3).ready()
    stage.await_done(stage.add("shown", notify=False))
    assert "something else under the name of a list" in str(stage.notifier.notify("default", [1]))
    wait_for(lambda: "something else under the name of a list" in worker.log)
    assert stage.redis.type(LIST) == kind
    stage.redis.delete(LIST)
    wait_for(lambda: "Redis is back" in worker.log)
    stage.await_done(stage.add("shown", notify=False))
    assert worker.log.count("Redis is away") == 1


def test_a_redis_that_is_full_or_read_only_costs_time_at_most(redis_stage: Stage) -> None:
    stage = redis_stage
    worker = stage.start(sleep=0.3).ready()
    stage.redis.config_set("maxmemory", "1mb")
    stage.await_done(stage.add("shown", notify=False))
    assert "its memory is full" in str(stage.notifier.notify("default", [1]))
    stage.redis.config_set("maxmemory", "0")
    stage.redis.replicaof("127.0.0.1", "1")
    stage.await_done(stage.add("shown", notify=False))
    wait_for(lambda: "a replica, which takes no hints" in worker.log)
    stage.redis.replicaof("no", "one")
    stage.await_done(stage.add("shown", notify=False))


def test_keys_of_other_programs_are_not_touched(redis_stage: Stage) -> None:
    stage = redis_stage
    others = {"queue:default": "a", "gengfu": "b", "gengfu:queue": "c", "gengfu:queue:default:x": "d", "": "e"}
    stage.redis.mset(others)
    stage.start().ready()
    stage.await_done(stage.add("shown"), stage.add("shown", queue="default"))
    assert stage.notifier.server is not None
    stage.notifier.server.probe(["default"])
    wait_for(lambda: stage.redis.llen(LIST) == 0)
    assert dict(zip(others, stage.redis.mget(list(others)), strict=True)) == {
        key: value.encode() for key, value in others.items()
    }
    assert {key.decode() for key in stage.redis.scan_iter()} == set(others)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hints=st.lists(st.binary(max_size=200), min_size=1, max_size=20))
def test_whatever_bytes_lie_on_a_list_are_taken_from_it_and_the_next_hint_is_heard(
    redis_url: str, hints: list[bytes]
) -> None:
    woken = threading.Event()
    listener = Listener(RedisServer(Settings(Path()), Secret(redis_url)), lambda: ["default"], woken.set)
    listener.has_room(True)
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(LIST, *hints)
        listener.start()
        try:
            wait_for(lambda: client.llen(LIST) == 0)
            wait_for(lambda: listener.ignored == sum(not hint.isdigit() for hint in hints))
            woken.clear()
            client.rpush(LIST, "1")
            assert woken.wait(10)
        finally:
            listener.end()


def test_the_longest_hint_is_heard_and_one_byte_more_is_not(redis_url: str) -> None:
    woken = threading.Event()
    listener = Listener(RedisServer(Settings(Path()), Secret(redis_url)), lambda: ["default"], woken.set)
    listener.has_room(True)
    listener.start()
    with redis.Redis.from_url(redis_url) as client:
        try:
            wait_for(lambda: listener.hears)
            client.rpush(LIST, "9" * LONGEST_HINT)
            assert woken.wait(10)
            client.rpush(LIST, os.urandom(LONGEST_HINT + 1))
            wait_for(lambda: not listener.hears)
            wait_for(lambda: listener.hears)
            assert client.llen(LIST) == 0
        finally:
            listener.end()

"""Bad luck: processes, brokers and databases that die, sleep or refuse in the middle of a run of the whole program."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from gengfu.store.jobs import Outcome
from gengfu.store.run_rows import RunState, Verdict
from servers import RedisServer
from stage import wait_for
from system import RESCUED, SMALL_PAGES, System, Worker, stop_at
from truth import mirrored

STRIKES = int(os.environ.get("GENGFU_TEST_STRIKES", "3"))
"""How many runs are struck at random."""

OWN_TIME = 10.0
"""Seconds that such a run takes by itself, at the most."""

Open = Callable[..., System]


class WallClock:
    """The wall clock of the processes that are started with its environment."""

    PROGRAM = """
import datetime, os
from gengfu import clock
true = clock.utcnow
def moved():
    with open(os.environ["GENGFU_TEST_CLOCK"]) as told:
        return true() + datetime.timedelta(hours=float(told.read()))
clock.utcnow = moved
"""
    """Python runs it before the program."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(self.PROGRAM)
        self._told = folder / "hours"
        self.environment = {"PYTHONPATH": str(folder), "GENGFU_TEST_CLOCK": str(self._told)}
        self.jump(0)

    def jump(self, hours: int) -> None:
        """Sets it so many hours ahead of the true time."""
        fresh = self._told.with_suffix(".new")
        fresh.write_text(str(hours))
        os.replace(fresh, self._told)


def holder(system: System, run_id: int, workers: list[Worker]) -> tuple[Worker, Worker]:
    """Of two workers, the one that holds the run's first job, and the other."""
    name = wait_for(lambda: system.jobs(run_id)[0].worker)
    first, second = workers
    return (first, second) if f":{first.process.pid}:" in name else (second, first)


# Killed.


@pytest.mark.parametrize("moment", ["planning", "reading", "writing", "closing"])
def test_a_second_worker_finishes_the_run_of_a_killed_one(open_system: Open, moment: str) -> None:
    system = open_system({"devices": 620}, **SMALL_PAGES)
    workers = [system.worker().ready() for _ in range(2)]
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=620)
    deleted = system.sim.fleet("delete", count=20, pick="random")
    changed = set(system.sim.fleet("change", count=300, pick="random", fields={"memo": "neu"}))
    system.sim.control(latency="300ms")
    run_id = system.accept()
    struck, other = holder(system, run_id, workers)
    stop_at(
        struck,
        {
            "planning": lambda: system.run(run_id).state == RunState.QUEUED,
            "reading": lambda: system.run(run_id).pages_done > 0 and not system.is_locked(),
            "writing": lambda: system.run(run_id).pages_done > 0 and system.is_locked(),
            "closing": lambda: system.run(run_id).state == RunState.CLOSING,
        }[moment],
    )
    struck.kill()
    system.sim.control(latency=0)
    system.await_end(run_id, RESCUED)
    system.assert_complete(run_id, changed=len(changed), new=0, gone=20)
    assert system.outcomes(run_id) == [[Outcome.LOST, Outcome.DONE]]
    assert mirrored(system.db, live=False).keys() == set(deleted)
    assert other.alive


@contextmanager
def locked_row(system: System, query: str) -> Iterator[Callable[[], bool]]:
    """A row that nobody else can write while the block lasts; gives how to see that somebody waits for it."""
    with system.db.engine.connect() as connection, system.db.engine.connect() as onlooker:
        if system.db.kind == "mysql":
            connection.exec_driver_sql("SET idle_transaction_timeout = 60")
            connection.exec_driver_sql("BEGIN")
        connection.execute(text(query))
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            if system.db.kind == "postgresql"
            else "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        )

        def is_awaited() -> bool:
            time.sleep(0.15)  # MariaDB shows what it showed before to whoever looks more often
            onlooker.rollback()
            return bool(onlooker.scalar(text(waits)))

        yield is_awaited
        connection.rollback()


@pytest.mark.parametrize(
    ("database_kind", "moment"), [("postgresql", "writing"), ("mysql", "closing")], indirect=["database_kind"]
)
def test_what_a_killed_worker_had_not_committed_is_not_there(
    database_url: str, database_kind: str, open_system: Open, moment: str
) -> None:
    system = open_system({"devices": 300}, database_url=database_url, **SMALL_PAGES)
    workers = [system.worker().ready() for _ in range(2)]
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=300)
    system.sim.fleet("change", count=100, fields={"memo": "neu"})
    deleted = system.sim.fleet("delete", count=15, pick="end")
    system.sim.control(latency="200ms")
    before = mirrored(system.db)
    run_id = system.accept()
    struck, _ = holder(system, run_id, workers)
    wait_for(lambda: system.run(run_id).state == RunState.READING)
    row = f"sync_run WHERE id = {run_id}" if moment == "writing" else f"device WHERE id = {deleted[0]}"
    with locked_row(system, f"SELECT id FROM {row} FOR UPDATE") as is_awaited:
        wait_for(is_awaited)
        struck.kill()
        if moment == "writing":
            assert mirrored(system.db) == before
        else:
            assert mirrored(system.db).keys() == before.keys()
    system.sim.control(latency=0)
    system.await_end(run_id, RESCUED)
    system.assert_complete(run_id, changed=100, new=0, gone=15)
    assert system.outcomes(run_id) == [[Outcome.LOST, Outcome.DONE]]


def test_a_run_that_killed_every_worker_it_was_allowed_ends_and_blocks_nobody(open_system: Open) -> None:
    system = open_system({"latency": "100ms"}, **SMALL_PAGES, API_CONCURRENCY="4")
    workers = [system.worker("--tries", "1").ready() for _ in range(2)]
    run_id = system.accept()
    struck, _ = holder(system, run_id, workers)
    wait_for(lambda: system.run(run_id).pages_done)
    struck.kill()
    run = system.await_end(run_id, RESCUED)
    assert run.verdict == Verdict.PARTIAL
    assert "died or was out of reach" in (run.reason or "")
    assert [job["attempts"] for job in system.ask("queue:failed")["jobs"]] == [1]
    assert mirrored(system.db, live=False) == {}
    system.sim.control(latency=0)
    assert system.ask("queue:retry", "all")["count"] == 1
    system.assert_complete(run_id, new=600)
    assert system.outcomes(run_id) == [[Outcome.LOST, Outcome.DONE]]


def test_a_new_worker_finishes_the_run_of_the_only_one_that_was_killed(open_system: Open) -> None:
    system = open_system({"devices": 3_000, "latency": "50ms"}, **SMALL_PAGES, API_CONCURRENCY="4")
    system.worker("--concurrency", "1").ready()
    run_id = system.accept()
    wait_for(lambda: system.run(run_id).pages_done)
    processes = system.processes()
    assert len(processes) == 1
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    system.sim.control(latency=0)
    system.worker().ready()
    system.await_end(run_id, RESCUED)
    system.assert_complete(run_id, new=3_000)
    assert [Outcome.LOST, Outcome.DONE] in system.outcomes(run_id)


class Luck:
    """Strikes a run at random moments, from a seed, and sees to it that there are always two workers."""

    def __init__(self, system: System, redis: RedisServer, chance: random.Random) -> None:
        self._system = system
        self._redis = redis
        self._chance = chance
        self._workers = [system.worker().ready() for _ in range(2)]
        self.sleepers: list[Worker] = []

    def wait(self, run_id: int, calls: int) -> None:
        """Until the vendor has answered a random number of further calls, or the run is over."""
        wanted = self._system.sim.state()["calls"] + self._chance.randrange(calls)
        wait_for(lambda: self._system.sim.state()["calls"] >= wanted or not self._system.run(run_id).active, 60)
        time.sleep(self._chance.choice([0.0, self._chance.uniform(0.0, 0.2)]))

    def strike(self, run_id: int) -> str:
        """Does something bad, and says what."""
        deeds = [self.kill, self.kill_everything, self.kill_server, self.wipe_redis, self.end, self.send_to_sleep]
        deed = self._chance.choice(deeds)
        deed(self._victim(run_id))
        self._workers = [worker for worker in self._workers if worker.alive and worker not in self.sleepers]
        while len(self._workers) < 2:
            self._workers.append(self._system.worker())
        return deed.__name__

    def _victim(self, run_id: int) -> Worker:
        """Mostly one that works for the run."""
        names = " ".join(record.worker or "" for record in self._system.jobs(run_id))
        busy = [worker for worker in self._workers if f":{worker.process.pid}:" in names]
        return self._chance.choice(busy if busy and self._chance.random() < 0.8 else self._workers)

    def settle(self) -> None:
        """Waits until all workers take jobs."""
        for worker in self._workers:
            worker.ready()

    def kill(self, victim: Worker) -> None:
        victim.kill()

    def kill_everything(self, _: Worker) -> None:
        for pid in self._system.processes():
            os.kill(pid, signal.SIGKILL)
        for worker in self._workers:
            worker.kill()

    def kill_server(self, _: Worker) -> None:
        self._redis.kill()
        self._redis.start()

    def wipe_redis(self, _: Worker) -> None:
        self._redis.wipe()

    def end(self, victim: Worker) -> None:
        victim.process.terminate()
        wait_for(lambda: "worker ends" in victim.log or not victim.alive)
        if victim.alive:
            victim.process.terminate()
        victim.process.wait(40)

    def send_to_sleep(self, victim: Worker) -> None:
        stop_at(victim, lambda: not self._system.is_locked())
        self.sleepers.append(victim)


@pytest.mark.parametrize(
    ("database_kind", "seed"),
    list(zip(itertools.cycle(["sqlite", "postgresql", "mysql"]), range(STRIKES))),
    indirect=["database_kind"],
)
def test_a_run_that_is_struck_twice_at_random_is_finished(
    database_url: str, redis_server: RedisServer, open_system: Open, seed: int
) -> None:
    chance = random.Random(seed)
    devices = chance.choice([150, 900, 2_600])
    sim = {"devices": devices, "latency": chance.choice(["10ms", "50ms", "150ms"])}
    told = {"database_url": database_url, "REDIS_URL": redis_server.url, "API_CONCURRENCY": chance.choice(["4", "16"])}
    system = open_system(sim, **told, **SMALL_PAGES)
    luck = Luck(system, redis_server, chance)
    run_id = system.accept()
    for _ in range(2):
        luck.wait(run_id, devices // 10 + 6)
        print(f"{luck.strike(run_id)} while {system.run(run_id)}")
    luck.settle()
    system.await_end(run_id, RESCUED + OWN_TIME)
    system.assert_complete(run_id, new=devices)
    for sleeper in luck.sleepers:
        sleeper.wake()
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=0, changed=0, gone=0)


# Asleep.


def test_a_worker_that_slept_through_the_end_of_its_run_changes_nothing(open_system: Open) -> None:
    system = open_system({"latency": "300ms"}, **SMALL_PAGES)
    workers = [system.worker().ready() for _ in range(2)]
    run_id = system.accept()
    sleeper, other = holder(system, run_id, workers)
    stop_at(sleeper, lambda: system.run(run_id).pages_done > 0 and not system.is_locked())
    system.sim.control(latency=0)
    system.await_end(run_id, RESCUED)
    system.assert_complete(run_id, new=600)
    wait_for(lambda: "job done" in other.log)
    rows = system.rows()
    sleeper.wake()
    wait_for(lambda: "the end of an attempt was not written" in sleeper.log)
    assert system.rows() == rows
    assert other.told_to_stop() == 0
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=0)
    assert sleeper.alive


@pytest.mark.parametrize("database_kind", ["postgresql", "mysql"], indirect=True)
def test_a_worker_that_fell_asleep_in_a_transaction_does_not_keep_the_others_from_the_run(
    database_url: str, database_kind: str, open_system: Open
) -> None:
    system = open_system({"latency": "200ms"}, database_url=database_url, **SMALL_PAGES, API_CONCURRENCY="8")
    workers = [system.worker().ready() for _ in range(2)]
    run_id = system.accept()
    sleeper, _ = holder(system, run_id, workers)
    wait_for(lambda: system.run(run_id).state == RunState.READING)
    with locked_row(system, f"SELECT id FROM sync_run WHERE id = {run_id} FOR UPDATE") as is_awaited:
        wait_for(is_awaited)
        sleeper.stop()
    system.sim.control(latency=0)
    system.await_end(run_id, RESCUED)
    system.assert_complete(run_id, new=600)
    rows = system.rows()
    sleeper.wake()
    wait_for(lambda: "the end of an attempt was not written" in sleeper.log)
    assert system.rows() == rows


# Clocks.


def test_a_clock_that_jumps_in_the_middle_of_a_run_lets_nobody_look_dead(
    open_system: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall_clock = WallClock(tmp_path / "clock")
    system = open_system({"devices": 2_600, "latency": "40ms"}, **SMALL_PAGES, API_CONCURRENCY="4")
    with monkeypatch.context() as patch:
        for name, value in wall_clock.environment.items():
            patch.setenv(name, value)
        jumping = system.worker("--concurrency", "1").ready()
    steady = system.worker("--concurrency", "1").ready()
    run_id = system.accept()
    for hours in (3, -5):
        read = system.run(run_id).pages_done
        wait_for(lambda before=read: system.run(run_id).pages_done > before)
        wall_clock.jump(hours)
    system.assert_complete(run_id, new=2_600)
    assert {outcome for outcomes in system.outcomes(run_id) for outcome in outcomes} == {Outcome.DONE}
    assert steady.told_to_stop() == 0
    for hours in (3, -5):
        wall_clock.jump(hours)
        run = system.assert_complete(system.ask("device:list", "--wait")["run"], new=0)
        assert abs(run.finished_at - run.created_at - timedelta(hours=hours)) < timedelta(minutes=1)
    assert jumping.alive

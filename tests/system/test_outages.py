"""Bad luck outside of the program: brokers, databases and disks that vanish in the middle of a run and come back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from gengfu.process.monitor import DEAD_AFTER
from gengfu.store.jobs import Outcome
from gengfu.store.run_rows import RunState, Verdict
from proxy import Proxy
from servers import RedisServer, SmallDisk
from stage import wait_for
from system import SMALL_PAGES, System

OUTAGE = 10.0
"""Seconds for which a database refuses."""

Open = Callable[..., System]


def three_windows(open_system: Open, **settings: str) -> tuple[System, int]:
    """A run of three windows, two of which wait while the first one is read."""
    system = open_system({"devices": 2_600, "latency": "40ms"}, **SMALL_PAGES, **settings)
    worker = system.worker("--concurrency", "1").ready()
    run_id = system.accept()
    wait_for(lambda: system.run(run_id).pages_done)
    assert len(system.jobs(run_id)) == 3
    assert worker.alive
    return system, run_id


def test_a_redis_wiped_in_the_middle_of_a_run_loses_nothing(redis_server: RedisServer, open_system: Open) -> None:
    system, run_id = three_windows(open_system, REDIS_URL=redis_server.url)
    redis_server.wipe()
    system.assert_complete(run_id, new=2_600)
    assert all(outcomes == [Outcome.DONE] for outcomes in system.outcomes(run_id))
    assert system.sim.state()["logins"] <= 2


def test_a_redis_restarted_empty_in_the_middle_of_a_run_loses_nothing(
    redis_server: RedisServer, open_system: Open
) -> None:
    system, run_id = three_windows(open_system, REDIS_URL=redis_server.url)
    redis_server.kill()
    wait_for(lambda: "Redis is away" in system.logs())
    assert "could be told" in system.tell("device:list", "--is-del", "1").err
    redis_server.start()
    system.assert_complete(run_id, new=2_600)
    assert all(outcomes == [Outcome.DONE] for outcomes in system.outcomes(run_id))
    assert system.await_end(run_id + 1).verdict == Verdict.COMPLETE


def test_a_redis_that_is_full_read_only_or_silent_delays_a_run_by_less_than_its_worker_sleeps(
    redis_server: RedisServer, open_system: Open
) -> None:
    proxy = Proxy(redis_server.port)
    try:
        system = open_system({"devices": 2_600}, **SMALL_PAGES, REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        system.worker("--sleep", "3").ready()
        system.assert_complete(system.accept(), new=2_600)
        for trouble in (redis_server.full, redis_server.read_only, proxy.stalled, proxy.shut):
            with trouble():
                started_at = time.monotonic()
                system.await_end(system.accept())
                print(f"{trouble.__name__}: {time.monotonic() - started_at:.1f} s")
    finally:
        proxy.close()


@pytest.mark.parametrize("database_kind", ["postgresql", "mysql"], indirect=True)
def test_a_database_that_refuses_for_ten_seconds_in_the_middle_of_a_run_costs_nothing(
    database_url: str, database_kind: str, open_system: Open
) -> None:
    real = make_url(database_url)
    proxy = Proxy(real.port or {"postgresql": 5432, "mysql": 3306}[database_kind])
    try:
        through = real.set(port=proxy.port).render_as_string(hide_password=False)
        told = {"database_url": through, "view": database_url, "API_CONCURRENCY": "4"}
        system = open_system({"latency": "150ms"}, **told, **SMALL_PAGES)
        workers = [system.worker().ready() for _ in range(2)]
        run_id = system.accept()
        wait_for(lambda: system.run(run_id).pages_done)
        with proxy.shut():
            time.sleep(OUTAGE)
            assert system.run(run_id).state == RunState.READING
            assert "refused" in system.tell("run:list", code=1).err
        system.assert_complete(run_id, new=600)
        assert system.outcomes(run_id) == [[Outcome.DONE]]
        assert all(worker.alive for worker in workers)
    finally:
        proxy.close()


def test_an_sqlite_file_locked_by_another_for_longer_than_a_beat_may_be_late_costs_nothing(open_system: Open) -> None:
    system = open_system({"latency": "150ms"}, **SMALL_PAGES, API_CONCURRENCY="4")
    workers = [system.worker().ready() for _ in range(2)]
    run_id = system.accept()
    wait_for(lambda: system.run(run_id).pages_done)
    with closing(sqlite3.connect(system.db.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        ends = time.monotonic() + DEAD_AFTER + 4.0
        time.sleep(OUTAGE / 2)
        start = system.start("device:list", "--is-del", "1")
        time.sleep(max(0.0, ends - time.monotonic()))
        assert system.run(run_id).state == RunState.READING
        foreign.execute("ROLLBACK")
    assert start.wait(30) == 0
    system.assert_complete(run_id, new=600)
    assert system.await_end(run_id + 1).verdict == Verdict.COMPLETE
    assert system.outcomes(run_id) == [[Outcome.DONE]]
    assert all(worker.alive for worker in workers)


def assert_whole(system: System) -> None:
    """The SQLite file is sound."""
    with closing(sqlite3.connect(system.db.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_run_that_fills_the_disk_goes_on_when_there_is_room(small_disk: SmallDisk, open_system: Open) -> None:
    # Room for the first commits of the run.
    assert small_disk.remount("size=4m")
    system = open_system({"devices": 12_000}, folder=small_disk.folder / "home")
    worker = system.worker().ready()
    run_id = system.accept()
    wait_for(lambda: "attempt failed" in worker.log, 30)
    assert "database or disk is full" in worker.log
    spans_time = system.run(run_id).pages_done > 0
    assert small_disk.remount("size=64m")
    run = system.assert_complete(run_id, new=12_000)
    assert run.pass_number == (2 if spans_time else 1)
    assert system.outcomes(run_id)[0][0] == Outcome.FAILED
    assert worker.told_to_stop() == 0
    assert_whole(system)


def test_on_a_full_disk_nothing_starts_and_nothing_is_half_done(small_disk: SmallDisk, open_system: Open) -> None:
    system = open_system(folder=small_disk.folder / "home", fresh=True)
    small_disk.fill()
    assert "No space left on device" in system.tell("device:list", code=1).err
    small_disk.empty()
    system.assert_complete(system.ask("device:list", "--now")["run"], new=600)

    small_disk.fill()
    before = system.rows()
    for command in (["device:list"], ["device:list", "--now"]):
        said = system.tell(*command, code=1)
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "database or disk is full" in said.err
    assert system.rows() == before
    small_disk.empty()
    system.assert_complete(system.ask("device:list", "--now")["run"], new=0)
    assert_whole(system)


def test_in_a_folder_that_is_read_only_nothing_starts_and_it_is_said_why(
    small_disk: SmallDisk, open_system: Open, tmp_path: Path
) -> None:
    system = open_system(folder=small_disk.folder / "home")
    system.assert_complete(system.ask("device:list", "--now")["run"])
    system.db.dispose()
    wait_for(lambda: small_disk.remount("ro"))
    for command in (["device:list"], ["device:list", "--now"], ["queue:work"]):
        said = system.home.run(*command)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert "Read-only file system" in said.err
        said = system.tell(*command, code=1, LOG_DIR=str(tmp_path / "logs"))
        assert said.out == ""
        assert "gengfu.db failed: unable to open database file" in said.err
    assert small_disk.remount("rw")
    system.assert_complete(system.ask("device:list", "--now")["run"], new=0)
    assert_whole(system)

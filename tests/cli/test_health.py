"""Whether all is well: judged by leases that are renewed, told in one line a component, and ended where it hangs."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gengfu.clock import utcnow
from gengfu.process.monitor import RENEW_EVERY
from gengfu.process.pids import birth_of, host_name, machine
from gengfu.schedule.policy import Entry, JobRequest, RunRequest, Schedule
from gengfu.services import health, within
from gengfu.services.health import Condition, Observer, examine, judge, judge_login, judge_process
from gengfu.services.health_snapshot import EntrySeen, HealthSnapshot, RunsSeen
from gengfu.services.restart import end_hung
from gengfu.settings import Secret
from gengfu.store.database import Database
from gengfu.store.enqueue import new_job, new_run
from gengfu.store.leases import Lease
from gengfu.store.logins import Logins
from gengfu.store.tables import job, lease, schedule_entry, schedule_tick, source, sync_run
from gengfu.vendor.auth import AuthState, AuthStatus
from gengfu.vendor.login import Identity
from servers import SmallDisk
from stage import freeze, wait_for
from system import PASSWORD, SMALL_PAGES, System, stop_at
from terminal import Home

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
OLD = NOW - timedelta(seconds=60)
VENDOR = {"API_WECHAT_URL": "http://127.0.0.1:9/", "API_USERNAME": "operator", "API_PASSWORD": "s3cret word"}

WORKER = Lease("worker", "w", "here", 7, f"{machine()}7", {"queues": []}, 1, 5, None, OLD, NOW, None)
SCHEDULER = replace(WORKER, id=2, kind="scheduler", name="s", details={})
ENTRY = EntrySeen(
    Entry(
        "device_list", ("device:list",), Schedule("*/5 * * * *", timezone="UTC"), "device:list", mirrors=("device", "0")
    ),
    NOW,
    False,
    NOW - timedelta(days=9),
)
RUNS = RunsSeen("default", "device", "0", NOW - timedelta(minutes=3), 12, "complete")
SNAPSHOT = HealthSnapshot(NOW, (), (), {}, ())


def watch(*, moved: tuple[str, ...] = (), alive: bool = True) -> Observer:
    return Observer("here", NOW, moved, lives=lambda pid, birth: alive)


@pytest.mark.parametrize(
    ("seen", "observer", "condition", "text"),
    [
        (WORKER, watch(), Condition.OK, "serves all queues"),
        (replace(WORKER, details={"queues": ["a", "b"]}), watch(), Condition.OK, "serves a, b"),
        (replace(WORKER, renewed_at=OLD), watch(), Condition.PASSING, "it is silent"),
        (replace(WORKER, renewed_at=OLD), watch(moved=("w",)), Condition.OK, "serves all queues"),
        (replace(WORKER, renewed_at=NOW + timedelta(hours=1)), watch(), Condition.PASSING, "it is silent"),
        (replace(WORKER, progress="its x"), watch(moved=("w",)), Condition.WRONG, "it is stuck: its x"),
        (WORKER, watch(alive=False), Condition.PASSING, "it died: process 7 is gone"),
        (replace(WORKER, host="there"), watch(alive=False), Condition.OK, "serves all queues"),
        (replace(WORKER, birth="of:another:1"), watch(alive=False), Condition.OK, "serves all queues"),
        (replace(WORKER, renewed_at=OLD), replace(watch(), locked=True), Condition.OK, "its lease cannot be renewed"),
        (WORKER, replace(watch(), is_stopped=lambda *_: True, locked=True), Condition.PASSING, "it was stopped"),
        (replace(WORKER, host="there"), replace(watch(), is_stopped=lambda *_: True), Condition.OK, "serves all"),
        (SCHEDULER, watch(), Condition.OK, "looks for due ticks"),
    ],
)
def test_how_a_process_is(seen: Lease, observer: Observer, condition: Condition, text: str) -> None:
    component = judge_process(seen, observer)
    assert component.condition is condition
    assert component.text.startswith(text)


def wrong(snapshot: HealthSnapshot, observer: Observer | None = None) -> list[str]:
    return [f"{part.name}: {part.text}" for part in judge(snapshot, observer or watch()) if not part.ok]


LATE = replace(ENTRY, planned_until=NOW - timedelta(seconds=200))
STALLED = replace(LATE, entry=replace(ENTRY.entry, name="other", argv=("backup:data",)))
STALE = replace(RUNS, complete=NOW - timedelta(minutes=17), newest_is="failed")
FAILED = "run 12 is failed; see: gengfu run:show 12"
STALE_TEXT = (
    f"runs of device:list: no complete run for 3 intervals: the last one ended at 2026-03-04 04:49:07 UTC; {FAILED}"
)


@pytest.mark.parametrize(
    ("snapshot", "observer", "said"),
    [
        (SNAPSHOT, watch(), []),
        (
            replace(SNAPSHOT, entries=(ENTRY, STALLED), processes=(SCHEDULER,)),
            watch(),
            ["schedule: nobody looks for due ticks of other; the last time was at 2026-03-04 05:02:47 UTC"],
        ),
        (
            replace(SNAPSHOT, entries=(LATE,)),
            watch(),
            ["schedule: nobody looks for due ticks; the last time was at 2026-03-04 05:02:47 UTC"],
        ),
        (replace(SNAPSHOT, entries=(LATE,)), watch(moved=("device_list",)), []),
        (replace(SNAPSHOT, due={"a": 1}, processes=(WORKER,)), watch(), []),
        (replace(SNAPSHOT, due={"a": 2}), watch(), ["queue a: 2 jobs due, and no worker that is up serves it"]),
        (
            replace(SNAPSHOT, due={"a": 1, "b": 1}, processes=(replace(WORKER, details={"queues": ["b"]}),)),
            watch(),
            ["queue a: 1 job due, and no worker that is up serves it"],
        ),
        (
            replace(SNAPSHOT, due={"a": 1}, processes=(replace(WORKER, progress="its x"),)),
            watch(),
            ["worker w: it is stuck: its x", "queue a: 1 job due, and no worker that is up serves it"],
        ),
        (replace(SNAPSHOT, entries=(ENTRY,), runs=(RUNS,)), watch(), []),
        (
            replace(SNAPSHOT, entries=(ENTRY,), runs=(STALE,)),
            watch(),
            [STALE_TEXT],
        ),
        (
            replace(SNAPSHOT, entries=(ENTRY,), runs=(replace(STALE, complete=None),)),
            watch(),
            [f"runs of device:list: no complete run for 3 intervals: there is none; {FAILED}"],
        ),
        (replace(SNAPSHOT, entries=(ENTRY,), runs=(replace(RUNS, source="other"), STALE)), watch(), [STALE_TEXT]),
        (replace(SNAPSHOT, entries=(replace(ENTRY, paused=True),), runs=(STALE,)), watch(), []),
        (replace(SNAPSHOT, entries=(replace(ENTRY, first_due=OLD),), runs=(STALE,)), watch(), []),
        (
            replace(SNAPSHOT, entries=(replace(ENTRY, entry=replace(ENTRY.entry, mirrors=None)),), runs=(STALE,)),
            watch(),
            [],
        ),
        (
            replace(
                SNAPSHOT,
                entries=(replace(ENTRY, entry=replace(ENTRY.entry, schedule=Schedule("0 2 * * *", timezone="UTC"))),),
                runs=(STALE,),
            ),
            watch(),
            [],
        ),
        (
            replace(
                SNAPSHOT,
                entries=(
                    replace(
                        ENTRY,
                        entry=replace(ENTRY.entry, argv=("device:list", "--is-del", "1"), mirrors=("device", "1")),
                    ),
                ),
                runs=(RUNS, replace(STALE, scope="1", newest=13)),
            ),
            watch(),
            [STALE_TEXT.replace("list", "list --is-del 1").replace("12", "13")],
        ),
    ],
)
def test_what_is_wrong(snapshot: HealthSnapshot, observer: Observer, said: list[str]) -> None:
    assert wrong(snapshot, observer) == said


def test_a_beat_that_seems_old_is_watched_and_found_to_move() -> None:
    looks = [
        replace(SNAPSHOT, processes=(replace(WORKER, renewed_at=OLD, renewals=renewals, host="there"),))
        for renewals in (5, 5, 6)
    ]
    pauses: list[float] = []
    told: list[str] = []
    found = examine(lambda: looks.pop(0), "here", lambda: NOW, told.append, pause=pauses.append)
    assert [text.partition(";")[0] for text in told] == ["worker w: it is silent: its lease is not renewed"]
    assert [part.condition for part in found] == [Condition.OK, Condition.OK]
    assert (looks, len(pauses)) == ([], 2)


def test_what_cannot_pass_is_told_at_once() -> None:
    stuck = replace(SNAPSHOT, processes=(replace(WORKER, progress="its x", host="there"),))
    found = examine(lambda: stuck, "here", lambda: NOW, pytest.fail, pause=lambda seconds: pytest.fail("it waits"))
    assert [part.condition for part in found] == [Condition.OK, Condition.WRONG]


LISTS = replace(ENTRY, entry=replace(ENTRY.entry, queues=RunRequest("device", "0", "device list")))
BACKUP = Entry("nightly", ("backup:data",), Schedule("0 2 * * *", timezone="UTC"), "gengfu.toml")
BACKS_UP = EntrySeen(
    replace(BACKUP, queues=JobRequest("BackupDataJob", "backup", 1, "backup", "Backup")), NOW, False, NOW
)


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (
            replace(SNAPSHOT, entries=(LISTS, BACKS_UP)),
            [
                "queue backup: the schedule uses it for nightly, and no worker that is up serves it",
                "queue device_list: the schedule uses it for device_list, and no worker that is up serves it",
            ],
        ),
        (replace(SNAPSHOT, entries=(LISTS, BACKS_UP), processes=(WORKER,)), []),
        (
            replace(SNAPSHOT, entries=(LISTS, BACKS_UP), processes=(replace(WORKER, details={"queues": ["backup"]}),)),
            ["queue device_list: the schedule uses it for device_list, and no worker that is up serves it"],
        ),
        (replace(SNAPSHOT, entries=(replace(LISTS, paused=True),)), []),
        (replace(SNAPSHOT, entries=(ENTRY,)), []),
        (
            replace(SNAPSHOT, entries=(ENTRY,), runs=(replace(RUNS, held=12),)),
            [
                (
                    "runs of device:list: run 12 is held and waits for you; see: gengfu run:show 12, then "
                    "gengfu device:approve 12 or gengfu device:discard 12"
                )
            ],
        ),
        (
            replace(SNAPSHOT, runs=(replace(RUNS, source="other", scope="1", held=12),)),
            [
                (
                    "runs of device, scope 1: run 12 is held and waits for you; see: gengfu run:show 12, then "
                    "gengfu device:approve 12 or gengfu device:discard 12"
                )
            ],
        ),
        (
            replace(SNAPSHOT, entries=(ENTRY,), runs=(replace(RUNS, ended=("partial", "failed"), ended_at=NOW),)),
            ["runs of device:list: the last two were not complete: partial, failed; see: gengfu run:show 12"],
        ),
        (
            replace(SNAPSHOT, runs=(replace(RUNS, ended=("failed", "drifted"), ended_at=NOW - timedelta(hours=23)),)),
            ["runs of device, scope 0: the last two were not complete: failed, drifted; see: gengfu run:show 12"],
        ),
        (replace(SNAPSHOT, runs=(replace(RUNS, ended=("failed", "failed"), ended_at=NOW - timedelta(hours=25)),)), []),
        (replace(SNAPSHOT, runs=(replace(RUNS, ended=("failed", "complete"), ended_at=NOW),)), []),
        (replace(SNAPSHOT, runs=(replace(RUNS, ended=("failed",), ended_at=NOW),)), []),
    ],
)
def test_what_needs_a_person_is_wrong_at_once(snapshot: HealthSnapshot, said: list[str]) -> None:
    assert wrong(snapshot) == said


STATUS = AuthStatus(AuthState.VALID, "https://v/", "operator", "a", 1, 60.0, None, None, None, None)


@pytest.mark.parametrize(
    ("status", "ok", "text"),
    [
        (STATUS, True, "none was refused"),
        (replace(STATUS, refused_at=NOW, reason="invalid_grant"), False, "the vendor refused the login of operator"),
        (replace(STATUS, gate_until=NOW + timedelta(seconds=30), gate_reason="429"), True, "no request is sent before"),
        (
            replace(STATUS, gate_until=NOW + timedelta(minutes=14), gate_reason="429"),
            False,
            "no request is sent before",
        ),
    ],
)
def test_a_refused_login_and_a_long_wait_are_wrong(status: AuthStatus, ok: bool, text: str) -> None:
    component = judge_login(status, NOW)
    assert component.ok is ok
    assert component.text.startswith(text)


def test_a_login_that_was_refused_and_a_run_that_is_held_show_at_once(open_system: Callable[..., System]) -> None:
    system = open_system(API_PASSWORD="another one")
    for _ in range(2):
        system.tell("device:list", "--now", code=1)
    found = {part["name"]: part for part in system.ask("health", code=1)["components"] if not part["ok"]}
    assert "correct API_USERNAME and API_PASSWORD" in found["login"]["text"]
    assert "the last two were not complete: failed, failed" in found["runs of device, scope 0"]["text"]
    system.set(API_PASSWORD=PASSWORD)
    system.ask("device:list", "--now")
    assert system.ask("health")["ok"]
    system.sim.fleet("delete", count=400, pick="front")
    system.tell("device:list", "--now", code=1)
    found = {part["name"]: part["text"] for part in system.ask("health", code=1)["components"] if not part["ok"]}
    assert found.keys() == {"runs of device, scope 0"}
    assert "is held and waits for you" in found["runs of device, scope 0"]


def test_a_long_wait_that_the_vendor_asked_for_is_wrong_until_it_is_lifted(place: Home, database: Database) -> None:
    account = Identity(VENDOR["API_WECHAT_URL"], VENDOR["API_USERNAME"], Secret("")).account
    logins = Logins(database)
    logins.close_gate(account, "answered 429", 30)
    assert [part["ok"] for part in place.ask("health", "--json").json["components"] if part["name"] == "login"] == [
        True
    ]
    logins.close_gate(account, "answered 429", 800)
    (said,) = [part for part in place.ask("health", "--json").json["components"] if part["name"] == "login"]
    assert not said["ok"]
    assert re.search("no request is sent before .* UTC: answered 429", said["text"])
    assert place.ask("auth:reset").code == 0
    assert [part["ok"] for part in place.ask("health", "--json").json["components"] if part["name"] == "login"] == [
        True
    ]


def test_a_full_disk_is_wrong(place: Home, small_disk: SmallDisk) -> None:
    place.set(**VENDOR, LOG_DIR=str(small_disk.folder))
    told = place.ask("health", "--quiet")
    assert told.code == 1
    assert [row[1] for row in told.rows[1:]] == ["disk"]


@pytest.mark.parametrize("command", ["health", "doctor"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_whoever_waits_for_a_silent_database_is_told(
    home: Path, silent_port: int, scheme: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(within, "TOLD_AFTER", 0.1)
    monkeypatch.setattr(health, "PATIENCE", 0.5)
    monkeypatch.setattr("gengfu.services.doctor.checks_services.PATIENCE", 0.5)
    place = Home(home, **VENDOR, DATABASE_URL=f"{scheme}://nobody@127.0.0.1:{silent_port}/none")
    told = place.ask(command)
    assert told.code == 1
    assert "waiting for the" in told.err
    assert told.out.count("has not answered within 0.5 s") == 1


@pytest.fixture
def place(home: Path, database_url: str, redis_url: str) -> Home:
    return Home(home, **VENDOR, DATABASE_URL=database_url, REDIS_URL=redis_url)


def put(db: Database, table: Any, **row: Any) -> None:
    db.write(lambda connection: connection.execute(insert(table).values(**row)))


def put_process(db: Database, name: str, pid: int, **more: Any) -> None:
    row = {"kind": "worker", "name": name, "host": host_name(), "pid": pid, "birth": birth_of(pid), "progress": None}
    row |= {"details": {"queues": []}, "renewals": 5, "started_at": utcnow(), "renewed_at": utcnow()}
    put(db, lease, **row | more)


def test_all_is_well(place: Home, database: Database) -> None:
    now = utcnow()
    put_process(database, "here:1", os.getpid())
    entry = {"name": "device_list", "fingerprint": "*/5 * * * *|UTC", "planned_until": now, "clock_epoch": 0}
    put(database, schedule_entry, **entry)
    tick = {"entry": "device_list", "due_at": now - timedelta(hours=9), "clock_epoch": 0, "state": "done", "covers": 1}
    tick |= {"command": ["device:list"], "fence": 1, "cancel": False, "claimed_at": now}
    put(database, schedule_tick, **tick)
    for number, name in ((1, "default"), (2, "other")):
        put(database, source, id=number, name=name)
        run = new_run(number, "device", "0", now) | {"state": "closed", "active_key": None, "finished_at": now}
        for verdict in ("complete", "failed") if name == "default" else ("failed",):
            put(database, sync_run, **run | {"verdict": verdict})
    put(database, job, **new_job("Some", {}, queue="a", tries=1, subject=None, now=now))
    told = place.run("health", "--json")
    assert told.code == 0, told
    assert {part["name"]: part["ok"] for part in told.json["components"]} == {
        "disk": True,
        "redis": True,
        "database": True,
        "login": True,
        "user code": True,
        "schedule": True,
        "worker here:1": True,
        "queue a": True,
        "runs of device:list": True,
    }


def test_what_is_wrong_is_told_with_exit_code_1(
    place: Home, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health.time, "sleep", lambda seconds: None)
    now, old = utcnow(), utcnow() - timedelta(hours=9)
    put_process(database, "stuck:1", os.getpid(), progress="its reader has made no progress for 21 seconds")
    put_process(database, "other:2", 1, host="other", renewed_at=old)
    entry = {"name": "device_list", "fingerprint": "*/5 * * * *|UTC", "planned_until": old, "clock_epoch": 0}
    put(database, schedule_entry, **entry)
    put(database, job, **new_job("Some", {}, queue="a", tries=1, subject=None, now=now))
    told = place.ask("health", "--quiet")
    assert told.code == 1
    assert [row[:2] for row in told.rows[1:]] == [
        ["wrong", "schedule"],
        ["wrong", "worker stuck:1"],
        ["wrong", "worker other:2"],
        ["wrong", "queue a"],
        ["wrong", "queue device_list"],
    ]


def test_a_beat_that_cannot_be_written_is_not_held_against_anybody(
    home: Path, sqlite_database: Database, sqlite_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health.time, "sleep", lambda seconds: None)
    place = Home(home, **VENDOR, DATABASE_URL=sqlite_database_url, REDIS_URL=redis_url)
    put_process(sqlite_database, "here:1", os.getpid(), renewed_at=utcnow() - timedelta(hours=9))
    assert place.ask("health").code == 1
    assert sqlite_database.path is not None
    with closing(sqlite3.connect(sqlite_database.path, isolation_level=None)) as migrating:
        migrating.execute("BEGIN IMMEDIATE")
        told = place.ask("health")
    assert (told.code, told.rows[-1][2]) == (
        0,
        "its lease cannot be renewed: another process keeps the database locked",
    )


def test_a_quiet_check_of_a_healthy_program_says_nothing(place: Home) -> None:
    told = place.ask("health", "--quiet")
    assert (told.code, told.out, told.err) == (0, "", "")


def test_a_database_or_a_redis_that_is_away_is_wrong(home: Path, redis_url: str) -> None:
    place = Home(home, **VENDOR, DATABASE_URL="postgresql://nobody@127.0.0.1:9/none", REDIS_URL=redis_url)
    told = place.ask("health", "--json")
    assert told.code == 1
    assert [(part["name"], part["ok"]) for part in told.json["components"]] == [
        ("disk", True),
        ("redis", True),
        ("database", False),
    ]
    place = Home(home, **VENDOR, REDIS_URL="redis://127.0.0.1:9/0")
    told = place.ask("health", "--json")
    assert told.code == 1
    assert [part["name"] for part in told.json["components"] if not part["ok"]] == ["redis"]


def test_a_redis_that_hangs_is_wrong_within_seconds(home: Path, silent_port: int, monkeypatch: Any) -> None:
    place = Home(home, **VENDOR, REDIS_URL=f"redis://127.0.0.1:{silent_port}/0")
    assert place.ask("db:upgrade").code == 0
    monkeypatch.setattr("gengfu.services.health.PATIENCE", 0.5)
    told = place.ask("health", "--json")
    assert told.code == 1
    assert [part["name"] for part in told.json["components"] if not part["ok"]] == ["redis"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def hanging(how: str) -> subprocess.Popen[bytes]:
    code = "import signal, time; print(1, flush=True); time.sleep(600)"
    if how == "stubborn":
        code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {code}"
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert started.stdout is not None
    started.stdout.readline()
    return started


@pytest.mark.parametrize(("how", "text"), [("heeding", "ended by SIGTERM"), ("stubborn", "ended by SIGKILL")])
def test_what_hangs_is_ended(how: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gengfu.services.restart.TERM_GRACE", 0.5)
    with hanging(how) as process:
        seen = replace(WORKER, host=host_name(), pid=process.pid, birth=birth_of(process.pid) or "")
        others = [replace(seen, birth="another:1:1"), replace(seen, host="other"), replace(seen, birth=f"{machine()}1")]
        assert end_hung(others, host_name()) == []
        assert process.poll() is None
        ended = end_hung([*others, seen], host_name())
        assert [(done.process, done.text) for done in ended] == [(seen, text)]
        assert process.wait(5) < 0


def test_a_frozen_worker_is_seen_ended_and_replaced(
    open_system: Callable[..., System], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health.RENEWAL_OLD_AFTER + health.LOOK_FOR + RENEW_EVERY < 30
    monkeypatch.setattr(health, "RENEWAL_OLD_AFTER", 4.0)
    monkeypatch.setattr(health, "LOOK_FOR", 4.0)
    monkeypatch.setattr("gengfu.services.restart.TERM_GRACE", 0.5)
    system = open_system()
    up = system.start("up", "--without", "scheduler")
    pids = lambda: [pid for pid, line in system.processes().items() if "queue:work" in line]  # noqa: E731
    wait_for(lambda: "\nok\tworker " in system.home.ask("health").out, 30, every=0.3)
    up.send_signal(signal.SIGSTOP)
    frozen = pids()[0]
    freeze(frozen, system.db)
    told = wait_for(lambda: (ran := system.home.ask("health", "--restart", "--json")).code and ran, 30, every=0.5)
    assert "it was stopped, as by SIGSTOP" in told.out
    assert [(done["pid"], done["text"]) for done in told.json["ended"]] == [(frozen, "ended by SIGKILL")]
    up.send_signal(signal.SIGCONT)
    wait_for(lambda: pids() and frozen not in pids(), 30, every=0.1)
    wait_for(lambda: system.home.ask("health").code == 0, 40, every=0.3)
    up.terminate()
    assert up.wait(40) == 0


def test_a_worker_that_is_frozen_while_it_keeps_all_others_from_writing_is_ended(
    open_system: Callable[..., System], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOOK_FOR", 1.0)
    monkeypatch.setattr("gengfu.services.restart.TERM_GRACE", 0.5)
    system = open_system({"devices": 2_600, "latency": "10ms"}, **SMALL_PAGES)
    frozen = system.worker().ready()
    run_id = system.accept()
    stop_at(frozen, system.is_locked)
    assert "it was stopped, as by SIGSTOP" in system.home.ask("health").out
    told = system.home.ask("health", "--restart", "--json")
    assert [(done["pid"], done["text"]) for done in told.json["ended"]] == [(frozen.process.pid, "ended by SIGKILL")]
    frozen.process.wait()
    assert not system.is_locked()
    system.worker().ready()
    system.assert_complete(run_id, new=2_600)

"""Two schedulers and one entry whose command is still under way: each overlap policy, death, and take-over."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from gengfu.process.monitor import DEAD_AFTER
from gengfu.process.pids import birth_of, host_name, machine
from gengfu.schedule.policy import CatchUp, Overlap
from gengfu.schedule.running import TICK
from gengfu.schedule.scheduler import Scheduler
from gengfu.store.tables import lease, schedule_tick
from schedulers import NOON, PROGRAM, Rig, entry

Wait = Callable[..., None]
UNTIL_TOLD = "import os, time\nprint('up', flush=True)\nwhile not os.path.exists('go-on'): time.sleep(0.02)"


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed, and looked for, more often."""
    monkeypatch.setattr("gengfu.process.monitor.RENEW_EVERY", 0.2)
    monkeypatch.setattr("gengfu.schedule.scheduler.LOOK_EVERY", 0.1)


@contextmanager
def passing(light: Rig, time: str) -> Iterator[Scheduler]:
    """A pass at that time whose commands are still under way in the block; afterwards they may end."""
    hours, minutes = time.split(":")
    light.now = NOON.replace(hour=int(hours), minute=int(minutes), second=1)
    scheduler = light.scheduler()
    thread = threading.Thread(target=scheduler.run_once, args=(5,))
    thread.start()
    try:
        yield scheduler
    finally:
        (light.home / "go-on").touch()
        thread.join(30)
        assert not thread.is_alive()


def running(light: Rig) -> Callable[[], bool]:
    return lambda: any(row.pid is not None and row.state == "running" for row in light.rows())


def test_a_tick_is_skipped_while_an_earlier_one_runs_elsewhere(rig: Rig, wait_until: Wait) -> None:
    rig.add(entry("tock", UNTIL_TOLD))
    with passing(rig, "12:00"):
        wait_until(running(rig))
        assert rig.run_at("12:01") == ["12:00 running", "12:01 skipped"]
    assert rig.brief() == ["12:00 done", "12:01 skipped"]
    assert rig.rows()[1].reason == "the tick of 12:00:00 is still running, since 12:00:01"


def test_one_tick_waits_for_an_earlier_one_and_a_further_one_is_skipped(rig: Rig, wait_until: Wait) -> None:
    rig.add(entry("tock", UNTIL_TOLD, overlap=Overlap.QUEUE_ONE))
    with passing(rig, "12:00"):
        wait_until(running(rig))
        assert rig.run_at("12:01") == ["12:00 running", "12:01 waiting"]
        assert rig.run_at("12:02") == ["12:00 running", "12:01 waiting", "12:02 skipped"]
    assert rig.brief() == ["12:00 done", "12:01 done", "12:02 skipped"]
    assert rig.rows()[2].reason == "the tick of 12:01:00 is waiting already"


def test_a_tick_takes_the_place_of_one_that_runs_elsewhere(rig: Rig, wait_until: Wait) -> None:
    rig.add(entry("tock", UNTIL_TOLD, overlap=Overlap.CANCEL_RUNNING))
    with passing(rig, "12:00"):
        wait_until(running(rig))
        rig.add(entry("tock", "pass", overlap=Overlap.CANCEL_RUNNING))
        assert rig.run_at("12:01") == ["12:00 cancelled", "12:01 done"]
    assert rig.rows()[0].reason == "ended for a later tick, or by a person"


def test_what_waits_is_taken_up_by_any_later_pass(light: Rig) -> None:
    light.add(entry("tock", "pass", overlap=Overlap.QUEUE_ONE))
    light.write(entry="tock", due_at=NOON - timedelta(hours=1), state="waiting")
    assert light.run_at("12:00") == ["11:00 done", "12:00 done"]


def test_what_waits_is_skipped_when_its_entry_was_paused(light: Rig) -> None:
    from test_scheduler import pause

    light.add(entry("tock", "pass", overlap=Overlap.QUEUE_ONE))
    light.write(entry="tock", due_at=NOON - timedelta(hours=1), state="waiting")
    pause(light)
    assert light.run_at("12:01") == ["11:00 skipped", "12:01 skipped"]


def test_what_waits_is_skipped_when_its_entry_was_switched_off(light: Rig) -> None:
    light.add(entry("tock", "pass", enabled=False))
    light.write(entry="tock", due_at=NOON - timedelta(hours=1), state="waiting")
    assert light.run_at("12:01") == ["11:00 skipped"]
    assert light.rows()[0].reason == "its entry was switched off"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence counts sooner."""
    monkeypatch.setattr("gengfu.process.monitor.DEAD_AFTER", 1.0)


def lease_of_another(light: Rig, **more: Any) -> int:
    """The lease of a scheduler on a host that cannot be looked at."""
    who = {"kind": "scheduler", "name": "other:1:a", "host": "other", "pid": 1, "birth": "elsewhere:1", "details": {}}
    who |= {"renewals": 4, "started_at": NOON, "renewed_at": NOON}
    statement = lease.insert().values(**{**who, **more})
    key = light.database.write(lambda connection: connection.execute(statement).inserted_primary_key)
    assert key is not None
    return int(key[0])


def test_a_claimed_tick_of_a_silent_scheduler_is_taken_over(rig: Rig, hurried: None) -> None:
    rig.add(entry("tock", "pass"))
    rig.write(entry="tock", due_at=NOON, state="claimed", lease_id=lease_of_another(rig))
    assert rig.run_at("12:00") == ["12:00 done"]
    assert rig.rows()[0].fence == 2


def test_one_whose_scheduler_was_killed_on_this_host_is_taken_over_at_once(rig: Rig) -> None:
    here = {"host": host_name(), "birth": f"{machine()}1", "pid": 999_999_999}
    rig.add(entry("tock", "pass"))
    rig.write(entry="tock", due_at=NOON, state="claimed", lease_id=lease_of_another(rig, **here))
    assert rig.run_at("12:00") == ["12:00 done"]


@pytest.mark.parametrize(("catch_up", "state"), [(CatchUp.NONE, "missed"), (CatchUp.LATEST, "done")])
def test_one_that_is_found_late_goes_by_the_catch_up_policy(light: Rig, catch_up: CatchUp, state: str) -> None:
    light.add(entry("tock", "pass", "0 0 1 1 *", catch_up=catch_up))
    light.write(entry="tock", due_at=NOON, state="claimed")
    assert light.run_at("12:30") == [f"12:00 {state}"]


def test_a_running_tick_of_a_silent_scheduler_is_lost_and_the_next_one_runs(rig: Rig, hurried: None) -> None:
    rig.add(entry("tock", "pass"))
    running = {"state": "running", "started_at": NOON, "lease_id": lease_of_another(rig)}
    rig.write(entry="tock", due_at=NOON - timedelta(minutes=1), **running)
    assert rig.run_at("12:00") == ["11:59 lost", "12:00 done"]
    assert rig.rows()[0].reason == "its scheduler other:1:a died while it ran"


def test_a_claimed_tick_that_was_handed_on_is_taken_at_once(rig: Rig) -> None:
    rig.add(entry("tock", "pass"))
    rig.write(entry="tock", due_at=NOON, state="claimed", scheduler=None)
    began = time.monotonic()
    assert rig.run_at("12:00") == ["12:00 done"]
    assert time.monotonic() - began < DEAD_AFTER


@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("ignores", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"])
def test_the_command_of_a_killed_scheduler_is_ended_before_its_tick_is_lost(
    light: Rig, monkeypatch: pytest.MonkeyPatch, ignores: str, is_recorded: bool
) -> None:
    monkeypatch.setattr("gengfu.schedule.open_ticks.KILL_AFTER", 0.5)
    running = {"state": "running", "started_at": NOON, "lease_id": 4711}
    number = light.write(entry="tock", due_at=NOON - timedelta(minutes=1), **running)
    left = subprocess.Popen(
        [*PROGRAM, ignores + UNTIL_TOLD],
        cwd=light.home,
        stdout=subprocess.PIPE,
        process_group=0,
        env={**os.environ, TICK: str(number), "GENGFU_HOME": str(light.home)},
    )
    assert left.stdout is not None
    left.stdout.readline()
    threading.Thread(target=left.wait, daemon=True).start()  # as the init process does, whose child it is by then
    if is_recorded:
        known = schedule_tick.update().values(pid=left.pid, birth=birth_of(left.pid))
        light.database.write(lambda connection: connection.execute(known))
    light.add(entry("tock", "import os; print(os.path.exists('/proc/%d' % PID))".replace("PID", str(left.pid))))
    assert light.run_at("12:00") == ["11:59 lost", "12:00 done"]
    assert light.rows()[1].output == "False\n"
    assert left.returncode == (-9 if ignores else -15)


@pytest.mark.parametrize("differs", [{TICK: "4711"}, {"GENGFU_HOME": "/elsewhere"}])
def test_the_command_of_another_tick_or_folder_is_let_be(light: Rig, differs: dict[str, str]) -> None:
    running = {"state": "running", "started_at": NOON, "lease_id": 4711}
    number = light.write(entry="tock", due_at=NOON - timedelta(minutes=1), **running)
    told = {TICK: str(number), "GENGFU_HOME": str(light.home)} | differs
    other = subprocess.Popen(["sleep", "60"], process_group=0, env={**os.environ, **told})
    try:
        light.add(entry("tock", "pass"))
        assert light.run_at("12:00") == ["11:59 lost", "12:00 done"]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_another_process_of_that_number_is_let_be(light: Rig) -> None:
    other = subprocess.Popen(["sleep", "60"], process_group=0)
    try:
        running = {"state": "running", "started_at": NOON, "pid": other.pid, "birth": f"{machine()}1"}
        light.write(entry="tock", due_at=NOON - timedelta(minutes=1), **running)
        light.add(entry("tock", "pass"))
        assert light.run_at("12:00") == ["11:59 lost", "12:00 done"]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_tick_that_was_given_up_while_its_scheduler_slept_ends_its_command(light: Rig, wait_until: Wait) -> None:
    light.add(entry("tock", "import time; time.sleep(600)"))
    with passing(light, "12:00"):
        wait_until(running(light))
        with light.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE schedule_tick SET state = 'lost', reason = 'silent'")
    (row,) = light.rows()
    assert (row.state, row.reason) == ("cancelled", "its tick was given up while its scheduler was silent")


def test_a_scheduler_that_others_took_for_dead_ends_its_command(light: Rig, wait_until: Wait) -> None:
    light.add(entry("tock", "import time; time.sleep(600)"))
    with passing(light, "12:00"):
        wait_until(running(light))
        with light.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE lease SET lost_at = renewed_at")
        wait_until(lambda: light.brief() == ["12:00 cancelled"])
    assert light.rows()[0].reason == "its tick was given up while its scheduler was silent"


def test_a_daemon_that_is_told_to_stop_lets_what_runs_end(light: Rig, wait_until: Wait) -> None:
    light.add(entry("tock", UNTIL_TOLD))
    scheduler = light.scheduler()
    thread = threading.Thread(target=scheduler.work, args=(30,))
    thread.start()
    wait_until(running(light))
    scheduler.stop()
    time.sleep(0.3)
    assert light.brief() == ["12:00 running"]
    (light.home / "go-on").touch()
    thread.join(10)
    assert light.brief() == ["12:00 done"]


@pytest.mark.parametrize(("grace", "stops"), [(0.3, 1), (600.0, 2)])
def test_after_the_grace_or_the_second_signal_it_is_ended(
    light: Rig, wait_until: Wait, grace: float, stops: int
) -> None:
    light.add(entry("tock", UNTIL_TOLD))
    scheduler = light.scheduler()
    thread = threading.Thread(target=scheduler.work, args=(grace,))
    thread.start()
    wait_until(running(light))
    for _ in range(stops):
        scheduler.stop()
    thread.join(10)
    (row,) = light.rows()
    assert (row.state, row.reason) == ("cancelled", "its scheduler was told to stop")


def test_a_command_that_ignores_sigterm_is_killed(light: Rig, wait_until: Wait) -> None:
    light.add(entry("tock", f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{UNTIL_TOLD}"))
    scheduler = light.scheduler()
    thread = threading.Thread(target=scheduler.work, args=(600,))
    thread.start()
    wait_until(lambda: "up" in ((light.home / "logs" / "tock.log").read_text() if running(light)() else ""))
    scheduler.stop()
    scheduler.stop()
    thread.join(10)
    assert [(row.state, row.exit_code) for row in light.rows()] == [("cancelled", -9)]


def test_a_daemon_wakes_at_due_moments_and_reads_changed_entries(light: Rig, wait_until: Wait) -> None:
    from gengfu.clock import utcnow

    light.add(entry("tock", "pass", "* * * * * *"))
    scheduler = light.scheduler(utcnow)
    thread = threading.Thread(target=scheduler.work, args=(5,))
    thread.start()
    wait_until(lambda: len(light.rows()) >= 3)
    light.add(entry("tack", "pass", "* * * * * *"))
    wait_until(lambda: any(row.entry == "tack" and row.state == "done" for row in light.rows()))
    scheduler.stop()
    thread.join(10)
    lags = [(row.started_at - row.due_at).total_seconds() for row in light.rows()[1:] if row.started_at]
    assert sorted(lags)[len(lags) // 2] < 1.0

"""The scheduler on real databases with real child processes, at a clock that the tests set."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from gengfu.clock import utcnow
from gengfu.schedule.policy import CatchUp, Overlap
from gengfu.schedule.server_clock import ServerClock
from gengfu.store import retention
from gengfu.store.enqueue import enqueue
from gengfu.store.runs import RunStore
from gengfu.store.sources import default_source
from gengfu.store.ticks import TickStore
from schedulers import NOON, Rig, entry, process_is_alive

Wait = Callable[..., None]


def test_a_due_tick_runs_once_however_many_passes_see_it(rig: Rig) -> None:
    rig.add(entry("tock", "print('bim'); print('bam')"))
    assert rig.run_at("12:00") == ["12:00 done"]
    assert rig.run_at("12:00") == ["12:00 done"]
    assert rig.run_at("12:01") == ["12:00 done", "12:01 done"]
    (row, _) = rig.rows()
    assert (row.exit_code, row.output, row.pid is None, row.fence) == (0, "bim\nbam\n", False, 1)
    assert row.started_at == row.finished_at
    assert [line.split(" ", 1)[1] for line in (rig.home / "logs" / "tock.log").read_text().splitlines()][:2] == [
        f"INFO bim tick={row.id}",
        f"INFO bam tick={row.id}",
    ]


def test_an_entry_that_cannot_be_planned_keeps_no_other_from_running(light: Rig) -> None:
    light.add(entry("broken", "pass", "no cron at all"), entry("tock", "pass"))
    assert light.run_at("12:00") == ["12:00 done"]


def test_many_schedulers_at_once_fire_a_tick_once(rig: Rig) -> None:
    rig.add(entry("tock", "pass"), entry("tack", "pass", "*/2 * * * *"))
    threads = [threading.Thread(target=rig.scheduler().run_once, args=(5,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rig.brief()) == ["12:00 done", "12:00 done"]
    assert len(rig.over) == 2


def test_ticks_that_nobody_looked_for_are_one_row_with_the_reason(rig: Rig) -> None:
    rig.add(entry("tock", "pass"))
    rig.run_at("12:00")
    assert rig.run_at("12:10") == ["12:00 done", "12:01 missed x9", "12:10 done"]
    missed = rig.rows()[1]
    assert missed.reason == "no scheduler was running from 12:00:01 to 12:10:01"
    assert f"{missed.until_at:%H:%M}" == "12:09"


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.NONE, ["12:00 done", "12:05 missed x6", "12:35 done"]),
        (CatchUp.LATEST, ["12:00 done", "12:05 missed x5", "12:30 done", "12:35 done"]),
        (CatchUp.ALL, ["12:00 done", "12:05 missed x3", "12:20 done", "12:25 done", "12:30 done", "12:35 done"]),
    ],
)
def test_what_was_missed_is_caught_up_by_the_policy(light: Rig, catch_up: CatchUp, expected: list[str]) -> None:
    policy = {"catch_up": catch_up, "catch_up_limit": 3, "overlap": Overlap.QUEUE_ONE}
    light.add(entry("tock", "pass", "*/5 * * * *", **policy))
    light.run_at("12:00")
    assert light.run_at("12:35") == expected
    begun = [row.started_at for row in light.rows() if row.state == "done"]
    assert begun == sorted(begun)


def pause(rig: Rig) -> bool:
    return TickStore(rig.database).write(lambda ticks: ticks.pause("tock", "root@web1", "upgrade", rig.now))


def test_a_paused_entry_is_one_row_that_grows_and_then_goes_on(rig: Rig) -> None:
    rig.add(entry("tock", "pass"))
    rig.run_at("12:00")
    assert [pause(rig) for _ in range(2)] == [True, False]
    rig.run_at("12:01")
    rig.run_at("12:02")
    assert rig.run_at("12:04") == ["12:00 done", "12:01 skipped x4"]
    assert rig.rows()[1].reason == "paused by root@web1 since 12:00:01: upgrade"
    assert [TickStore(rig.database).write(lambda ticks: ticks.resume("tock")) for _ in range(2)] == [True, False]
    assert rig.run_at("12:05") == ["12:00 done", "12:01 skipped x4", "12:05 done"]


def test_an_entry_can_be_paused_before_it_was_ever_seen(rig: Rig) -> None:
    rig.add(entry("tock", "pass"))
    pause(rig)
    assert rig.run_at("12:01") == ["12:01 skipped"]


def test_a_clock_set_back_by_an_hour_repeats_only_what_runs_at_intervals(rig: Rig) -> None:
    rig.add(entry("often", "pass", "*/10 * * * *"), entry("daily", "pass", "0 12 * * *"))
    rig.run_at("12:00")
    assert rig.run_at("11:00") == ["12:00 done", "12:00 done"]
    rig.run_at("11:10")
    rig.run_at("12:00")
    found = [(row.entry, f"{row.due_at:%H:%M}", row.clock_epoch, row.state) for row in rig.rows()]
    assert ("often", "11:10", 1, "done") in found
    assert ("often", "12:00", 1, "done") in found
    assert [row for row in found if row[0] == "daily"] == [("daily", "12:00", 0, "done")]


def test_a_clock_set_back_by_four_hours_repeats_what_runs_at_a_fixed_time_too(rig: Rig) -> None:
    rig.add(entry("daily", "pass", "0 12 * * *"))
    rig.run_at("12:00")
    rig.run_at("13:00")
    rig.run_at("09:00")
    rig.run_at("12:00")
    assert [(row.clock_epoch, row.state) for row in rig.rows()] == [(0, "done"), (1, "done")]


def test_a_command_that_fails_is_told_with_its_last_words(light: Rig) -> None:
    light.add(
        entry("tock", "import sys; print('no such table'); sys.exit(3)"),
        entry("tack", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
    )
    light.run_at("12:00")
    assert {row.entry: (row.state, row.exit_code, row.reason) for row in light.rows()} == {
        "tock": ("failed", 3, "exit code 3: no such table"),
        "tack": ("failed", -11, "ended by SIGSEGV"),
    }


def test_a_command_whose_log_cannot_be_written_runs_all_the_same(light: Rig) -> None:
    light.add(entry("tock", "print('bim')"))
    (light.home / "logs").write_text("in the way")
    assert light.run_at("12:00") == ["12:00 done"]
    assert light.rows()[0].output == "bim\n"


def test_a_command_that_cannot_be_started_is_told(light: Rig) -> None:
    light.add(entry("tock", "pass"))
    light.program = ("/nowhere/python",)
    assert light.run_at("12:00") == ["12:00 failed"]
    (row,) = light.rows()
    assert row.reason == "could not be started: [Errno 2] No such file or directory: '/nowhere/python'"


def test_a_command_that_runs_too_long_is_ended_with_all_that_it_started(light: Rig, wait_until: Wait) -> None:
    child = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    light.add(entry("tock", f"{child}; import time; time.sleep(600)", timeout=0.7))
    assert light.run_at("12:00") == ["12:00 failed"]
    (row,) = light.rows()
    assert row.reason == "ran into its time limit of 0.7 s"
    wait_until(lambda: not process_is_alive(int(row.output.split()[0])))


def test_output_is_kept_to_its_end_and_shows_no_secret(light: Rig) -> None:
    big = "print('x' * 99 + chr(10)) \nfor n in range(3000): print(n, 'Kiefer4711', chr(0), '张三')"
    light.add(entry("tock", big))
    light.run_at("12:00")
    (row,) = light.rows()
    assert len(row.output.encode()) <= 16 * 1024
    assert row.output.endswith("2999 ****** \ufffd 张三\n")
    logged = (light.home / "logs" / "tock.log").read_text()
    assert logged.count("张三") == 3000
    assert "Kiefer4711" not in logged


def test_a_command_may_leave_something_behind_that_holds_its_output(light: Rig) -> None:
    light.add(entry("tock", "import subprocess; print(subprocess.Popen(['sleep', '30']).pid)"))
    started = time.monotonic()
    assert light.run_at("12:00") == ["12:00 done"]
    assert time.monotonic() - started < 10
    os.kill(int(light.rows()[0].output), signal.SIGKILL)


def start_run(rig: Rig) -> int:
    source = default_source(rig.settings)
    return enqueue(rig.database, lambda work: work.start_run(source, "device", "0", 3, NOON)).run


def test_a_run_that_a_command_would_only_find_active_is_the_reason_of_a_skip(rig: Rig) -> None:
    rig.add(replace(entry("tock", "pass"), mirrors=("device", "0")))
    number = start_run(rig)
    assert rig.run_at("12:00") == ["12:00 skipped"]
    assert rig.rows()[0].reason == f"run {number} is still active, no worker has taken it yet, since 12:00:00"


def test_a_run_that_is_active_is_cancelled_where_the_policy_says_so(rig: Rig) -> None:
    rig.add(replace(entry("tock", "pass", overlap=Overlap.CANCEL_RUNNING), mirrors=("device", "0")))
    run = RunStore(rig.database, lambda: NOON)
    number = start_run(rig)
    assert rig.run_at("12:00") == ["12:00 done"]
    ended = run.get(number)
    assert ended is not None
    assert (ended.verdict, ended.reason) == ("failed", "cancelled for a later start")


def test_a_tick_waits_for_a_run_where_the_policy_says_so(rig: Rig) -> None:
    rig.add(replace(entry("tock", "pass", overlap=Overlap.QUEUE_ONE), mirrors=("device", "0")))
    number = start_run(rig)
    assert rig.run_at("12:00") == ["12:00 waiting"]
    RunStore(rig.database, lambda: NOON).abort(number, "test")
    assert rig.run_at("12:00") == ["12:00 done"]


def test_old_rows_are_removed_but_for_the_last_of_each_entry(rig: Rig) -> None:
    old = NOON - timedelta(days=91)
    for number, (name, state) in enumerate([("a", "done"), ("a", "lost"), ("b", "failed"), ("c", "running")]):
        rig.write(entry=name, due_at=old + timedelta(minutes=number), state=state, claimed_at=old)
    rig.write(entry="a", due_at=NOON, state="done")
    assert retention.prune(rig.database, NOON)["ticks"] == 2
    assert [row.entry for row in rig.rows()] == ["b", "c", "a"]


def test_the_clock_is_that_of_the_server_and_asked_now_and_then(rig: Rig) -> None:
    if rig.database.path is not None:
        pytest.skip("a file has no clock")
    elapsed = [100.0]
    clock = ServerClock(TickStore(rig.database), utcnow, lambda: elapsed[0])
    first = clock()
    elapsed[0] += 4
    assert clock() == first + timedelta(seconds=4)
    elapsed[0] += 4
    assert abs(clock() - first) < timedelta(seconds=3)

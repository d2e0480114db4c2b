"""One process tree for one machine: what dies or hangs is replaced, all end in order, and a folder has one `up`."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gengfu.process.supervisor import Next, lasting
from stage import wait_for
from supervised import DYING, LAZY, MUTE, REFUSING, STEADY, STUBBORN, Family
from system import System

Start = Callable[..., Family]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(role, ..., **more)`: a supervisor with these children."""
    started: list[Family] = []

    def make(*roles: dict[str, Any], **more: Any) -> Family:
        started.append(Family(tmp_path, *roles, **more))
        return started[-1]

    yield make
    for family in started:
        family.close()


@pytest.mark.parametrize(
    ("code", "was_ready", "expected"),
    [
        (0, True, Next.REPLACE),
        (0, False, Next.REPLACE),
        (1, True, Next.REPLACE_LATER),
        (-9, False, Next.REPLACE_LATER),
        (2, False, Next.GIVE_UP),
        (2, True, Next.REPLACE_LATER),
    ],
)
def test_what_follows_the_end_of_a_lasting_child(code: int, was_ready: bool, expected: Next) -> None:
    assert lasting(code, was_ready) is expected


def test_a_child_that_was_killed_is_replaced_and_the_others_are_let_be(start: Start) -> None:
    family = start({"name": "worker", "code": STEADY, "count": 2})
    pids = family.await_told(r"worker \d\|ready (\d+)", 2)
    os.kill(int(pids[0]), signal.SIGKILL)
    assert len(set(family.await_told(r"worker \d\|ready (\d+)", 3))) == 3
    family.await_told(rf"^\|worker \d \(process {pids[0]}\) was killed by SIGKILL; the next one starts in 0.05 s")
    family.signal(signal.SIGTERM)
    assert family.process.wait(10) == 0


def test_a_child_that_keeps_dying_is_replaced_after_pauses_that_grow(start: Start) -> None:
    family = start({"name": "worker", "code": DYING}, pauses=[0.02, 0.04, 0.08])
    waits = family.await_told(r"ended with exit code 3; the next one starts in ([\d.]+) s; its last line: I cannot", 4)
    assert waits[:4] == ["0.02", "0.04", "0.08", "0.08"]


def test_a_configuration_that_is_refused_from_the_start_ends_all(start: Start) -> None:
    family = start({"name": "scheduler", "code": STEADY}, {"name": "worker", "code": REFUSING})
    assert family.process.wait(10) == 2
    family.await_told("its command line or its configuration is refused")
    assert "scheduler|ends" in family.told or not any("scheduler|ready" in line for line in family.told)


@pytest.mark.parametrize("how", ["its loop", "the whole process"])
def test_a_child_that_is_stuck_is_ended_and_replaced(start: Start, how: str) -> None:
    family = start({"name": "worker", "code": MUTE if how == "its loop" else STEADY}, stuck_after=1.0, stuck_grace=1.0)
    pid = int(family.await_told(r"worker\|ready (\d+)")[0])
    if how == "the whole process":
        os.kill(pid, signal.SIGSTOP)
    family.await_told(rf"^\|worker \(process {pid}\) is stuck; it is replaced")
    if how == "the whole process":
        family.await_told(rf"worker \(process {pid}\) did not end when told to; killed")
    else:
        family.await_told(rf"worker \(process {pid}\) ended with exit code 0; the next one starts in 0.05 s")
    family.await_told(r"worker\|ready (\d+)", 2)


def test_a_supervisor_that_slept_itself_does_not_take_its_children_for_stuck(start: Start) -> None:
    family = start({"name": "worker", "code": STEADY}, {"name": "page", "code": STEADY}, stuck_after=1.5)
    pid = int(family.await_told(r"page\|ready (\d+)")[0])
    family.await_told(r"worker\|ready (\d+)")
    family.signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    frozen = time.monotonic()
    wait_for(lambda: time.monotonic() - frozen > 1.5)
    family.signal(signal.SIGCONT)
    family.await_told(r"page\|ready (\d+)", 2)
    assert not [line for line in family.told if "stuck" in line]


def test_a_child_that_does_not_speak_the_protocol_is_not_taken_for_stuck(start: Start) -> None:
    page = {"name": "page", "code": MUTE, "watched": False}
    family = start(page, {"name": "worker", "code": MUTE}, stuck_after=0.2)
    family.await_told(r"page\|ready (\d+)")
    family.await_told(r"worker\|ready (\d+)", 2)
    assert not [line for line in family.told if "stuck" in line and "page" in line]


def test_told_to_stop_the_first_role_ends_before_the_second_is_told(start: Start) -> None:
    family = start({"name": "scheduler", "code": LAZY}, {"name": "worker", "code": STEADY, "count": 2})
    family.await_told(r"\|ready", 3)
    family.signal(signal.SIGINT)
    assert family.process.wait(10) == 0
    told = family.told
    gone = next(number for number, line in enumerate(told) if re.search(r"^\|scheduler .* ended", line))
    assert told.index("scheduler|ends") < gone
    assert not [line for line in told[:gone] if line.startswith("worker") and line.endswith("|ends")]
    assert sum("worker" in line and line.endswith("|ends") for line in told) == 2


def test_told_twice_all_end_at_once(start: Start) -> None:
    family = start({"name": "scheduler", "code": STUBBORN}, {"name": "worker", "code": STUBBORN})
    family.await_told(r"\|ready", 2)
    family.signal(signal.SIGTERM)
    time.sleep(0.3)
    assert family.process.poll() is None
    family.signal(signal.SIGTERM)
    assert family.process.wait(5) == 0
    assert sum("was killed by SIGUSR1" in line for line in family.told) == 2


def test_systemd_hears_of_all_children_by_their_supervisor(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        family = start({"name": "worker", "code": STEADY, "count": 2}, environment=environment)
        words = [heard.recv(100)]
        while b"READY=1" not in words:
            words.append(heard.recv(100))
        assert sum("|ready" in line for line in family.await_told(r".*\|ready.*", 2)) == 2
        assert set(words) <= {b"READY=1", b"WATCHDOG=1"}
        while heard.recv(100) != b"WATCHDOG=1":
            continue
        family.signal(signal.SIGTERM)
        while heard.recv(100) != b"STOPPING=1":
            continue
        assert family.process.wait(10) == 0


def test_children_end_with_a_supervisor_that_was_killed(start: Start) -> None:
    family = start({"name": "worker", "code": STEADY, "count": 2})
    family.await_told(r"\|ready", 2)
    family.signal(signal.SIGKILL)
    family.close()


def test_a_folder_has_one_up_which_runs_jobs_and_survives_the_death_of_its_worker(
    open_system: Callable[..., System],
) -> None:
    system = open_system({"devices": 30})
    up = system.start("up", "--queue", "device_list,other", "--without", "scheduler")
    workers = lambda: [pid for pid, line in system.processes().items() if "queue:work" in line]  # noqa: E731
    try:
        wait_for(workers, 30, every=0.1)
        assert system.tell("up", "--if-absent").out == (
            f"`gengfu up` runs for {system.home.folder} already, as process {up.pid}.\n"
        )
        refused = system.tell("up", code=1)
        assert f"runs for {system.home.folder} already, as process {up.pid}; end that one first" in refused.err
        system.assert_complete(system.accept())
        killed = workers()[0]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: workers() and killed not in workers(), 30, every=0.1)
        system.assert_complete(system.accept())
        up.terminate()
        out, err = up.communicate(timeout=40)
    finally:
        up.kill()
    assert (up.returncode, err) == (0, b"")
    assert re.search(
        rf"^up     \| worker \(process {killed}\) was killed by SIGKILL; the next one", out.decode(), re.MULTILINE
    )
    assert re.search(r"^worker \| .* INFO worker ready .*", out.decode(), re.MULTILINE)
    assert "was killed by SIGKILL" in system.home.logged("up.log")
    assert not (system.home.folder / "var" / "up.lock").exists()


def test_workers_end_with_an_up_that_was_killed_and_its_lock_is_free(open_system: Callable[..., System]) -> None:
    system = open_system()
    up = system.start("up", "--workers", "2", "--without", "scheduler")
    workers = lambda: [pid for pid, line in system.processes().items() if "queue:work" in line]  # noqa: E731
    log = system.home.folder / "logs" / "queue_worker.log"
    wait_for(lambda: log.exists() and log.read_text().count("worker ready") == 2, 30, every=0.1)
    up.kill()
    wait_for(lambda: not workers(), 30, every=0.1)
    assert log.read_text().count("the parent of this process is gone") == 2
    second = system.start("up", "--if-absent", "--without", "scheduler")
    wait_for(workers, 30, every=0.1)
    second.terminate()
    assert second.wait(40) == 0


def test_up_with_nothing_to_run_or_without_settings_is_one_sentence(open_system: Callable[..., System]) -> None:
    system = open_system()
    left_out = system.tell("up", "--without", "scheduler", "--without", "workers", code=2)
    assert left_out.err == "gengfu: --without leaves nothing to run; see: gengfu up --help\n"
    system.set(API_PASSWORD="")
    unset = system.tell("up", code=2)
    assert "API_PASSWORD is not set" in unset.err

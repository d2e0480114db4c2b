"""The demonstration: it shows what it promises, proves it, touches nothing of the person's, and leaves no process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gengfu.app import App
from gengfu.services.demo import DemoFailed, demo_folder, differences
from gengfu.settings import load_settings
from gengfu_simulator.testing import Simulator
from terminal import Home, read_terminal, read_until


def processes_of(folder: Path) -> list[str]:
    """The command lines of the processes that work in that folder, or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(folder) in command or f"GENGFU_HOME={folder}".encode() in (process / "environ").read_bytes():
                found.append(command)
        except OSError:
            continue
    return found


def test_two_runs_are_shown_and_proved_and_nothing_is_left(home: Path) -> None:
    place = Home(home, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", API_USERNAME="mine")
    done = place.run("demo", "--devices", "300", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out + done.err
    told = [line.split("\t") for line in done.out.splitlines() if line.startswith(("1\tcomplete", "2\tcomplete"))]
    assert [row[:7] for row in told] == [
        ["1", "complete", "300", "0", "0", "0", "0"],
        ["2", "complete", "12", "24", "8", "0", "268"],
    ]
    assert "The mirror equals the vendor's list, field by field." in done.out
    assert f"The data lies in {home / 'var' / 'demo'}" in done.out
    assert "gone_at\t-\t20" in done.out
    assert (home / "var" / "demo" / "var" / "gengfu.db").exists()
    assert processes_of(home) == []
    assert not (home / "var" / "gengfu.db").exists()
    assert "mine" in (home / ".env").read_text()


def test_on_a_terminal_there_is_a_bar(home: Path) -> None:
    shown = Home(home).on_terminal("demo", "--devices", "300")
    assert shown.code == 0
    assert "run 1 " in shown.out
    assert "5/5 pages" in shown.out
    assert processes_of(home) == []


@pytest.mark.parametrize("moment", ["Starting a vendor", "Second run"])
def test_ctrl_c_leaves_no_process(home: Path, moment: str) -> None:
    process, master = Home(home).start_on_terminal("demo", "--devices", "2000")
    read_until(master, moment)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (130, -signal.SIGINT)
    assert "Traceback" not in read_terminal(master)
    assert processes_of(home) == []


def test_sigterm_leaves_no_process(home: Path) -> None:
    process, master = Home(home).start_on_terminal("demo", "--devices", "2000")
    read_until(master, "First run")
    process.terminate()
    assert process.wait(60) in (130, -signal.SIGINT)
    read_terminal(master)
    assert processes_of(home) == []


def test_a_killed_demo_takes_its_processes_along(home: Path) -> None:
    process, master = Home(home).start_on_terminal("demo", "--devices", "2000")
    read_until(master, "First run")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(home) == []
    read_terminal(master)


def test_a_folder_with_other_things_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "var" / "demo"
    folder.mkdir(parents=True)
    (folder / "precious").write_text("mine")
    with pytest.raises(DemoFailed, match="holds what no demo has put there"), demo_folder():
        pass
    assert (folder / "precious").read_text() == "mine"


def test_the_next_demo_begins_with_an_empty_folder_and_two_do_not_meet(home: Path) -> None:
    with demo_folder() as folder:
        (folder / "old").mkdir()
        with pytest.raises(DemoFailed, match="another demo is running"), demo_folder():
            pass
    with demo_folder() as again:
        assert again == folder
        assert not (folder / "old").exists()


def test_any_difference_from_the_vendor_is_noticed(home: Path, wait_until: Callable[..., None]) -> None:
    with Simulator(60) as vendor:
        place = Home(home, API_WECHAT_URL=vendor.url, API_USERNAME="demo", API_PASSWORD="demo")
        assert place.ask("device:list", "--now").code == 0
        truth = vendor.snapshot()
    app = App(load_settings({"GENGFU_HOME": str(home)}))
    devices = app.devices
    try:
        assert differences(truth, truth, devices) == []
        for change, noticed in (
            ({100001: truth[100001] | {"memo": "other"}}, "device 100001: memo is"),
            ({100001: truth[100001] | {"createTime": "2001-01-01T00:00:00"}}, "device 100001: create_time is"),
            ({7: truth[100001]}, "device 7 is not in the mirror"),
        ):
            (found,) = differences(truth, truth | change, devices)
            assert found.startswith(noticed)
        fewer = {key: row for key, row in truth.items() if key != 100002}
        assert differences(truth, fewer, devices) == [
            "device 100002 is in the mirror alone",
            "device 100002 should be gone",
        ]
    finally:
        app.close()

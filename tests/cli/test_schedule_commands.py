"""The schedule's commands as people run them: one pass, a daemon, a try, pausing."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gengfu.errors import ConfigError
from gengfu.schedule.entries import Entries, EntryReader, load_entries
from terminal import Home

Wait = Callable[..., None]

ENTRIES = """
[schedule.device_list]
enabled = false
[schedule.tock]
command = "run:list --limit 3"
cron = "* * * * * *"
[schedule.yearly]
command = "device:show 999"
cron = "0 0 1 1 *"
"""


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Home:
    made = Home(tmp_path / "home", GENGFU_TIMEZONE="UTC")
    (made.folder / "var").mkdir()
    shutil.copy(sqlite_template, made.folder / "var" / "gengfu.db")
    (made.folder / "gengfu.toml").write_text(ENTRIES)
    return made


def rows(home: Home) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(home.folder / "var" / "gengfu.db", timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM schedule_tick ORDER BY id")]


def test_a_pass_runs_what_is_due_and_tells_of_it(home: Home) -> None:
    told = home.ask("schedule:run", "--json")
    assert told.code == 0
    (tick,) = told.json["ticks"]
    assert (tick["entry"], tick["state"], tick["exit_code"], tick["reason"]) == ("tock", "done", 0, None)
    (row,) = rows(home)
    assert (row["state"], row["output"]) == ("done", "gengfu: no run yet; start one with: gengfu device:list\n")
    assert f"tick={row['id']}" in home.logged("tock.log")
    assert "tick over" in home.logged("scheduler.log")


def test_a_pass_with_nothing_due_is_silent_and_loads_nothing_heavy(home: Home) -> None:
    (home.folder / "gengfu.toml").write_text(ENTRIES.replace("* * * * * *", "0 0 1 1 *"))
    code = (
        "import sys; from gengfu.cli.console import main; code = main(['schedule:run']);"
        "print(code, *{'sqlalchemy', 'redis', 'aiohttp', 'rich', 'alembic'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=home.environment(), cwd=home.folder, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("0\n", "")


def test_a_pass_that_cannot_do_its_work_exits_otherwise(home: Home) -> None:
    (home.folder / "var" / "gengfu.db").write_text("no database at all, but long enough to be looked at as one" * 20)
    told = home.ask("schedule:run")
    assert told.code == 1
    assert "file is not a database" in told.err


def test_pausing_and_resuming_say_who_and_since_when_and_bear_repetition(home: Home, wait_until: Wait) -> None:
    first = home.ask("schedule:pause", "tock", "--reason", "the vendor upgrades")
    assert first.code == 0
    assert first.out.startswith("tock is paused by ")
    assert first.out.endswith(": the vendor upgrades\n")
    again = home.ask("schedule:pause", "tock")
    assert again.out == first.out.replace("is paused", "is already paused")
    everything = home.ask("schedule:pause", "all", "--json").json
    assert {entry["entry"]: entry["changed"] for entry in everything["entries"]} == {
        "backup_data": True,
        "device_list": True,
        "tock": False,
        "yearly": True,
    }
    wait_until(lambda: home.ask("schedule:run").code == 0 and rows(home))
    assert [row["state"] for row in rows(home)] == ["skipped"]
    assert home.ask("schedule:resume", "tock").out == first.out.replace("tock is", "tock goes on; it was")
    assert home.ask("schedule:resume", "tock").out == "tock was not paused\n"
    assert {row["state"] for row in rows(home)} == {"skipped"}


@pytest.mark.parametrize("command", ["schedule:pause", "schedule:resume", "schedule:test"])
def test_an_unknown_entry_is_answered_with_near_names(home: Home, command: str) -> None:
    told = home.ask(command, "tick")
    assert told.code == 1
    assert told.err == "gengfu: there is no schedule entry 'tick' that can be used; did you mean tock?\n"


def test_a_try_runs_in_the_foreground_with_the_commands_own_exit_code(home: Home) -> None:
    told = home.run("schedule:test", "yearly")
    assert told.code == 1
    assert "999" in told.err
    as_json = home.run("schedule:test", "tock", "--json")
    assert as_json.json["exit_code"] == 0
    assert as_json.json["command"] == ["run:list", "--limit", "3"]
    assert "no run yet" in as_json.err
    assert rows(home) == []


def test_a_daemon_works_until_it_is_told_to_stop_and_reads_changed_entries(home: Home, wait_until: Wait) -> None:
    process = home.start("schedule:work", "--grace", "5")
    try:
        wait_until(lambda: [row["state"] for row in rows(home)].count("done") > 1, 30)
        (home.folder / "gengfu.toml").write_text(
            ENTRIES + '[schedule.tack]\ncommand = "queue:status"\ncron = "* * * * * *"\n'
        )
        wait_until(lambda: any((row["entry"], row["state"]) == ("tack", "done") for row in rows(home)), 30)
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"scheduler ready" in err
    assert {row["state"] for row in rows(home)} <= {"done", "skipped", "claimed"}


class _App:
    """As much of the house as entries are read from."""

    def __init__(self, home: Home) -> None:
        from gengfu.cli.catalogue import Catalogue
        from gengfu.settings import load_settings

        self.settings = load_settings(home.environment())
        self.catalogue = Catalogue()


def test_a_file_of_entries_that_breaks_changes_nothing(home: Home) -> None:
    app, is_broken = _App(home), [False]

    def load() -> Entries:
        if is_broken[0]:
            raise ConfigError("gengfu.toml is not valid TOML")
        return load_entries(app.settings, app.catalogue)

    read = EntryReader(home.folder, load)
    assert "tock" in read()
    is_broken[0] = True
    os.utime(home.folder / "gengfu.toml", (1, 1))
    assert "tock" in read()
    with pytest.raises(ConfigError):
        EntryReader(home.folder, load)()


def test_a_run_that_is_still_active_is_the_reason_of_a_skip(home: Home) -> None:
    home.set(API_WECHAT_URL="http://127.0.0.1:9/", API_USERNAME="a", API_PASSWORD="Zirbelnuss88", GENGFU_TIMEZONE="UTC")
    (home.folder / "gengfu.toml").write_text('[schedule.device_list]\ncron = "* * * * * *"\n')
    assert home.run("device:list").code == 0
    (tick, *_) = home.ask("schedule:run", "--json").json["ticks"]
    assert tick["state"] == "skipped"
    assert tick["reason"].startswith("run 1 is still active, no worker has taken it yet, since ")


def test_a_list_that_is_due_is_queued_in_place_of_a_process_and_history_and_why_tell_of_it(home: Home) -> None:
    home.set(API_WECHAT_URL="http://127.0.0.1:9/", API_USERNAME="a", API_PASSWORD="Zirbelnuss88", GENGFU_TIMEZONE="UTC")
    (home.folder / "gengfu.toml").write_text('[schedule.device_list]\ncron = "* * * * *"\n')
    (tick,) = [each for each in home.ask("schedule:run", "--json").json["ticks"] if each["entry"] == "device_list"]
    assert (tick["state"], tick["run"], tick["job"], tick["pid"], tick["exit_code"]) == ("done", 1, 1, None, None)
    (recorded,) = home.ask("schedule:history", "device_list", "--json").json["ticks"]
    assert (recorded["run"], recorded["output"]) == (1, "Run 1 of the device list accepted (scope 0, job 1).\n")
    told = home.ask("schedule:why", "device_list", "--json").json
    assert "ran: run 1 was queued as job 1 at " in told["answer"]
    assert "Run 1 of the device list accepted (scope 0, job 1). tick=" in home.logged("device_list.log")

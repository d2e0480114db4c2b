"""The commands that tell of the schedule, over rows on every database and at a time of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gengfu.app import App
from gengfu.cli.backup import BackupData
from gengfu.cli.base import BaseCommand
from gengfu.cli.catalogue import Catalogue
from gengfu.cli.output import Output
from gengfu.cli.schedule_history import STATES, ScheduleHistory, ScheduleList, ScheduleNext, ScheduleWhy
from gengfu.cli.schedule_simulate import ScheduleSimulate
from gengfu.errors import NotFound, UsageError
from gengfu.services.times import moment_of
from gengfu.settings import load_settings
from gengfu.store.database import Database
from gengfu.store.enqueue import new_run
from gengfu.store.tables import schedule_entry, schedule_tick, sync_run
from gengfu.store.ticks import TickState, TickStore
from terminal import Home

NOW = datetime(2026, 11, 22, 2, 7, tzinfo=UTC)
"""10:07 in Shanghai."""
MINUTE = timedelta(minutes=1)

TOML = """
    [schedule.nightly]
    command = "device:list --is-del 1"
    cron = "30 2 * * *"
    timezone = "Europe/Berlin"
    enabled = false
    [schedule.wrong]
    command = "device:list --is-del 7"
    cron = "@daily"
"""

Ask = Callable[..., dict[str, Any]]


def due(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-22T{clock}+08:00").astimezone(UTC)


def add_ticks(database: Database, *ticks: dict[str, Any]) -> None:
    usual = {
        "entry": "device_list",
        "clock_epoch": 0,
        "covers": 1,
        "command": ["device:list"],
        "scheduler": "hall:4711",
    }
    usual |= {"fence": 1, "cancel": False}
    rows = [{**usual, "claimed_at": tick["due_at"], **tick} for tick in ticks]
    database.write(lambda connection: [connection.execute(insert(schedule_tick).values(**row)) for row in rows])


def ran(clock: str, seconds: float, **more: Any) -> dict[str, Any]:
    start = due(clock)
    times = {"started_at": start, "finished_at": start + timedelta(seconds=seconds)}
    return {"due_at": start, "state": "done", "exit_code": 0, **times, **more}


def add_entry(database: Database, name: str = "device_list", **more: Any) -> None:
    row = {
        "name": name,
        "fingerprint": "*/5 * * * *|Asia/Shanghai",
        "planned_until": NOW - MINUTE,
        "clock_epoch": 0,
        **more,
    }
    database.write(lambda connection: connection.execute(insert(schedule_entry).values(**row)))


@pytest.fixture(autouse=True)
def _one_declared_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """`device:list` alone stands in the schedule by its class."""
    monkeypatch.setattr(BackupData, "schedule", None)


@pytest.fixture
def ask(home: Path, database: Database, database_url: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Asks a command at NOW for its JSON."""
    (home / "gengfu.toml").write_text(TOML)
    settings = load_settings({"GENGFU_HOME": str(home), "DATABASE_URL": database_url})

    def asked(command: type[BaseCommand], *arguments: str) -> dict[str, Any]:
        app = App(settings, Catalogue(), clock=lambda: NOW)
        given = command.click_command(lambda _command, _options: 0).make_context("gengfu", list(arguments)).params
        del given["as_json"]
        capsys.readouterr()
        try:
            out = Output(as_json=True, zone=lambda: settings.gengfu_timezone)
            assert command(lambda: app, out).handle(**given) == 0
        finally:
            app.close()
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    return asked


def test_the_list_tells_when_each_entry_is_due_and_how_it_ended(ask: Ask, database: Database) -> None:
    skipped = {"due_at": due("10:05"), "state": "skipped", "reason": "run 812 is still active"}
    add_ticks(database, ran("10:00", 3.5), skipped)
    add_entry(database, paused_at=NOW, paused_by="root@hall", pause_reason="paint")
    told = ask(ScheduleList)
    first, second = told["entries"]
    assert (first["name"], first["words"], first["timezone"]) == ("device_list", "every 5 minutes", "Asia/Shanghai")
    assert first["next_due"] == due("10:10").isoformat()
    assert (first["last"]["state"], first["last"]["reason"]) == ("skipped", "run 812 is still active")
    assert first["paused"] == {"at": NOW.isoformat(), "by": "root@hall", "reason": "paint"}
    assert (second["name"], second["enabled"], second["next_due"], second["last"]) == ("nightly", False, None, None)
    assert (told["count"], len(told["problems"])) == (2, 1)
    assert "[schedule.wrong], command" in told["problems"][0]


def test_the_states_that_can_be_asked_for_are_those_that_there_are() -> None:
    assert list(TickState) == list(STATES)


def test_the_latest_ticks_are_found_by_entry_and_state(ask: Ask, database: Database) -> None:
    add_ticks(
        database,
        ran("10:00", 3.5, output="all 40 pages\n"),
        ran("10:05", 2.0),
        {"due_at": due("09:00"), "state": "missed", "covers": 12, "until_at": due("09:55"), "reason": "nobody"},
        {"due_at": due("10:02"), "state": "failed", "exit_code": 1, "entry": "long_gone"},
    )
    add_entry(database, "long_gone")
    told = ask(ScheduleHistory)["ticks"]
    assert [(tick["entry"], tick["state"], tick["covers"]) for tick in told] == [
        ("device_list", "done", 1),
        ("long_gone", "failed", 1),
        ("device_list", "done", 1),
        ("device_list", "missed", 12),
    ]
    assert (told[2]["seconds"], told[2]["output"], told[2]["command"]) == (3.5, "all 40 pages\n", ["device:list"])
    assert ask(ScheduleHistory, "--limit", "2")["count"] == 2
    assert ask(ScheduleHistory, "device:list", "--state", "missed")["ticks"] == [told[3]]
    assert ask(ScheduleHistory, "long_gone")["ticks"] == [told[1]]
    assert ask(ScheduleHistory, "nightly") == {"ticks": [], "count": 0}
    with pytest.raises(NotFound, match=r"no schedule entry 'sweep'.*device_list, long_gone, nightly"):
        ask(ScheduleHistory, "sweep")


def test_why_goes_by_the_rows(ask: Ask, database: Database) -> None:
    missed = {"due_at": due("08:00"), "state": "missed", "covers": 12, "until_at": due("08:55"), "reason": "nobody"}
    add_ticks(database, missed, ran("10:00", 3.5), ran("10:00", 4.0, clock_epoch=1, state="failed", exit_code=3))
    add_entry(database)
    told = ask(ScheduleWhy, "device_list", "08:30")
    assert (told["verdict"], [tick["covers"] for tick in told["ticks"]]) == ("missed", [12])
    told = ask(ScheduleWhy, "device:list", "2026-11-22", "10:00")
    assert (told["entry"], told["verdict"], len(told["ticks"])) == ("device_list", "failed", 2)
    assert "exit code 3" in told["answer"]
    assert told["schedule_entry"]["planned_until"] == (NOW - MINUTE).isoformat()


def test_why_without_a_time_is_of_the_latest_due_moment(ask: Ask, database: Database) -> None:
    told = ask(ScheduleWhy, "device_list")
    assert (told["time"], told["verdict"]) == (due("10:05").isoformat(), "no-scheduler")
    add_entry(database, "nightly")
    assert ask(ScheduleWhy, "device_list")["verdict"] == "never-seen"
    add_entry(database)
    assert ask(ScheduleWhy, "device_list")["verdict"] == "not-scheduled-then"
    add_ticks(database, ran("10:05", 1.0), ran("09:00", 1.0, entry="long_gone"))
    add_entry(database, "long_gone")
    assert ask(ScheduleWhy, "device_list")["verdict"] == "done"
    assert ask(ScheduleWhy, "long_gone")["time"] == due("09:00").isoformat()
    assert ask(ScheduleWhy, "nightly")["verdict"] == "disabled"


def test_why_of_a_time_at_which_nothing_is_due_or_which_is_to_come(ask: Ask, database: Database) -> None:
    add_entry(database)
    told = ask(ScheduleWhy, "device_list", "10:06")
    assert (told["verdict"], told["before"], told["after"]) == (
        "not-due",
        due("10:05").isoformat(),
        due("10:10").isoformat(),
    )
    assert ask(ScheduleWhy, "device_list", "2026-11-22T02:10Z")["verdict"] == "future"


def test_next_merges_the_enabled_entries_and_tells_the_clock_of_their_zone(ask: Ask, home: Path) -> None:
    assert [tick["local"] for tick in ask(ScheduleNext, "--count", "2")["ticks"]] == [
        "2026-11-22 10:10:00+08:00",
        "2026-11-22 10:15:00+08:00",
    ]
    (tick,) = ask(ScheduleNext, "nightly", "--count", "1")["ticks"]
    assert (tick["local"], tick["timezone"]) == ("2026-11-23 02:30:00+01:00", "Europe/Berlin")
    assert tick["due_at"] == "2026-11-23T01:30:00+00:00"
    (home / "gengfu.toml").write_text('[schedule.nightly]\ncommand = "run:list"\ncron = "12 10 * * *"\n')
    assert [tick["entry"] for tick in ask(ScheduleNext, "--count", "3")["ticks"]] == [
        "device_list",
        "nightly",
        "device_list",
    ]


def test_the_simulation_judges_from_past_ticks(ask: Ask, database: Database, home: Path) -> None:
    (home / "gengfu.toml").write_text('[schedule.sweep]\ncommand = "run:list"\ncron = "*/5 * * * *"\n')
    add_ticks(database, *(ran(f"09:{minute:02}", 300.0 + minute, entry="sweep") for minute in (5, 10, 15)))
    told = {entry["name"]: entry for entry in ask(ScheduleSimulate, "--days", "1")["entries"]}
    sweep, mirror = told["sweep"], told["device_list"]
    assert (sweep["seconds"], sweep["judged_from"]) == (310.0, "ticks")
    assert (sweep["count"], sweep["overlaps"], sweep["fates"]) == (288, 144, {"runs": 144, "skipped": 144})
    assert (sweep["ticks"][0]["due_at"], sweep["ticks"][0]["fate"]) == (due("10:10").isoformat(), "runs")
    assert (mirror["seconds"], mirror["judged_from"], mirror["overlaps"]) == (None, "nothing yet", None)


def test_the_simulation_judges_from_the_runs_that_a_command_leaves(ask: Ask, database: Database) -> None:
    def work(connection: Any) -> None:
        for number, (scope, seconds) in enumerate([("0", 400), ("0", 500), ("0", 600), ("1", 9000)]):
            start = NOW - timedelta(days=1, hours=number)
            times = {"started_at": start, "finished_at": start + timedelta(seconds=seconds), "active_key": None}
            connection.execute(insert(sync_run).values(**{**new_run(1, "device", scope, start), **times}))

    database.write(work)
    add_ticks(database, ran("10:00", 2.0))
    (mirror,) = ask(ScheduleSimulate, "--days", "2")["entries"]
    assert (mirror["seconds"], mirror["judged_from"], mirror["overlaps"]) == (500.0, "runs", 288)


def test_the_simulation_tells_of_changes_of_the_clock(ask: Ask, home: Path) -> None:
    (home / "gengfu.toml").write_text('[schedule.device_list]\ncron = "30 2 * * *"\ntimezone = "Europe/Berlin"\n')
    told = ask(ScheduleSimulate, "--days", "7", "--from", "2026-03-25")
    (entry,) = told["entries"]
    assert told["from"] == "2026-03-24T16:00:00+00:00"
    assert [tick["due_at"][8:16] for tick in entry["ticks"]][3:6] == ["28T01:30", "29T01:00", "30T00:30"]
    assert entry["notes"] == [
        "2026-03-29 02:00 becomes 03:00 in Europe/Berlin: what falls into the skipped time is due once, at 03:00"
    ]


def test_the_simulated_days_begin_with_what_is_due_at_their_first_moment(ask: Ask, home: Path) -> None:
    (home / "gengfu.toml").write_text('[schedule.device_list]\ncron = "@daily"\n')
    (entry,) = ask(ScheduleSimulate, "--days", "2", "--from", "2026-01-01")["entries"]
    assert [tick["due_at"] for tick in entry["ticks"]] == ["2025-12-31T16:00:00+00:00", "2026-01-01T16:00:00+00:00"]


def test_a_clock_set_back_in_the_middle_makes_no_duration_negative(database: Database) -> None:
    add_ticks(database, ran("10:00", -3600.0))
    store = TickStore(database)
    assert store.read(lambda ticks: [ticks.seconds(name) for name in ("device_list", "nightly")]) == [0.0, None]
    assert [tick.state for tick in store.read(lambda ticks: ticks.at("device_list", due("10:00")))] == [TickState.DONE]


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("90m", "Asia/Shanghai", "2026-11-22T00:37:00"),
        ("2w", "Asia/Shanghai", "2026-11-08T02:07:00"),
        ("10:05", "Asia/Shanghai", "2026-11-22T02:05:00"),
        ("10:07", "Asia/Shanghai", "2026-11-22T02:07:00"),
        ("10:08", "Asia/Shanghai", "2026-11-21T02:08:00"),
        ("9:30:15", "Asia/Shanghai", "2026-11-22T01:30:15"),
        ("2026-11-22 10:05", "Asia/Shanghai", "2026-11-22T02:05:00"),
        ("2026-11-22T10:05:00+01:00", "Asia/Shanghai", "2026-11-22T09:05:00"),
        ("2026-11-22T10:05Z", "Asia/Shanghai", "2026-11-22T10:05:00"),
        ("2026-11-22", "Asia/Shanghai", "2026-11-21T16:00:00"),
        ("2026-10-25 02:30", "Europe/Berlin", "2026-10-25T00:30:00"),
        ("2026-03-29 02:30", "Europe/Berlin", "2026-03-29T01:00:00"),
    ],
)
def test_a_time_is_understood_in_several_spellings(text: str, zone: str, moment: str) -> None:
    assert moment_of(text, zone, NOW) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "noon", "25:00", "10:61", "2026-13-01", "10:05pm", "0001-01-01", "9999-12-31 23:59"]
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no time; for example: 90m, 7d, 10:05"):
        moment_of(text, "Asia/Shanghai", NOW)


def test_a_table_of_ticks_has_an_end(home: Path, sqlite_database_url: str) -> None:
    place = Home(home, DATABASE_URL=sqlite_database_url)
    (home / "gengfu.toml").write_text('[schedule.each_second]\ncommand = "health"\ncron = "* * * * * *"\n')
    told = place.ask("schedule:simulate", "--days", "1", "--ticks")
    assert len([row for row in told.rows if row[-1] == "runs"]) == 10_000
    assert "only the first 10000 of 86688 ticks are listed" in told.err


def test_people_get_tables_and_sentences(home: Path, sqlite_database_url: str, sqlite_database: Database) -> None:
    place = Home(home, DATABASE_URL=sqlite_database_url)
    (home / "gengfu.toml").write_text(TOML)
    add_ticks(sqlite_database, ran("10:00", 3.5, output="all\x1b[31m 40 pages"))
    listed = place.ask("schedule:list")
    assert listed.code == 0
    assert listed.rows[1][:3] == ["device_list", "every 5 minutes", "*/5 * * * * Asia/Shanghai"]
    assert listed.rows[2][3] == "disabled"
    assert "gengfu: warning: gengfu.toml, [schedule.wrong], command is" in listed.err
    assert len(place.ask("schedule:next", "--count", "3").rows) == 4
    assert place.ask("schedule:history").rows[1][1:] == ["device_list", "done", "1", "3.50", "-"]
    assert place.ask("schedule:history", "nightly").err == "gengfu: no tick of nightly is on record\n"
    told = place.ask("schedule:why", "device_list", "2026-11-22", "10:00")
    assert told.out.startswith("The tick of 2026-11-22 10:00:00+08:00 ran: it was started at")
    assert "  all\\x1b[31m 40 pages\n" in told.out
    played = place.ask("schedule:simulate", "--days", "1", "--ticks")
    assert len([row for row in played.rows if row[-1] == "runs"]) == 288
    assert place.ask("schedule:next", "nightly").err.endswith("is disabled (gengfu.toml): none of these will run\n")
    assert place.ask("schedule:why", "sweep").code == 1
    assert place.ask("schedule:why", "device_list", "noon").code == 2
    assert "every 5" in place.on_terminal("schedule:list").out

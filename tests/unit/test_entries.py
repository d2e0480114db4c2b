"""The schedule's entries: what commands declare, what gengfu.toml makes of it, and what is told of mistakes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from documents import ROOT, plain, rows
from gengfu.cli.base import BaseCommand
from gengfu.cli.catalogue import Catalogue
from gengfu.schedule.entries import Entries, load_entries
from gengfu.schedule.policy import CatchUp, JobRequest, Overlap, RunRequest, Schedule
from gengfu.settings import load_settings


class Shop:
    """A catalogue of a test's own."""

    def __init__(self, *commands: type[BaseCommand]) -> None:
        self.commands = {command.name: command for command in commands}

    def command(self, name: str) -> type[BaseCommand] | None:
        return self.commands.get(name)


def making(name: str, schedule: Any, *options: click.Parameter) -> type[BaseCommand]:
    return type("Made", (BaseCommand,), {"name": name, "schedule": schedule, "options": options})


SWEEP = making("floor:sweep", "0 2 * * *", click.Option(["--rooms"], type=int))


def entries(home: Path, toml: str = "", *commands: type[BaseCommand]) -> Entries:
    (home / "gengfu.toml").write_text(toml, "utf-8")
    catalogue = Shop(*commands) if commands else Catalogue()
    return load_entries(load_settings({"GENGFU_HOME": str(home)}), catalogue)


def test_a_command_with_a_schedule_is_an_entry_named_after_it(home: Path) -> None:
    found = load_entries(load_settings(), Catalogue())
    assert not found.problems
    entry = found.entries["device_list"]
    assert (entry.name, entry.argv, entry.source) == ("device_list", ("device:list",), "device:list")
    assert entry.schedule == Schedule("*/5 * * * *", command=entry.schedule.command, timezone="Asia/Shanghai")


def test_a_class_may_say_more_than_when(home: Path) -> None:
    schedule = Schedule("@daily", command="--rooms 3", overlap=Overlap.QUEUE_ONE, timeout=90, enabled=False)
    (entry,) = entries(home, "", making("floor:sweep-all", schedule, *SWEEP.options)).entries.values()
    assert (entry.name, entry.argv) == ("floor_sweep_all", ("floor:sweep-all", "--rooms", "3"))
    assert (entry.schedule.overlap, entry.schedule.timeout, entry.schedule.enabled) == (Overlap.QUEUE_ONE, 90.0, False)


def test_the_file_stands_above_the_class_key_by_key(home: Path) -> None:
    told = '[schedule.floor_sweep]\ngrace = "5m"\ntimezone = "Europe/Berlin"\nenabled = false\n'
    (entry,) = entries(home, told, SWEEP).entries.values()
    assert (entry.schedule.cron, entry.argv) == ("0 2 * * *", ("floor:sweep",))
    assert (entry.schedule.grace, entry.schedule.timezone, entry.schedule.enabled) == (300.0, "Europe/Berlin", False)
    assert entry.source == "floor:sweep, with gengfu.toml"


def test_the_file_adds_entries_of_the_same_command_with_other_options(home: Path) -> None:
    told = """
        [schedule.rooms_of_the_north]
        command = "floor:sweep --rooms 1"
        cron = "@hourly"
        catch_up = "all"
        catch_up_limit = 3
        jitter = "1.5 m"
        timeout = "2h"
        overlap = "cancel-running"
        [schedule.all_rooms]
        command = "floor:sweep"
        cron = "*/10 * * * * *"
    """
    found = entries(home, told, SWEEP)
    assert not found.problems
    assert list(found.entries) == ["all_rooms", "floor_sweep", "rooms_of_the_north"]
    entry = found.entries["rooms_of_the_north"]
    assert (entry.argv, entry.source) == (("floor:sweep", "--rooms", "1"), "gengfu.toml")
    told_of = entry.schedule
    assert (told_of.catch_up, told_of.catch_up_limit, told_of.overlap) == (CatchUp.ALL, 3, Overlap.CANCEL_RUNNING)
    assert (told_of.jitter, told_of.timeout, told_of.timezone) == (90.0, 7200.0, "Asia/Shanghai")


def test_an_entry_knows_which_list_it_brings_up_to_date(home: Path) -> None:
    told = """
        [schedule.gone]
        command = "device:list --is-del=1"
        cron = "@hourly"
        [schedule.accounts]
        command = "account:list"
        cron = "@hourly"
    """
    found = entries(home, told).entries
    lists = {name: entry.mirrors for name, entry in found.items() if entry.mirrors is not None}
    assert lists == {"device_list": ("device", "0"), "gone": ("device", "1"), "accounts": ("account", "all")}


def test_an_entry_knows_what_its_command_queues_where_it_does_nothing_else(home: Path) -> None:
    told = """
        [schedule.device_list]
        command = "device:list --is-del 1"
        [schedule.watched]
        command = "device:list --wait"
        cron = "@hourly"
        [schedule.accounts]
        command = "account:list --now"
        cron = "@hourly"
        [schedule.backups]
        command = "backup:data --queue"
        cron = "@daily"
    """
    found = entries(home, told).entries
    queued = {name: entry.queues for name, entry in found.items() if entry.queues is not None}
    assert queued == {
        "device_list": RunRequest("device", "1", "device list"),
        "backups": JobRequest("BackupDataJob", "backup", 3, "backup:data", "Backup"),
    }


def test_the_zone_is_that_of_the_settings_unless_an_entry_names_one(home: Path) -> None:
    (entry,) = entries(home, 'gengfu_timezone = "Africa/Cairo"\n', SWEEP).entries.values()
    assert entry.schedule.timezone == "Africa/Cairo"


@pytest.mark.parametrize(
    ("lines", "key", "told"),
    [
        ('command = "floor:sweap"', "command", "names a command 'floor:sweap' that is not there"),
        ('command = "gengfu floor:sweep"', "command", "write only what comes after gengfu"),
        ('command = "floor:sweep --rooms many"', "command", "'many' is not a valid integer"),
        ('command = "floor:sweep --walls 3"', "command", "No such option"),
        ('command = "floor:sweep north"', "command", "unexpected extra argument"),
        ('command = "floor:sweep --help"', "command", "No such option"),
        ('command = "floor:sweep \'north"', "command", "no closing quotation"),
        ('command = ""', "command", "for example"),
        ("command = 3", "command", "names a command '3' that is not there"),
        ('cron = "61 * * * *"', "cron", "bad minute"),
        ("cron = 5", "cron", "for example"),
        ('timezone = "Mars/Olympus"', "timezone", "not a time zone"),
        ('overlap = "never"', "overlap", "none of skip, queue-one, cancel-running"),
        ("overlap = []", "overlap", "none of skip, queue-one, cancel-running"),
        ('catch_up = "some"', "catch_up", "none of none, latest, all"),
        ("catch_up_limit = 0", "catch_up_limit", "outside 1 to 1000"),
        ("catch_up_limit = true", "catch_up_limit", "is True, not a number; for example: catch_up_limit = 10"),
        ('grace = "soon"', "grace", "not a length of time"),
        ("grace = -1", "grace", "outside 0 s to"),
        ("grace = nan", "grace", "outside 0 s to"),
        ("timeout = 0", "timeout", "outside 1 s to"),
        ("timeout = inf", "timeout", "outside 1 s to"),
        ("jitter = true", "jitter", "not a length of time"),
        ('jitter = "2d"', "jitter", "outside 0 s to"),
        ('enabled = "never"', "enabled", "neither true nor false"),
        ('tiemout = "5m"', "tiemout", "is no key of an entry; did you mean timeout?"),
        ("gracious = 1", "gracious", "is no key of an entry; there are: command, cron,"),
        ("grace.soft = 1", "grace", "not a length of time"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_stops_no_other_entry(home: Path, lines: str, key: str, told: str) -> None:
    valid = {"command": 'command = "floor:sweep"', "cron": 'cron = "@daily"'}
    rest = [line for name, line in valid.items() if name != key]
    found = entries(home, "\n".join(["[schedule.hall]", *rest, lines, '[schedule.attic]\ncron = "@daily"']), SWEEP)
    mine, other = sorted(found.problems, key=lambda problem: "attic" in problem)
    assert mine.startswith(f"gengfu.toml, [schedule.hall], {key} ")
    assert told in mine
    assert other == 'gengfu.toml, [schedule.attic]: command is missing; for example: command = "device:list --is-del 1"'
    assert list(found.entries) == ["floor_sweep"]


def test_all_mistakes_of_an_entry_are_told_at_once(home: Path) -> None:
    found = entries(home, '[schedule.floor_sweep]\ngrace = "x"\njitter = "y"\nz = 1\n', SWEEP)
    assert len(found.problems) == 3
    assert not found.entries


@pytest.mark.parametrize("name", ["Nightly", "1st", '"a-b"', '"深夜"', "a" * 65, '"../etc"'])
def test_a_name_that_cannot_be_a_file_is_refused(home: Path, name: str) -> None:
    found = entries(home, f'[schedule.{name}]\ncommand = "floor:sweep"\ncron = "@daily"\n', SWEEP)
    (problem,) = found.problems
    assert "lower-case letters, digits and underscores" in problem
    assert list(found.entries) == ["floor_sweep"]


@pytest.mark.parametrize("toml", ["schedule = 3", "[schedule]\nhall = 3", "[[schedule]]\nx = 1"])
def test_what_is_no_table_is_told(home: Path, toml: str) -> None:
    found = entries(home, toml, SWEEP)
    assert "is no table; for example: [schedule.nightly_list]" in found.problems[0]
    assert list(found.entries) == ["floor_sweep"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (making("hall:dust", 5), "the command hall:dust, schedule: 5 is neither text nor a Schedule"),
        (
            making("hall:dust", "61 * * * *"),
            "the command hall:dust, schedule, cron cannot be used: the cron expression '61",
        ),
        (making("hall:dust", Schedule("@daily", command="--wet")), "No such option"),
        (making("hall:dust", Schedule("@daily", overlap="often")), "schedule, overlap is 'often', none of"),  # type: ignore[arg-type]
        (making("Hall:dust", "@daily"), "'Hall_dust' cannot be an entry's name"),
        (making("floor:sweep:", Schedule("@daily", grace=-1)), "schedule, grace is -1, outside"),
    ],
)
def test_a_mistake_in_a_class_stops_no_other_entry(home: Path, command: type[BaseCommand], told: str) -> None:
    found = entries(home, "", command, SWEEP)
    (problem,) = found.problems
    assert told in problem
    assert list(found.entries) == ["floor_sweep"]


def test_of_two_commands_with_one_entry_name_the_first_has_it(home: Path) -> None:
    found = entries(home, "", making("floor:sweep", "@daily"), making("floor-sweep", "@hourly"))
    assert found.entries["floor_sweep"].schedule.cron == "@daily"
    assert (
        "the command floor-sweep, schedule: floor:sweep has an entry of the name floor_sweep already" in found.problems
    )


def test_an_option_of_which_the_parser_breaks_is_a_problem_of_its_entry(home: Path) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no moon")

    found = entries(home, "", making("hall:dust", "@daily", click.Option(["--x"], callback=broken)), SWEEP)
    assert "RuntimeError no moon" in found.problems[0]
    assert list(found.entries) == ["floor_sweep"]


def test_an_option_that_would_ask_a_person_must_be_given(home: Path) -> None:
    dust = making("hall:dust", "@daily", click.Option(["--room"], prompt=True))
    assert "Missing option '--room'" in entries(home, "", dust).problems[0]
    assert not entries(home, '[schedule.hall_dust]\ncommand = "hall:dust --room 3"\n', dust).problems
    assert dust.options[0].prompt


def test_reading_entries_imports_nothing_heavy() -> None:
    heavy = {"alembic", "redis", "rich", "sqlalchemy"}
    code = f"import sys, gengfu.schedule.entries; print(*{heavy} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("page", ["schedule.md", "schedule.zh-CN.md"])
def test_the_page_has_every_key_with_its_default(page: str) -> None:
    told = {plain(row[0]): plain(row[1]) for row in rows(ROOT / "docs" / page, 3) if row[0].startswith("`")}
    defaults = {field.name: field.default for field in fields(Schedule)}
    assert {key for key in told if key in defaults} == set(defaults)
    for key in ("overlap", "catch_up", "catch_up_limit", "grace", "timeout", "jitter"):
        default = defaults[key]
        assert told[key] == (f"{default:g}" if isinstance(default, float) else str(default))
    assert told["enabled"] == "true"


def test_the_real_commands_options_are_checked(home: Path) -> None:
    found = entries(home, '[schedule.odd]\ncommand = "device:list --is-del 7"\ncron = "@daily"\n')
    (problem,) = found.problems
    assert problem.startswith("gengfu.toml, [schedule.odd], command is 'device:list --is-del 7', which cannot be run: ")
    assert problem.endswith("see: gengfu device:list --help")


def test_a_file_that_went_bad_since_the_settings_were_read_leaves_the_classes_entries(home: Path) -> None:
    read = load_settings()
    (home / "gengfu.toml").write_text("[schedule.\n")
    found = load_entries(read, Shop(SWEEP))
    assert "is not valid TOML" in found.problems[0]
    (home / "gengfu.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in load_entries(read, Shop(SWEEP)).problems[0]
    assert list(found.entries) == ["floor_sweep"]


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["command", "overlap", "catch_up", "catch_up_limit", "grace", "timeout", "enabled"]), VALUES)
def test_whatever_a_class_says_is_an_entry_or_a_problem(home: Path, key: str, value: Any) -> None:
    found = entries(home, "", making("hall:dust", Schedule(**{"cron": "@daily", key: value})), SWEEP)
    assert ("hall_dust" in found.entries) is not bool(found.problems)
    assert "floor_sweep" in found.entries

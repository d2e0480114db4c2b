"""One screen that answers whether all is well: never where health does not say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.services.health import Component, Condition, HealthReport
from gengfu.services.lists import ListStatus
from gengfu.services.status import Status, advice
from gengfu_simulator.testing import Simulator
from terminal import Home

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FRESH = ListStatus("device", NOW, 3, {"online": 3}, {})


@pytest.fixture
def own(home: Path) -> Iterator[tuple[Home, Simulator]]:
    with Simulator(120, username="operator", password="secret") as vendor:
        login = {"API_USERNAME": vendor.username, "API_PASSWORD": vendor.password}
        yield Home(home, API_WECHAT_URL=vendor.url, **login), vendor


@given(st.lists(st.sampled_from(list(Condition)), max_size=4))
def test_all_is_well_only_where_health_says_so(conditions: list[Condition]) -> None:
    health = HealthReport([Component(f"part {i}", each, "told") for i, each in enumerate(conditions)])
    told = Status(list(advice(health, FRESH, (), NOW)), health, FRESH)
    assert told.ok is health.ok
    assert len(told.to_do) == sum(each is not Condition.OK for each in conditions)


@pytest.mark.parametrize(
    ("as_of", "to_do"),
    [
        (NOW - timedelta(days=1), []),
        (NOW - timedelta(days=3), ["the last complete run of the device list is 3 days old"]),
        (None, ["no run of the device list was complete yet"]),
    ],
)
def test_devices_that_were_not_read_for_days_are_not_well(as_of: datetime | None, to_do: list[str]) -> None:
    found = list(advice(HealthReport([]), replace(FRESH, as_of=as_of), (), NOW))
    assert [text.partition(";")[0] for text in found] == to_do


def told(home: Home, code: int) -> Any:
    done = home.ask("status", "--json")
    assert done.code == code, done.err
    assert done.json["ok"] is (code == 0)
    return done.json


def test_what_there_is_to_do_is_told_with_what_to_run(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    assert told(home, 1)["to_do"] == [
        "no run of the device list was complete yet; read it with: gengfu device:list --wait, or --now"
    ]
    assert home.ask("device:list", "--now").code == 0
    well = told(home, 0)
    assert well["to_do"] == []
    assert (well["devices"]["present"], well["runs"][0]["verdict"], well["workers"]) == (120, "complete", 0)
    assert home.ask("status").out.startswith("All is well.\n")
    vendor.control(visible=0.5)
    assert home.ask("device:list", "--now").code == 1
    (held,) = told(home, 1)["to_do"]
    assert "run 2" in held
    assert "gengfu run:show 2" in held
    assert home.ask("device:discard", "2", "--yes").code == 0
    assert told(home, 0)["to_do"] == []
    vendor.control(clear=True)
    assert home.ask("device:list", "--now").code == 0
    vendor.control(pin=["device:500"])
    assert home.ask("device:list", "--now", API_RETRIES="0").code == 1
    (failed,) = told(home, 1)["to_do"]
    assert failed.startswith("the last run of device (scope 0) ended as ")
    assert failed.endswith("see: gengfu run:show 4")


def test_it_fits_on_a_small_terminal(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    for command in ("device:list", "account:list", "device_group:list"):
        assert home.ask(command, "--now").code == 0
    for scope in ("1", "2"):
        assert home.ask("device:list", "--now", "--is-del", scope).code == 0
    vendor.control(visible=0.4)
    for command in ("device:list", "account:list", "device_group:list"):
        home.ask(command, "--now")
    assert home.ask("device:list", "--is-del", "1").code == 0
    for language in ("en", "zh_CN"):
        shown = home.on_terminal("status", GENGFU_LANG=language, COLUMNS="80")
        assert shown.code == 1
        lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.out).splitlines()
        wide = [sum(2 if ord(c) > 0x2E7F else 1 for c in line) for line in lines]
        assert sum(max(1, -(-width // 80)) for width in wide) <= 24, shown.out


def test_a_database_that_is_away_is_what_there_is_to_do(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    home.set(DATABASE_URL="postgresql://u:hidden@127.0.0.1:1/x")
    found = told(home, 1)
    assert found["devices"] is None
    assert [text.partition(":")[0] for text in found["to_do"]] == ["database"]
    assert "hidden" not in str(found)

"""Questions to the device table, with the same answers on every database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from gengfu.mirror.account import ACCOUNT
from gengfu.mirror.device import DEVICE
from gengfu.mirror.resource import Resource
from gengfu.store.changes import ChangeKind, ChangeStore, Difference
from gengfu.store.database import Database
from gengfu.store.devices import COLUMNS, DeviceStore, Presence, Which
from gengfu.store.rows import MirrorTable
from gengfu.store.tables import device, sync_absence

NOW = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
OWN = {"source_id": 1, "first_seen_at": NOW, "updated_at": NOW, "row_hash": 1, "content_hash": 1}
SEARCHED = ("imei", "user_name", "nickname", "real_name", "memo", "phone")
DEVICES: list[dict[str, Any]] = [
    {"id": 1, "imei": "8612", "real_name": "张三", "group_id": "7", "group_name": "华东", "alive": True},
    {"id": 2, "nickname": "Ünal", "memo": "100% sure", "brand": "OPPO", "model": "A58", "alive": False},
    {"id": 3, "user_name": "under_score", "phone": "+86138", "extra": {"k": [1, "值"]}, "brand": "OPPO"},
    {"id": 4, "memo": "back\\slash", "gone_at": NOW + timedelta(hours=2), "real_name": "张三"},
    {"id": 5, "memo": "undeRscore 😀", "updated_at": NOW + timedelta(hours=1)},
]


@pytest.fixture
def devices(database: Database) -> DeviceStore:
    """Five devices, of which one is gone."""
    rows = [dict.fromkeys(COLUMNS) | OWN | row | {"search": searched(row)} for row in DEVICES]
    database.write(lambda connection: connection.execute(insert(device), rows))
    return DeviceStore(database, 1)


def searched(row: Mapping[str, Any]) -> str:
    return "\n".join(row[name].lower() for name in SEARCHED if name in row)


def ids(rows: Any) -> list[int]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("张三", [1]),
        ("ünal", [2]),
        ("ÜNAL", [2]),
        ("100%", [2]),
        ("0%s", []),
        ("UNDER_", [3]),
        ("underscore", [5]),
        ("138", [3]),
        ("3", [3]),
        ("8612", [1]),
        ("99999999999999999999", []),
        ("😀", [5]),
        ("' OR 1=1 --", []),
    ],
)
def test_a_search_takes_capitals_and_wildcards_for_what_they_are(
    devices: DeviceStore, text: str, found: list[int]
) -> None:
    assert ids(devices.find(text, Presence.PRESENT, 10)) == found


def test_a_search_can_be_for_what_is_gone(devices: DeviceStore) -> None:
    assert ids(devices.find("张三", Presence.GONE, 10)) == [4]
    assert ids(devices.find("张三", Presence.ALL, 10)) == [1, 4]
    assert ids(devices.find("张三", Presence.ALL, 1)) == [1]
    assert ids(devices.find("k\\s", Presence.ALL, 10)) == [4]


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (Which(), [1, 2, 3, 5]),
        (Which(Presence.ALL), [1, 2, 3, 4, 5]),
        (Which(Presence.GONE), [4]),
        (Which(group="华东"), [1]),
        (Which(group="7"), [1]),
        (Which(brand="OPPO"), [2, 3]),
        (Which(brand="OPPO", model="A58"), [2]),
        (Which(alive=True), [1]),
        (Which(alive=False), [2]),
        (Which(Presence.ALL, changed_since=NOW), [1, 2, 3, 4, 5]),
        (Which(Presence.ALL, changed_since=NOW + timedelta(minutes=30)), [4, 5]),
        (Which(changed_since=NOW + timedelta(hours=2)), []),
    ],
)
def test_filters_choose_and_count_alike(devices: DeviceStore, which: Which, found: list[int]) -> None:
    assert [row[0] for row in devices.stream(which, ["id"])] == found
    assert devices.count(which) == len(found)


def test_a_streamed_row_holds_what_was_stored(devices: DeviceStore) -> None:
    (row,) = devices.stream(Which(changed_since=NOW + timedelta(minutes=1)), ["memo", "updated_at", "id"])
    assert row == ("undeRscore 😀", NOW + timedelta(hours=1), 5)
    (third,) = [row for row in devices.stream(Which(), COLUMNS) if row[0] == 3]
    assert dict(zip(COLUMNS, third, strict=True))["extra"] == {"k": [1, "值"]}


def test_a_stream_that_is_left_gives_its_connection_back(devices: DeviceStore, database: Database) -> None:
    for _ in range(20):
        assert next(iter(devices.stream(Which(), ["id"]))) == (1,)
    assert devices.count(Which()) == 4


def record(database: Database, run_id: int, *found: tuple[int, str, Any], of: Resource = DEVICE) -> None:
    table = MirrorTable(database, of.table, 1, of.columns, ())
    told = [Difference(key, ChangeKind.CHANGED, field, None, new) for key, field, new in found]
    database.write(lambda connection: ChangeStore(database, 1).record(connection, table, run_id, NOW, told))


def test_changes_are_told_by_row_and_by_run(database: Database) -> None:
    record(database, 7, (1, "memo", "a"))
    record(database, 8, (1, "memo", {"n": 1}), (2, "memo", None), (2, "phone", None))
    changes = ChangeStore(database, 1)
    assert [change.run_id for change in changes.of_row("device", 1, 10)] == [8, 7]
    assert len(changes.of_row("device", 1, 1)) == 1
    assert [change.row_id for change in changes.of_run(8, None)] == [1, 2, 2]
    assert len(changes.of_run(8, 2)) == 2
    assert changes.fields_of_run(8) == {"memo": 2, "phone": 1}
    (first,) = changes.of_run(8, 1)
    assert (first.new, first.kind, first.changed_at) == ({"n": 1}, ChangeKind.CHANGED, NOW)
    assert [change.seq for change in changes.since(first.seq, 10)] == [first.seq + 1, first.seq + 2]


def test_changes_of_other_lists_and_sources_stay_apart(database: Database) -> None:
    record(database, 8, (1, "memo", "a"), of=ACCOUNT)
    assert ChangeStore(database, 1).of_row("device", 1, 10) == []
    assert ChangeStore(database, 2).of_row("account", 1, 10) == []
    (change,) = ChangeStore(database, 1).of_row("account", 1, 10)
    assert (change.resource, change.row_id, change.old, change.new) == ("account", 1, None, "a")


def test_what_a_held_run_holds_back_is_told(devices: DeviceStore, database: Database) -> None:
    rows = [{"source_id": 1, "resource": "device", "row_id": key, "run_id": 9, "held": True} for key in (1, 2, 4)]
    rows.append({"source_id": 1, "resource": "device", "row_id": 5, "run_id": 8, "held": False})
    database.write(lambda connection: connection.execute(insert(sync_absence), rows))
    number, first = devices.held_back(9, 1)
    assert (number, ids(first)) == (2, [1])
    assert devices.held_back(8, 10) == (0, [])
    assert devices.missed_by(5) == 8
    assert devices.missed_by(3) is None

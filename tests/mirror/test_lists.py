"""Questions to the tables of lists, with the same answers on every database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text

from gengfu.mirror.account import ACCOUNT
from gengfu.mirror.device import DEVICE
from gengfu.mirror.resource import Resource
from gengfu.services.lists import gone_offline
from gengfu.store.changes import ChangeKind, ChangeQuery, ChangeStore, Difference
from gengfu.store.database import Database
from gengfu.store.lists import ListStore, Order, Presence, SinceKnownBy, StateSince, ValueFilter, Which
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
def devices(database: Database) -> ListStore:
    """Five devices, of which one is gone."""
    columns = ListStore(database, device, 1).columns
    rows = [dict.fromkeys(columns) | OWN | row | {"search": searched(row)} for row in DEVICES]
    database.write(lambda connection: connection.execute(insert(device), rows))
    return ListStore(database, device, 1)


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
    devices: ListStore, text: str, found: list[int]
) -> None:
    assert ids(devices.find(Which(text=text), Order(), None, 10)) == found


def test_a_search_can_be_for_what_is_gone(devices: ListStore) -> None:
    assert ids(devices.find(Which(Presence.GONE, "张三"), Order(), None, 10)) == [4]
    assert ids(devices.find(Which(Presence.ALL, "张三"), Order(), None, 10)) == [1, 4]
    assert ids(devices.find(Which(Presence.ALL, "张三"), Order(), None, 1)) == [1]
    assert ids(devices.find(Which(Presence.ALL, "k\\s"), Order(), None, 10)) == [4]


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (Which(), [1, 2, 3, 5]),
        (Which(Presence.ALL), [1, 2, 3, 4, 5]),
        (Which(Presence.GONE), [4]),
        (Which(conditions=[ValueFilter(["group_name", "group_id"], ["华东"])]), [1]),
        (Which(conditions=[ValueFilter(["group_name", "group_id"], ["7"])]), [1]),
        (Which(conditions=[ValueFilter(["brand"], ["OPPO"])]), [2, 3]),
        (Which(conditions=[ValueFilter(["brand"], ["OPPO"]), ValueFilter(["model"], ["A58", "A59"])]), [2]),
        (Which(conditions=[ValueFilter(["brand"], [])]), []),
        (Which(conditions=[ValueFilter(["alive"], [True])]), [1]),
        (Which(conditions=[ValueFilter(["alive"], [False])]), [2]),
        (Which(Presence.ALL, changed_since=NOW), [1, 2, 3, 4, 5]),
        (Which(Presence.ALL, changed_since=NOW + timedelta(minutes=30)), [4, 5]),
        (Which(changed_since=NOW + timedelta(hours=2)), []),
    ],
)
def test_filters_choose_and_count_alike(devices: ListStore, which: Which, found: list[int]) -> None:
    assert [row[0] for row in devices.stream(which, ["id"])] == found
    assert devices.count(which) == len(found)


def test_a_streamed_row_holds_what_was_stored(devices: ListStore) -> None:
    (row,) = devices.stream(Which(changed_since=NOW + timedelta(minutes=1)), ["memo", "updated_at", "id"])
    assert row == ("undeRscore 😀", NOW + timedelta(hours=1), 5)
    (third,) = [row for row in devices.stream(Which(), devices.columns) if row[0] == 3]
    assert dict(zip(devices.columns, third, strict=True))["extra"] == {"k": [1, "值"]}


def test_a_stream_that_is_left_gives_its_connection_back(devices: ListStore, database: Database) -> None:
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


def test_what_a_held_run_holds_back_is_told(devices: ListStore, database: Database) -> None:
    rows = [{"source_id": 1, "resource": "device", "row_id": key, "run_id": 9, "held": True} for key in (1, 2, 4)]
    rows.append({"source_id": 1, "resource": "device", "row_id": 5, "run_id": 8, "held": False})
    database.write(lambda connection: connection.execute(insert(sync_absence), rows))
    number, first = devices.held_back(9, 1)
    assert (number, ids(first)) == (2, [1])
    assert devices.held_back(8, 10) == (0, [])
    assert devices.missed_by(5) == 8
    assert devices.absent() == (4, 3)
    assert ListStore(database, device, 2).absent() == (0, 0)
    assert devices.missed_by(3) is None


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order(), [1, 2, 3, 5]),
        (Order("id", descending=True), [5, 3, 2, 1]),
        (Order("memo"), [2, 5, 1, 3]),
        (Order("memo", descending=True), [5, 2, 1, 3]),
        (Order("brand"), [2, 3, 1, 5]),
        (Order("updated_at", descending=True), [5, 1, 2, 3]),
    ],
    ids=str,
)
@pytest.mark.parametrize("limit", [1, 2, 10])
def test_pages_of_any_order_follow_each_other_without_a_gap(
    devices: ListStore, order: Order, expected: list[int], limit: int
) -> None:
    found: list[int] = []
    while page := ids(devices.find(Which(), order, found[-1] if found else None, limit)):
        found += page
    assert found == expected


def test_a_page_may_follow_a_row_that_is_not_there_or_not_chosen(devices: ListStore) -> None:
    assert ids(devices.find(Which(), Order(), 4, 10)) == [5]
    assert ids(devices.find(Which(), Order(), 2**62, 10)) == []
    assert ids(devices.find(Which(), Order("memo"), 99, 10)) == []


def test_totals_are_told_by_value_and_by_whether_rows_are_gone(devices: ListStore) -> None:
    assert sorted(devices.totals(["alive"]), key=str) == [(False, 0, 1), (None, 0, 2), (None, 1, 1), (True, 0, 1)]
    assert sorted(devices.totals([])) == [(0, 4), (1, 1)]


def turned(database: Database, key: int, online: bool, at: datetime) -> None:
    """Records that a run found that device online, or offline."""
    table = MirrorTable(database, device, 1, DEVICE.columns, ())
    found = [Difference(key, ChangeKind.CHANGED, "alive", not online, online)]
    database.write(lambda connection: ChangeStore(database, 1).record(connection, table, 1, at, found))


@pytest.fixture
def offline(database: Database) -> ListStore:
    """Devices 1 to 4 are offline: by a run, by the vendor's word, since nobody knows, and by a run again; 5 and 6 are
    online, 5 after it was offline; 7 is gone, and of 8 is nothing known."""
    hours = [timedelta(hours=number) for number in range(10)]
    rows: list[dict[str, Any]] = [
        {"id": 1, "alive": False, "last_alive_time": NOW - hours[9]},
        {"id": 2, "alive": False, "last_alive_time": NOW - hours[5]},
        {"id": 3, "alive": False},
        {"id": 4, "alive": False},
        {"id": 5, "alive": True},
        {"id": 6, "alive": True},
        {"id": 7, "alive": False, "gone_at": NOW},
        {"id": 8},
    ]
    store = ListStore(database, device, 1)
    filled = [
        dict.fromkeys(store.columns) | OWN | row | {"search": "", "first_seen_at": NOW - hours[4]} for row in rows
    ]
    database.write(lambda connection: connection.execute(insert(device), filled))
    for key, online, ago in [(1, False, 8), (1, True, 7), (4, False, 3), (5, False, 3), (1, False, 2), (5, True, 1)]:
        turned(database, key, online, NOW - hours[ago])
    return store


def hours_ago(found: list[StateSince]) -> dict[int, tuple[int, str]]:
    return {each.id: ((NOW - each.since) // timedelta(hours=1), str(each.known_by)) for each in found}


def test_what_is_offline_is_told_with_since_when_and_by_whom(offline: ListStore) -> None:
    told = {1: (2, "change"), 2: (5, "vendor"), 3: (4, "first_seen"), 4: (3, "change")}
    assert hours_ago(offline.offline("alive", "last_alive_time", Which())) == told
    assert hours_ago(offline.offline("alive", None, Which())) == told | {2: (4, "first_seen")}
    assert hours_ago(offline.offline("alive", None, Which(conditions=[ValueFilter(["id"], [4])]))) == {4: (3, "change")}


def test_what_came_back_online_is_told(offline: ListStore) -> None:
    assert hours_ago(offline.back("alive", NOW - timedelta(hours=1), Which())) == {5: (1, "change")}
    assert offline.back("alive", NOW, Which()) == []


def since(key: int, hours: float, known_by: str = "change") -> StateSince:
    return StateSince(key, NOW - timedelta(hours=hours), SinceKnownBy(known_by))


OFFLINE = [since(1, 2), since(2, 5, "vendor"), since(3, 4, "first_seen"), since(4, 3), since(5, 3)]


@pytest.mark.parametrize(
    ("began", "until", "kept_from", "found", "unknown"),
    [
        (None, None, 99, [2, 3, 4, 5, 1], 0),
        (2, None, 99, [1], 1),
        (6, None, 99, [1, 4, 5, 2], 1),
        (6, 3, 99, [4, 5, 2], 1),
        (None, 3, 99, [2, 3, 4, 5], 0),
        (None, 5, 99, [2], 1),
        (None, 4, 4, [2, 3], 0),
        (None, 3, 2, [2, 4, 5], 1),
    ],
)
def test_only_what_is_known_to_have_been_online_went_offline_since(
    began: int | None, until: int | None, kept_from: int, found: list[int], unknown: int
) -> None:
    moments = [None if each is None else NOW - timedelta(hours=each) for each in (began, until)]
    told, others = gone_offline(OFFLINE, *moments, NOW - timedelta(hours=kept_from))
    assert ([each.id for each in told], others) == (found, unknown)


def test_changes_are_listed_page_by_page_in_both_directions(database: Database) -> None:
    record(database, 7, (1, "memo", "a"), (2, "memo", "b"), (1, "phone", "c"))
    record(database, 8, (3, "memo", "d"), of=ACCOUNT)
    changes = ChangeStore(database, 1)

    def told(limit: int = 9, **query: Any) -> list[tuple[int, str | None]]:
        found = changes.listed(ChangeQuery("device", **query), limit)
        return [(change.row_id, change.field) for change in found]

    every = [(1, "phone"), (2, "memo"), (1, "memo")]
    assert told() == every
    assert told(oldest_first=True) == every[::-1]
    newest = changes.listed(ChangeQuery("device"), 1)[0].seq
    assert told(after=newest) == every[1:]
    assert told(after=newest - 2, oldest_first=True) == every[:2][::-1]
    assert told(field="memo") == every[1:]
    assert told(row_id=1) == [every[0], every[2]]
    assert told(kind=ChangeKind.GONE) == []
    assert told(since=NOW) == every
    assert told(since=NOW + timedelta(seconds=1)) == []


@pytest.mark.parametrize(
    ("word", "found"), [("老王", [1, 2]), ("wxid_A", [2]), ("77", [3]), ("Ü", [1, 2, 3]), ("%", [1, 4])]
)
def test_a_text_in_json_is_looked_for_where_it_may_be(database: Database, word: str, found: list[int]) -> None:
    told = [
        r'[{"nickname":"\u8001\u738b"}]',
        '[{"nickname":"老王","id":"WXID_a"}]',
        '[{"id":77}]',
        '[{"nickname":"5%"}]',
    ]
    for key, accounts in enumerate(told, 1):
        row = dict.fromkeys(ListStore(database, device, 1).columns) | OWN | {"id": key, "search": ""}
        database.write(lambda connection, row=row: connection.execute(insert(device), [row]))
        sql = text(f"UPDATE device SET wechat_accounts = :told WHERE id = {key}")
        database.write(lambda connection, sql=sql, told=accounts: connection.execute(sql, {"told": told}))
    chosen = Which(in_json=("wechat_accounts", word))
    assert {row["id"] for row in ListStore(database, device, 1).find(chosen, Order(), None, 9)} >= set(found)

"""Bulk writes of mirrored rows, the same on every database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gengfu.mirror.device import DEVICE
from gengfu.mirror.rows import RowReader
from gengfu.store import rows as stored_rows
from gengfu.store.database import Database
from gengfu.store.rows import MirrorTable

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
COLUMNS = RowReader(DEVICE, "Asia/Shanghai").columns


@pytest.fixture
def table(database: Database) -> MirrorTable:
    return MirrorTable(database, DEVICE.table, 1, COLUMNS, [field.column for field in DEVICE.volatile])


def row(
    key: int, *, row_hash: int = 1, content_hash: int = 2, gone_at: datetime | None = None, **values: Any
) -> list[Any]:
    plain = dict.fromkeys(COLUMNS) | {"id": key} | values
    return [*plain.values(), None, NOW, NOW, gone_at, row_hash, content_hash]


def encoded(table: MirrorTable, values: list[Any]) -> tuple[Any, ...]:
    return tuple(table.codec.encode(value) if isinstance(value, datetime) else value for value in values)


def write(database: Database, table: MirrorTable, *rows: list[Any]) -> None:
    database.write(lambda connection: table.upsert(connection, [encoded(table, each) for each in rows]))


def stored(database: Database, table: MirrorTable, *keys: int) -> dict[int, dict[str, Any]]:
    with database.read() as connection:
        found = table.current(connection, keys)
    return {
        key: {name: table.decoded(place, values[place]) for place, name in enumerate(table.columns)}
        for key, values in found.items()
    }


def test_a_stored_row_can_be_written_back_as_it_is(database: Database, table: MirrorTable) -> None:
    values = {"extra": json.dumps({"a": ["二"]}), "other": '"a text"', "alive": True, "create_time": NOW, "memo": "x"}
    write(database, table, row(7, **values))
    before = stored(database, table, 7)
    with database.read() as connection:
        found = table.current(connection, [7])[7]
    assert database.write(lambda connection: table.upsert(connection, [found])) == {}
    assert stored(database, table, 7) == before


def test_values_come_back_as_they_were_written(database: Database, table: MirrorTable) -> None:
    values = {
        "memo": "表情😀 'quoted' \\ back\tslash %s\n",
        "alive": True,
        "rooted": False,
        "create_time": NOW - timedelta(days=1),
        "extra": json.dumps({"a": [1, None, "二"]}),
        "wechat_accounts": "[]",
        "other": None,
    }
    write(database, table, row(-5, **values), row(2**63 - 1, memo="x" * 1_000_000))
    kept = stored(database, table, -5, 2**63 - 1)
    assert kept[-5] | values | {"extra": {"a": [1, None, "二"]}, "wechat_accounts": []} == kept[-5]
    assert kept[-5]["first_seen_at"] == NOW
    assert len(kept[2**63 - 1]["memo"]) == 1_000_000


def test_an_existing_row_is_replaced_but_keeps_when_it_was_first_seen(database: Database, table: MirrorTable) -> None:
    write(database, table, row(1, memo="old", phone="1", gone_at=NOW))
    later = row(1, memo="new", row_hash=9)
    later[len(COLUMNS) + 1] = NOW + timedelta(days=1)
    write(database, table, later, row(2))
    kept = stored(database, table, 1)[1]
    assert (kept["memo"], kept["phone"], kept["row_hash"], kept["gone_at"]) == ("new", None, 9, None)
    assert kept["first_seen_at"] == NOW


def test_a_heartbeat_writes_the_volatile_columns_alone(database: Database, table: MirrorTable) -> None:
    write(database, table, row(1, memo="stays", alive=True), row(2))
    moment = NOW + timedelta(minutes=5)
    moment_encoded = table.codec.encode(moment)
    database.write(lambda c: table.touch(c, [(1, 77, moment_encoded, None), (2, 78, None, moment_encoded)]))
    kept = stored(database, table, 1, 2)
    assert (kept[1]["row_hash"], kept[1]["last_alive_time"], kept[1]["memo"]) == (77, moment, "stays")
    assert (kept[2]["last_update_time"], kept[2]["content_hash"], kept[2]["updated_at"]) == (moment, 2, NOW)


def test_known_rows_tell_hashes_and_whether_they_are_gone(database: Database, table: MirrorTable) -> None:
    write(database, table, row(1, row_hash=-(2**63), content_hash=2**63 - 1), row(2, gone_at=NOW))
    with database.read() as connection:
        assert table.known(connection, [1, 2, 3]) == {1: (1, -(2**63), 2**63 - 1, False), 2: (2, 1, 2, True)}


def test_marking_as_gone_tells_which_rows_it_changed(database: Database, table: MirrorTable) -> None:
    write(database, table, *(row(key) for key in range(2_500)))
    assert database.write(lambda c: table.gone(c, range(100, 2_400), NOW)) == list(range(100, 2_400))
    assert database.write(lambda c: table.gone(c, [99, 100, 5_000], NOW)) == [99]
    with database.read() as connection:
        assert [key for part in table.listed(connection) for key in part] == [*range(99), *range(2_400, 2_500)]
    assert stored(database, table, 100)[100]["gone_at"] == NOW


def test_the_live_keys_come_in_parts_from_the_least_number_to_the_greatest(
    database: Database, table: MirrorTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_rows, "_STREAMED", 2)
    keys = [-(2**63), -1, 0, 7, 2**63 - 2, 2**63 - 1]
    for number in range(len(keys) + 1):
        with database.read() as connection:
            parts = [list(part) for part in table.listed(connection)]
        assert [key for part in parts for key in part] == keys[:number]
        assert all(0 < len(part) <= 2 for part in parts)
        if number < len(keys):
            write(database, table, row(keys[number]))


def test_many_rows_go_in_one_transaction_or_not_at_all(database: Database, table: MirrorTable) -> None:
    def work(connection: Any) -> None:
        table.upsert(connection, [encoded(table, row(key)) for key in range(500)])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.write(work)
    assert stored(database, table, *range(500)) == {}

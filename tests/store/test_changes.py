"""Changes are numbered in the order in which they are committed, whoever writes at the same time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from gengfu.mirror.device import DEVICE
from gengfu.settings import Secret
from gengfu.store.changes import Change, ChangeKind, ChangeStore, Difference
from gengfu.store.database import Database
from gengfu.store.rows import MirrorTable
from gengfu.store.tables import change, change_counter

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WRITERS = 4
TRANSACTIONS = 25


def table_of(database: Database, source_id: int = 1) -> MirrorTable:
    return MirrorTable(database, DEVICE.table, source_id, DEVICE.columns, ())


def row(table: MirrorTable, key: int, since: datetime) -> tuple[Any, ...]:
    moment = table.codec.encode(since)
    return (key, *[None] * (len(DEVICE.columns) - 1), None, moment, moment, None, 1, 2)


def memo(*keys: int) -> list[Difference]:
    return [Difference(key, ChangeKind.CHANGED, "memo", None, f"of {key}") for key in keys]


def read_on(changes: ChangeStore, cursor: int) -> list[Change]:
    """What a reader finds that asks again and again for what follows the last number it saw."""
    found: list[Change] = []
    while more := changes.since(found[-1].seq if found else cursor, 7):
        found += more
    return found


def test_a_reader_that_follows_the_numbers_misses_nothing_of_writers_side_by_side(
    database: Database, database_url: str
) -> None:
    writers = [Database(Secret(database_url), database.path or "/") for _ in range(WRITERS)]  # type: ignore[arg-type]
    ready = threading.Barrier(WRITERS + 1)
    problems: list[BaseException] = []

    def write(number: int) -> None:
        db = writers[number]
        table, changes = table_of(db), ChangeStore(db, 1)
        try:
            ready.wait()
            for step in range(TRANSACTIONS):
                keys = [1_000 * number + 10 * step + place for place in range(1 + step % 3)]
                # The transaction is open for a while before its changes are recorded, and for a while afterwards.
                db.write(
                    lambda c, keys=keys: (_dwell(c), changes.record(c, table, number, NOW, memo(*keys)), _dwell(c))
                )
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    seen: list[Change] = []
    changes = ChangeStore(database, 1)
    ready.wait()
    while any(thread.is_alive() for thread in threads):
        seen += changes.since(seen[-1].seq if seen else 0, 7)
    for thread in threads:
        thread.join()
    seen += read_on(changes, seen[-1].seq if seen else 0)
    for db in writers:
        db.dispose()
    assert problems == []
    with database.read() as connection:
        recorded = list(connection.scalars(select(change.c.seq).order_by(change.c.seq)))
    assert [each.seq for each in seen] == recorded
    assert len(recorded) == WRITERS * sum(1 + step % 3 for step in range(TRANSACTIONS))


def _dwell(connection: Any) -> None:
    connection.execute(text("SELECT count(*) FROM sync_run"))


def test_a_transaction_that_is_undone_leaves_no_change_and_no_number_twice(database: Database) -> None:
    changes = ChangeStore(database, 1)

    def fail(connection: Any) -> None:
        changes.record(connection, table_of(database), 1, NOW, memo(1))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.write(fail)
    database.write(lambda c: changes.record(c, table_of(database), 1, NOW, memo(2)))
    database.write(lambda c: changes.record(c, table_of(database), 1, NOW, memo(3)))
    assert [each.row_id for each in changes.since(0, 10)] == [2, 3]


def test_numbers_go_on_where_the_counter_is_lost(database: Database) -> None:
    changes = ChangeStore(database, 1)
    database.write(lambda c: changes.record(c, table_of(database), 1, NOW, memo(1, 2)))
    database.write(lambda c: c.execute(change_counter.delete()))
    database.write(lambda c: changes.record(c, table_of(database), 1, NOW, memo(3)))
    assert [each.seq for each in changes.since(0, 10)] == [1, 2, 3]


def test_a_row_that_came_to_be_is_one_change_and_one_that_was_there_is_none(database: Database) -> None:
    table, changes = table_of(database), ChangeStore(database, 1)
    other = table_of(database, 2)
    later = NOW + timedelta(minutes=1)
    database.write(lambda c: table.upsert(c, [row(table, 1, NOW)]))
    database.write(lambda c: other.upsert(c, [row(table, 2, later)]))

    def work(connection: Any) -> None:
        table.upsert(connection, [row(table, key, later) for key in (1, 2, 3)])
        changes.record(connection, table, 7, later, memo(1), [1, 2, 3], later)

    database.write(work)
    found = [(each.row_id, each.kind, each.field, each.run_id, each.changed_at) for each in changes.since(0, 10)]
    created = [(key, ChangeKind.CREATED, None, 7, later) for key in (2, 3)]
    assert found == [*created, (1, ChangeKind.CHANGED, "memo", 7, later)]
    assert ChangeStore(database, 2).since(0, 10) == []


def test_the_changes_of_devices_are_a_view(database: Database) -> None:
    changes = ChangeStore(database, 1)
    database.write(lambda c: changes.record(c, table_of(database), 5, NOW, memo(1)))
    with database.read() as connection:
        (found,) = connection.execute(text("SELECT * FROM device_change")).mappings()
    told = {name: found[name] for name in ("id", "source_id", "device_id", "run_id", "kind", "field")}
    assert told == {"id": 1, "source_id": 1, "device_id": 1, "run_id": 5, "kind": "changed", "field": "memo"}

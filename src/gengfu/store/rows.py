"""Mirrored rows in bulk: the one path that uses each driver below SQLAlchemy, since it carries all of the data."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from operator import itemgetter
from typing import Any, Protocol

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, func, select, update

from gengfu.store.database import Database
from gengfu.store.tables import Json, change, stored_json

OWN_COLUMNS = ("search", "first_seen_at", "updated_at", "gone_at", "row_hash", "content_hash")
"""The columns that a mirror table has besides the vendor's, in the order in which they end a row."""

_LOOKUP = 1_000
"""Keys in one statement. On SQLite they go as one value: its driver keeps the last 128 statements, at 0.1 MB each."""
_CREATED = 5_000
_STREAMED = 10_000
_BATCH_BYTES = 4_000_000


Known = tuple[int, int, int, bool]
"""What the mirror remembers of a row: key, row hash, content hash, and whether it is gone (true or 1)."""


class MirrorTable:
    """The rows of one source in a mirrored table: looks them up by key and writes them in bulk. A row is a tuple of
    `columns`, key first."""

    def __init__(
        self, db: Database, table: Table, source_id: int, fields: Sequence[str], volatile: Sequence[str]
    ) -> None:
        self._db = db
        self.table = table
        self.name = table.name
        self.key = fields[0]
        self._source_id = source_id
        self.columns = (*fields, *OWN_COLUMNS)
        self._volatile = tuple(volatile)
        self._json = {place for place, name in enumerate(self.columns) if isinstance(table.c[name].type, Json)}
        self.codec = codec_of(db)
        """What the values of rows are to be encoded by."""
        if db.kind == "sqlite":
            # Else its driver asks each NULL in vain for a way to be adapted, which takes longer than to write it.
            sqlite3.register_adapter(type(None), lambda none: none)

    @property
    def _keys_in(self) -> str:
        return f"{self.name} WHERE source_id = {self._source_id} AND {self.key} IN"

    @property
    def _live(self) -> ColumnElement[bool]:
        return (self.table.c.source_id == self._source_id) & self.table.c.gone_at.is_(None)

    @cached_property
    def _processors(self) -> list[Callable[[Any], Any] | None]:
        dialect = self._db.engine.dialect
        types = [self.table.c[name].type.dialect_impl(dialect) for name in self.columns]
        return [kind.result_processor(dialect, None) for kind in types]

    def known(self, connection: Connection, keys: Iterable[int]) -> dict[int, Known]:
        """What the mirror remembers of those of `keys` that it has, by key."""
        cursor = _cursor(connection)
        found: dict[int, Known] = {}
        head = f"SELECT {self.key}, row_hash, content_hash, gone_at IS NOT NULL FROM {self._keys_in}"
        for chunk in _chunks(keys, _LOOKUP):
            self._ask(cursor, head, chunk)
            found.update((row[0], row) for row in cursor.fetchall())
        return found

    def current(self, connection: Connection, keys: Iterable[int]) -> dict[int, tuple[Any, ...]]:
        """The stored rows of `keys`, as tuples of `columns`, with values as an `upsert` takes them."""
        cursor = _cursor(connection)
        found: dict[int, tuple[Any, ...]] = {}
        texts = self._json if self._db.kind == "postgresql" else ()
        names = (f"{name}::text" if place in texts else name for place, name in enumerate(self.columns))
        head = f"SELECT {', '.join(names)} FROM {self._keys_in}"
        for chunk in _chunks(keys, _LOOKUP):
            self._ask(cursor, head, chunk)
            found.update((row[0], row) for row in cursor.fetchall())
        return found

    def _ask(self, cursor: Any, head: str, keys: Sequence[int]) -> None:
        if self._db.kind == "sqlite":
            cursor.execute(f"{head} (SELECT value FROM json_each(?))", (str(keys),))
        else:
            cursor.execute(f"{head} ({','.join(map(str, keys))})")

    def decoded(self, place: int, stored: Any) -> Any:
        """A value of `current` in Python's terms, or as it stands there where nobody can read it; `place` is its
        column's."""
        process = stored_json if place in self._json else self._processors[place]
        try:
            return stored if process is None or stored is None else process(stored)
        except (ValueError, TypeError):
            return str(stored)

    def _among(self, keys: Sequence[int]) -> ColumnElement[bool]:
        key = self.table.c[self.key]
        mine = self.table.c.source_id == self._source_id
        if self._db.kind == "sqlite":
            return mine & key.in_(select(func.json_each(str(keys)).table_valued("value").c.value))
        return mine & key.in_(keys)

    def upsert(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> dict[int, str]:
        """Writes encoded `rows`, at most one per key, in key order; an existing row keeps its `first_seen_at`. Gives,
        by key, why the database refuses rows of which it does not take a value."""
        if not rows:
            return {}
        ordered = sorted(rows, key=itemgetter(0))
        write = {"sqlite": self._upsert_sqlite, "postgresql": self._upsert_postgresql, "mysql": self._upsert_mysql}
        savepoint = connection.begin_nested()
        try:
            write[self._db.kind](connection, ordered)
        except Exception as error:
            if not is_of_a_value(error):
                # The savepoint may be gone with the whole transaction, as on a full disk or in a deadlock.
                raise
            savepoint.rollback()
            if len(rows) == 1:
                return {rows[0][0]: " ".join(str(error).split())[:200]}
            half = len(rows) // 2
            return self.upsert(connection, ordered[:half]) | self.upsert(connection, ordered[half:])
        savepoint.commit()
        return {}

    def touch(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Writes the volatile columns and the row hash alone; a row is (key, row_hash, volatile values)."""
        if not rows:
            return
        encoded = sorted(rows, key=itemgetter(0))
        names = ("row_hash", *self._volatile)
        if self._db.kind == "postgresql":
            self._touch_postgresql(connection, encoded, names)
            return
        mark = "?" if self._db.kind == "sqlite" else "%s"
        sets = ", ".join(f"{name} = {mark}" for name in names)
        sql = f"UPDATE {self.name} SET {sets} WHERE source_id = {self._source_id} AND {self.key} = {mark}"
        if self._db.kind == "sqlite":
            _cursor(connection).executemany(sql, ((*row[1:], row[0]) for row in encoded))
        else:
            self._touch_mysql(connection, encoded, names)

    def listed(self, connection: Connection) -> Iterator[Sequence[int]]:
        """The keys of the live rows, ascending, streamed in parts."""
        if self._db.kind == "sqlite":
            return self._listed_sqlite(_cursor(connection))
        key = self.table.c[self.key]
        statement = select(key).where(self._live).order_by(key)
        result = connection.execution_options(stream_results=True, yield_per=_STREAMED).execute(statement)
        return iter(result.scalars().partitions())

    def _listed_sqlite(self, cursor: Any) -> Iterator[Sequence[int]]:
        """As JSON: its driver lets go of the interpreter and takes it back for each row."""
        live = f"source_id = {self._source_id} AND gone_at IS NULL"
        keys = f"SELECT {self.key} FROM {self.name} WHERE {live} AND {self.key} >= ?"
        whole = f"SELECT json_group_array({self.key}) FROM ({keys} ORDER BY {self.key} LIMIT {_STREAMED})"
        start = -(2**63)
        while start < 2**63 and (part := msgspec.json.decode(cursor.execute(whole, (start,)).fetchone()[0])):
            yield part
            start = part[-1] + 1

    def values(self, connection: Connection, keys: Collection[int], column: str) -> list[tuple[int, Any]]:
        """What stands in a column of the rows of `keys`, with the key."""
        key = self.table.c[self.key]
        query = select(key, self.table.c[column]).where(self._among(list(keys)))
        return [(row[0], row[1]) for row in connection.execute(query)]

    def gone(self, connection: Connection, keys: Iterable[int], moment: datetime) -> list[int]:
        """Marks those of `keys` that are live as gone at `moment`; returns the keys it changed."""
        changed: list[int] = []
        key = self.table.c[self.key]
        for chunk in _chunks(sorted(keys), _LOOKUP):
            met = list(connection.scalars(select(key).where(self._among(chunk), self._live).order_by(key)))
            if met:
                connection.execute(update(self.table).where(self._among(met)).values(gone_at=moment))
            changed.extend(met)
        return changed

    def record_created(
        self, connection: Connection, keys: Sequence[int], since: datetime, run_id: int, before: int
    ) -> None:
        """Records in `change`, with numbers after `before`, those of `keys`, all just written, whose rows are there
        since that moment."""
        moment = self.codec.encode(since)
        name = connection.dialect.identifier_preparer.quote(change.name)
        head = f"INSERT INTO {name} (seq, source_id, resource, row_id, run_id, kind, changed_at) SELECT"
        told = f"{self._source_id}, '{self.name}', %s, {run_id}, 'created'"
        mine = f"FROM {self.name} WHERE source_id = {self._source_id} AND {self.key}"
        cursor = _cursor(connection)
        for place in range(0, len(keys), _CREATED):
            chunk = keys[place : place + _CREATED]
            if self._db.kind == "sqlite":
                # Not by numbering rows, which takes longer than all the rest.
                older = f"SELECT 1 {mine} = value AND first_seen_at <> ?"
                sql = f"{head} ? + key, {told % 'value'}, ? FROM json_each(?) WHERE NOT EXISTS ({older})"
                cursor.execute(sql, (before + place + 1, moment, str(list(chunk)), moment))
            else:
                number = f"{before + place} + row_number() OVER (ORDER BY {self.key})"
                those = f"{mine} IN ({','.join(map(str, chunk))}) AND first_seen_at = %s"
                cursor.execute(f"{head} {number}, {told % self.key}, first_seen_at {those}", (moment,))

    def _updates(self, excluded: Callable[[str], str]) -> str:
        return ", ".join(f"{name} = {excluded(name)}" for name in self.columns[1:] if name != "first_seen_at")

    def _upsert_sqlite(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        marks = ",".join("?" * len(self.columns))
        _cursor(connection).executemany(
            f"INSERT INTO {self.name} (source_id,{','.join(self.columns)}) VALUES ({self._source_id},{marks}) "
            f"ON CONFLICT (source_id,{self.key}) DO UPDATE SET {self._updates(lambda name: f'excluded.{name}')}",
            rows,
        )

    def _upsert_postgresql(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        names = ",".join(self.columns)
        self._copy(connection, names, rows)
        connection.exec_driver_sql(
            f"INSERT INTO {self.name} (source_id,{names})"
            f" SELECT {self._source_id},{names} FROM incoming ORDER BY {self.key} "
            f"ON CONFLICT (source_id,{self.key}) DO UPDATE SET {self._updates(lambda name: f'EXCLUDED.{name}')}"
        )

    def _touch_postgresql(self, connection: Connection, rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> None:
        self._copy(connection, ",".join((self.key, *names)), rows)
        sets = ", ".join(f"{name} = incoming.{name}" for name in names)
        connection.exec_driver_sql(
            f"UPDATE {self.name} AS kept SET {sets} FROM incoming"
            f" WHERE kept.source_id = {self._source_id} AND kept.{self.key} = incoming.{self.key}"
        )

    def _copy(self, connection: Connection, names: str, rows: Iterable[tuple[Any, ...]]) -> None:
        connection.exec_driver_sql("DROP TABLE IF EXISTS pg_temp.incoming")
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT {names} FROM {self.name} WITH NO DATA"
        )
        with _cursor(connection).copy(f"COPY incoming ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def _upsert_mysql(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        updates = self._updates(lambda name: f"VALUES({name})")
        self._insert_mysql(connection, self.columns, rows, updates)

    def _touch_mysql(self, connection: Connection, rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> None:
        """A multi-row insert that meets only existing rows: MySQL's one way to update many rows at once.

        The required columns are filled with what is never used, since a row that was known once is never deleted.
        """
        required = ("first_seen_at", "updated_at", "content_hash")
        filled = [(*row, "1970-01-01", "1970-01-01", 0) for row in rows]
        updates = ", ".join(f"{name} = VALUES({name})" for name in names)
        self._insert_mysql(connection, (self.key, *names, *required), filled, updates)

    def _insert_mysql(
        self, connection: Connection, names: Sequence[str], rows: Sequence[tuple[Any, ...]], updates: str
    ) -> None:
        head = f"INSERT INTO {self.name} (source_id,{','.join(names)}) VALUES ".encode()
        tail = f" ON DUPLICATE KEY UPDATE {updates}".encode()
        cursor = _cursor(connection)
        marks = f"({self._source_id}," + ",".join(["%s"] * len(names)) + ")"
        most = min(_BATCH_BYTES, cursor.connection.max_allowed_packet - len(head) - len(tail) - 100)
        batch: list[bytes] = []
        size = 0
        for row in rows:
            piece: bytes = cursor.mogrify(marks, row).encode()
            if batch and size + len(piece) > most:
                cursor.execute(head + b",".join(batch) + tail)
                batch, size = [], 0
            batch.append(piece)
            size += len(piece) + 1
        cursor.execute(head + b",".join(batch) + tail)


_VALUE_STATES = ("22", "54")
"""Of PostgreSQL: values that a type does not have, and what is too large for an index."""
_VALUE_CODES = {1153, 1264, 1292, 1366, 1406}
"""Of MySQL: too large, out of range, no such moment, no such text, too long."""


def is_of_a_value(error: Exception) -> bool:
    """Whether a database, or its driver, does not take one of the values that it was given."""
    cause = getattr(error, "orig", None) or error
    state, code = getattr(cause, "sqlstate", None), cause.args[0] if cause.args else None
    if state is not None:
        return str(state).startswith(_VALUE_STATES)
    is_told = type(cause).__name__ == "DataError" or isinstance(cause, (ValueError, OverflowError))
    return is_told or code in _VALUE_CODES


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


def _chunks(keys: Iterable[int], size: int) -> Iterator[list[int]]:
    iterator = iter(keys)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


class Codec(Protocol):
    """Turns moments and flags into what a driver takes, and back."""

    text: bool
    """Whether moments go as text: `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""

    def encode(self, moment: datetime) -> Any:
        """A moment in UTC, as the driver takes it."""

    def decode(self, value: Any) -> datetime:
        """The other way round."""

    def flag(self, value: bool) -> int:
        """A flag, as the driver takes it most easily."""


class _Python:
    text = False

    def encode(self, moment: datetime) -> Any:
        return moment

    def decode(self, value: Any) -> datetime:
        moment: datetime = value
        return moment

    def flag(self, value: bool) -> int:
        return value


class _MySql:
    text = False

    def encode(self, moment: datetime) -> Any:
        return moment.astimezone(UTC).replace(tzinfo=None)

    def decode(self, value: Any) -> datetime:
        moment: datetime = value.replace(tzinfo=UTC)
        return moment

    def flag(self, value: bool) -> int:
        return value


class _Sqlite:
    text = True

    def encode(self, moment: datetime) -> Any:
        return moment.astimezone(UTC).isoformat(" ", "microseconds")[:26]

    def decode(self, value: Any) -> datetime:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)

    def flag(self, value: bool) -> int:
        return int(value)


PYTHON: Codec = _Python()
"""Values as they are."""

SQLITE: Codec = _Sqlite()
"""Values as SQLAlchemy writes them there."""


def codec_of(db: Database) -> Codec:
    """That of the database's driver."""
    return _CODECS[db.kind]


_CODECS: dict[str, Codec] = {"postgresql": PYTHON, "mysql": _MySql(), "sqlite": SQLITE}

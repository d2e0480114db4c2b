"""The rows of a database, as a backup holds them: JSON, the same for every kind of database, and nothing to execute.

A backup is a file of lines: of which versions the tables are, then for each table its columns and rows, then an end.
Tables are never made from it: what is read must fit into tables that the program's own migrations made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    LargeBinary,
    MetaData,
    Table,
    Text,
    cast,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.mysql import TINYINT
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.types import TypeEngine

from gengfu.errors import BackupError, StoreError
from gengfu.language import tr
from gengfu.store import app_schema
from gengfu.store.tables import Moment, metadata

if TYPE_CHECKING:
    from gengfu.store.database import Database

FORMAT = 1

LEFT_OUT = frozenset({"lease", "login_token"})
"""Tables that a backup holds without their rows: a token is a secret, and a process is gone when it is put back."""

BATCH = 100
"""Rows that are handled at a time, ..."""
BATCH_BYTES = 8 << 20
"""... or fewer, where they take so many bytes in the file."""


class Versions(msgspec.Struct, frozen=True, tag="versions", forbid_unknown_fields=True):
    """The first line: of which versions the tables are."""

    format: int
    tables: str
    """The revision of the program's own."""
    app: tuple[str, ...]
    """The revisions of the working folder's own, in order."""


class TableHead(msgspec.Struct, frozen=True, tag="table", forbid_unknown_fields=True):
    """The line before the rows of a table."""

    name: str
    columns: Mapping[str, str]
    """What each holds, in the order of the rows' values: a key of `_VALUES`."""


class End(msgspec.Struct, frozen=True, tag="end", forbid_unknown_fields=True):
    """The last line."""

    rows: int


Batch: TypeAlias = tuple[TableHead, Sequence[Sequence[Any]]]
"""Some rows of a table; there is at least one for each table, also for an empty one."""

_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_VALUES: Mapping[str, Any] = {
    "integer": _Int,
    "number": float,
    "text": str,
    "flag": bool,
    "moment": _Time,
    "bytes": bytes,
}


class _JsonText(Text):
    """A JSON value, as the text that is stored."""


_TYPES: Mapping[type, tuple[str, type[TypeEngine[Any]]]] = {
    bool: ("flag", Boolean),
    int: ("integer", BigInteger),
    float: ("number", Float),
    str: ("text", Text),
    object: ("text", _JsonText),
    bytes: ("bytes", LargeBinary),
    datetime: ("moment", Moment),
}
"""By the type of Python that SQLAlchemy has for a column, `object` for JSON."""


def encode(versions: Versions, batches: Iterable[Batch]) -> Iterator[bytes]:
    """The lines of a backup that holds these."""
    encoder = msgspec.json.Encoder()
    yield encoder.encode(versions) + b"\n"
    begun, number = "", 0
    for head, rows in batches:
        if head.name != begun:
            begun = head.name
            yield encoder.encode(head) + b"\n"
        number += len(rows)
        if rows:
            yield encoder.encode_lines(rows)
    yield encoder.encode(End(number)) + b"\n"


class Reader:
    """Reads the lines of a backup. Iterating over it raises BackupError where they are not what `encode` writes."""

    def __init__(self, lines: Iterator[bytes], name: str) -> None:
        self._lines = lines
        self._name = name
        self.versions = self._decoded(next(lines, b""), Versions)
        if self.versions.format != FORMAT:
            raise BackupError(
                tr("the backup {name} is in a form that this program does not know; upgrade the program", name=name)
            )

    def __iter__(self) -> Iterator[Batch]:
        head: TableHead | End = self._decoded(next(self._lines, b""), TableHead | End)
        number, seen = 0, set[str]()
        while isinstance(head, TableHead):
            if head.name in seen or not {*head.columns.values()} <= _VALUES.keys():
                raise self._strange(
                    tr("its table {head.name!r} is twice in it, or has columns of no known kind", head=head)
                )
            seen.add(head.name)
            kinds = tuple(_VALUES[kind] | None for kind in head.columns.values())
            decoder = msgspec.json.Decoder(tuple.__class_getitem__(kinds))
            rows: list[Sequence[Any]] = []
            taken = 0
            for line in self._lines:
                if line[:1] != b"[":
                    break
                rows.append(self._decoded(line, decoder))
                taken += len(line)
                if len(rows) == BATCH or taken > BATCH_BYTES:
                    number += len(rows)
                    yield head, rows
                    rows, taken = [], 0
            else:
                raise self._strange("it is cut off")
            number += len(rows)
            yield head, rows
            head = self._decoded(line, TableHead | End)
        if number != head.rows or next(self._lines, None) is not None:
            raise self._strange("its end is not that of a backup")

    def _decoded(self, line: bytes, kind: Any) -> Any:
        try:
            return kind.decode(line) if isinstance(kind, msgspec.json.Decoder) else msgspec.json.decode(line, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._strange(tr("a line is not one of a backup ({error})", error=error)) from error

    def _strange(self, why: str) -> BackupError:
        return BackupError(
            tr("the backup {name} is damaged, or was not made by Gengfu: {why}", name=self._name, why=why)
        )


def known(home: Path) -> set[str]:
    """The tables that the program makes, and `app/migrations` of that working folder."""
    return {*metadata.tables, *app_schema.revisions(home)}


@contextmanager
def snapshot(db: Database) -> Iterator[Connection]:
    """A connection that sees the database as it is at one moment, for as long as it lasts.

    Raises:
        StoreError: the database is not there or refuses.
    """
    if db.path is not None and not db.path.exists():
        raise StoreError(tr("there is no database {db.path} yet", db=db))
    with db.read() as connection:
        if db.path is None:
            connection.rollback()
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def foreign_tables(connection: Connection, tables: Iterable[str]) -> list[str]:
    """The tables that are there besides these."""
    return sorted({*inspect(connection).get_table_names()} - {*tables, "alembic_version", "app_version"})


def tables_of(connection: Connection, names: Iterable[str]) -> dict[str, Table]:
    """Those of these tables that are there, in order, as a backup sees them.

    Raises:
        BackupError: a column is of a type that no backup holds.
    """
    inspector = inspect(connection)
    found = inspector.get_multi_columns(filter_names=sorted(names))
    tables = {}
    for (_, name), columns in sorted(found.items()):
        tables[name] = table = Table(name, MetaData())
        for column in columns:
            kind = bool if isinstance(column["type"], TINYINT) else _python_type(column["type"])
            if kind is None or kind not in _TYPES:
                raise BackupError(
                    tr(
                        "the column {column} of the table {name} is {kind}, which no backup holds",
                        column=column["name"],
                        name=name,
                        kind=column["type"],
                    )
                )
            table.append_column(Column(column["name"], _TYPES[kind][1]()))
            if column.get("autoincrement") is True:
                table.info["serial"] = column["name"]
    return tables


def _python_type(kind: TypeEngine[Any]) -> type | None:
    try:
        return kind.python_type
    except NotImplementedError:
        return None


def _head(table: Table) -> TableHead:
    words = {sql: word for word, sql in _TYPES.values()}
    return TableHead(str(table.name), {str(column.name): words[type(column.type)] for column in table.c})


def count(connection: Connection, tables: Mapping[str, Table]) -> dict[str, int]:
    """How many rows each has, but for those that backups leave out."""
    return {
        name: 0 if name in LEFT_OUT else int(connection.scalar(select(func.count()).select_from(table)) or 0)
        for name, table in tables.items()
    }


def dump(connection: Connection, tables: Mapping[str, Table]) -> Iterator[Batch]:
    """All rows of these tables, but of those that are left out."""
    for name, table in tables.items():
        head = _head(table)
        if name not in LEFT_OUT:
            # MySQL has no JSON columns: there it is text already.
            columns = [cast(c, Text) if isinstance(c.type, _JsonText) else c for c in table.c]
            for rows in connection.execute(select(*columns).execution_options(yield_per=BATCH)).partitions():
                yield head, [tuple(row) for row in rows]
        yield head, []


def load(connection: Connection, batches: Iterable[Batch], tables: Mapping[str, Table]) -> dict[str, int]:
    """Empties these tables and fills them with that; how many rows each got.

    Raises:
        BackupError: it does not fit into them.
    """
    _clear(connection, tables.values())
    counts: dict[str, int] = {}
    for head, rows in batches:
        table = tables.get(head.name)
        if table is None or _head(table).columns != head.columns:
            raise BackupError(
                tr(
                    "its table {head.name!r} is not as this program and app/migrations make it; copy the folder app "
                    "of the installation that made the backup, and restore again",
                    head=head,
                )
            )
        if rows and head.name in LEFT_OUT:
            raise BackupError(tr("it holds rows of the table {head.name}, which no backup has", head=head))
        counts[head.name] = counts.get(head.name, 0) + len(rows)
        try:
            if rows:
                _put(connection, table, list(head.columns), rows)
        except _misfits(connection) as error:
            why = getattr(error, "orig", error)
            raise BackupError(tr("a row of its table {head.name} does not fit: {why}", head=head, why=why)) from None
    if missing := tables.keys() - counts.keys():
        raise BackupError(tr("it lacks the tables {missing}", missing=sorted(missing)))
    if connection.dialect.name == "postgresql":
        _continue_numbers(connection, tables.values())
    return counts


def _clear(connection: Connection, tables: Iterable[Table]) -> None:
    if connection.dialect.name == "postgresql":
        # So that nobody adds rows until this transaction is over; deleting would not keep them from it.
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        quote = connection.dialect.identifier_preparer.quote
        connection.execute(text(f"TRUNCATE {', '.join(quote(table.name) for table in tables)}"))
    else:
        for table in tables:
            connection.execute(table.delete())


def _misfits(connection: Connection) -> tuple[type[Exception], ...]:
    """What the toolkit raises for a row that a table refuses, and what the driver raises by itself."""
    driver: Any = connection.dialect.dbapi
    return DataError, IntegrityError, driver.DataError, driver.IntegrityError


def _put(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if connection.dialect.name != "postgresql":
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        return
    # Five times as fast as inserting; and what is JSON goes in as the text that it is.
    quote = connection.dialect.identifier_preparer.quote
    driver: Any = connection.connection.driver_connection
    into = f"COPY {quote(table.name)} ({', '.join(map(quote, names))}) FROM STDIN"
    with driver.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row(row)


def _continue_numbers(connection: Connection, tables: Iterable[Table]) -> None:
    """New rows get numbers beyond those that were put in."""
    quote = connection.dialect.identifier_preparer.quote
    for table in tables:
        if (column := table.info.get("serial")) is not None:
            highest = select(func.max(table.c[column])).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(quote(table.name), column), highest)))

"""A few statements in one transaction, without the weight of SQLAlchemy where the database is SQLite.

What a schedule starts every few minutes has a few rows to read and write: on SQLite the bare driver does that in a
tenth of the time that importing the toolkit takes. Elsewhere the same statements go through it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gengfu.language import Message, kept, recalled
from gengfu.store.failures import explained

if TYPE_CHECKING:
    from gengfu.store.database import Database

T = TypeVar("T")
Row = Mapping[str, Any]


class Statements(Protocol):
    """Runs statements with `:name` values in an open transaction. Moments go in as aware datetimes; what comes out, on
    SQLite, is as it is stored: `moment` and `value` read it."""

    def one(self, sql: str, values: Row) -> Row | None:
        """The first row, or None."""

    def all(self, sql: str, values: Row) -> Sequence[Row]:
        """All rows."""

    def change(self, sql: str, values: Row) -> int:
        """How many rows the statement met."""

    def insert(self, table: str, row: Row, *, or_ignore: bool = False) -> int | None:
        """The id of the new row; None where a unique key was taken and `or_ignore` is set."""

    def quoted(self, name: str) -> str:
        """A table's name as a statement has it; only one that is also a word of SQL needs this."""

    def server_time(self) -> datetime | None:
        """What the clock of the database server says, at this moment of the transaction; None of an SQLite file."""


def transact(db: Database | Path, work: Callable[[Statements], T], patience: float = 30.0) -> T:
    """Runs `work` in one transaction that may write, and commits. It may be run again from the start, so it must change
    nothing but the database. What it writes is on the disk before this returns.

    Args:
        db: an SQLite file, or the database.
        patience: seconds for which it is tried again while a database server is away.

    Raises:
        StoreError: the database cannot do it.
    """
    if isinstance(db, Path):
        return _with_sqlite(db, work)
    from gengfu.store.core_statements import CoreStatements

    return db.write(lambda connection: work(CoreStatements(connection)), patience)


def look(db: Database | Path, work: Callable[[Statements], T]) -> T:
    """Runs `work`, which only reads, on SQLite on one snapshot; nobody who writes is waited for.

    Args:
        db: an SQLite file that is there, or the database.

    Raises:
        StoreError: the database cannot do it.
    """
    if isinstance(db, Path):
        try:
            address = f"{db.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(address, uri=True, timeout=2.0, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN")
                return work(_SqliteStatements(connection))
        except sqlite3.Error as error:
            raise explained(str(db), error) from error
    from gengfu.store.core_statements import CoreStatements

    return db.look(lambda connection: work(CoreStatements(connection)))


def is_locked(file: Path) -> bool:
    """Whether a transaction keeps everybody else from writing into this SQLite file at the moment."""
    try:
        address = f"{file.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=0.0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    return False


def moment(value: datetime | str | None) -> datetime | None:
    """A moment as a statement gives it, aware, in UTC."""
    if value is None:
        return None
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def sentence(stored: str | None) -> str | None:
    """Text for people as a statement gives it."""
    return None if stored is None else recalled(stored)


def value(stored: Any) -> Any:
    """A JSON value as a statement gives it."""
    return json.loads(stored) if isinstance(stored, str) else stored


class _SqliteStatements:
    """The statements over the bare driver, with values written as SQLAlchemy writes them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def one(self, sql: str, values: Row) -> Row | None:
        found: Row | None = self._connection.execute(sql, _plain(values)).fetchone()
        return found

    def all(self, sql: str, values: Row) -> Sequence[Row]:
        return self._connection.execute(sql, _plain(values)).fetchall()

    def change(self, sql: str, values: Row) -> int:
        return self._connection.execute(sql, _plain(values)).rowcount

    def insert(self, table: str, row: Row, *, or_ignore: bool = False) -> int | None:
        verb = "INSERT OR IGNORE" if or_ignore else "INSERT"
        marks = ", ".join(f":{name}" for name in row)
        sql = f"{verb} INTO {table} ({', '.join(f'{chr(34)}{name}{chr(34)}' for name in row)}) VALUES ({marks})"
        cursor = self._connection.execute(sql, _plain(row))
        return cursor.lastrowid if cursor.rowcount == 1 else None

    def quoted(self, name: str) -> str:
        return f'"{name}"'

    def server_time(self) -> datetime | None:
        return None


def _plain(values: Row) -> dict[str, Any]:
    return {name: _sqlite_value(value) for name, value in values.items()}


def _sqlite_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False)
    return kept(value) if isinstance(value, Message) else value


def _with_sqlite(path: Path, work: Callable[[Statements], T]) -> T:
    try:
        with closing(sqlite3.connect(path, timeout=10.0, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                done = work(_SqliteStatements(connection))
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
            return done
    except sqlite3.Error as error:
        raise explained(str(path), error) from error

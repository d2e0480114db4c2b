"""What `statements` runs on the bare SQLite driver, by SQLAlchemy for every database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, bindparam, insert, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator

from gengfu.language import Message
from gengfu.store.statements import moment
from gengfu.store.tables import Moment, Sentence, metadata


class CoreStatements:
    """Runs named statements on an open transaction of any of the databases."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        dialect = connection.dialect.name
        self._kind = "mysql" if dialect == "mariadb" else dialect

    def one(self, sql: str, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The first row, or None."""
        row = self._connection.execute(_typed(sql, values), dict(values)).mappings().first()
        return cast("Mapping[str, Any] | None", row)

    def all(self, sql: str, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """All rows."""
        return cast(
            "Sequence[Mapping[str, Any]]", self._connection.execute(_typed(sql, values), dict(values)).mappings().all()
        )

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        """How many rows the statement met."""
        return self._connection.execute(_typed(sql, values), dict(values)).rowcount

    def insert(self, table: str, row: Mapping[str, Any], *, or_ignore: bool = False) -> int | None:
        """The id of the new row; None where a unique key was taken and `or_ignore` is set."""
        target = metadata.tables[table]
        if not or_ignore:
            key = self._connection.execute(insert(target).values(**row)).inserted_primary_key
            return None if key is None else cast("int", key[0])
        if self._kind == "mysql":
            result = self._connection.execute(insert(target).values(**row).prefix_with("IGNORE"))
            return int(result.lastrowid) if result.rowcount == 1 else None
        make = postgresql.insert if self._kind == "postgresql" else sqlite.insert
        statement = make(target).values(**row).on_conflict_do_nothing().returning(*target.primary_key)
        return cast("int | None", self._connection.scalar(statement))

    def quoted(self, name: str) -> str:
        """A table's name as a statement has it."""
        return self._connection.dialect.identifier_preparer.quote(name)

    def server_time(self) -> datetime | None:
        """What the clock of the server says; None of an SQLite file."""
        clock = {"postgresql": "clock_timestamp()", "mysql": "UTC_TIMESTAMP(6)"}.get(self._kind)
        return moment(self._connection.scalar(text(f"SELECT {clock}"))) if clock is not None else None


_TYPES: Mapping[type, type[TypeDecorator[Any]]] = {datetime: Moment, Message: Sentence}


def _typed(sql: str, values: Mapping[str, Any]) -> Any:
    types = {name: _TYPES[type(value)]() for name, value in values.items() if type(value) in _TYPES}
    return text(sql).bindparams(*(bindparam(name, type_=kind) for name, kind in types.items()))

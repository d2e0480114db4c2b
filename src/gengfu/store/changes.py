"""The changes of all mirrored lists, in one sequence that is in the order of commits on every database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

from gengfu.store.core_statements import CoreStatements
from gengfu.store.database import Database
from gengfu.store.rows import MirrorTable
from gengfu.store.tables import change, change_counter


class ChangeKind(StrEnum):
    """What happened to a row."""

    CREATED = "created"
    """It came to be in the mirror."""
    CHANGED = "changed"
    """A field of it has another value."""
    GONE = "gone"
    """The vendor no longer has it."""
    RETURNED = "returned"
    """The vendor has it again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A change of a row, about to be recorded. `field` is a column; `old` and `new` are as JSON keeps them."""

    row_id: int
    kind: ChangeKind
    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Change:
    """A recorded change. A row that came to be has no `field`."""

    seq: int
    source_id: int
    resource: str
    row_id: int
    run_id: int
    kind: ChangeKind
    field: str | None
    old: Any
    new: Any
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """Which changes of a list, and in which order; what is None does not matter."""

    resource: str
    since: datetime | None = None
    """At that moment or later."""
    field: str | None = None
    row_id: int | None = None
    kind: ChangeKind | None = None
    after: int | None = None
    """Those that follow the change of that number."""
    oldest_first: bool = False


class ChangeStore:
    """Records and reads the changes of one source.

    The numbers that a transaction gives to its changes come from a counter whose row it keeps locked until it commits,
    so a reader that has seen one number will never be shown a lower one. Everybody who writes waits there: changes are
    what a transaction records last.
    """

    def __init__(self, db: Database, source_id: int) -> None:
        self._db = db
        self._source_id = source_id

    def record(
        self,
        connection: Connection,
        table: MirrorTable,
        run_id: int,
        now: datetime,
        differences: Sequence[Difference],
        new: Sequence[int] = (),
        since: datetime | None = None,
    ) -> None:
        """Records what changed in that table; of the rows `new`, those that are there `since` that very moment."""
        if not differences and not new:
            return
        last = self._advance(connection, len(differences) + len(new))
        shared = {"source_id": self._source_id, "resource": table.name, "run_id": run_id, "changed_at": now}
        if differences:
            numbers = range(last - len(differences) + 1, last + 1)
            rows = [
                {"seq": seq, "row_id": d.row_id, "kind": d.kind, "field": d.field, "old": d.old, "new": d.new, **shared}
                for seq, d in zip(numbers, differences, strict=True)
            ]
            connection.execute(insert(change), rows)
        if new:
            assert since is not None
            table.record_created(connection, new, since, run_id, last - len(differences) - len(new))

    def _advance(self, connection: Connection, by: int) -> int:
        """Takes that many numbers; the last of them."""
        grown = update(change_counter).where(change_counter.c.id == 1).values(last_seq=change_counter.c.last_seq + by)
        if not connection.execute(grown).rowcount:
            highest = connection.scalar(select(func.max(change.c.seq))) or 0
            CoreStatements(connection).insert("change_counter", {"id": 1, "last_seq": highest}, or_ignore=True)
            connection.execute(grown)
        last: int = connection.execute(select(change_counter.c.last_seq).where(change_counter.c.id == 1)).scalar_one()
        return last

    def since(self, seq: int, limit: int) -> list[Change]:
        """The first `limit` changes after that number, of every list."""
        query = select(change).where(change.c.source_id == self._source_id, change.c.seq > seq)
        return list(self._changes(query.order_by(change.c.seq).limit(limit)))

    def listed(self, asked: ChangeQuery, limit: int) -> list[Change]:
        """The first `limit` changes that are asked for."""
        seq = change.c.seq
        query = select(change).where(self._in(asked.resource, by_row=asked.row_id is not None))
        equal = {"field": asked.field, "row_id": asked.row_id, "kind": asked.kind}
        query = query.where(*(change.c[name] == value for name, value in equal.items() if value is not None))
        if asked.since is not None:
            query = query.where(change.c.changed_at >= asked.since)
        if asked.after is not None:
            query = query.where(seq > asked.after if asked.oldest_first else seq < asked.after)
        return list(self._changes(query.order_by(seq if asked.oldest_first else seq.desc()).limit(limit)))

    def of_row(self, resource: str, row_id: int, limit: int) -> list[Change]:
        """The latest changes of the fields of a row, the newest first."""
        query = select(change).where(self._in(resource), change.c.row_id == row_id, _of_fields())
        return list(self._changes(query.order_by(change.c.seq.desc()).limit(limit)))

    def of_run(self, run_id: int, limit: int | None) -> list[Change]:
        """The first `limit` changes of fields that a run found, by row."""
        query = select(change).where(change.c.run_id == run_id, _of_fields())
        return list(self._changes(query.order_by(change.c.row_id, change.c.seq).limit(limit)))

    def fields_of_run(self, run_id: int) -> dict[str, int]:
        """How often the run found each field changed, the most frequent first."""
        field, number = change.c.field, func.count().label("number")
        query = select(field, number).where(change.c.run_id == run_id, _of_fields())
        with self._db.read() as connection:
            return {r.field: r.number for r in connection.execute(query.group_by(field).order_by(number.desc(), field))}

    def _in(self, resource: str, *, by_row: bool = True) -> ColumnElement[bool]:
        """`by_row`: whether the index by rows is of use; SQLite would take it, and sort, where the order of numbers is
        asked for."""
        source = change.c.source_id if by_row else change.c.source_id + 0
        return (source == self._source_id) & (change.c.resource == resource)

    def _changes(self, query: Select[Any]) -> Iterator[Change]:
        with self._db.read() as connection:
            for row in connection.execute(query).mappings():
                yield Change(**{**row, "kind": ChangeKind(row["kind"])})


def _of_fields() -> ColumnElement[bool]:
    return change.c.field.is_not(None)

"""Questions to the table of a mirrored list: one row, a search, totals, who is offline, what goes into a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, case, cast, func, or_, select

from gengfu.store.database import Database
from gengfu.store.tables import ListTable, change, sync_absence

Row = Mapping[str, Any]

_INTERNAL = ("source_id", "search", "row_hash", "content_hash")
_MOST_ID = 2**63 - 1
_IN_ONE = 1_000
"""Keys in one statement."""


class Presence(StrEnum):
    """Which rows, by whether the vendor still lists them."""

    PRESENT = "present"
    """Those that it lists."""
    GONE = "gone"
    """Those that it no longer lists."""
    ALL = "all"
    """Both."""


@dataclass(frozen=True, slots=True)
class ValueFilter:
    """One of these columns holds one of these values."""

    columns: Sequence[str]
    values: Collection[Any]


@dataclass(frozen=True, slots=True)
class Which:
    """Chooses rows; what is None or empty does not matter."""

    presence: Presence = Presence.PRESENT
    text: str | None = None
    """A part of a searched field, in capitals or not, or the whole id."""
    conditions: Sequence[ValueFilter] = ()
    changed_since: datetime | None = None
    """Changed, come or gone at that moment or later; a heartbeat is no change."""
    in_json: tuple[str, str] | None = None
    """A column of JSON and a text that may be in it, in capitals or not. What is chosen may not have it after all."""


@dataclass(frozen=True, slots=True)
class Order:
    """By a column, those without a value last; equal ones by id."""

    column: str = "id"
    descending: bool = False


class SinceKnownBy(StrEnum):
    """What tells since when a row is offline, or online again."""

    CHANGE = "change"
    """A run found that it had changed."""
    VENDOR = "vendor"
    """No run found it online; the vendor tells when it last was."""
    FIRST_SEEN = "first_seen"
    """Neither: it has been offline at least since it is known, perhaps for longer."""


@dataclass(frozen=True, slots=True)
class StateSince:
    """Since when a row is offline, or online again."""

    id: int
    since: datetime
    known_by: SinceKnownBy


class ListStore:
    """Reads the rows of one source in a mirrored table. Rows are mappings by column, times aware, JSON decoded."""

    def __init__(self, db: Database, table: ListTable, source_id: int) -> None:
        self._db = db
        self._table = table
        self._source_id = source_id
        self.columns = tuple(column.name for column in table.c if column.name not in _INTERNAL)
        """The columns that are of interest outside: the vendor's, and since when the row is known, changed and gone."""

    def get(self, row_id: int) -> Row | None:
        """The row of that id."""
        found = self._rows(self._all().where(self._table.c.id == row_id))
        return found[0] if found else None

    def named(self, ids: Sequence[int]) -> list[Row]:
        """The rows of those ids, in their order."""
        parts = (ids[start : start + _IN_ONE] for start in range(0, len(ids), _IN_ONE))
        found = {row["id"]: row for part in parts for row in self._rows(self._all().where(self._table.c.id.in_(part)))}
        return [found[row_id] for row_id in ids if row_id in found]

    def missed_by(self, row_id: int) -> int | None:
        """The last complete run, if it did not list this live row."""
        query = select(sync_absence.c.run_id).where(self._absent(), sync_absence.c.row_id == row_id)
        with self._db.read() as connection:
            found: int | None = connection.scalar(query)
            return found

    def find(self, which: Which, order: Order, after: int | None, limit: int) -> list[Row]:
        """The first `limit` of the chosen rows; of those that follow the row of the id `after`, if one is given."""
        return self._rows(self._ordered(self._all(), which, order, after).limit(limit))

    def count(self, which: Which) -> int:
        """How many rows that chooses."""
        query = select(func.count()).select_from(self._table).where(self._mine(), *self._conditions(which))
        with self._db.read() as connection:
            return connection.scalar(query) or 0

    def stream(
        self, which: Which, columns: Sequence[str], order: Order = Order(), after: int | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """The chosen rows as of one moment, as tuples of these columns; read bit by bit, in flat memory."""
        chosen = select(*(self._table.c[name] for name in columns)).where(self._mine())
        with self._db.read() as connection:
            streamed = connection.execution_options(stream_results=True)
            for batch in streamed.execute(self._ordered(chosen, which, order, after)).partitions(1_000):
                yield from map(tuple, batch)

    def held_back(self, run_id: int, limit: int) -> tuple[int, list[Row]]:
        """How many rows wait for a person's word on the held run, and the first `limit` of them."""
        held = select(sync_absence.c.row_id).where(self._absent(), sync_absence.c.run_id == run_id, sync_absence.c.held)
        still = (self._mine(), self._table.c.id.in_(held), self._table.c.gone_at.is_(None))
        with self._db.read() as connection:
            number = connection.scalar(select(func.count()).select_from(self._table).where(*still)) or 0
        return number, self._rows(self._all().where(*still).order_by(self._table.c.id).limit(limit))

    def absent(self) -> tuple[int, int]:
        """How many live rows the last complete run did not list, and how many of them wait for a person's word."""
        query = select(func.count(), func.sum(case((sync_absence.c.held, 1), else_=0))).where(self._absent())
        with self._db.read() as connection:
            number, held = connection.execute(query).one()
        return number, int(held or 0)

    def totals(self, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """For each combination of values of these columns: the values, whether the rows are gone, and how many."""
        gone = self._table.c.gone_at.is_not(None).label("gone")
        grouped = [*(self._table.c[name] for name in columns), gone]
        query = select(*grouped, func.count()).where(self._mine()).group_by(*grouped)
        with self._db.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def offline(self, flag: str, last_online: str | None, which: Which) -> list[StateSince]:
        """The chosen rows that are offline by the column `flag`, with since when: a run found it, else by the column
        `last_online`, the vendor's word, else they are known so long."""
        table = self._table
        words = {"first_seen_at": SinceKnownBy.FIRST_SEEN}
        if last_online is not None:
            words = {last_online: SinceKnownBy.VENDOR} | words
        moments = [self._last_change(flag), *(table.c[name] for name in words)]
        query = select(table.c.id, *moments).where(self._mine(), table.c[flag].is_(False), *self._conditions(which))
        known_by = (SinceKnownBy.CHANGE, *words.values())
        with self._db.read() as connection:
            return [
                next(
                    StateSince(key, since, word)
                    for since, word in zip(found, known_by, strict=True)
                    if since is not None
                )
                for key, *found in connection.execute(query)
            ]

    def back(self, flag: str, since: datetime, which: Which) -> list[StateSince]:
        """The chosen rows that are online and that a run found to have come online since that moment."""
        table = self._table
        row, moment = change.c.row_id, func.max(change.c.changed_at)
        turned = select(row, moment).where(
            # Not by the index of rows: few of its changes are that young.
            change.c.source_id + 0 == self._source_id,
            change.c.resource == table.name,
            change.c.field == flag,
            change.c.changed_at >= since,
        )
        online = select(table.c.id).where(self._mine(), table.c[flag].is_(True), *self._conditions(which))
        found: list[StateSince] = []
        with self._db.read() as connection:
            # Joined in the database it takes minutes where a server knows nothing of its tables yet.
            turns = {told[0]: told[1] for told in connection.execute(turned.group_by(row))}
            keys = sorted(turns)
            for start in range(0, len(keys), _IN_ONE):
                chosen = online.where(table.c.id.in_(keys[start : start + _IN_ONE]))
                found += [StateSince(key, turns[key], SinceKnownBy.CHANGE) for key in connection.scalars(chosen)]
        return found

    def _last_change(self, column: str) -> ColumnElement[datetime]:
        """When a run last found that column of the row changed."""
        mine = (change.c.source_id == self._source_id, change.c.resource == self._table.name)
        query = select(change.c.changed_at).where(*mine, change.c.row_id == self._table.c.id, change.c.field == column)
        return query.order_by(change.c.seq.desc()).limit(1).correlate(self._table).scalar_subquery()

    def _mine(self) -> ColumnElement[bool]:
        return self._table.c.source_id == self._source_id

    def _absent(self) -> ColumnElement[bool]:
        return (sync_absence.c.source_id == self._source_id) & (sync_absence.c.resource == self._table.name)

    def _all(self) -> Select[Any]:
        return select(*(self._table.c[name] for name in self.columns)).where(self._mine())

    def _rows(self, query: Select[Any]) -> list[Row]:
        with self._db.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _ordered(self, query: Select[Any], which: Which, order: Order, after: int | None) -> Select[Any]:
        column, key = self._table.c[order.column], self._table.c.id
        query = query.where(*self._conditions(which))
        if after is not None:
            query = query.where(self._beyond(order, after))
        if order.column == "id":
            return query.order_by(key.desc() if order.descending else key)
        return query.order_by(column.is_(None), column.desc() if order.descending else column, key)

    def _beyond(self, order: Order, after: int) -> ColumnElement[bool]:
        """What comes after the row of that id in that order."""
        column, key = self._table.c[order.column], self._table.c.id
        if order.column == "id":
            return key < after if order.descending else key > after
        with self._db.read() as connection:
            value = connection.scalar(select(column).where(self._mine(), key == after))
        if value is None:
            return column.is_(None) & (key > after)
        further = column < value if order.descending else column > value
        return or_(further, (column == value) & (key > after), column.is_(None))

    def _conditions(self, which: Which) -> list[ColumnElement[bool]]:
        columns = self._table.c
        found: list[ColumnElement[bool]] = []
        if which.presence is not Presence.ALL:
            present = which.presence is Presence.PRESENT
            found.append(columns.gone_at.is_(None) if present else columns.gone_at.is_not(None))
        if which.text is not None:
            found.append(self._contains(which.text))
        found += [or_(*(columns[name].in_(each.values) for name in each.columns)) for each in which.conditions]
        if which.changed_since is not None:
            since = which.changed_since
            found.append(or_(columns.updated_at >= since, columns.gone_at >= since))
        if which.in_json is not None and all(
            each.isascii() or each.lower() == each.upper() for each in which.in_json[1]
        ):
            # Databases agree on the capitals of ASCII alone, and what is escaped only a reader of JSON understands.
            told = func.lower(cast(columns[which.in_json[0]], Text))
            found.append(
                or_(told.contains(which.in_json[1].lower(), autoescape=True), told.contains("\\", autoescape=True))
            )
        return found

    def _contains(self, text: str) -> ColumnElement[bool]:
        found = [self._table.c.search.contains(text.lower(), autoescape=True)]
        if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MOST_ID:
            found.append(self._table.c.id == int(text))
        return or_(*found)

"""Questions of people to the schedule's tables: what became of ticks, and how long they took."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from gengfu.store.database import Database
from gengfu.store.tables import schedule_entry, schedule_tick, sync_run
from gengfu.store.tick_rows import EntryRow, Tick, TickState

LOOKED_THROUGH = 1000
"""Among so many rows before a moment one is looked for that covers it; rows of an entry hardly overlap."""

JUDGED = 100
"""From so many of the latest ticks or runs it is judged how long the next one takes."""


class TickHistory:
    """Reads ticks and entries; changes nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def entries(self) -> dict[str, EntryRow]:
        """What the schedule remembers of each entry that it has ever seen."""
        with self._db.read() as connection:
            rows = connection.execute(select(schedule_entry).order_by(schedule_entry.c.name)).mappings()
            return {row["name"]: EntryRow(**row) for row in rows}

    def latest(self, limit: int, entry: str | None = None, state: TickState | None = None) -> list[Tick]:
        """The latest ticks of that entry, or of all, in that state, by when they were due, newest first."""
        query = select(schedule_tick).limit(limit)
        if state is not None:
            query = query.where(schedule_tick.c.state == state)
        if entry is not None:
            query = query.where(schedule_tick.c.entry == entry)
            return self._ticks(query.order_by(schedule_tick.c.due_at.desc(), schedule_tick.c.clock_epoch.desc()))
        # Of all entries, those written last: for them there is a key to read by.
        found = self._ticks(query.order_by(schedule_tick.c.id.desc()))
        return sorted(found, key=lambda tick: (tick.due_at, tick.id), reverse=True)

    def at(self, entry: str, moment: datetime) -> list[Tick]:
        """The rows that stand for the tick due at that moment: its own, and one that covers it with others."""
        columns = (schedule_tick.c.id, schedule_tick.c.due_at, schedule_tick.c.until_at)
        nearest = select(*columns).where(schedule_tick.c.entry == entry, schedule_tick.c.due_at <= moment)
        with self._db.read() as connection:
            rows = connection.execute(nearest.order_by(schedule_tick.c.due_at.desc()).limit(LOOKED_THROUGH)).all()
        there = [number for number, due_at, until_at in rows if (until_at or due_at) >= moment]
        query = select(schedule_tick).where(schedule_tick.c.id.in_(there))
        return self._ticks(query.order_by(schedule_tick.c.due_at, schedule_tick.c.clock_epoch))

    def first_due(self, entry: str) -> datetime | None:
        """When the earliest tick was due that is still on record."""
        with self._db.read() as connection:
            query = select(schedule_tick.c.due_at).where(schedule_tick.c.entry == entry)
            found: datetime | None = connection.scalar(query.order_by(schedule_tick.c.due_at).limit(1))
            return found

    def seconds(self, entry: str) -> float | None:
        """The median of how long the entry's latest ticks took that ended well; None if there is none."""
        ended = (schedule_tick.c.entry == entry, schedule_tick.c.state == TickState.DONE)
        return self._median(schedule_tick.c.started_at, schedule_tick.c.finished_at, schedule_tick.c.due_at, *ended)

    def run_seconds(self, resource: str, scope: str) -> float | None:
        """The median of how long the latest runs of that scope took; None if there is none."""
        where = (sync_run.c.resource == resource, sync_run.c.scope == scope)
        return self._median(sync_run.c.started_at, sync_run.c.finished_at, sync_run.c.id, *where)

    def _median(
        self, start: ColumnElement[Any], end: ColumnElement[Any], order: ColumnElement[Any], *where: ColumnElement[bool]
    ) -> float | None:
        query = select(start, end).where(*where, start.is_not(None), end.is_not(None))
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(order.desc()).limit(JUDGED)).all()
        # A clock that was set back in between must not make a time negative.
        return median(max(0.0, (last - first).total_seconds()) for first, last in rows) if rows else None

    def _ticks(self, query: Select[Any]) -> list[Tick]:
        with self._db.read() as connection:
            return [_tick(row) for row in connection.execute(query).mappings()]


def _tick(row: Mapping[Any, Any]) -> Tick:
    return Tick(**{**row, "state": TickState(row["state"]), "command": tuple(row["command"])})

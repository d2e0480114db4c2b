"""Questions to the device table: one device, a search, an export, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from gengfu.store.database import Database
from gengfu.store.tables import device, sync_absence

Row = Mapping[str, Any]

_INTERNAL = ("source_id", "search", "row_hash", "content_hash")
COLUMNS = tuple(column.name for column in device.c if column.name not in _INTERNAL)
"""The columns that are of interest outside: the vendor's, and since when the row is known, changed and gone."""

_MOST_ID = 2**63 - 1


class Presence(StrEnum):
    """Which devices, by whether the vendor still lists them."""

    PRESENT = "present"
    """Those that it lists."""
    GONE = "gone"
    """Those that it no longer lists."""
    ALL = "all"
    """Both."""


@dataclass(frozen=True, slots=True)
class Which:
    """Chooses devices; what is None does not matter."""

    presence: Presence = Presence.PRESENT
    group: str | None = None
    """The name or the id of their group."""
    brand: str | None = None
    model: str | None = None
    alive: bool | None = None
    changed_since: datetime | None = None
    """Changed, come or gone at that moment or later; a heartbeat is no change."""


class DeviceStore:
    """Reads the devices of one source. Rows are mappings by column, times aware, JSON decoded."""

    def __init__(self, db: Database, source_id: int) -> None:
        self._db = db
        self._source_id = source_id

    def get(self, device_id: int) -> Row | None:
        """The device of that id."""
        found = self._rows(self._devices().where(device.c.id == device_id))
        return found[0] if found else None

    def missed_by(self, device_id: int) -> int | None:
        """The last complete run, if it did not list this live device."""
        query = select(sync_absence.c.run_id).where(self._absent(), sync_absence.c.row_id == device_id)
        with self._db.read() as connection:
            found: int | None = connection.scalar(query)
            return found

    def find(self, text: str, presence: Presence, limit: int) -> list[Row]:
        """The first `limit` devices, by id, that have this text in their imei, a name, the memo or the phone, in
        capitals or not, or whose id it is."""
        query = self._devices().where(*_present(presence), _contains(text))
        return self._rows(query.order_by(device.c.id).limit(limit))

    def count(self, which: Which) -> int:
        """How many devices that chooses."""
        query = select(func.count()).select_from(device).where(self._mine(), *_conditions(which))
        with self._db.read() as connection:
            return connection.scalar(query) or 0

    def stream(self, which: Which, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The chosen devices by id, as of one moment, as tuples of these columns; read bit by bit, in flat memory."""
        chosen = select(*(device.c[name] for name in columns)).where(self._mine(), *_conditions(which))
        with self._db.read() as connection:
            streamed = connection.execution_options(stream_results=True)
            for batch in streamed.execute(chosen.order_by(device.c.id)).partitions(1_000):
                yield from map(tuple, batch)

    def held_back(self, run_id: int, limit: int) -> tuple[int, list[Row]]:
        """How many devices wait for a person's word on the held run, and the first `limit` of them."""
        held = select(sync_absence.c.row_id).where(self._absent(), sync_absence.c.run_id == run_id, sync_absence.c.held)
        still = (self._mine(), device.c.id.in_(held), device.c.gone_at.is_(None))
        with self._db.read() as connection:
            number = connection.scalar(select(func.count()).select_from(device).where(*still)) or 0
        return number, self._rows(self._devices().where(*still).order_by(device.c.id).limit(limit))

    def _mine(self) -> ColumnElement[bool]:
        return device.c.source_id == self._source_id

    def _absent(self) -> ColumnElement[bool]:
        return (sync_absence.c.source_id == self._source_id) & (sync_absence.c.resource == device.name)

    def _devices(self) -> Select[Any]:
        return select(*(device.c[name] for name in COLUMNS)).where(self._mine())

    def _rows(self, query: Select[Any]) -> list[Row]:
        with self._db.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _present(presence: Presence) -> list[ColumnElement[bool]]:
    if presence is Presence.ALL:
        return []
    return [device.c.gone_at.is_(None) if presence is Presence.PRESENT else device.c.gone_at.is_not(None)]


def _contains(text: str) -> ColumnElement[bool]:
    found = [device.c.search.contains(text.lower(), autoescape=True)]
    if text.isascii() and text.isdigit() and int(text) <= _MOST_ID:
        found.append(device.c.id == int(text))
    return or_(*found)


def _conditions(which: Which) -> list[ColumnElement[bool]]:
    found = _present(which.presence)
    if which.group is not None:
        found.append(or_(device.c.group_name == which.group, device.c.group_id == which.group))
    if which.brand is not None:
        found.append(device.c.brand == which.brand)
    if which.model is not None:
        found.append(device.c.model == which.model)
    if which.alive is not None:
        found.append(device.c.alive.is_(which.alive))
    if which.changed_since is not None:
        found.append(or_(device.c.updated_at >= which.changed_since, device.c.gone_at >= which.changed_since))
    return found

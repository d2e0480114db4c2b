"""Questions to the device table: one device, a search, an export, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from gengfu.store.database import Database
from gengfu.store.tables import device, device_change, sync_absence

Row = Mapping[str, Any]

COLUMNS = tuple(column.name for column in device.c if column.name not in ("row_hash", "content_hash"))
"""The columns that are of interest outside: the vendor's, and since when the row is known, changed and gone."""

_SEARCHED = (device.c.imei, device.c.user_name, device.c.nickname, device.c.real_name, device.c.memo, device.c.phone)
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
    """Reads devices and their changes. Rows are mappings by column, times aware, JSON decoded."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, device_id: int) -> Row | None:
        """The device of that id."""
        found = self._rows(_devices().where(device.c.id == device_id))
        return found[0] if found else None

    def missed_by(self, device_id: int) -> int | None:
        """The last complete run, if it did not list this live device."""
        query = select(sync_absence.c.run_id).where(sync_absence.c.resource == device.name)
        with self._db.read() as connection:
            found: int | None = connection.scalar(query.where(sync_absence.c.row_id == device_id))
            return found

    def find(self, text: str, presence: Presence, limit: int) -> list[Row]:
        """The first `limit` devices, by id, that have this text in their imei, a name, the memo or the phone, in
        capitals or not, or whose id it is."""
        query = _devices().where(*_present(presence), _contains(text))
        return self._rows(query.order_by(device.c.id).limit(limit))

    def count(self, which: Which) -> int:
        """How many devices that chooses."""
        with self._db.read() as connection:
            return connection.scalar(select(func.count()).select_from(device).where(*_conditions(which))) or 0

    def stream(self, which: Which, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The chosen devices by id, as of one moment, as tuples of these columns; read bit by bit, in flat memory."""
        query = select(*(device.c[name] for name in columns)).where(*_conditions(which)).order_by(device.c.id)
        with self._db.read() as connection:
            for batch in connection.execution_options(stream_results=True).execute(query).partitions(1_000):
                yield from map(tuple, batch)

    def changes_of_device(self, device_id: int, limit: int) -> list[Row]:
        """The latest changes of a device, the newest first."""
        query = select(device_change).where(device_change.c.device_id == device_id)
        return self._rows(query.order_by(device_change.c.id.desc()).limit(limit))

    def held_back(self, run_id: int, limit: int) -> tuple[int, list[Row]]:
        """How many devices wait for a person's word on the held run, and the first `limit` of them."""
        held = select(sync_absence.c.row_id).where(
            sync_absence.c.resource == device.name, sync_absence.c.run_id == run_id, sync_absence.c.held
        )
        still = (device.c.id.in_(held), device.c.gone_at.is_(None))
        with self._db.read() as connection:
            number = connection.scalar(select(func.count()).select_from(device).where(*still)) or 0
        return number, self._rows(_devices().where(*still).order_by(device.c.id).limit(limit))

    def _rows(self, query: Select[Any]) -> list[Row]:
        with self._db.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _devices() -> Select[Any]:
    return select(*(device.c[name] for name in COLUMNS))


def _present(presence: Presence) -> list[ColumnElement[bool]]:
    if presence is Presence.ALL:
        return []
    return [device.c.gone_at.is_(None) if presence is Presence.PRESENT else device.c.gone_at.is_not(None)]


def _contains(text: str) -> ColumnElement[bool]:
    # SQLite knows no capitals beyond ASCII.
    spellings = {text} if text.isascii() else {text, text.lower(), text.upper(), text.title()}
    found = [column.icontains(spelling, autoescape=True) for column in _SEARCHED for spelling in sorted(spellings)]
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

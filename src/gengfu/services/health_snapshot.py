"""What the database shows of the program's health at one look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.schedule.policy import Entry
from gengfu.store.leases import Lease
from gengfu.store.overview import RunsSeen, overview

if TYPE_CHECKING:
    from gengfu.store.database import Database


@dataclass(frozen=True, slots=True)
class EntrySeen:
    """An enabled schedule entry, and what its tables show."""

    entry: Entry
    planned_until: datetime
    paused: bool
    first_due: datetime | None
    """The due moment of the earliest tick that is kept."""


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """One look, with the time of the database."""

    now: datetime
    processes: tuple[Lease, ...]
    entries: tuple[EntrySeen, ...]
    due: Mapping[str, int]
    """Jobs that are due, by queue."""
    runs: tuple[RunsSeen, ...]
    login_in_trouble: bool = False
    """Whether the vendor refused a login, or asks everybody to wait."""
    locked: bool = False
    """Whether somebody kept all others from writing at that moment."""


def look(db: Database | Path, entries: Mapping[str, Entry], now: datetime) -> HealthSnapshot:
    """Everything that health is judged by.

    Args:
        db: an SQLite file, or the database.
        entries: those of the schedule; of the enabled ones is looked at what the database knows.
        now: this host's time, by which jobs are due.

    Raises:
        StoreError: the database cannot be read.
    """
    found = overview(db, now)
    seen = [
        EntrySeen(entry, row.planned_until, row.paused_at is not None, found.first_due[name])
        for name, row in sorted(found.entries.items())
        if (entry := entries.get(name)) is not None and entry.schedule.enabled
    ]
    # A command on the console comes and goes as it likes.
    processes = tuple(lease for lease in found.leases if lease.kind != "console")
    return HealthSnapshot(
        found.now, processes, tuple(seen), found.due, found.runs, found.login_in_trouble, found.locked
    )

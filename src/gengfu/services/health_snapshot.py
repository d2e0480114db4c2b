"""What the database shows of the program's health at one look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.schedule.policy import Entry
from gengfu.store import light
from gengfu.store.leases import Lease, leases_in
from gengfu.store.light import Executor
from gengfu.store.overview import RunsSeen, database_time, due_jobs, entry_states, runs_seen

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
    seen = light.look(db, lambda execute: _look(execute, entries, now))
    return replace(seen, locked=isinstance(db, Path) and light.is_locked(db))


def _look(execute: Executor, entries: Mapping[str, Entry], now: datetime) -> HealthSnapshot:
    seen = [
        EntrySeen(entry, state.planned_until, state.paused, state.first_due)
        for state in entry_states(execute)
        if (entry := entries.get(state.name)) is not None and entry.schedule.enabled
    ]
    there = database_time(execute, now)
    return HealthSnapshot(there, _processes(execute), tuple(seen), due_jobs(execute, now), runs_seen(execute))


def _processes(execute: Executor) -> tuple[Lease, ...]:
    """Workers and schedulers; a command on the console comes and goes as it likes."""
    return tuple(lease for lease in leases_in(execute) if lease.kind != "console")

"""What the database shows of the program's health at one look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengfu.schedule.policy import Entry
from gengfu.store import light
from gengfu.store.leases import Lease, leases_in
from gengfu.store.light import Executor, moment

if TYPE_CHECKING:
    from gengfu.store.database import Database

LONGEST_DELAY = timedelta(minutes=15)
"""A job that is put off for longer was written by a clock that jumped, so it is due (see `store.jobs`)."""


@dataclass(frozen=True, slots=True)
class EntrySeen:
    """An enabled schedule entry, and what its tables show."""

    entry: Entry
    planned_until: datetime
    paused: bool
    first_due: datetime | None
    """The due moment of the earliest tick that is kept."""


@dataclass(frozen=True, slots=True)
class RunsSeen:
    """What is known of the runs of one resource and scope."""

    resource: str
    scope: str
    complete: datetime | None
    """When the last complete one ended."""
    newest: int
    """The id of the newest one ..."""
    newest_is: str
    """... and its verdict, or its state where it has none."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look, with the time of the database."""

    now: datetime
    processes: tuple[Lease, ...]
    entries: tuple[EntrySeen, ...]
    due: Mapping[str, int]
    """Jobs that are due, by queue."""
    runs: tuple[RunsSeen, ...]
    locked: bool = False
    """Whether somebody kept all others from writing at that moment."""


def look(db: Database | Path, entries: Mapping[str, Entry], now: datetime) -> Sight:
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


def _look(execute: Executor, entries: Mapping[str, Entry], now: datetime) -> Sight:
    told = execute.one("SELECT CURRENT_TIMESTAMP AS now", {})
    there = moment(told["now"]) if told is not None else None
    return Sight(there or now, _processes(execute), _entries(execute, entries), _due(execute, now), _runs(execute))


def _processes(execute: Executor) -> tuple[Lease, ...]:
    """Workers and schedulers; a command on the console comes and goes as it likes."""
    return tuple(lease for lease in leases_in(execute) if lease.kind != "console")


def _due(execute: Executor, now: datetime) -> dict[str, int]:
    rows = execute.all(
        "SELECT queue, count(*) AS jobs FROM job WHERE state = 'queued'"
        " AND (available_at <= :now OR available_at > :far) GROUP BY queue ORDER BY queue",
        {"now": now, "far": now + LONGEST_DELAY},
    )
    return {row["queue"]: row["jobs"] for row in rows}


def _entries(execute: Executor, entries: Mapping[str, Entry]) -> tuple[EntrySeen, ...]:
    found = []
    for row in execute.all("SELECT name, planned_until, paused_at FROM schedule_entry ORDER BY name", {}):
        entry = entries.get(row["name"])
        if entry is None or not entry.schedule.enabled:
            continue
        first = execute.one(
            "SELECT min(due_at) AS due_at FROM schedule_tick WHERE entry = :entry", {"entry": entry.name}
        )
        until = moment(row["planned_until"])
        assert until is not None
        due = moment(first["due_at"]) if first is not None else None
        found.append(EntrySeen(entry, until, row["paused_at"] is not None, due))
    return tuple(found)


def _runs(execute: Executor) -> tuple[RunsSeen, ...]:
    rows: Any = execute.all(
        "SELECT resource, scope, max(id) AS newest,"
        " max(CASE WHEN verdict = 'complete' THEN finished_at END) AS complete"
        " FROM sync_run GROUP BY resource, scope ORDER BY resource, scope",
        {},
    )
    found = []
    for row in rows:
        newest = execute.one("SELECT state, verdict FROM sync_run WHERE id = :id", {"id": row["newest"]})
        state = "" if newest is None else newest["verdict"] or newest["state"]
        found.append(RunsSeen(row["resource"], row["scope"], moment(row["complete"]), row["newest"], state))
    return tuple(found)

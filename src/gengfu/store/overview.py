"""What the tables show of how the program is, in a few statements that need no toolkit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengfu.store.enqueue import LONGEST_DELAY
from gengfu.store.leases import Lease, leases_in
from gengfu.store.statements import Row, Statements, is_locked, look, moment, value
from gengfu.store.ticks import EntryRow, Ticks

if TYPE_CHECKING:
    from gengfu.store.database import Database


@dataclass(frozen=True, slots=True)
class RunsSeen:
    """What is known of the runs of one source, resource and scope."""

    source: str
    resource: str
    scope: str
    complete: datetime | None
    """When the last complete one ended."""
    newest: int
    """The id of the newest one ..."""
    newest_is: str
    """... and its verdict, or its state where it has none."""
    held: int | None = None
    """The id of the newest one that waits for a person's decision."""
    ended: tuple[str, ...] = ()
    """The verdicts of the last two that ended, the newest first ..."""
    ended_at: datetime | None = None
    """... and when the newest of these ended."""


@dataclass(frozen=True, slots=True)
class Overview:
    """One look."""

    now: datetime
    """The time of the database."""
    leases: tuple[Lease, ...]
    entries: Mapping[str, EntryRow]
    """What the schedule remembers of entries, by name ..."""
    first_due: Mapping[str, datetime | None]
    """... and when the earliest tick of each was due that is still on record."""
    due: Mapping[str, int]
    """Jobs that are due, by queue."""
    runs: tuple[RunsSeen, ...]
    login_in_trouble: bool
    """Whether the vendor refused a login, or asks everybody to wait."""
    locked: bool
    """Whether somebody kept all others from writing at that moment."""


def overview(db: Database | Path, now: datetime) -> Overview:
    """What the program's health is judged by.

    Args:
        db: an SQLite file, or the database.
        now: this host's time, by which jobs are due.

    Raises:
        StoreError: the database cannot be read.
    """
    locked = isinstance(db, Path) and is_locked(db)

    def work(statements: Statements) -> Overview:
        ticks = Ticks(statements)
        entries = ticks.entries()
        first_due = {name: ticks.first_due(name) for name in entries}
        there = statements.server_time() or now
        leases, due, runs = leases_in(statements), _due_jobs(statements, now), _runs_seen(statements)
        return Overview(there, tuple(leases), entries, first_due, due, runs, _login_in_trouble(statements, now), locked)

    return look(db, work)


def waiting_jobs(db: Database | Path) -> list[tuple[str, dict[str, Any]]]:
    """Name and arguments of the jobs that wait, the oldest first.

    Raises:
        StoreError: the database cannot be read.
    """
    waiting = "SELECT name, args FROM job WHERE state = 'queued' ORDER BY id"
    rows = look(db, lambda statements: statements.all(waiting, {}))
    return [(row["name"], value(row["args"])) for row in rows]


def _due_jobs(statements: Statements, now: datetime) -> dict[str, int]:
    rows = statements.all(
        "SELECT queue, count(*) AS jobs FROM job WHERE state = 'queued'"
        " AND (available_at <= :now OR available_at > :far) GROUP BY queue ORDER BY queue",
        {"now": now, "far": now + LONGEST_DELAY},
    )
    return {row["queue"]: row["jobs"] for row in rows}


def _login_in_trouble(statements: Statements, now: datetime) -> bool:
    sql = "SELECT count(*) AS logins FROM login WHERE refused_digest IS NOT NULL OR gate_until > :now"
    row = statements.one(sql, {"now": now})
    return row is not None and row["logins"] > 0


def _runs_seen(statements: Statements) -> tuple[RunsSeen, ...]:
    rows = statements.all(
        "SELECT runs.source_id, source.name AS source, runs.resource, runs.scope, runs.complete, runs.held, newest.id,"
        " COALESCE(newest.verdict, newest.state) AS state FROM (SELECT source_id, resource, scope, max(id) AS newest,"
        " max(CASE WHEN state = 'held' THEN id END) AS held,"
        " max(CASE WHEN verdict = 'complete' THEN finished_at END) AS complete"
        " FROM sync_run GROUP BY source_id, resource, scope) AS runs"
        " JOIN sync_run AS newest ON newest.id = runs.newest JOIN source ON source.id = runs.source_id"
        " ORDER BY source.name, runs.resource, runs.scope",
        {},
    )
    return tuple(_seen(statements, row) for row in rows)


def _seen(statements: Statements, row: Row) -> RunsSeen:
    ended = statements.all(
        "SELECT verdict, finished_at FROM sync_run WHERE source_id = :source_id AND resource = :resource"
        " AND scope = :scope AND verdict IS NOT NULL ORDER BY id DESC LIMIT 2",
        {name: row[name] for name in ("source_id", "resource", "scope")},
    )
    return RunsSeen(
        row["source"],
        row["resource"],
        row["scope"],
        moment(row["complete"]),
        row["id"],
        row["state"],
        row["held"],
        tuple(run["verdict"] for run in ended),
        moment(ended[0]["finished_at"]) if ended else None,
    )

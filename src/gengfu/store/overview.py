"""What the tables show of how the program is, in a few statements that need no toolkit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gengfu.store.enqueue import LONGEST_DELAY
from gengfu.store.light import Executor, moment, value


@dataclass(frozen=True, slots=True)
class EntryState:
    """What is known of an entry of the schedule."""

    name: str
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


def database_time(execute: Executor, otherwise: datetime) -> datetime:
    """The time of the database; this host's where it tells none."""
    told = execute.one("SELECT CURRENT_TIMESTAMP AS now", {})
    return (moment(told["now"]) if told is not None else None) or otherwise


def due_jobs(execute: Executor, now: datetime) -> dict[str, int]:
    """How many jobs are due, by queue."""
    rows = execute.all(
        "SELECT queue, count(*) AS jobs FROM job WHERE state = 'queued'"
        " AND (available_at <= :now OR available_at > :far) GROUP BY queue ORDER BY queue",
        {"now": now, "far": now + LONGEST_DELAY},
    )
    return {row["queue"]: row["jobs"] for row in rows}


def waiting_jobs(execute: Executor) -> list[tuple[str, dict[str, Any]]]:
    """Name and arguments of the jobs that wait, the oldest first."""
    rows = execute.all("SELECT name, args FROM job WHERE state = 'queued' ORDER BY id", {})
    return [(row["name"], value(row["args"])) for row in rows]


def entry_states(execute: Executor) -> list[EntryState]:
    """The entries that were planned at some time, by name."""
    found = []
    for row in execute.all("SELECT name, planned_until, paused_at FROM schedule_entry ORDER BY name", {}):
        first = execute.one(
            "SELECT min(due_at) AS due_at FROM schedule_tick WHERE entry = :entry", {"entry": row["name"]}
        )
        until = moment(row["planned_until"])
        assert until is not None
        due = moment(first["due_at"]) if first is not None else None
        found.append(EntryState(row["name"], until, row["paused_at"] is not None, due))
    return found


def runs_seen(execute: Executor) -> tuple[RunsSeen, ...]:
    """What is known of the runs of each list and scope."""
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

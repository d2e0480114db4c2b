"""The processes that serve, as rows: who they are, and the beat by which others see that their loops turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gengfu.store.light import Executor, Row, moment, value


@dataclass(frozen=True, slots=True)
class Process:
    """A row of `process`."""

    id: int
    kind: str
    """`worker` or `scheduler`."""
    name: str
    host: str
    pid: int
    birth: str
    """See `gengfu.queue.pids.birth_of`."""
    details: Mapping[str, Any]
    """`queues` of a worker: those that it serves, in order; empty for all."""
    beat: int
    progress: str | None
    """What is stuck in it; None while all of its loops turn."""
    started_at: datetime
    beat_at: datetime
    """When the beat last grew, by that process's clock."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What a process says of itself."""

    kind: str
    name: str
    host: str
    pid: int
    birth: str
    details: Mapping[str, Any]


def beat(execute: Executor, who: Newcomer, progress: str | None, now: datetime) -> None:
    """Shows that the process is there and, unless `progress` says what is stuck, that its loops turn. Its row is made
    where there is none: at the first beat, and where others had given it up."""
    stays = "progress = :progress WHERE name = :name"
    grows = f"beat = beat + 1, beat_at = :now, {stays}"
    values: dict[str, Any] = {"progress": progress, "name": who.name}
    if progress is None:
        met = execute.change(f"UPDATE process SET {grows}", values | {"now": now})
    else:
        met = execute.change(f"UPDATE process SET {stays}", values)
    if not met:
        row = {"kind": who.kind, "name": who.name, "host": who.host, "pid": who.pid, "birth": who.birth}
        row |= {"details": dict(who.details), "beat": 0, "progress": progress, "started_at": now, "beat_at": now}
        execute.insert("process", row, or_ignore=True)


def leave(execute: Executor, name: str) -> None:
    """Removes the row of a process that ends well."""
    execute.change("DELETE FROM process WHERE name = :name", {"name": name})


def remove(execute: Executor, seen: Process) -> bool:
    """Removes the row of a process that is dead, unless its beat has moved since it was seen."""
    gone = "DELETE FROM process WHERE id = :id AND beat = :beat"
    return execute.change(gone, {"id": seen.id, "beat": seen.beat}) == 1


def everyone(execute: Executor) -> list[Process]:
    """All rows, oldest first."""
    return [_process(row) for row in execute.all("SELECT * FROM process ORDER BY id", {})]


def _process(row: Row) -> Process:
    started, beaten = moment(row["started_at"]), moment(row["beat_at"])
    assert started is not None
    assert beaten is not None
    return Process(
        row["id"],
        row["kind"],
        row["name"],
        row["host"],
        row["pid"],
        row["birth"],
        value(row["details"]) or {},
        row["beat"],
        row["progress"],
        started,
        beaten,
    )

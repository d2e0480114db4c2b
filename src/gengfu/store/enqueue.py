"""Accepting a run and its job in one transaction, or learning of the run that is active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengfu.errors import StoreError
from gengfu.store.light import Executor, moment, transact
from gengfu.store.sources import Source, record_source

if TYPE_CHECKING:
    from gengfu.store.database import Database

LONGEST_DELAY = timedelta(minutes=15)
"""No job is ever put off for longer, so a moment further ahead than this means that a clock jumped: the job is due."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """What became of a start: a new run with its job, or the run that was already active (`job_id` is None then)."""

    run_id: int
    job_id: int | None
    since: datetime
    """When the run was accepted."""
    progress: str
    """How far the active run is, in words; empty for a new one."""


def new_run(source_id: int, resource: str, scope: str, now: datetime, tick_id: int | None = None) -> dict[str, Any]:
    """The columns of a run that waits for its first worker."""
    zeros = (
        "fence windows windows_done pages_done new changed heartbeat unchanged returned gone absent rejected "
        "calls retries throttled"
    )
    return {
        "source_id": source_id,
        "resource": resource,
        "scope": scope,
        "tick_id": tick_id,
        "active_key": active_key(source_id, resource, scope),
        "state": "queued",
        "pass_number": 1,
        "shifted": False,
        "created_at": now,
        **dict.fromkeys(zeros.split(), 0),
    }


def new_job(
    name: str,
    args: Mapping[str, Any],
    *,
    queue: str,
    tries: int,
    subject: str | None,
    now: datetime,
    available_at: datetime,
) -> dict[str, Any]:
    """The columns of a job that waits for a worker; `args` as a mapping, to be stored as JSON."""
    return {
        "queue": queue,
        "name": name,
        "args": dict(args),
        "subject": subject,
        "state": "queued",
        "tries": tries,
        "attempts": 0,
        "fence": 0,
        "available_at": available_at,
        "created_at": now,
    }


def due_after(delay: float, now: datetime) -> datetime:
    """When a job may start that is put off by so many seconds.

    Raises:
        ValueError: that is longer than any job is ever put off.
    """
    if not 0 <= delay <= LONGEST_DELAY.total_seconds():
        raise ValueError(f"a job cannot be delayed by {delay} seconds, only by 0 to 900")
    return now + timedelta(seconds=delay)


def add_job(
    db: Database | Path,
    name: str,
    args: Mapping[str, Any],
    *,
    queue: str,
    tries: int,
    subject: str | None,
    now: datetime,
    delay: float,
) -> int:
    """Records a job, and nothing with it; returns its id. Whoever records one without `delay` notifies workers.

    Args:
        db: an SQLite file, or the database.
        delay: seconds until it may start, at most 900.

    Raises:
        StoreError: the database cannot do it.
    """
    due = due_after(delay, now)
    row = new_job(name, args, queue=queue, tries=tries, subject=subject, now=now, available_at=due)
    job_id = transact(db, lambda execute: execute.insert("job", row))
    assert job_id is not None
    return job_id


def add_job_once(
    execute: Executor, name: str, args: Mapping[str, Any], *, queue: str, tries: int, subject: str, now: datetime
) -> tuple[int, bool]:
    """Records a job unless one for that subject waits or runs; the id of either, and whether it is new."""
    live = live_job(execute, subject)
    if live is not None:
        return live, False
    fresh = new_job(name, args, queue=queue, tries=tries, subject=subject, now=now, available_at=now)
    job_id = execute.insert("job", fresh)
    assert job_id is not None
    return job_id, True


def list_job(resource: str) -> str:
    """The name of the jobs that bring a list up to date: `DeviceListJob`."""
    return "".join(part.capitalize() for part in resource.split("_")) + "ListJob"


def list_queue(resource: str) -> str:
    """Their queue: `device_list`."""
    return f"{resource}_list"


def run_subject(run_id: int) -> str:
    """How a job names the run that it works for."""
    return f"run:{run_id}"


def start_run(
    db: Database | Path, source: Source, resource: str, scope: str, job: str, queue: str, tries: int, now: datetime
) -> RunStart:
    """Records a run of `resource` and `scope` and its first job, unless one is active already; both or neither.

    Args:
        db: an SQLite file, or the database.

    Raises:
        StoreError: the database cannot do it.
    """
    return transact(db, lambda execute: start_run_within(execute, source, resource, scope, job, queue, tries, now))


def active_run(db: Database | Path, source: Source, resource: str, scope: str) -> RunStart | None:
    """The active run of that source, resource and scope for which there is still a job, if there is one.

    Raises:
        StoreError: the database cannot do it.
    """

    return transact(db, lambda execute: active_within(execute, source, resource, scope))


def active_within(execute: Executor, source: Source, resource: str, scope: str) -> RunStart | None:
    """`active_run` within an open transaction."""
    active = _active(execute, active_key(record_source(execute, source), resource, scope))
    return active if active is not None and _has_job(execute, active.run_id) else None


def abort_within(execute: Executor, run_id: int, reason: str, now: datetime) -> None:
    """Ends a run as failed, whatever it is at, if it is active; within an open transaction."""
    execute.change(
        "UPDATE sync_run SET active_key = NULL, state = 'closed', verdict = 'failed', finished_at = :now,"
        " reason = :reason, fence = fence + 1 WHERE id = :id AND active_key IS NOT NULL",
        {"now": now, "id": run_id, "reason": reason},
    )


def live_job(execute: Executor, subject: str) -> int | None:
    """A job that works for the subject and is queued or runs; within an open transaction."""
    live = "SELECT min(id) AS id FROM job WHERE subject = :subject AND state IN ('queued', 'running')"
    row = execute.one(live, {"subject": subject})
    return row["id"] if row is not None else None


def start_run_within(
    execute: Executor,
    source: Source,
    resource: str,
    scope: str,
    job: str,
    queue: str,
    tries: int,
    now: datetime,
    tick_id: int | None = None,
) -> RunStart:
    """`start_run` within an open transaction; `tick_id` is the tick of the schedule that it is done for."""
    row = new_run(record_source(execute, source), resource, scope, now, tick_id)
    active = _active(execute, row["active_key"])
    if active is not None and not _close_abandoned(execute, active, row["active_key"], now):
        return active
    run_id = execute.insert("sync_run", row, or_ignore=True)
    if run_id is None:
        active = _active(execute, row["active_key"])
        if active is None:
            raise StoreError("a run was closed at this very moment; start again")
        return active
    fresh = new_job(
        job, {"run": run_id}, queue=queue, tries=tries, subject=run_subject(run_id), now=now, available_at=now
    )
    return RunStart(run_id, execute.insert("job", fresh), now, "")


def _active(execute: Executor, key: str) -> RunStart | None:
    row = execute.one(
        "SELECT id, state, created_at, pages_done, pages, pass_number FROM sync_run WHERE active_key = :key",
        {"key": key},
    )
    if row is None:
        return None
    if row["state"] == "queued":
        progress = "no worker has taken it yet"
    else:
        known = row["pages"] is not None
        progress = f"page {row['pages_done']} of {row['pages']}" if known else f"{row['pages_done']} pages read"
        if row["pass_number"] > 1:
            progress += f", pass {row['pass_number']}"
    since = moment(row["created_at"])
    assert since is not None
    return RunStart(row["id"], None, since, progress)


def _close_abandoned(execute: Executor, active: RunStart, key: str, now: datetime) -> bool:
    """A run that no live job works for can never end by itself; it must not block its successors."""
    if _has_job(execute, active.run_id):
        return False
    closed = execute.change(
        "UPDATE sync_run SET active_key = NULL, state = 'closed', verdict = 'failed', finished_at = :now,"
        " reason = 'abandoned: no job was left to work for it' WHERE id = :id AND active_key = :key",
        {"now": now, "id": active.run_id, "key": key},
    )
    return closed == 1


def _has_job(execute: Executor, run_id: int) -> bool:
    return live_job(execute, run_subject(run_id)) is not None


def active_key(source_id: int, resource: str, scope: str) -> str:
    """What is unique among active runs."""
    return f"{source_id}:{resource}:{scope}"

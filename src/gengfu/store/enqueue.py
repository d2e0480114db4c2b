"""Queueing: a job, or a run and its job in one transaction unless one is active."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gengfu.errors import StoreError
from gengfu.language import tr
from gengfu.store.names import list_job, list_queue, run_subject
from gengfu.store.sources import Source, record_source
from gengfu.store.statements import Statements, moment, transact

if TYPE_CHECKING:
    from gengfu.store.database import Database

T = TypeVar("T")

LONGEST_DELAY = timedelta(minutes=15)
"""No job is ever put off for longer, so a moment further ahead than this means that a clock jumped: the job is due."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """What became of the wish to start a run: a new one with its job, or the one that was active already."""

    run: int
    job: int | None
    """The job that waits for a worker; None where the run is not new."""
    scope: str
    since: datetime
    """When the run was accepted."""
    progress: str | None = None
    """How far the active run is, in words."""

    @property
    def status(self) -> str:
        """`accepted`, or `skipped` where one was active."""
        return "skipped" if self.job is None else "accepted"


def new_run(source_id: int, resource: str, scope: str, now: datetime, tick_id: int | None = None) -> dict[str, Any]:
    """The columns of a run that waits for its first worker."""
    zeros = (
        "fence windows windows_done pages_done new changed heartbeat unchanged returned gone absent rejected "
        "doubled differing calls retries throttled"
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
    delay: float = 0.0,
) -> dict[str, Any]:
    """The columns of a job that waits for a worker; `args` as a mapping, to be stored as JSON.

    Args:
        delay: seconds until it may start.

    Raises:
        ValueError: that is longer than any job is ever put off.
    """
    if not 0 <= delay <= LONGEST_DELAY.total_seconds():
        raise ValueError(tr("a job cannot be delayed by {delay} seconds, only by 0 to 900", delay=delay))
    return {
        "queue": queue,
        "name": name,
        "args": dict(args),
        "subject": subject,
        "state": "queued",
        "tries": tries,
        "attempts": 0,
        "fence": 0,
        "available_at": now + timedelta(seconds=delay),
        "created_at": now,
    }


class Enqueuing:
    """Queues runs and jobs within one transaction, so that a run is there with its job or not at all."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def add_job(self, row: Mapping[str, Any]) -> int:
        """Records a job, as `new_job` makes its row; returns its id."""
        job_id = self._statements.insert("job", row)
        assert job_id is not None
        return job_id

    def live_job(self, subject: str) -> int | None:
        """A job that works for the subject and is queued or runs."""
        live = "SELECT min(id) AS id FROM job WHERE subject = :subject AND state IN ('queued', 'running')"
        row = self._statements.one(live, {"subject": subject})
        return row["id"] if row is not None else None

    def active_run(self, source: Source, resource: str, scope: str) -> RunStart | None:
        """The active run of that source, resource and scope for which there is still a job, if there is one."""
        active = self._active(active_key(record_source(self._statements, source), resource, scope), scope)
        return active if active is not None and self.live_job(run_subject(active.run)) is not None else None

    def start_run(
        self, source: Source, resource: str, scope: str, tries: int, now: datetime, tick_id: int | None = None
    ) -> RunStart:
        """Records a run with its first job, unless one of that source, resource and scope is active.

        `tick_id`: the tick of the schedule that it is done for.
        """
        row = new_run(record_source(self._statements, source), resource, scope, now, tick_id)
        active = self._active(row["active_key"], scope)
        if active is not None:
            if self.live_job(run_subject(active.run)) is not None:
                return active
            # It can never end by itself, and must not block its successors.
            self.abort_run(active.run, tr("abandoned: no job was left to work for it"), now)
        run_id = self._statements.insert("sync_run", row, or_ignore=True)
        if run_id is None:
            active = self._active(row["active_key"], scope)
            if active is None:
                raise StoreError("a run was closed at this very moment; start again")
            return active
        name, queue, subject = list_job(resource), list_queue(resource), run_subject(run_id)
        job = new_job(name, {"run": run_id}, queue=queue, tries=tries, subject=subject, now=now)
        return RunStart(run_id, self.add_job(job), scope, now)

    def abort_run(self, run_id: int, reason: str, now: datetime) -> None:
        """Ends a run as failed, whatever it is at, if it is active."""
        self._statements.change(
            "UPDATE sync_run SET active_key = NULL, state = 'closed', verdict = 'failed', finished_at = :now,"
            " reason = :reason, fence = fence + 1 WHERE id = :id AND active_key IS NOT NULL",
            {"now": now, "id": run_id, "reason": reason},
        )

    def _active(self, key: str, scope: str) -> RunStart | None:
        row = self._statements.one(
            "SELECT id, state, created_at, pages_done, pages, pass_number FROM sync_run WHERE active_key = :key",
            {"key": key},
        )
        if row is None:
            return None
        if row["state"] == "queued":
            progress = tr("no worker has taken it yet")
        else:
            done, pages = row["pages_done"], row["pages"]
            so_far = tr("{done} pages read", done=done)
            progress = so_far if pages is None else tr("page {done} of {pages}", done=done, pages=pages)
            if row["pass_number"] > 1:
                progress = tr("{progress}, pass {number}", progress=progress, number=row["pass_number"])
        since = moment(row["created_at"])
        assert since is not None
        return RunStart(row["id"], None, scope, since, progress)


def enqueue(db: Database | Path, work: Callable[[Enqueuing], T]) -> T:
    """Runs `work` in one transaction. What it queued is on the disk before this returns; workers are notified after.

    Args:
        db: an SQLite file, or the database.

    Raises:
        StoreError: the database cannot do it.
    """
    return transact(db, lambda statements: work(Enqueuing(statements)))


def active_key(source_id: int, resource: str, scope: str) -> str:
    """What is unique among active runs."""
    return f"{source_id}:{resource}:{scope}"

"""Accepting a run and its job in one transaction, without the weight of SQLAlchemy where the database is SQLite.

A scheduled command only has to write two rows, and starts every few minutes: on SQLite the driver does it in a tenth of
the time that importing the toolkit takes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gengfu.errors import StoreError

if TYPE_CHECKING:
    from gengfu.store.database import Database

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a start: a new run with its job, or the run that was already active (`job_id` is None then)."""

    run_id: int
    job_id: int | None
    since: datetime
    """When the run was accepted."""
    progress: str
    """How far the active run is, in words; empty for a new one."""


def new_run(resource: str, scope: str, now: datetime) -> dict[str, Any]:
    """The columns of a run that waits for its first worker."""
    zeros = (
        "fence windows windows_done pages_done new changed heartbeat unchanged returned gone absent rejected "
        "calls retries throttled"
    )
    return {
        "resource": resource,
        "scope": scope,
        "active_key": f"{resource}:{scope}",
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
    """The columns of a job that waits for a worker; `args` as a mapping, to be stored as JSON.

    Who records a job that is due sends its message (`nudges` is 1 then); for a delayed one the sweeper does.
    """
    return {
        "queue": queue,
        "name": name,
        "args": dict(args),
        "subject": subject,
        "state": "queued",
        "tries": tries,
        "attempts": 0,
        "claim": 0,
        "beat": 0,
        "nudges": int(available_at <= now),
        "available_at": available_at,
        "created_at": now,
    }


def run_subject(run_id: int) -> str:
    """How a job names the run that it works for."""
    return f"run:{run_id}"


class _Executor(Protocol):
    def one(self, sql: str, values: Row) -> Row | None: ...

    def change(self, sql: str, values: Row) -> int: ...

    def insert(self, table: str, row: Row, *, or_ignore: bool = False) -> int | None: ...


def accept(db: Database | Path, resource: str, scope: str, job: str, queue: str, tries: int, now: datetime) -> Accepted:
    """Records a run of `resource` and `scope` and its first job, unless one is active already; both or neither.

    Args:
        db: an SQLite file, or the database.

    Raises:
        StoreError: the database cannot do it.
    """

    def work(execute: _Executor) -> Accepted:
        return _accept(execute, resource, scope, job, queue, tries, now)

    if isinstance(db, Path):
        return _with_sqlite(db, work)
    from gengfu.store.statements import Statements

    return db.write(lambda connection: work(Statements(connection)))


def _accept(execute: _Executor, resource: str, scope: str, job: str, queue: str, tries: int, now: datetime) -> Accepted:
    row = new_run(resource, scope, now)
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
    return Accepted(run_id, execute.insert("job", fresh), now, "")


def _active(execute: _Executor, key: str) -> Accepted | None:
    row = execute.one(
        "SELECT id, state, created_at, pages_done, pages, pass_number FROM sync_run WHERE active_key = :key",
        {"key": key},
    )
    if row is None:
        return None
    if row["state"] == "queued":
        progress = "no worker has taken it yet"
    else:
        progress = f"page {row['pages_done']} of {row['pages']}"
        if row["pass_number"] > 1:
            progress += f", pass {row['pass_number']}"
    return Accepted(row["id"], None, _moment(row["created_at"]), progress)


def _close_abandoned(execute: _Executor, active: Accepted, key: str, now: datetime) -> bool:
    """A run that no live job works for can never end by itself; it must not block its successors."""
    live = execute.one(
        "SELECT count(*) AS jobs FROM job WHERE subject = :subject AND state IN ('queued', 'running')",
        {"subject": run_subject(active.run_id)},
    )
    if live is None or live["jobs"]:
        return False
    closed = execute.change(
        "UPDATE sync_run SET active_key = NULL, state = 'closed', verdict = 'failed', finished_at = :now,"
        " reason = 'abandoned: no job was left to work for it' WHERE id = :id AND active_key = :key",
        {"now": now, "id": active.run_id, "key": key},
    )
    return closed == 1


def _moment(value: datetime | str) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class _Sqlite:
    """The statements over the bare driver, with values written as SQLAlchemy writes them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def one(self, sql: str, values: Row) -> Row | None:
        found: Row | None = self._connection.execute(sql, self._plain(values)).fetchone()
        return found

    def change(self, sql: str, values: Row) -> int:
        return self._connection.execute(sql, self._plain(values)).rowcount

    def insert(self, table: str, row: Row, *, or_ignore: bool = False) -> int | None:
        verb = "INSERT OR IGNORE" if or_ignore else "INSERT"
        marks = ", ".join(f":{name}" for name in row)
        sql = f"{verb} INTO {table} ({', '.join(f'{chr(34)}{name}{chr(34)}' for name in row)}) VALUES ({marks})"
        cursor = self._connection.execute(sql, self._plain(row))
        return cursor.lastrowid if cursor.rowcount == 1 else None

    @staticmethod
    def _plain(values: Row) -> dict[str, Any]:
        return {name: _sqlite_value(value) for name, value in values.items()}


def _sqlite_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, dict):
        return json.dumps(value)
    return value


def _with_sqlite(path: Path, work: Callable[[_Executor], Accepted]) -> Accepted:
    try:
        with closing(sqlite3.connect(path, timeout=10.0, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                accepted = work(_Sqlite(connection))
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
            return accepted
    except sqlite3.Error as error:
        raise StoreError(f"the database {path} failed: {error}") from error

"""How long everything is kept, and how what is older goes: a little at a time, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.store.statements import Statements, transact
from gengfu.store.ticks import OPEN

if TYPE_CHECKING:
    from gengfu.store.database import Database, Transaction
    from gengfu.store.run_rows import Run

DONE_JOBS_KEPT = timedelta(days=7)
FAILED_JOBS_KEPT = timedelta(days=90)
TICKS_KEPT = timedelta(days=90)
RUNS_KEPT = timedelta(days=365)
"""With their windows, pages and rows set aside; the last run of each list, and its last complete one, stay."""
CHANGES_KEPT = timedelta(days=365)

PAGES_KEPT = 50
"""The pages of that many runs of a scope are kept for `run:show`; older ones leave their totals alone."""

BATCH = 500
"""So many rows, with what hangs on them, go in one transaction."""


def prune(db: Database | Path, now: datetime) -> dict[str, int]:
    """Removes some of what has been kept long enough, at most `BATCH` rows of each kind; how many, 0 when none is left.

    Args:
        db: an SQLite file, or the database.

    Raises:
        StoreError: the database cannot do it.
    """
    return {kind: transact(db, partial(remove, now=now)) for kind, remove in _KINDS.items()}


def _jobs(statements: Statements, now: datetime) -> int:
    for state, kept in (("done", DONE_JOBS_KEPT), ("failed", FAILED_JOBS_KEPT)):
        old = f"SELECT id FROM job WHERE state = '{state}' AND finished_at < :before ORDER BY finished_at LIMIT {BATCH}"
        ids = [row["id"] for row in statements.all(old, {"before": now - kept})]
        if ids:
            _delete(statements, "job_attempt", "job_id", ids)
            return _delete(statements, "job", "id", ids)
    return 0


def _ticks(statements: Statements, now: datetime) -> int:
    """But for the last of each entry."""
    old = (
        f"SELECT id FROM schedule_tick WHERE claimed_at < :before AND state NOT IN {OPEN} AND id NOT IN"
        f" (SELECT max(id) FROM schedule_tick GROUP BY entry) ORDER BY claimed_at LIMIT {BATCH}"
    )
    ids = [row["id"] for row in statements.all(old, {"before": now - TICKS_KEPT})]
    return _delete(statements, "schedule_tick", "id", ids)


def _runs(statements: Statements, now: datetime) -> int:
    lists = "GROUP BY source_id, resource, scope"
    old = (
        "SELECT id FROM sync_run WHERE finished_at < :before AND active_key IS NULL AND state = 'closed'"
        f" AND id NOT IN (SELECT max(id) FROM sync_run {lists})"
        f" AND id NOT IN (SELECT max(id) FROM sync_run WHERE verdict = 'complete' {lists})"
        f" ORDER BY finished_at LIMIT {BATCH}"
    )
    ids = [row["id"] for row in statements.all(old, {"before": now - RUNS_KEPT})]
    for table in _OF_RUNS:
        _delete(statements, table, "run_id", ids)
    return _delete(statements, "sync_run", "id", ids)


def _changes(statements: Statements, now: datetime) -> int:
    table = statements.quoted("change")
    old = f"SELECT seq FROM {table} WHERE changed_at < :before ORDER BY changed_at LIMIT {BATCH}"
    return _delete(
        statements, table, "seq", [row["seq"] for row in statements.all(old, {"before": now - CHANGES_KEPT})]
    )


_OF_RUNS = ("sync_page", "sync_window", "sync_reject")
_KINDS = {"jobs": _jobs, "ticks": _ticks, "runs": _runs, "changes": _changes}


def _delete(statements: Statements, table: str, column: str, ids: Sequence[int]) -> int:
    return statements.change(f"DELETE FROM {table} WHERE {column} IN ({','.join(map(str, ids))})", {}) if ids else 0


def forget_pages(transaction: Transaction, run: Run) -> None:
    """Removes the pages, windows and rows set aside of a few runs of the same list that `PAGES_KEPT` have followed."""
    from sqlalchemy import delete, select

    from gengfu.store.runs import same_list
    from gengfu.store.tables import metadata, sync_run

    ids = select(sync_run.c.id).where(same_list(run))
    last = transaction.scalar(ids.order_by(sync_run.c.id.desc()).offset(PAGES_KEPT).limit(1))
    if last is not None:
        old = transaction.scalars(ids.where(sync_run.c.id <= last).order_by(sync_run.c.id.desc()).limit(10)).all()
        for table in (metadata.tables[name] for name in _OF_RUNS):
            transaction.execute(delete(table).where(table.c.run_id.in_(old)))

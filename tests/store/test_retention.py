"""What has been kept long enough goes, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, update

from gengfu.store.database import Database
from gengfu.store.enqueue import new_run
from gengfu.store.retention import CHANGES_KEPT, PAGES_KEPT, RUNS_KEPT, forget_pages, prune
from gengfu.store.runs import RunStore
from gengfu.store.tables import change, metadata, sync_page, sync_reject, sync_run, sync_window

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def add_run(database: Database, age: timedelta, scope: str = "0", **values: Any) -> int:
    """A run that ended so long ago, with a page, a window and a row set aside."""
    row = new_run(1, "device", scope, NOW) | {"state": "closed", "active_key": None, "finished_at": NOW - age} | values
    window = {"pass_number": 1, "job_id": 1, "first_page": 0, "last_page": 0, "state": "done", "fence": 1}
    page = {
        "pass_number": 1,
        "page": 0,
        "window_id": 1,
        "rows": 0,
        "total": 0,
        "rejected": 0,
        "took_ms": 1,
        "attempts": 1,
    }

    def work(connection: Any) -> int:
        run_id = int(connection.execute(insert(sync_run).values(**row)).inserted_primary_key[0])
        connection.execute(insert(sync_window).values(run_id=run_id, **window))
        connection.execute(insert(sync_page).values(run_id=run_id, fetched_at=NOW, **page))
        connection.execute(insert(sync_reject).values(run_id=run_id, page=0, reason="r", raw="{}"))
        return run_id

    return database.write(work)


def runs_in(database: Database, table: str) -> list[int]:
    found = metadata.tables[table]
    column = found.c.id if table == "sync_run" else found.c.run_id
    with database.read() as connection:
        return sorted(connection.scalars(select(column)))


def test_old_runs_go_with_their_pages_but_for_the_last_and_the_last_complete_one(database: Database) -> None:
    old = RUNS_KEPT + timedelta(days=1)
    add_run(database, old, verdict="complete")
    complete = add_run(database, old, verdict="complete")
    add_run(database, old, verdict="failed")
    held = add_run(database, old, state="held", verdict="held")
    last = add_run(database, old, verdict="failed")
    other = add_run(database, old, scope="1", verdict="failed")
    assert prune(database, NOW)["runs"] == 2
    for table in ("sync_run", "sync_page", "sync_window", "sync_reject"):
        assert runs_in(database, table) == [complete, held, last, other]
    fresh = add_run(database, RUNS_KEPT - timedelta(days=1), verdict="failed")
    assert prune(database, NOW)["runs"] == 1
    assert runs_in(database, "sync_run") == [complete, held, other, fresh]


def test_old_changes_go_batch_by_batch(database: Database) -> None:
    what = {"source_id": 1, "resource": "device", "row_id": 1, "run_id": 1, "kind": "changed", "field": "memo"}
    ages = [CHANGES_KEPT + timedelta(days=1)] * 1_201 + [CHANGES_KEPT - timedelta(days=1)]
    rows = [{"seq": seq, **what, "changed_at": NOW - age} for seq, age in enumerate(ages)]
    database.write(lambda connection: connection.execute(insert(change), rows))
    assert [prune(database, NOW)["changes"] for _ in range(4)] == [500, 500, 201, 0]
    with database.read() as connection:
        assert connection.scalars(select(change.c.seq)).all() == [1_201]


def test_pages_go_once_enough_runs_of_the_scope_have_followed(database: Database) -> None:
    runs = [add_run(database, timedelta(0)) for _ in range(PAGES_KEPT + 2)]
    other = add_run(database, timedelta(0), scope="1")
    run = RunStore(database, lambda: NOW).get(runs[-1])
    assert run is not None
    database.write(lambda transaction: forget_pages(transaction, run))
    for table in ("sync_page", "sync_window", "sync_reject"):
        assert runs_in(database, table) == [*runs[2:], other]
    assert len(runs_in(database, "sync_run")) == PAGES_KEPT + 3


def test_a_file_is_pruned_without_the_toolkit(sqlite_database: Database) -> None:
    add_run(sqlite_database, timedelta(0), verdict="complete")
    sqlite_database.write(lambda c: c.execute(update(sync_run).values(finished_at=NOW - 2 * RUNS_KEPT)))
    add_run(sqlite_database, timedelta(0), verdict="complete")
    assert sqlite_database.path is not None
    assert prune(sqlite_database.path, NOW) == {"jobs": 0, "ticks": 0, "runs": 1, "changes": 0}
    with sqlite_database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(sync_run)) == 1

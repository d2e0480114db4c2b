"""Steps that the changes of a run share, each within an open transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from gengfu.store.run_rows import Run, RunState, Verdict, Window, WindowState
from gengfu.store.tables import sync_page, sync_reject, sync_run, sync_window

KEPT_RUNS = 50
"""The pages of that many runs of a scope are kept for `run:show`; older ones leave their totals alone."""


def add_windows(connection: Connection, run_id: int, pass_number: int, windows: Sequence[Mapping[str, Any]]) -> None:
    """Records the windows of a pass."""
    rows = [
        {"run_id": run_id, "pass_number": pass_number, "state": WindowState.WAITING, "fence": 0, **window}
        for window in windows
    ]
    connection.execute(insert(sync_window), rows)
    counts = {"windows": len(rows), "windows_done": 0}
    connection.execute(update(sync_run).where(sync_run.c.id == run_id).values(**counts))


def forget_pages(connection: Connection, window: Window) -> None:
    """Drops the recorded pages of a window, and the rows set aside on them, as if they had not been read."""
    pages = connection.execute(delete(sync_page).where(sync_page.c.window_id == window.id)).rowcount
    rejects = connection.execute(delete(sync_reject).where(sync_reject.c.run_id == window.run_id)).rowcount
    values = {"pages_done": sync_run.c.pages_done - pages, "rejected": sync_run.c.rejected - rejects, "shifted": False}
    connection.execute(update(sync_run).where(sync_run.c.id == window.run_id).values(**values))


def supersede(connection: Connection, run: Run) -> None:
    """A held run has nothing left to decide once a later one has read the whole list."""
    older = (
        same_list(run),
        sync_run.c.state == RunState.HELD,
        sync_run.c.id < run.id,
    )
    values = {"state": RunState.CLOSED, "reason": f"held; run {run.id} has taken its place"}
    connection.execute(update(sync_run).where(*older).values(**values))


def prune(connection: Connection, run: Run) -> None:
    """Drops the pages, windows and set-aside rows of a few runs that are long over."""
    ids = select(sync_run.c.id).where(same_list(run))
    kept = connection.scalar(ids.order_by(sync_run.c.id.desc()).offset(KEPT_RUNS).limit(1))
    if kept is not None:
        old = ids.where(sync_run.c.id <= kept)
        past = connection.scalars(old.order_by(sync_run.c.id.desc()).limit(10)).all()
        for table in (sync_page, sync_window, sync_reject):
            connection.execute(delete(table).where(table.c.run_id.in_(past)))


def same_list(run: Run) -> ColumnElement[bool]:
    """Of runs: that they mirror what this one does, in the same scope."""
    return (
        (sync_run.c.source_id == run.source_id)
        & (sync_run.c.resource == run.resource)
        & (sync_run.c.scope == run.scope)
    )


def run_of(connection: Connection, run_id: int, *, lock: bool = False) -> Run | None:
    """The run of that id; with `lock`, nobody else changes it until the transaction ends."""
    query = select(sync_run).where(sync_run.c.id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if row is None else run_from(row)


def run_from(row: Mapping[Any, Any]) -> Run:
    """A row of `sync_run` as a run."""
    values = {field.name: row[field.name] for field in fields(Run)}
    values["state"] = RunState(values["state"])
    values["verdict"] = Verdict(values["verdict"]) if values["verdict"] else None
    return Run(**values)


def pages_before(connection: Connection, run: Run, page_size: int) -> int | None:
    """How many pages of that size the last complete run of the same list read in one window, if that is known."""
    query = select(sync_run.c.pages).where(
        same_list(run),
        sync_run.c.verdict == Verdict.COMPLETE,
        sync_run.c.windows == 1,
        sync_run.c.page_size == page_size,
    )
    pages: int | None = connection.scalar(query.order_by(sync_run.c.id.desc()).limit(1))
    return pages

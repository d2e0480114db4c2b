"""Rows that the last complete run did not list, remembered until the next one settles them."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from gengfu.store.run_rows import Run
from gengfu.store.tables import sync_absence


def absent_once(connection: Connection, run: Run) -> set[int]:
    """The rows of the run's list that the last complete run did not list."""
    query = select(sync_absence.c.row_id).where(_of(run), sync_absence.c.held.is_(False))
    return set(connection.scalars(query))


def held_back(connection: Connection, run: Run) -> list[int]:
    """The rows that are still missing since that held run."""
    held = (sync_absence.c.run_id == run.id, sync_absence.c.held.is_(True))
    return list(connection.scalars(select(sync_absence.c.row_id).where(_of(run), *held)))


def remember(connection: Connection, run: Run, rows: Collection[int], *, held: bool) -> None:
    """Replaces what is remembered of the run's list by `rows`."""
    connection.execute(delete(sync_absence).where(_of(run)))
    if rows:
        shared = {"source_id": run.source_id, "resource": run.resource, "run_id": run.id, "held": held}
        connection.execute(insert(sync_absence), [{"row_id": row, **shared} for row in rows])


def forget(connection: Connection, run: Run, rows: Collection[int]) -> None:
    """Takes `rows` of the run's list off."""
    listed = sorted(rows)
    for start in range(0, len(listed), 1_000):
        chunk = listed[start : start + 1_000]
        connection.execute(delete(sync_absence).where(_of(run), sync_absence.c.row_id.in_(chunk)))


def _of(run: Run) -> ColumnElement[bool]:
    return (sync_absence.c.source_id == run.source_id) & (sync_absence.c.resource == run.resource)

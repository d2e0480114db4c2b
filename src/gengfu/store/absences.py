"""Rows that the last complete run did not list, remembered until the next one settles them."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from gengfu.store.tables import sync_absence


def absent_once(connection: Connection, resource: str) -> set[int]:
    """The rows that the last complete run did not list."""
    table = sync_absence
    query = select(table.c.row_id).where(table.c.resource == resource, table.c.held.is_(False))
    return set(connection.scalars(query))


def held_back(connection: Connection, resource: str, run_id: int) -> list[int]:
    """The rows that are still missing since the held run `run_id`."""
    table = sync_absence
    query = select(table.c.row_id).where(table.c.resource == resource, table.c.run_id == run_id, table.c.held.is_(True))
    return list(connection.scalars(query))


def remember(connection: Connection, resource: str, run_id: int, rows: Collection[int], *, held: bool) -> None:
    """Replaces what is remembered of the resource by `rows`."""
    connection.execute(delete(sync_absence).where(sync_absence.c.resource == resource))
    if rows:
        connection.execute(
            insert(sync_absence),
            [{"resource": resource, "row_id": row, "run_id": run_id, "held": held} for row in rows],
        )


def forget(connection: Connection, resource: str, rows: Collection[int]) -> None:
    """Takes `rows` off, a run's worth at a time."""
    listed = sorted(rows)
    for start in range(0, len(listed), 1_000):
        chunk = listed[start : start + 1_000]
        connection.execute(
            delete(sync_absence).where(sync_absence.c.resource == resource, sync_absence.c.row_id.in_(chunk))
        )

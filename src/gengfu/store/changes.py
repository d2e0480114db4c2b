"""Where the changes of a list's rows are recorded: those of devices in a table of their own, all others in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select

from gengfu.store.database import Database
from gengfu.store.tables import device, device_change, row_change


class ChangeLog:
    """Writes and reads the changes of one list. A change is a row of the list, its field, and what it was and is."""

    def __init__(self, resource: str) -> None:
        self._own = {} if resource == device.name else {"resource": resource}
        self._table = row_change if self._own else device_change
        self.row = "row_id" if self._own else "device_id"
        """The column that names the row."""

    def change(self, run_id: int, key: int, column: str, old: Any, new: Any, now: datetime) -> dict[str, Any]:
        """A change, for `write`."""
        values = {"run_id": run_id, "field": column, "old": old, "new": new, "changed_at": now}
        return {self.row: key, **self._own, **values}

    def write(self, connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
        """Records them."""
        if changes:
            connection.execute(insert(self._table), list(changes))

    def of_run(self, db: Database, run_id: int, limit: int | None) -> list[dict[str, Any]]:
        """The first `limit` changes that a run found, by row."""
        table = self._table
        query = select(table).where(self._of(run_id)).order_by(table.c[self.row], table.c.id).limit(limit)
        with db.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def fields_of_run(self, db: Database, run_id: int) -> dict[str, int]:
        """How often the run found each field changed, the most frequent first."""
        field, number = self._table.c.field, func.count().label("number")
        query = select(field, number).where(self._of(run_id)).group_by(field).order_by(number.desc(), field)
        with db.read() as connection:
            return {row.field: row.number for row in connection.execute(query)}

    def _of(self, run_id: int) -> ColumnElement[bool]:
        return self._table.c.run_id == run_id

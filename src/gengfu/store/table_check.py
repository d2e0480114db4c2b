"""Looks whether a mirrored table is there as its list describes it, before a run relies on it."""

from __future__ import annotations

from sqlalchemy import Table, inspect

from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.store.database import PATIENCE, Database


def state(db: Database, table: Table) -> tuple[bool, list[str]]:
    """Whether the database has a table of that name, and which columns it lacks."""
    with db.read(PATIENCE) as connection:
        inspector = inspect(connection)
        there = inspector.has_table(table.name)
        known = {column["name"] for column in inspector.get_columns(table.name)} if there else set()
    return there, [column.name for column in table.c if column.name not in known]


class TableCheck:
    """Looks at each table once; what was found well is not looked at again."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._well: set[str] = set()

    def check(self, table: Table) -> None:
        """
        Raises:
            ConfigError: the table, or a column of it, is not there; the text names the command that makes it.
        """
        if table.name in self._well:
            return
        there, lacking = state(self._db, table)
        if not lacking:
            self._well.add(table.name)
            return
        what = (
            tr("the table {table.name} lacks the column {lacking}", table=table, lacking=lacking)
            if there
            else tr("there is no table {table.name}", table=table)
        )
        raise ConfigError(
            tr(
                "{what}; run: gengfu db:upgrade (its migration in app/migrations is written by: gengfu "
                "make:migration {table.name})",
                what=what,
                table=table,
            )
        )

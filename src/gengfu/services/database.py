"""The database: brought to this program's version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gengfu.store import app_schema, schema
from gengfu.store.database import Database


@dataclass(frozen=True, slots=True)
class Pending:
    """What a database lacks."""

    database: str
    """Which, without the password."""
    steps: Sequence[str]


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was done to a database."""

    database: str
    applied: Sequence[str]
    version: str
    app_applied: Sequence[str]
    """The migrations of `app/migrations` among that."""


class DatabaseService:
    """Upgrades the database. Only one process does it at a time."""

    def __init__(self, db: Database, home: Path) -> None:
        self._db = db
        self._home = home

    def pending(self) -> Pending:
        """What the program's own tables lack.

        Raises:
            StoreError: the database cannot be read.
        """
        return Pending(self._db.where, schema.pending(self._db))

    def upgrade(self) -> Upgraded:
        """Brings all tables up to date, those of the working folder's own lists too.

        Raises:
            StoreError: the database cannot be changed, or a migration is broken.
        """
        applied = schema.upgrade(self._db)
        return Upgraded(self._db.where, applied, schema.HEAD, app_schema.upgrade(self._db, self._home))

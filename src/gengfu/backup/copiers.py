"""Which copier a database takes, and which reader a backup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.backup.contents import Contents, Copier
from gengfu.backup.streams import Progress

if TYPE_CHECKING:
    from gengfu.store.database import Database


def copier_of(db: Database) -> Copier:
    """The one for that kind of database."""
    if db.kind == "sqlite":
        from gengfu.backup.sqlite import SqliteCopier

        return SqliteCopier(db)
    if db.kind == "postgresql":
        from gengfu.backup.postgresql import PostgresCopier

        return PostgresCopier(db)
    from gengfu.backup.mysql import MysqlCopier

    return MysqlCopier(db)


def read_back(kind: str, backup: Path, scratch: Path, progress: Progress) -> Contents:
    """Reads a packed file from its beginning to its end; needs no database.

    Args:
        kind: of the database that it is a copy of.

    Raises:
        BackupError: it is damaged, or cannot be read.
    """
    if kind == "sqlite":
        from gengfu.backup.sqlite import read_sqlite

        return read_sqlite(backup, scratch, progress)
    if kind == "postgresql":
        from gengfu.backup.postgresql import read_postgresql

        return read_postgresql(backup, progress)
    from gengfu.backup.mysql import read_mysql

    return read_mysql(backup, progress)

"""What each kind of database can do for backups, and which one the program's own is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gengfu.backup.streams import Progress

if TYPE_CHECKING:
    from gengfu.store.database import Database


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup was found to hold when it was read from its beginning to its end."""

    tables: Mapping[str, int]
    """The number of rows of each table."""
    schema_version: str | None
    sha256: str
    """Of the packed file."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied, as told while it was."""

    sha256: str
    """Of the packed file, as it was written."""
    tables: Mapping[str, int] | None
    """The number of rows of each table, counted in the very state that was copied; None where that cannot be done."""


class Kind(Protocol):
    """Copies one database and puts it back. `scratch` is always the name of a file, or the beginning of names, that may
    be used meanwhile.

    Every method raises BackupError, StoreError or OSError where it cannot do its work, and Stopped.
    """

    def size(self) -> int:
        """Bytes that the database takes, about."""

    def room(self, size: int) -> int:
        """Bytes that copying a database of that size takes in the folder of the backups, at most."""

    def tables(self) -> Mapping[str, int]:
        """The number of rows of each table that is there; empty where there is none."""

    def copy(self, target: Path, scratch: Path, progress: Progress) -> Copied:
        """Writes a consistent copy, while others may write, as the new packed file `target`."""

    def restore(self, backup: Path, contents: Contents, scratch: Path, progress: Progress) -> None:
        """Puts the backup, which was found to hold that, in place of what is there."""


def kind_of(db: Database) -> Kind:
    """The one that the database is of."""
    if db.kind == "sqlite":
        from gengfu.backup.sqlite import SqliteKind

        return SqliteKind(db)
    if db.kind == "postgresql":
        from gengfu.backup.postgresql import PostgresKind

        return PostgresKind(db)
    from gengfu.backup.mysql import MysqlKind

    return MysqlKind(db)


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
    from gengfu.backup.dumps import read_mysql, read_postgresql

    return (read_postgresql if kind == "postgresql" else read_mysql)(backup, progress)

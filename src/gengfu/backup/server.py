"""What backups of both kinds of database server have in common: how tables are counted, and how a dump is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gengfu.backup.contents import VERSION_TABLE, Contents
from gengfu.backup.streams import Progress, Unpacked
from gengfu.errors import BackupError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.store.database import Database

LOCK_PATIENCE = 30
"""Seconds that a restore waits for the tables before it gives up."""


class ServerCopier:
    """A database on a server, which is copied and put back by the server's own programs."""

    package: ClassVar[str]
    """The Debian package that brings them."""
    size_query: ClassVar[str]

    def __init__(self, db: Database) -> None:
        self._db = db
        self._password = str(db.url.password or "")

    def size(self) -> int:
        from sqlalchemy import text

        with self._db.read() as connection:
            return int(connection.scalar(text(self.size_query)) or 0)

    def room(self, size: int) -> int:
        return size // 2

    def tables(self) -> Mapping[str, int]:
        with self._db.read() as connection:
            return self._count(connection)

    def _count(self, connection: Connection) -> dict[str, int]:
        from sqlalchemy import text

        counted = "SELECT count(*) FROM "
        return {
            name: int(connection.scalar(text(counted + self._place(connection, name))) or 0)
            for name in self._names(connection)
        }

    def _names(self, connection: Connection) -> Sequence[str]:
        """The tables that are there, in order."""
        raise NotImplementedError

    def _place(self, connection: Connection, table: str) -> str:
        """The table as a statement names it."""
        raise NotImplementedError

    def _demand_tables(self, names: object) -> None:
        if not names:
            raise BackupError(f"the database {self._db.where} has no tables yet; run: gengfu db:upgrade")


def surplus(present: Sequence[str], contents: Contents) -> list[str]:
    """The tables of this program's version that the backup of an older one lacks, which a restore must take away."""
    from gengfu.store.tables import metadata

    return sorted(({*metadata.tables, VERSION_TABLE} & set(present)) - set(contents.tables))


class DumpReader:
    """Reads a dump line by line: which tables, how many rows, and whether it is whole. That a packed file is damaged
    shows at its end at the latest, so lines before it may hold anything."""

    END: ClassVar[bytes]
    """Begins the last line but for empty ones."""

    def __init__(self) -> None:
        self.tables: dict[str, int] = {}
        self.version: str | None = None
        self.table: str | None = None
        """The one whose rows are being read."""

    def read(self, backup: Path, progress: Progress) -> Contents:
        """Reads the backup to its end.

        Raises:
            BackupError: it is damaged, cut off, or no such dump.
        """
        dump = Unpacked(backup, progress, "reading back")
        is_whole = False
        for line in dump.lines():
            if self.table is not None:
                self.take_rows(line)
            elif not self.take_statement(line):
                is_whole = is_whole or line.startswith(self.END)
                continue
            is_whole = False
        if not is_whole:
            raise BackupError(f"the backup {backup} is cut off: the mark at the end of a dump is missing")
        return Contents(self.tables, self.version, dump.sha256)

    def found_table(self, name: bytes) -> str:
        """Notes a table, and returns its name."""
        table = name.decode("utf-8", "replace")
        self.tables.setdefault(table, 0)
        return table

    def take_statement(self, line: bytes) -> bool:
        """A line outside of rows; whether it makes a table or begins rows."""
        raise NotImplementedError

    def take_rows(self, line: bytes) -> None:
        """A line among rows."""
        raise NotImplementedError

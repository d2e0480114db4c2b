"""What a backup holds, and what each kind of database must be able to do for backups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gengfu.backup.streams import Progress

VERSION_TABLE = "alembic_version"
"""Its only row is the version of the tables."""

LEFT_OUT = frozenset({"lease", "login_token"})
"""Tables that a backup holds without their rows: a token is a secret, and a process is gone when it is put back."""


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


def difference(expected: Mapping[str, int], found: Mapping[str, int]) -> str | None:
    """What is wrong with the rows found, in words; None where each table has as many as expected. Tables that backups
    leave out are not compared."""
    for table in sorted({*expected, *found} - LEFT_OUT):
        if expected.get(table) != found.get(table):
            return f"table {table} has {found.get(table)} rows, not {expected.get(table)}"
    return None


class Copier(Protocol):
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
        """Puts the backup, which was found to hold that, in place of what is there; raises BackupError unless the rows
        are there afterwards."""

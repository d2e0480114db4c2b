"""Puts a backup in place of what the database holds, after a look at it and a copy of what is there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.backup.contents import Contents
from gengfu.backup.copiers import copier_of, read_back
from gengfu.backup.folder import Backup
from gengfu.backup.making import MARGIN, BackupMaker, MadeBackup
from gengfu.backup.manifest import SAFETY
from gengfu.backup.streams import Progress
from gengfu.errors import BackupError, StoreError
from gengfu.store import schema

if TYPE_CHECKING:
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.backup")


def check(backup: Backup, scratch: Path, progress: Progress) -> Contents:
    """Reads a backup from its beginning to its end and holds it against its manifest, where it has one.

    Raises:
        BackupError: it is damaged, or not what its manifest says.
    """
    contents = read_back(backup.name.kind, backup.path, scratch, progress)
    told = backup.manifest
    if told is not None and told.sha256 != contents.sha256:
        raise BackupError(f"the backup {backup.path} has been changed: its SHA-256 is not that of its manifest")
    if told is not None and dict(told.tables) != dict(contents.tables):
        raise BackupError(f"the backup {backup.path} does not hold the rows that its manifest tells")
    return contents


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    contents: Contents
    upgraded: Sequence[str]
    """The revisions that ran afterwards, on SQLite."""
    pending: Sequence[str]
    """The revisions that `db:upgrade` still has to run, on a server."""


class Restorer:
    """Restores one backup, step by step, by a process that has the folder alone. On SQLite and PostgreSQL the database
    holds either all of the backup or what it held before."""

    def __init__(self, db: Database, maker: BackupMaker, backup: Backup, progress: Progress) -> None:
        self._db = db
        self._maker = maker
        self._copier = copier_of(db)
        self._progress = progress
        self.backup = backup

    def examine(self) -> Contents:
        """What the backup holds.

        Raises:
            BackupError: it is damaged, of another kind of database, or of a newer program.
        """
        name = self.backup.name
        if name.kind != self._db.kind:
            raise BackupError(
                f"{name.file} is of a {name.kind} database, and DATABASE_URL names a {self._db.kind} one; "
                "a backup can only be restored into its own kind"
            )
        folder = self._maker.folder
        if name.kind == "sqlite":
            # What is unpacked takes about as much as it may; how much it takes only unpacking tells.
            folder.demand_room(self.backup.size + MARGIN, "unpacking the backup")
        contents = check(self.backup, folder.scratch(), self._progress)
        if contents.schema_version is None:
            raise BackupError(f"{name.file} holds no tables of Gengfu")
        if contents.schema_version not in schema.REVISIONS:
            raise BackupError(
                f"{name.file} was made by a newer Gengfu (its tables are of version {contents.schema_version}, this "
                f"program knows {schema.HEAD}); upgrade the program first"
            )
        return contents

    def present_rows(self) -> int | None:
        """How many rows the database holds now; None where it has no tables.

        Raises:
            BackupError: it cannot be read.
        """
        try:
            tables = self._copier.tables()
        except (BackupError, StoreError) as error:
            raise BackupError(self._unreadable(error)) from error
        return sum(tables.values()) if tables else None

    def save_present(self) -> MadeBackup:
        """Copies what is there now.

        Raises:
            BackupError: it cannot be copied; nothing has been changed.
        """
        try:
            return self._maker.make_alone(SAFETY)
        except (BackupError, StoreError) as error:
            raise BackupError(self._unreadable(error)) from error

    def restore(self, contents: Contents, safety: MadeBackup | None) -> Restored:
        """Puts the backup in place; brings SQLite's tables to this program's version.

        Raises:
            BackupError, StoreError: it did not succeed; the text says where the copy of what was there is.
        """
        file = self.backup.name.file
        log.info("restore begun", extra={"file": file, "safety": safety.manifest.file if safety else "-"})
        try:
            self._copier.restore(self.backup.path, contents, self._maker.folder.scratch(), self._progress)
            upgraded = schema.upgrade(self._db) if self._db.kind == "sqlite" else []
            pending = schema.pending(self._db)
        except (BackupError, StoreError, OSError) as error:
            back = f"; what was there before: gengfu backup:restore {safety.manifest.file}" if safety else ""
            raise BackupError(f"{file} was not restored: {error}{back}") from error
        log.info("restored", extra={"file": file, "rows": sum(contents.tables.values())})
        return Restored(contents, upgraded, pending)

    def _unreadable(self, error: Exception) -> str:
        text = f"what the database {self._db.where} holds now cannot be saved first: {error}"
        if self._db.path is not None:
            text += f"; if it is beyond help, move {self._db.path}* elsewhere and restore again"
        return text

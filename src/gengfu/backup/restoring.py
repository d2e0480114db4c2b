"""Puts a backup in place of what the database holds, after it was proved in a database of its own.

1. The file is read and held against its manifest.
2. Its rows are put into a new SQLite file, into tables that the migrations make, and counted there; that file is
   then brought up to date.
3. What the database holds is copied.
4. One transaction empties the database's tables, puts the rows of that file there and counts them. Until it is
   committed the database holds what it held.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gengfu.backup import rows
from gengfu.backup.checking import check, demand_rows, opened
from gengfu.backup.folder import MARGIN, Backup
from gengfu.backup.making import BackupMaker, MadeBackup
from gengfu.backup.manifest import SAFETY
from gengfu.backup.streams import Progress
from gengfu.clock import Clock
from gengfu.errors import BackupError, StoreError
from gengfu.language import joined, tr
from gengfu.settings import Secret, Settings
from gengfu.store import app_schema, schema
from gengfu.store.ticks import TickStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.store.database import Database

log = logging.getLogger("gengfu.backup")


class Restorer:
    """Restores one backup, step by step, by a process that has the folder alone. Whenever it ends, the database holds
    either all of the backup or what it held before."""

    def __init__(self, db: Database, settings: Settings, clock: Clock, backup: Backup, progress: Progress) -> None:
        self._db = db
        self._home = settings.home
        self._clock = clock
        self._maker = BackupMaker(db, settings, clock, progress)
        self._progress = progress
        self.backup = backup

    def examine(self) -> None:
        """Reads the backup, and changes nothing.

        Raises:
            BackupError: it is damaged, or of versions that this program or `app/migrations` lack.
        """
        versions, file = check(self.backup, self._progress), self.backup.path.name
        if versions.tables not in schema.REVISIONS:
            raise BackupError(
                tr(
                    "{file} was made by a newer Gengfu (its tables are of version {versions.tables}, this program "
                    "knows {schema.HEAD}); upgrade the program first",
                    file=file,
                    versions=versions,
                    schema=schema,
                )
            )
        here = {step for steps in app_schema.revisions(self._home).values() for step in steps}
        if lacking := sorted({*versions.app} - here):
            raise BackupError(
                tr(
                    "{file} has tables of your own, made by {lacking}, which {folder} lacks; copy the folder app of "
                    "the installation that made the backup, and restore again",
                    file=file,
                    lacking=lacking,
                    folder=app_schema.folder(self._home),
                )
            )

    def present_rows(self) -> int | None:
        """How many rows the database holds now; None where it has no tables.

        Raises:
            BackupError: it cannot be read.
        """
        if self._db.path is not None and not self._db.path.exists():
            return None
        try:
            with rows.snapshot(self._db) as connection:
                tables = rows.tables_of(connection, rows.known(self._home))
                return sum(rows.count(connection, tables).values()) if tables else None
        except (BackupError, StoreError) as error:
            raise BackupError(self._unreadable(error)) from error

    def prove(self) -> Database:
        """An SQLite database of its own that holds what the backup holds, for `restore`.

        Raises:
            BackupError, StoreError: the backup does not fit into the tables.
        """
        from gengfu.store.database import Database

        folder, told = self._maker.folder, self.backup.manifest
        folder.demand_room(2 * told.unpacked + MARGIN if told else 0, "unpacking the backup")
        path = folder.scratch()
        scratch = Database(Secret(f"sqlite:///{path.name}"), path.parent)
        try:
            with opened(self.backup, self._progress, "checking") as reading:
                schema.upgrade(scratch, reading.versions.tables)
                app_schema.upgrade(scratch, self._home, reading.versions.app)
                with scratch.read() as connection:
                    tables = rows.tables_of(connection, rows.known(self._home))
                found = scratch.write(lambda connection: rows.load(connection, reading.batches(), tables), 0)
        except BackupError as error:
            raise BackupError(
                tr("{backup_path} cannot be restored: {error}", backup_path=self.backup.path.name, error=error)
            ) from error
        finally:
            scratch.dispose()
        demand_rows(self.backup, found)
        return scratch

    def save_present(self) -> MadeBackup:
        """Copies what is there now.

        Raises:
            BackupError: it cannot be copied; nothing has been changed.
        """
        try:
            return self._maker.make_alone(SAFETY)
        except (BackupError, StoreError) as error:
            raise BackupError(self._unreadable(error)) from error

    def restore(self, scratch: Database, safety: MadeBackup | None) -> list[str]:
        """Puts what was proved in place; the revisions that the backup lacked.

        Raises:
            BackupError, StoreError: it did not succeed; the text says where the copy of what was there is.
        """
        file = self.backup.path.name
        log.info("restore begun", extra={"file": file, "safety": safety.manifest.file if safety else "-"})
        try:
            upgraded, _ = [[*schema.upgrade(db), *app_schema.upgrade(db, self._home)] for db in (scratch, self._db)]
            # No scheduler is left that fired them, and nobody is to run what a file says.
            reason = "the database was restored from a backup"
            TickStore(scratch).write(lambda ticks: ticks.lose_open(reason, self._clock()))
            with rows.snapshot(scratch) as source:
                self._db.write(lambda connection: self._switch(source, connection))
        except (BackupError, StoreError) as error:
            back = (
                tr("; what was there before: gengfu backup:restore {safety.manifest.file}", safety=safety)
                if safety
                else ""
            )
            raise BackupError(
                tr("{file} was not restored: {error}{back}", file=file, error=error, back=back)
            ) from error
        finally:
            scratch.dispose()
        log.info("restored", extra={"file": file})
        return upgraded

    def _switch(self, source: Connection, target: Connection) -> None:
        names = rows.known(self._home)
        tables = rows.tables_of(source, names)
        expected = rows.count(source, tables)
        there = rows.tables_of(target, names)
        rows.load(target, self._told(rows.dump(source, tables), sum(expected.values())), there)
        if (found := rows.count(target, there)) != expected:
            wrong = next(name for name in expected if found.get(name) != expected[name])
            raise BackupError(
                tr(
                    "the table {wrong} has {found} rows, not {expected}; who else writes there?",
                    wrong=wrong,
                    found=found.get(wrong),
                    expected=expected[wrong],
                )
            )

    def _told(self, batches: Iterator[rows.Batch], total: int) -> Iterator[rows.Batch]:
        done = 0
        for head, batch in batches:
            done += len(batch)
            self._progress.step("restoring", done, total)
            yield head, batch

    def _unreadable(self, error: Exception) -> str:
        text = tr(
            "what the database {where} holds now cannot be saved first: {error}", where=self._db.where, error=error
        )
        if self._db.path is not None:
            hint = tr("if it is beyond help, move {path}* elsewhere and restore again", path=self._db.path)
            text = joined("; ", [text, hint])
        return text

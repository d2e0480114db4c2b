"""Makes a backup: copies, reads it back, compares, gives it its name, and removes those that have had their time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gengfu import __version__
from gengfu.backup import rows
from gengfu.backup.checking import check
from gengfu.backup.folder import MARGIN, Backup, BackupFolder, megabytes
from gengfu.backup.manifest import BackupName, Manifest, write_manifest
from gengfu.backup.retention import Candidate, Rule, outdated
from gengfu.backup.streams import Progress, packed
from gengfu.clock import Clock
from gengfu.errors import BackupError
from gengfu.language import tr
from gengfu.store import app_schema, schema

if TYPE_CHECKING:
    from gengfu.settings import Settings
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.backup")


@dataclass(frozen=True, slots=True)
class MadeBackup:
    """A new backup."""

    path: Path
    manifest: Manifest
    foreign_tables: Sequence[str]
    """Tables of the database that are not in it, since neither the program nor `app/migrations` makes them."""
    removed: Sequence[str]
    """The files of those that had had their time."""

    @property
    def words(self) -> str:
        """What it is, in one line."""
        told = self.manifest
        took = (told.finished_at - told.started_at).total_seconds()
        return tr(
            "{told.file}: {number} tables, {told.rows} rows, {megabytes}, read back and found whole, {took:.1f} s",
            told=told,
            number=len(told.tables),
            megabytes=megabytes(told.size),
            took=took,
        )


class BackupMaker:
    """Makes backups of one database into one folder. A file that bears a backup's name has been read back, and held
    what the database held at one moment."""

    def __init__(self, db: Database, settings: Settings, clock: Clock, progress: Progress) -> None:
        self.folder = BackupFolder(settings.backups)
        self._db = db
        self._settings = settings
        self._clock = clock
        self._progress = progress

    def make(self) -> MadeBackup:
        """Makes one and removes those that have had their time.

        Raises:
            Busy: another process is at it.
            BackupError, StoreError: it cannot be made; nothing is left of it, but for a file that turned out bad.
            Stopped: it was told to stop.
        """
        with self.folder.alone("a backup", self._clock()):
            made = self.make_alone()
            return replace(made, removed=self._remove_outdated(made.manifest))

    def make_alone(self, label: str = "") -> MadeBackup:
        """The same by a process that has the folder alone, and without removing any."""
        started = self._clock()
        name = self.folder.free_name(self._db.kind, started, label)
        log.info("backup begun", extra={"file": name.file})
        told, foreign_tables = self._copy(name, started, partial := self.folder.scratch())
        try:
            check(Backup(partial, name, told.size, told), self._progress)
        except BackupError as error:
            kept = self.folder.set_aside(partial, name)
            log.error("backup found bad", extra={"file": kept.name, "error": str(error)})
            raise BackupError(
                tr("the new backup is not as it should be, and is kept as {kept}: {error}", kept=kept, error=error)
            ) from error
        told = replace(told, finished_at=self._clock())
        write_manifest(told, manifest := self.folder.scratch())
        path = self.folder.put(partial, manifest, name)
        log.info("backup made", extra={"file": name.file, "rows": told.rows, "bytes": told.size})
        return MadeBackup(path, told, foreign_tables, ())

    def _copy(self, name: BackupName, started: datetime, partial: Path) -> tuple[Manifest, list[str]]:
        """Writes the backup; what is known of it, and the tables of the database that are not in it."""
        size = 0
        with packed(partial) as out, rows.snapshot(self._db) as connection:
            if (version := schema.version(connection, self._db.where)) is None:
                raise BackupError(
                    tr("the database {where} has no tables yet; run: gengfu db:upgrade", where=self._db.where)
                )
            tables = rows.tables_of(connection, rows.known(self._settings.home))
            counts = rows.count(connection, tables)
            versions = rows.Versions(rows.FORMAT, version, tuple(sorted(app_schema.versions(connection))))
            for lines in rows.encode(versions, self._told(rows.dump(connection, tables), sum(counts.values()))):
                size += out.write(lines)
            foreign_tables = rows.foreign_tables(connection, tables)
        with partial.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        told = Manifest(
            file=name.file,
            kind=name.kind,
            program=__version__,
            schema_version=version,
            tables=counts,
            size=partial.stat().st_size,
            unpacked=size,
            sha256=sha256,
            started_at=started,
            finished_at=started,
        )
        return told, foreign_tables

    def _told(self, batches: Iterable[rows.Batch], total: int) -> Iterator[rows.Batch]:
        done = 0
        for head, batch in batches:
            self.folder.demand_room(MARGIN, "the backup")
            done += len(batch)
            self._progress.step("copying", done, total)
            yield head, batch

    def _remove_outdated(self, made: Manifest) -> list[str]:
        settings = self._settings
        rule = Rule(
            settings.backup_keep_daily,
            settings.backup_keep_weekly,
            settings.backup_keep_monthly,
            ZoneInfo(settings.gengfu_timezone),
        )
        good = [
            Candidate(backup.path.name, backup.name.moment)
            for backup in self.folder.backups()
            if backup.name.kind == self._db.kind and backup.problem is None
        ]
        removed = outdated(good, rule, self._clock(), {made.file})
        for file in removed:
            self.folder.remove(file)
            log.info("backup removed", extra={"file": file})
        return removed

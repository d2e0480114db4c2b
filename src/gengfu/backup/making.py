"""Makes a backup: copies, reads it back, compares, gives it its name, and removes those that have had their time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gengfu import __version__
from gengfu.backup.contents import Contents, Copied, difference
from gengfu.backup.copiers import copier_of, read_back
from gengfu.backup.folder import BackupFolder, megabytes
from gengfu.backup.manifest import Manifest, Name, write_manifest
from gengfu.backup.retention import Candidate, Rule, outdated
from gengfu.backup.streams import Progress
from gengfu.clock import Clock
from gengfu.errors import BackupError

if TYPE_CHECKING:
    from gengfu.settings import Settings
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.backup")

MARGIN = 16_000_000
"""Bytes of the disk that are left for others."""


@dataclass(frozen=True, slots=True)
class MadeBackup:
    """A new backup."""

    path: Path
    manifest: Manifest
    removed: Sequence[str]
    """The files of those that had had their time."""

    @property
    def words(self) -> str:
        """What it is, in one line."""
        told = self.manifest
        took = (told.finished_at - told.started_at).total_seconds()
        return (
            f"{told.file}: {len(told.tables)} tables, {told.rows} rows, {megabytes(told.size)}, "
            f"read back and found whole, {took:.1f} s"
        )


class BackupMaker:
    """Makes backups of one database into one folder. A file that bears a backup's name has been read back, and held
    what the database held."""

    def __init__(self, db: Database, settings: Settings, clock: Clock, progress: Progress) -> None:
        self.folder = BackupFolder(settings.backups)
        self._db = db
        self._copier = copier_of(db)
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
            removed = self._remove_outdated(made.manifest)
        return MadeBackup(made.path, made.manifest, removed)

    def make_alone(self, label: str = "") -> MadeBackup:
        """The same by a process that has the folder alone, and without removing any."""
        started = self._clock()
        size = self._copier.size()
        self.folder.demand_room(self._copier.room(size) + MARGIN, f"a backup of {megabytes(size)}")
        name = self.folder.free_name(self._db.kind, started, label)
        log.info("backup begun", extra={"file": name.file, "bytes": size})
        partial = self.folder.scratch()
        copied = self._copier.copy(partial, self.folder.scratch(), self._progress)
        contents = self._read_back(partial, name, copied)
        told = Manifest(
            file=name.file,
            kind=self._db.kind,
            program=__version__,
            schema_version=contents.schema_version,
            tables=contents.tables,
            size=partial.stat().st_size,
            sha256=contents.sha256,
            started_at=started,
            finished_at=self._clock(),
        )
        write_manifest(told, manifest := self.folder.scratch())
        path = self.folder.put(partial, manifest, name)
        log.info("backup made", extra={"file": name.file, "rows": told.rows, "bytes": told.size})
        return MadeBackup(path, told, ())

    def _read_back(self, partial: Path, name: Name, copied: Copied) -> Contents:
        try:
            contents = read_back(self._db.kind, partial, self.folder.scratch(), self._progress)
            if problem := _problem(contents, copied):
                raise BackupError(problem)
        except BackupError as error:
            kept = self.folder.set_aside(partial, name)
            log.error("backup found bad", extra={"file": kept.name, "error": str(error)})
            raise BackupError(f"the new backup is not as it should be, and is kept as {kept}: {error}") from error
        return contents

    def _remove_outdated(self, made: Manifest) -> list[str]:
        settings = self._settings
        rule = Rule(
            settings.backup_keep_daily,
            settings.backup_keep_weekly,
            settings.backup_keep_monthly,
            ZoneInfo(settings.gengfu_timezone),
        )
        removed = self.outdated(rule, self._clock(), made.file)
        for file in removed:
            self.folder.remove(file)
            log.info("backup removed", extra={"file": file})
        return removed

    def outdated(self, rule: Rule, now: datetime, spared: str) -> list[str]:
        """The files of the good backups of this kind of database that the rule does not keep."""
        good = [
            Candidate(backup.path.name, backup.name.moment)
            for backup in self.folder.backups()
            if backup.name.kind == self._db.kind and backup.problem is None
        ]
        return outdated(good, rule, now, {spared})


def _problem(contents: Contents, copied: Copied) -> str | None:
    if contents.sha256 != copied.sha256:
        return f"its SHA-256 is {contents.sha256}, not {copied.sha256} as it was written"
    return difference(copied.tables, contents.tables) if copied.tables is not None else None

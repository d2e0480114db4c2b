"""Backups: make one, or have a worker make it, list and verify them, put one back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengfu.backup.checking import check
from gengfu.backup.folder import Backup, BackupFolder, Busy
from gengfu.backup.job import SUBJECT, BackupDataJob
from gengfu.backup.making import BackupMaker, MadeBackup
from gengfu.backup.restoring import Restorer
from gengfu.backup.streams import Progress
from gengfu.clock import Clock
from gengfu.errors import BackupError
from gengfu.services.json import to_json
from gengfu.store.enqueue import Enqueuing, enqueue, new_job

if TYPE_CHECKING:
    from gengfu.settings import Settings
    from gengfu.store.database import Database

__all__ = ["BackupService", "Busy", "Listed", "Progress", "QueuedBackup", "RestorePlan", "RestoreResult"]

log = logging.getLogger("gengfu.services.backups")


@dataclass(frozen=True, slots=True)
class QueuedBackup:
    """The job that is to make a backup: a new one, or the one that waited or ran already."""

    job: int
    is_new: bool
    queue: str = BackupDataJob.queue


@dataclass(frozen=True, slots=True)
class Listed:
    """A backup in the folder, and what is wrong with it: None where nothing is."""

    backup: Backup
    age: float
    """Seconds since it was begun."""
    problem: str | None


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore would do, once it was found that it can be done."""

    backup: Backup
    where: str
    """The database."""
    present: int | None
    """How many rows it holds now, which would be replaced; None where it has no tables."""

    @property
    def rows(self) -> int:
        return self.backup.manifest.rows if self.backup.manifest else 0


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did."""

    file: str
    tables: Mapping[str, int]
    """The number of rows of each."""
    upgraded: Sequence[str]
    """The revisions that the backup lacked."""
    safety: MadeBackup | None
    """The copy of what was there before."""


@to_json.register
def _queued(queued: QueuedBackup) -> dict[str, Any]:
    return {"status": "accepted" if queued.is_new else "skipped", "job": queued.job}


@to_json.register
def _listed(listed: Listed) -> dict[str, Any]:
    name, told = listed.backup.name, listed.backup.manifest
    return {
        "file": listed.backup.path.name,
        "database": name.kind,
        "made_at": to_json(name.moment),
        "age_seconds": round(listed.age),
        "before_restore": bool(name.label),
        "bytes": listed.backup.size,
        "rows": told.rows if told else None,
        "schema_version": told.schema_version if told else None,
        "program": told.program if told else None,
        "checked": listed.problem is None,
        "problem": listed.problem,
    }


@to_json.register
def _made(made: MadeBackup) -> dict[str, Any]:
    told = made.manifest
    return {
        "status": "done",
        "file": told.file,
        "path": str(made.path),
        "database": told.kind,
        "schema_version": told.schema_version,
        "tables": dict(told.tables),
        "rows": told.rows,
        "bytes": told.size,
        "sha256": told.sha256,
        "started_at": to_json(told.started_at),
        "finished_at": to_json(told.finished_at),
        "removed": list(made.removed),
    }


@to_json.register
def _restored(result: RestoreResult) -> dict[str, Any]:
    return {
        "status": "done",
        "file": result.file,
        "tables": dict(result.tables),
        "rows": sum(result.tables.values()),
        "safety_copy": result.safety.manifest.file if result.safety else None,
        "upgraded": list(result.upgraded),
        "pending": [],
    }


class BackupService:
    """The backups of one installation. Whoever makes or restores one keeps other processes of this host from it."""

    def __init__(self, settings: Settings, clock: Clock, open_db: Callable[[], Database]) -> None:
        """`open_db`: gives the database, whatever the state of its tables, when it is needed."""
        self._settings = settings
        self._clock = clock
        self._open_db = open_db
        self._folder = BackupFolder(settings.backups)

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self._folder.folder

    def make(self, progress: Progress) -> MadeBackup:
        """Makes one and removes those that have had their time.

        Raises:
            Busy: another process is at it.
            BackupError, StoreError: it cannot be made.
        """
        return self._maker(progress).make()

    def list(self) -> Sequence[Listed]:
        """All of them, the newest first, with what can be told to be wrong without reading them.

        Raises:
            BackupError: the folder cannot be read.
        """
        return [self._listed(backup, backup.problem) for backup in self._folder.backups()]

    def verify(self, progress: Progress) -> Sequence[Listed]:
        """The same, with each of them read from its beginning to its end.

        Raises:
            BackupError: the folder cannot be read.
        """
        found = []
        for backup in self._folder.backups():
            problem = None
            try:
                check(backup, progress)
            except BackupError as error:
                problem = str(error)
            found.append(self._listed(backup, problem))
        return found

    def plan_restore(self, file: str, near: Path, progress: Progress, *, force: bool) -> RestorePlan:
        """Reads a backup and looks at what it would replace; changes nothing.

        Args:
            file: its name, a path (a relative one begins at `near`), or `latest`.
            force: also while workers or schedulers are at the database.

        Raises:
            NotFound: there is no such backup.
            BackupError, StoreError: it cannot be restored, or not now.
        """
        from gengfu.backup.in_use import demand_free

        db = self._open_db()
        backup = self._folder.find(file, db.kind, near)
        restorer = self._restorer(backup, progress)
        with self._folder.alone("a restore", self._clock()):
            restorer.examine()
            present = restorer.present_rows()
        if present is not None and not force:
            demand_free(db)
        return RestorePlan(backup, db.where, present)

    def restore(self, plan: RestorePlan, progress: Progress, saved: Callable[[MadeBackup], None]) -> RestoreResult:
        """Makes a copy of what is there, if anything is, and then puts the backup in its place.

        Args:
            saved: is told of the copy before anything is changed.

        Raises:
            BackupError, StoreError: it did not succeed; the text says where the copy is.
        """
        restorer = self._restorer(plan.backup, progress)
        with self._folder.alone("a restore", self._clock()):
            scratch = restorer.prove()
            safety = restorer.save_present() if plan.present is not None else None
            if safety is not None:
                saved(safety)
            upgraded = restorer.restore(scratch, safety)
        told = plan.backup.manifest
        return RestoreResult(plan.backup.path.name, told.tables if told else {}, upgraded, safety)

    def _maker(self, progress: Progress) -> BackupMaker:
        return BackupMaker(self._open_db(), self._settings, self._clock, progress)

    def _restorer(self, backup: Backup, progress: Progress) -> Restorer:
        return Restorer(self._open_db(), self._settings, self._clock, backup, progress)

    def _listed(self, backup: Backup, problem: str | None) -> Listed:
        return Listed(backup, (self._clock() - backup.name.moment).total_seconds(), problem)


def queue_backup(db: Database | Path, now: datetime) -> QueuedBackup:
    """Records a job that makes a backup, unless one waits or runs.

    Raises:
        StoreError: the database cannot do it.
    """
    job = BackupDataJob

    def work(queue: Enqueuing) -> QueuedBackup:
        live = queue.live_job(SUBJECT)
        if live is not None:
            return QueuedBackup(live, is_new=False)
        row = new_job(job.__name__, {}, queue=job.queue, tries=job.tries, subject=SUBJECT, now=now)
        return QueuedBackup(queue.add_job(row), is_new=True)

    queued = enqueue(db, work)
    if queued.is_new:
        log.info("backup queued", extra={"job": queued.job})
    return queued

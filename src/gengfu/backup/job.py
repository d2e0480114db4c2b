"""BackupDataJob: a worker makes the backup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gengfu.language import tr
from gengfu.queue.job import Job, JobContext

if TYPE_CHECKING:
    from gengfu.clock import Clock
    from gengfu.settings import Settings
    from gengfu.store.database import Database

SUBJECT = "backup:data"
"""What a backup's job works for; of those that are queued or run there is one."""


class BackupDataJob(Job):
    """Makes a backup of the whole database, on the host of the worker that takes it. Done again, it makes another."""

    queue = "backup"
    tries = 3
    timeout = 10_800.0
    backoff = (60.0, 300.0)

    def __init__(self, db: Database, settings: Settings, clock: Clock) -> None:
        self._db = db
        self._settings = settings
        self._clock = clock

    def fire(self, context: JobContext, *_: Any, **args: Any) -> str | None:
        """Makes it, unless another process of this host is at it."""
        from gengfu.backup.folder import Busy
        from gengfu.backup.making import BackupMaker
        from gengfu.backup.streams import Progress

        try:
            made = BackupMaker(self._db, self._settings, self._clock, Progress(stopped=context.stop.is_set)).make()
        except Busy as busy:
            return tr("skipped: {busy}", busy=busy)
        return made.words

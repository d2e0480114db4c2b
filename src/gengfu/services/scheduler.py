"""Puts a scheduler together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.clock import Clock
from gengfu.errors import ConfigError
from gengfu.schedule.earlier_work import EarlierWork
from gengfu.schedule.enqueue import Enqueuer
from gengfu.schedule.entries import FILE, Declarations, Entries, load_entries
from gengfu.schedule.entry_logs import EntryLogs
from gengfu.schedule.open_ticks import ScheduleContext
from gengfu.schedule.plan import FormatMoment
from gengfu.schedule.policy import Entry
from gengfu.schedule.running import Running
from gengfu.schedule.scheduler import PATIENCE, Scheduler
from gengfu.schedule.server_clock import ServerClock
from gengfu.settings import Settings, load_settings
from gengfu.store.ticks import Tick, TickStore

if TYPE_CHECKING:
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.services.scheduler")


class EntryReader:
    """Gives the entries, read again when `gengfu.toml` changes. A file that cannot be read then changes nothing; what
    is wrong with an entry is logged once."""

    def __init__(self, home: Path, load: Callable[[], Entries]) -> None:
        self._file = home / FILE
        self._load = load
        self._entries: Mapping[str, Entry] | None = None
        self._seen: tuple[int, int, int] | None = None

    def __call__(self) -> Mapping[str, Entry]:
        """All of them, by name.

        Raises:
            ConfigError: the file cannot be read at the first call.
        """
        seen = self._stamp()
        if self._entries is None or seen != self._seen:
            try:
                found = self._load()
            except ConfigError as error:
                if self._entries is None:
                    raise
                log.warning("the entries cannot be read again; the old ones stand", extra={"error": str(error)})
            else:
                self._entries = found.entries
                for problem in found.problems:
                    log.warning("an entry cannot be used: %s", problem)
            self._seen = seen
        return self._entries

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def open_scheduler(
    settings: Settings,
    db: Database | Path,
    catalogue: Declarations,
    earlier_work: EarlierWork,
    *,
    clock: Clock,
    show: FormatMoment,
    notify: Callable[[str, int], str | None],
    on_over: Callable[[Tick], None],
) -> Scheduler:
    """A scheduler on the program's database; see `Scheduler`.

    Args:
        db: an SQLite file, or the database.
        clock: that of the host.
    """
    entries = EntryReader(settings.home, lambda: load_entries(settings, catalogue))
    enqueuer = Enqueuer(load_settings, show, clock)
    context = ScheduleContext(
        enqueuer, earlier_work, ServerClock(TickStore(db, PATIENCE), clock), show, notify, on_over
    )
    return Scheduler(db, entries, Running(settings, EntryLogs(settings)), context)

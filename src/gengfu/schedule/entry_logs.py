"""The log file of each entry of the schedule."""

from __future__ import annotations

import logging

from gengfu import logs
from gengfu.errors import ConfigError
from gengfu.settings import Settings
from gengfu.store.ticks import Tick

log = logging.getLogger("gengfu.schedule.entry_logs")


class EntryLogs:
    """Writes lines of ticks to `<log folder>/<entry>.log`. One that cannot be written keeps nothing from running."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files: dict[str, logging.Handler | None] = {}

    def write(self, tick: Tick, line: str) -> None:
        """Adds a line of that tick; may be called from any thread once the entry's file was opened."""
        handler = self.open(tick.entry)
        if handler is not None:
            record = logging.LogRecord("gengfu.tick", logging.INFO, "", 0, line, None, None)
            record.tick = tick.id
            handler.handle(record)

    def open(self, entry: str) -> logging.Handler | None:
        """The entry's file; None where it cannot be written, which is logged."""
        if self._files.get(entry) is None:
            try:
                self._files[entry] = logs.open_file(self._settings, f"{entry}.log")
            except ConfigError as error:
                if entry not in self._files:
                    log.warning("the log of an entry cannot be written", extra={"entry": entry, "error": str(error)})
                self._files[entry] = None
        return self._files[entry]

    def close(self) -> None:
        """Closes the files."""
        for handler in self._files.values():
            if handler is not None:
                handler.close()
        self._files.clear()

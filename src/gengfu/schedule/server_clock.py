"""The one clock by which ticks are due: that of the database server, so that hosts need not agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.clock import Clock, monotonic
from gengfu.store import ticks
from gengfu.store.light import Executor, transact

if TYPE_CHECKING:
    from gengfu.store.database import Database

CARRIED = 5.0
"""Seconds for which an answer of the server is carried on by this host's monotonic clock."""
PATIENCE = 5.0
"""Seconds for which a server that is away is asked again."""


def clock_of(db: Database | Path, host: Clock) -> Clock:
    """The clock of the schedule: the server's, or this host's where the database is a file on it."""
    return host if isinstance(db, Path) or db.path is not None else ServerClock(db)


class ServerClock:
    """Tells what the server's clock says, within the time that one question takes."""

    def __init__(self, db: Database, elapsed: Callable[[], float] = monotonic) -> None:
        self._db = db
        self._elapsed = elapsed
        self._asked: tuple[float, datetime] | None = None

    def __call__(self) -> datetime:
        """The present moment.

        Raises:
            StoreError: the server is away for longer than its last answer holds.
        """
        if self._asked is None or self._elapsed() - self._asked[0] > CARRIED:
            self._asked = transact(self._db, self._ask, PATIENCE)
        since, then = self._asked
        return then + timedelta(seconds=self._elapsed() - since)

    def _ask(self, execute: Executor) -> tuple[float, datetime]:
        before = self._elapsed()
        then = ticks.server_time(execute, self._db.kind)
        return (before + self._elapsed()) / 2, then

"""The one clock by which ticks are due: that of the database server, so that hosts need not agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from gengfu.clock import Clock, monotonic
from gengfu.store.ticks import TickStore

CARRIED = 5.0
"""Seconds for which an answer of the server is carried on by this host's monotonic clock."""


class ServerClock:
    """Tells what the server's clock says, within the time that one question takes; where the database is a file on this
    host, what this host's does."""

    def __init__(self, store: TickStore, host: Clock, elapsed: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._host = host
        self._elapsed = elapsed
        self._asked: tuple[float, datetime] | None = None

    def __call__(self) -> datetime:
        """The present moment.

        Raises:
            StoreError: the server is away for longer than its last answer holds.
        """
        if self._asked is None or self._elapsed() - self._asked[0] > CARRIED:
            before, told, after = self._store.write(
                lambda ticks: (self._elapsed(), ticks.server_time(), self._elapsed())
            )
            if told is None:
                return self._host()
            self._asked = (before + after) / 2, told
        since, then = self._asked
        return then + timedelta(seconds=self._elapsed() - since)

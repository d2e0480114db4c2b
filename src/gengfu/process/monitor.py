"""The monitor of a process: renews its lease, shows its supervisor that it makes progress, and watches its parent."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gengfu.clock import Clock, monotonic, utcnow
from gengfu.errors import GengfuError
from gengfu.language import tr
from gengfu.process.liveness import StallDetector
from gengfu.process.notify_socket import ALIVE, READY, STOPPING, NotifyClient, Parent
from gengfu.process.pids import birth_of, host_name, is_here, lives, was_here
from gengfu.store.leases import Lease, Leases, ProcessInfo

if TYPE_CHECKING:
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.process.monitor")

RENEW_EVERY = 2.5
"""Seconds between two renewals of the lease."""
DEAD_AFTER = 10.0
"""Seconds without a renewal after which a process counts as dead."""
FEED = 1.0
"""The most seconds between two looks at the progress for the watchdog, and at the parent."""
LOOK = 0.2
"""Seconds between two calls of `look`."""
SETTLE = 1.0
"""Seconds that loops have to come round after a process may have been frozen."""
GONE_AFTER = 600.0
"""Seconds of silence after which the row of a process that cannot be looked at, as on another host, is removed."""
LAST_WRITE = 3.0
"""The most seconds for removing the own row at the end."""


class ProcessLoss(Enum):
    """What has become of a process that is not well."""

    SILENT = "silent"
    """It counts as dead, but may still be there, as a frozen one is."""
    GONE = "gone"


def loss_of(seen: Lease, host: str, silence: float) -> ProcessLoss | None:
    """What has become of a process, as seen from `host`, whose lease was not renewed for so many seconds; None while it
    counts as alive."""
    if seen.host == host and (was_here(seen.birth) or (is_here(seen.birth) and not lives(seen.pid, seen.birth))):
        return ProcessLoss.GONE
    if silence >= GONE_AFTER and not (seen.host == host and is_here(seen.birth)):
        return ProcessLoss.GONE
    return ProcessLoss.SILENT if silence >= DEAD_AFTER else None


class Monitor:
    """Watches one process for as long as it works: `with Monitor(...):` around its work.

    1. The process has a lease from the first renewal, or from the first call of `lease`, to the end of the block. Its
       row stays where the process is killed.
    2. The supervisor's watchdog is fed only while `progress()` is None. The lease is renewed by a thread of its own,
       since a database that hangs must keep nobody from feeding the watchdog; it ends or delays nothing.
    3. The lease of a process that is dead is marked as lost: one of this host whose process is gone at once, any other
       after ten seconds without a renewal, measured by what this process itself saw unchanged.
    4. Where others took this process for dead, as when it was frozen, `on_lost` is called: whatever it held under the
       old lease is not its own any more. It gets a new one.
    5. `look()` is called to keep the limits of the process.
    6. A child whose parent is gone (see `Parent`) is told to end, by SIGTERM.
    """

    def __init__(
        self,
        db: Database | Path,
        kind: str,
        name: str,
        details: Mapping[str, Any],
        progress: Callable[[], str | None] = lambda: None,
        clock: Clock = utcnow,
        on_lost: Callable[[], None] = lambda: None,
        look: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            progress: None while all loops make progress, else the sentence that says what is stuck; called from
                any thread.
            on_lost: called from a thread of the monitor.
            look: called a few times a second, to keep the limits of this process; it must be quick.
        """
        birth = birth_of(os.getpid()) or ""
        self._me = ProcessInfo(kind, name[:255], host_name(), os.getpid(), birth, details)
        self._leases = Leases(db)
        self._progress = progress
        self._clock = clock
        self._on_lost = on_lost
        self._look = look
        self._lease: int | None = None
        self._opening = threading.Lock()
        self._notifier = NotifyClient.take()
        self._parent = Parent.take()
        self.is_child = bool(self._parent.pid)
        """Whether the process is to end together with the one that started it."""
        self._started = False
        self._ended = threading.Event()
        self._said_stopping = False
        self._away = False
        self._answered_since: float | None = None
        self._others = StallDetector()
        self._threads = [
            threading.Thread(target=self._watch, name="gengfu-monitor", daemon=True),
            threading.Thread(target=self._renew_on, name="gengfu-lease", daemon=True),
        ]

    @property
    def current_lease(self) -> int | None:
        """The id of this process's lease; None before the first renewal, and until a lost one is replaced."""
        return self._lease

    def lease(self) -> int:
        """The id of this process's lease, which is opened if there is none.

        Raises:
            StoreError: the database cannot do it.
        """
        with self._opening:
            if self._lease is None:
                self._lease = self._leases.open(self._me, self._clock())
            return self._lease

    def start(self) -> None:
        """The process is ready from now on; called again, nothing changes."""
        if self._started:
            return
        self._started = True
        for thread in self._threads:
            thread.start()
        self._notifier.say(READY)

    def stopping(self) -> None:
        """The process is about to end; the lease is renewed until `end`."""
        if not self._said_stopping:
            self._said_stopping = True
            self._notifier.say(STOPPING)

    def end(self) -> None:
        """Ends the renewals and removes the row, waiting no longer than `LAST_WRITE` for a database that hangs; of a
        monitor that was never started there is nothing to end."""
        if not self._started:
            return
        self.stopping()
        self._ended.set()
        self._threads[1].join(LAST_WRITE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def answered_for(self) -> float:
        """Seconds for which the database has taken every renewal."""
        since = self._answered_since
        return monotonic() - since if since is not None else 0.0

    def _watch(self) -> None:
        watchdog = self._notifier.watchdog
        every = min(FEED, watchdog / 4) if watchdog else FEED
        every = every if self._look is None else min(every, LOOK)
        while not self._ended.wait(every):
            if self._look is not None:
                self._safely(self._look)
            if self._notifier.due() and self._stuck() is None:
                self._notifier.say(ALIVE)
            if self._parent.is_gone():
                log.warning("the parent of this process is gone; it ends")
                os.kill(os.getpid(), signal.SIGTERM)

    @staticmethod
    def _safely(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("an unexpected error in the monitor; it goes on")

    def _renew_on(self) -> None:
        while not self._ended.is_set():
            last = monotonic()
            self._attempt(self._renew)
            self._ended.wait(RENEW_EVERY)
            if monotonic() - last > 3 * RENEW_EVERY:
                # Perhaps the whole process was frozen: its loops are to come round before they are judged.
                self._ended.wait(SETTLE)
        self._attempt(lambda: self._leases.close(self._me.name))

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except GengfuError as error:
            if not self._away:
                log.warning("the lease of this process cannot be renewed; trying on", extra={"error": str(error)})
            self._away, self._answered_since = True, None
        except Exception:
            self._answered_since = None
            log.exception("renewing the lease failed; the monitor goes on")
        else:
            self._away, self._answered_since = False, self._answered_since or monotonic()

    def _renew(self) -> None:
        held = self._lease
        if held is not None and not self._leases.renew(held, self._stuck(), self._clock()):
            log.warning("others took this process for dead; what it held is not its own any more")
            self._lease = None
            self._on_lost()
        self.lease()
        self._look_at_others()

    def _stuck(self) -> str | None:
        try:
            return self._progress()
        except Exception as error:
            log.exception("the progress of this process cannot be told")
            return tr("its progress cannot be told: {error}", error=error)

    def _look_at_others(self) -> None:
        """The renewal just before was a write, so a database that took none for a while makes nobody look dead."""
        others = {seen.id: seen for seen in self._leases.all() if seen.name != self._me.name}
        silent = self._others.look(monotonic(), {seen.id: seen.renewals for seen in others.values()})
        for lease_id, seen in others.items():
            state = loss_of(seen, self._me.host, silent[lease_id])
            if state is not None and seen.lost_at is None and self._leases.lose(seen, self._clock()):
                log.warning("a process is dead; its work is anybody's", extra={"dead": seen.name, "kind": seen.kind})
            if state is ProcessLoss.GONE:
                self._leases.remove(seen)

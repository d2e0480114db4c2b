"""The heartbeat of a process that serves: a row whose beat grows, and systemd's watchdog, both fed by progress only."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gengfu.clock import Clock, monotonic, utcnow
from gengfu.errors import GengfuError
from gengfu.queue.notify import ALIVE, READY, STOPPING, Notifier, Parent
from gengfu.queue.pids import birth_of, host_name, is_here, lives
from gengfu.queue.pulse import Watch
from gengfu.store.processes import Newcomer, Process, beat, everyone, leave, remove

if TYPE_CHECKING:
    from gengfu.store.database import Database
    from gengfu.store.light import Executor

log = logging.getLogger("gengfu.queue.heartbeat")

BEAT = 3.0
"""Seconds between two beats."""
SETTLE = 1.0
"""Seconds that loops have to turn after a process may have been frozen."""
FEED = 1.0
"""The most seconds between two looks at the progress for the watchdog, and at the parent."""
LOOK_ROUND = 30.0
"""Seconds between two looks at the rows of other processes."""
GONE_AFTER = 600.0
"""Seconds of silence after which the row of a process on another host is removed ..."""
REBOOTED_AFTER = 60.0
"""... and that of one with this host's name from before its last start, or in another container."""
LAST_BEAT = 3.0
"""The most seconds for removing the own row at the end."""


class Heartbeat:
    """Shows others that this process makes progress, for as long as it does: `with Heartbeat(...):` around its work.

    1. Its row in `process` is there from the first beat to the end of the block; it stays where the process is killed.
    2. The row's beat grows, and systemd's watchdog is fed, only while `progress()` is None. Watchdog and row have a
       thread each, so that a database that is away keeps nobody from feeding the former, and ends or delays nothing.
    3. Rows of dead processes are removed: those of this host at once, others after ten minutes of silence, measured by
       beats that this process itself saw unchanged.
    4. A child whose parent is gone (see `Parent`) is told to end, by SIGTERM.
    """

    def __init__(
        self,
        db: Database,
        kind: str,
        name: str,
        details: Mapping[str, Any],
        progress: Callable[[], str | None],
        clock: Clock = utcnow,
    ) -> None:
        """`progress`: None while all loops turn, else the sentence that says what is stuck; called from any thread."""
        self._db = db
        birth = birth_of(os.getpid()) or ""
        self._me = Newcomer(kind, name[:255], host_name(), os.getpid(), birth, details)
        self._progress = progress
        self._clock = clock
        self._notifier = Notifier.take()
        self._parent = Parent.take()
        self._ended = threading.Event()
        self._said_stopping = False
        self._away = False
        self._answered_since: float | None = None
        self._others = Watch(2 * LOOK_ROUND)
        self._next_round = 0.0
        self._threads = [
            threading.Thread(target=self._feed_on, name="gengfu-watchdog", daemon=True),
            threading.Thread(target=self._beat_on, name="gengfu-heartbeat", daemon=True),
        ]

    def start(self) -> None:
        """The process is ready from now on."""
        for thread in self._threads:
            thread.start()
        self._notifier.say(READY)

    def stopping(self) -> None:
        """The process is about to end; beats go on until `end`."""
        if not self._said_stopping:
            self._said_stopping = True
            self._notifier.say(STOPPING)

    def end(self) -> None:
        """Ends the beats and removes the row, waiting no longer than `LAST_BEAT` for a database that hangs."""
        self.stopping()
        self._ended.set()
        self._threads[1].join(LAST_BEAT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def answered_for(self) -> float:
        """Seconds for which the database has taken every beat."""
        since = self._answered_since
        return monotonic() - since if since is not None else 0.0

    def _feed_on(self) -> None:
        watchdog = self._notifier.watchdog
        every = min(FEED, watchdog / 4) if watchdog else FEED
        while not self._ended.wait(every):
            if self._notifier.due() and self._stuck() is None:
                self._notifier.say(ALIVE)
            if self._parent.is_gone():
                log.warning("the parent of this process is gone; it ends")
                os.kill(os.getpid(), signal.SIGTERM)

    def _beat_on(self) -> None:
        while not self._ended.is_set():
            last = monotonic()
            self._attempt(self._beat)
            self._ended.wait(BEAT)
            if monotonic() - last > 3 * BEAT:
                # Perhaps the whole process was frozen: its loops are to turn before they are judged.
                self._ended.wait(SETTLE)
        self._attempt(lambda: self._write(lambda execute: leave(execute, self._me.name)))

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except GengfuError as error:
            if not self._away:
                log.warning("the heartbeat cannot be written; trying on", extra={"error": str(error)})
            self._away, self._answered_since = True, None
        except Exception:
            self._answered_since = None
            log.exception("the heartbeat stumbled; it goes on")
        else:
            self._away, self._answered_since = False, self._answered_since or monotonic()

    def _beat(self) -> None:
        stuck = self._stuck()
        self._write(lambda execute: beat(execute, self._me, stuck, self._clock()))
        if monotonic() >= self._next_round:
            self._next_round = monotonic() + LOOK_ROUND
            self._bury_the_dead()

    def _stuck(self) -> str | None:
        try:
            return self._progress()
        except Exception as error:
            log.exception("the progress of this process cannot be told")
            return f"its progress cannot be told: {error}"

    def _bury_the_dead(self) -> None:
        found: list[Process] = self._write(everyone)
        others = {seen.id: seen for seen in found if seen.name != self._me.name}
        silent = self._others.look(monotonic(), {seen.id: seen.beat for seen in others.values()})
        for number, seen in others.items():
            if is_over(seen, self._me.host, silent[number]):
                self._write(partial(remove, seen=seen))
                log.info("the row of a dead process was removed", extra={"dead": seen.name})

    def _write(self, work: Callable[[Executor], Any]) -> Any:
        from gengfu.store.statements import Statements

        return self._db.write(lambda connection: work(Statements(connection)), patience=0.0)


def is_over(seen: Process, host: str, silence: float) -> bool:
    """Whether a process is dead, as seen from `host`, after so many seconds in which its beat did not move."""
    if seen.host != host:
        return silence >= GONE_AFTER
    if is_here(seen.birth):
        return not lives(seen.pid, seen.birth)
    return silence >= REBOOTED_AFTER

"""The scheduler: starts what is due, and takes over from schedulers that died."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.clock import monotonic
from gengfu.errors import StoreError
from gengfu.language import tr
from gengfu.process.liveness import SLOW_AFTER, Liveness
from gengfu.process.monitor import Monitor
from gengfu.process.pids import process_name
from gengfu.process.wakeup import Wakeup
from gengfu.schedule.open_ticks import OpenTicks, ScheduleContext
from gengfu.schedule.planner import Planner
from gengfu.schedule.policy import Entry
from gengfu.schedule.running import KILL_AFTER, Running
from gengfu.store import retention
from gengfu.store.ticks import TickStore

if TYPE_CHECKING:
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.schedule.scheduler")

PATIENCE = 5.0
"""Seconds for which a database that is away is asked again before the loop goes on without it."""
LOOK_EVERY = 1.0
"""The most seconds between two looks: so late may a tick be that a step of the clock brought about."""
PRUNE_EVERY = 6 * 3600.0
PRUNE_AT = 197
"""The minute of the day, in UTC, in which a pass that is started each minute removes old rows."""
LAST_PATIENCE = 60.0
"""Seconds for which a scheduler that is done tries to write down how its last commands ended."""
IMPATIENCE = 2.0
"""Seconds between SIGTERM and SIGKILL for commands that are to end at once."""


class Scheduler:
    """Sees to it that each tick fires once, together with any number of others on the same database.

    A tick's row is its claim, under this process's lease, and committed before anything is started; and all that this
    object knows it reads from the rows, so what was committed although the answer was lost is not forgotten. It is
    started by `run_once`, for one pass, or by `work`, and ends in three steps: it plans no more, lets what runs end or
    ends it, and leaves what it has claimed to the others.
    """

    def __init__(
        self,
        db: Database | Path,
        entries: Callable[[], Mapping[str, Entry]],
        running: Running,
        context: ScheduleContext,
        code: str = "",
    ) -> None:
        """`entries`: reads the entries anew. `code`: the version of user code, see `gengfu.discovery.version_of`."""
        self.name = process_name()
        self.liveness = Liveness()
        self.monitor = Monitor(db, "scheduler", self.name, {"code": code}, self.progress)
        self._db = db
        self._running = running
        self._clock = context.clock
        self._wakeup = Wakeup()
        store = TickStore(db, PATIENCE)
        self._planner = Planner(store, entries, context.enqueuer, context.show)
        self._ticks = OpenTicks(store, self.name, self.monitor, self._planner, running, context, self._wakeup.wake)
        self._next_prune = monotonic() + 600.0
        self._stops = 0

    def progress(self) -> str | None:
        """None while the loop makes progress, else the sentence that says that it does not."""
        silence = self.liveness.seconds()
        return (
            tr("its loop has made no progress for {silence:.0f} seconds", silence=silence)
            if silence > SLOW_AFTER
            else None
        )

    def stop(self) -> None:
        """Nothing new is started from now on; called again, what runs is ended at once. May be called in the handler of
        a signal, or from another thread."""
        self._stops += 1
        self._wakeup.wake()

    def run_once(self, grace: float) -> None:
        """One pass, and the wait until the commands that it started are over. Without anything to start, the process
        needs no lease, and gets none.

        Raises:
            StoreError: the database cannot be used.
        """
        try:
            self._first_cycle()
            while not self._stops and (self._running.is_busy or self._ticks.are_unsettled()):
                self.monitor.start()
                self._wakeup.wait(LOOK_EVERY)
                self._cycle_safely(passing=False)
        finally:
            self._wind_down(grace)
            self.monitor.end()

    def work(self, grace: float) -> None:
        """Passes, each time that something is due, until `stop` is called."""
        with self.monitor:
            try:
                while not self._stops:
                    self._wakeup.wait(self._cycle_safely(passing=True))
            finally:
                self._wind_down(grace)

    def _first_cycle(self) -> None:
        now = self._clock()
        try:
            self._cycle(now, passing=True)
        except StoreError:
            if not self._running.is_busy:
                raise
        if int(now.timestamp()) // 60 % 1440 == PRUNE_AT:
            self._prune(now)

    def _cycle_safely(self, *, passing: bool) -> float:
        """A cycle that outlives a database that is away; the seconds until the next one."""
        try:
            return self._cycle(self._clock(), passing=passing)
        except StoreError as error:
            log.warning("the schedule cannot be read or written; trying on", extra={"error": str(error)})
        except Exception:
            log.exception("an unexpected error in the scheduler; it goes on")
        return LOOK_EVERY

    def _cycle(self, now: datetime, *, passing: bool) -> float:
        self.liveness.progressed()
        self._running.gather()
        if passing and self._planner.is_due(now):
            for settled in self._planner.make_pass(now, self.name, self._ticks.holder):
                self._ticks.settled(settled, now)
        self._ticks.look(now, take_over=not self._stops)
        if not self._stops:
            self._ticks.start(now)
        if monotonic() >= self._next_prune:
            self._next_prune = monotonic() + PRUNE_EVERY
            self._prune(now)
        left = self._planner.until_next(self._clock()) if passing else None
        return LOOK_EVERY if left is None else max(0.0, min(LOOK_EVERY, left))

    def _prune(self, now: datetime) -> None:
        while any(removed := retention.prune(self._db, now).values()):
            log.info("old rows removed", extra={"rows": sum(removed)})
            self.liveness.progressed()

    def _wind_down(self, grace: float) -> None:
        """Waits for what runs, for `grace` seconds or until the next `stop`; ends it, and writes down how it ended."""
        ends_at, gives_up_at, hurried = monotonic() + grace, monotonic() + grace + LAST_PATIENCE, False
        told = False
        while self._running.is_busy:
            if not told and (monotonic() >= ends_at or self._stops > 1):
                self._running.end_all(KILL_AFTER)
                told = True
            if not hurried and self._stops > 1:
                self._running.end_all(IMPATIENCE)
                hurried = True
            self._wakeup.wait(LOOK_EVERY / 4)
            self.liveness.progressed()
            self._running.gather()
            try:
                self._ticks.look(self._clock(), take_over=False)
            except StoreError as error:
                if not self._running and monotonic() >= gives_up_at:
                    log.error("the ends of commands could not be written down", extra={"error": str(error)})
                    break
        self._ticks.hand_on()
        self._running.close()

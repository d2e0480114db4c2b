"""The scheduler: starts what is due, and takes over from schedulers that died."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gengfu.clock import Clock, monotonic
from gengfu.errors import StoreError
from gengfu.process.liveness import SLOW_AFTER, Pulse
from gengfu.process.monitor import Monitor
from gengfu.process.pids import process_name
from gengfu.process.wake_pipe import WakePipe
from gengfu.schedule.earlier_work import EarlierWork
from gengfu.schedule.enqueue import Enqueuer, Settled
from gengfu.schedule.others import Others
from gengfu.schedule.plan import Action, FormatMoment, decide, is_late
from gengfu.schedule.planner import Planner
from gengfu.schedule.policy import CatchUp, Entry
from gengfu.schedule.running import ASKED, KILL_AFTER, Running
from gengfu.store import ticks
from gengfu.store.leases import leases_in
from gengfu.store.light import Executor, transact
from gengfu.store.tick_rows import TICKS_KEPT, Holder, Tick, TickState
from gengfu.store.ticks import Ending

if TYPE_CHECKING:
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.schedule.scheduler")

T = TypeVar("T")

LOOK_EVERY = 1.0
"""The most seconds between two looks: so late may a tick be that a step of the clock brought about."""
PRUNE_EVERY = 6 * 3600.0
PRUNE_AT = 197
"""The minute of the day, in UTC, in which a pass that is started each minute removes old rows."""
PATIENCE = 5.0
"""Seconds for which a database that is away is asked again before the loop goes on without it."""
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
        enqueuer: Enqueuer,
        earlier_work: EarlierWork,
        *,
        clock: Clock,
        show: FormatMoment,
        notify: Callable[[str, int], str | None],
        on_over: Callable[[Tick], None] = lambda _: None,
    ) -> None:
        """
        Args:
            entries: reads the entries anew.
            clock: that of the schedule.
            show: writes a moment as people read it.
            notify: tells workers of a job, by its queue; the reason if they could not be told.
            on_over: is told of each tick that this scheduler saw to its end, as its row has become.
        """
        self.name = process_name()
        self.pulse = Pulse("scheduler", longest=25.0)
        self.monitor = Monitor(db, "scheduler", self.name, {}, self.progress)
        self._db = db
        self._running = running
        self._enqueuer = enqueuer
        self._earlier_work = earlier_work
        self._clock = clock
        self._show = show
        self._notify = notify
        self._on_over = on_over
        self._planner = Planner(db, entries, enqueuer, show, PATIENCE)
        self._others = Others()
        self._open: dict[int, Tick] = {}
        self._next_prune = monotonic() + 600.0
        self._stops = 0
        self._pipe = WakePipe()

    def progress(self) -> str | None:
        """None while the loop turns, else the sentence that says that it does not."""
        silence = self.pulse.seconds()
        return f"its loop has not turned for {silence:.0f} seconds" if silence > SLOW_AFTER else None

    def stop(self) -> None:
        """Nothing new is started from now on; called again, what runs is ended at once. May be called in the handler of
        a signal, or from another thread."""
        self._stops += 1
        self._pipe.wake()

    def run_once(self, grace: float) -> None:
        """One pass, and the wait until the commands that it started are over. Without anything to start, the process
        needs no lease, and gets none.

        Raises:
            StoreError: the database cannot be used.
        """
        try:
            self._first_turn()
            while not self._stops and (self._running.is_busy or self._is_unsettled()):
                self.monitor.start()
                self._pipe.wait(LOOK_EVERY)
                self._turn_bravely(passing=False)
        finally:
            self._wind_down(grace)
            self.monitor.end()

    def work(self, grace: float) -> None:
        """Passes, each time that something is due, until `stop` is called."""
        with self.monitor:
            try:
                while not self._stops:
                    self._pipe.wait(self._turn_bravely(passing=True))
            finally:
                self._wind_down(grace)

    def _first_turn(self) -> None:
        now = self._clock()
        try:
            self._turn(now, passing=True)
        except StoreError:
            if not self._running.is_busy:
                raise
        if int(now.timestamp()) // 60 % 1440 == PRUNE_AT:
            self._prune(now)

    def _turn_bravely(self, *, passing: bool) -> float:
        """A turn that outlives a database that is away; the seconds until the next one."""
        try:
            return self._turn(self._clock(), passing=passing)
        except StoreError as error:
            log.warning("the schedule cannot be read or written; trying on", extra={"error": str(error)})
        except Exception:
            log.exception("the scheduler stumbled; it goes on")
        return LOOK_EVERY

    def _turn(self, now: datetime, *, passing: bool) -> float:
        self.pulse.turn()
        self._running.gather()
        if passing and self._planner.is_due(now):
            for settled in self._planner.make_pass(now, self.name, self._hold):
                self._settled(settled, now)
        self._look(now)
        if not self._stops:
            self._start_all(now)
        if monotonic() >= self._next_prune:
            self._next_prune = monotonic() + PRUNE_EVERY
            self._prune(now)
        left = self._planner.until_next(self._clock()) if passing else None
        return LOOK_EVERY if left is None else max(0.0, min(LOOK_EVERY, left))

    def _hold(self) -> Holder:
        """This scheduler with its lease, which it gets when it first claims something."""
        self.monitor.start()
        return Holder(self.name, self.monitor.lease())

    def _look(self, now: datetime) -> None:
        """Writes down the ends of commands, and learns how all ticks stand that are not over."""
        unwritten = list(self._running.unwritten)

        def work(execute: Executor) -> None:
            for tick, ending in unwritten:
                if not ticks.end(execute, tick, ending, now):
                    log.warning("a tick was another's when it ended", extra={"tick": tick.id, "entry": tick.entry})
            found = ticks.open_ticks(execute)
            self._open = {tick.id: tick for tick in found}
            self._others.look(leases_in(execute) if found else (), found)

        self._do(work)
        del self._running.unwritten[: len(unwritten)]
        for tick, ending in unwritten:
            self._tell(tick, ending, now)
        self._running.obey(self._open, self._others.held)
        for tick in list(self._open.values()):
            if tick in self._running:
                continue
            if self._is_mine(tick) and tick.cancel:
                self._close(tick, Ending(TickState.CANCELLED, ASKED))
            elif self._others.is_orphan(tick):
                self._take_over(tick, now)

    def _take_over(self, tick: Tick, now: datetime) -> None:
        """A tick whose scheduler is dead: one that ran is lost, as soon as what it left running is ended; one that did
        not is begun by this one."""
        told = {"tick": tick.id, "entry": tick.entry, "scheduler": tick.scheduler}
        if tick.state is TickState.RUNNING:
            reason = f"its scheduler {tick.scheduler} died while it ran"
            if self._others.end_command(tick) and self._do(lambda execute: ticks.give_up(execute, tick, reason, now)):
                log.warning("tick lost", extra=told)
                del self._open[tick.id]
            return
        if tick.entry not in self._planner.entries or self._stops:
            return
        holder = self._hold()
        if self._do(lambda execute: ticks.take_over(execute, tick, holder)):
            log.warning("tick taken over", extra=told)
            taken = replace(tick, scheduler=self.name, lease_id=holder.lease_id, fence=tick.fence + 1)
            self._open[tick.id] = taken
            entry = self._planner.entries[tick.entry]
            if entry.schedule.catch_up is CatchUp.NONE and is_late(entry, tick.due_at, now):
                reason = "its scheduler ended before it could start it, and the next one came too late"
                self._close(taken, Ending(TickState.MISSED, reason))

    def _is_mine(self, tick: Tick) -> bool:
        """Whether this scheduler has it in its hands."""
        return _is_held(tick) and tick.lease_id is not None and tick.lease_id == self.monitor.current_lease

    def _is_unsettled(self) -> bool:
        """Whether there is a tick that this scheduler has to start, or of which it must find out whether the scheduler
        that holds it lives: one that was not started, or one that stands in another's way."""
        later = {tick.entry: tick.id for tick in self._open.values()}
        for tick in self._open.values():
            if not _is_held(tick) or tick.entry not in self._planner.entries:
                continue
            matters = tick.state is TickState.CLAIMED or later[tick.entry] > tick.id or self._others.is_orphan(tick)
            if self._is_mine(tick):
                if tick.state is TickState.CLAIMED:
                    return True
            elif matters and not self._others.is_known(tick):
                return True
        return False

    def _start_all(self, now: datetime) -> None:
        """Starts what can be started, oldest first."""
        for tick in list(self._open.values()):
            entry = self._planner.entries.get(tick.entry)
            mine = self._is_mine(tick) and tick not in self._running
            if tick.state is TickState.RUNNING and mine:
                # It was begun and the answer was lost; nobody else can have started it.
                self._launch(tick, entry)
            elif tick.state is TickState.WAITING and tick.entry in self._planner.paused:
                self._close(tick, Ending(TickState.SKIPPED, self._planner.paused[tick.entry]))
            elif entry is not None and not entry.schedule.enabled and (mine or tick.state is TickState.WAITING):
                self._close(tick, Ending(TickState.SKIPPED, "its entry was switched off"))
            elif entry is not None and (mine or tick.state is TickState.WAITING):
                self._consider(tick, entry, now)
            elif mine:
                self._close(tick, Ending(TickState.SKIPPED, "its entry was removed"))

    def _consider(self, tick: Tick, entry: Entry, now: datetime) -> None:
        if entry.queues is not None:
            settled = self._do(lambda execute: self._enqueuer.settle(execute, tick, entry, self.name))
            # Where it stays open its fencing number has changed, so it is read anew before anything else is done.
            del self._open[tick.id]
            if settled is not None:
                self._settled(settled, now)
            return
        earlier = [other for other in self._open.values() if other.entry == tick.entry and other.id < tick.id]
        strangers = [other for other in earlier if _is_held(other) and not self._is_mine(other)]
        unknown = [other for other in strangers if not self._others.is_known(other)]
        under_way = None if earlier else self._earlier_work.under_way(tick.command)
        decision = decide(tick, entry.schedule.overlap, earlier, unknown, under_way, self._show)
        reason = decision.reason or ""
        if decision.action is Action.SKIP:
            self._close(tick, Ending(TickState.SKIPPED, reason))
        elif decision.action is Action.WAIT:
            self._do(lambda execute: ticks.wait(execute, tick, reason))
            self._open[tick.id] = replace(tick, state=TickState.WAITING)
        elif decision.action is Action.CANCEL:
            for other in earlier:
                self._cancel(other, reason)
            if under_way is not None:
                self._earlier_work.cancel(tick.command)
            if not any(other.id in self._open for other in earlier):
                self._begin(tick, entry, now)
        elif decision.action is Action.RUN:
            self._begin(tick, entry, now)

    def _begin(self, tick: Tick, entry: Entry, now: datetime) -> None:
        holder = self._hold()
        if self._do(lambda execute: ticks.begin(execute, tick, holder, now)):
            begun = replace(tick, state=TickState.RUNNING, scheduler=self.name, lease_id=holder.lease_id)
            begun = replace(begun, fence=tick.fence + 1, started_at=now)
            self._open[tick.id] = begun
            self._launch(begun, entry)

    def _cancel(self, other: Tick, reason: str) -> None:
        if other in self._running:
            self._running.end(other, reason)
        elif other.state is TickState.WAITING or self._is_mine(other):
            self._close(other, Ending(TickState.CANCELLED, reason))
        elif not other.cancel:
            self._do(lambda execute: ticks.ask_to_end(execute, other))

    def _launch(self, tick: Tick, entry: Entry | None) -> None:
        try:
            timeout = entry.schedule.timeout if entry is not None else 3600.0
            pid, birth = self._running.launch(tick, timeout, self._pipe.wake)
        except OSError as error:
            self._close(tick, Ending(TickState.FAILED, f"could not be started: {error}"))
            return
        self._do(lambda execute: ticks.started(execute, tick, pid, birth))

    def _close(self, tick: Tick, ending: Ending) -> None:
        """Ends a tick without a command under way."""
        now = self._clock()
        self._open.pop(tick.id, None)
        if self._do(lambda execute: ticks.end(execute, tick, ending, now)):
            self._tell(tick, ending, now)

    def _tell(self, tick: Tick, ending: Ending, now: datetime) -> None:
        ended = replace(
            tick,
            state=ending.state,
            reason=ending.reason or tick.reason,
            exit_code=ending.exit_code,
            output=ending.output,
            finished_at=now,
        )
        self._on_over(ended)
        told = {"tick": tick.id, "entry": tick.entry, "state": str(ended.state), "why": ended.reason or ""}
        log.log(logging.WARNING if ended.state is TickState.FAILED else logging.INFO, "tick over", extra=told)

    def _settled(self, settled: Settled, now: datetime) -> None:
        """A tick that only queues is over: tells workers, and whoever reads its entry's log."""
        self._tell(settled.tick, settled.ending, now)
        if settled.queued is not None:
            self._running.logs.write(settled.tick, settled.queued.text)
            problem = self._notify(settled.queued.queue, settled.queued.job_id)
            if problem is not None:
                told = {"job": settled.queued.job_id, "error": problem}
                log.warning("no worker could be told; the next one finds the job by itself", extra=told)

    def _prune(self, now: datetime) -> None:
        gone = self._do(lambda execute: ticks.prune(execute, now - TICKS_KEPT))
        log.info("old ticks removed", extra={"ticks": gone})

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
            self._pipe.wait(LOOK_EVERY / 4)
            self.pulse.turn()
            self._running.gather()
            try:
                self._look(self._clock())
            except StoreError as error:
                if not self._running and monotonic() >= gives_up_at:
                    log.error("the ends of commands could not be written down", extra={"error": str(error)})
                    break
        if any(map(self._is_mine, self._open.values())):
            self._hand_on()
        self._running.close()
        self._pipe.close()

    def _hand_on(self) -> None:
        try:
            holder = self._hold()
            self._do(lambda execute: ticks.hand_on(execute, holder))
        except StoreError as error:
            log.warning("a claimed tick is left to be taken over", extra={"error": str(error)})

    def _do(self, work: Callable[[Executor], T]) -> T:
        return transact(self._db, work, PATIENCE)


def _is_held(tick: Tick) -> bool:
    """Whether it is in the hands of a scheduler."""
    return tick.state in (TickState.CLAIMED, TickState.RUNNING)

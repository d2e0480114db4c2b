"""The scheduler: looks which ticks are due, claims them, runs them, and takes over from schedulers that died."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gengfu.clock import Clock, monotonic
from gengfu.errors import StoreError
from gengfu.process.liveness import SLOW_AFTER, Pulse
from gengfu.process.pids import process_name
from gengfu.process.wake_pipe import Bell
from gengfu.schedule import plan
from gengfu.schedule.beats import BEAT_EVERY, Beats
from gengfu.schedule.calendar import Calendar
from gengfu.schedule.crew import ASKED, Crew
from gengfu.schedule.plan import Move, Say
from gengfu.schedule.policy import CatchUp, Entry
from gengfu.schedule.probe import Probe
from gengfu.store import ticks
from gengfu.store.light import Executor, transact
from gengfu.store.tick_rows import TICKS_KEPT, Tick, TickState
from gengfu.store.ticks import Ending

if TYPE_CHECKING:
    from gengfu.schedule.runner import Launcher
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.schedule.scheduler")

T = TypeVar("T")

LOOK_EVERY = 1.0
"""The most seconds between two looks: so late may a tick be that a step of the clock brought about."""
PLAN_EVERY = timedelta(seconds=20)
"""So often a pass is recorded although nothing is due, as a sign of life."""
PRUNE_EVERY = 6 * 3600.0
PRUNE_AT = 197
"""The minute of the day, in UTC, in which a pass that is started each minute removes old rows."""
PATIENCE = 5.0
"""Seconds for which a database that is away is asked again before the loop goes on without it."""
LAST_PATIENCE = 60.0
"""Seconds for which a scheduler that is done tries to write down how its last commands ended."""
KILL_AFTER = 10.0
"""Seconds between SIGTERM and SIGKILL for commands that had their time ..."""
IMPATIENCE = 2.0
"""... and for those that are to end at once."""


class Scheduler:
    """Sees to it that each tick fires once, together with any number of others on the same database.

    A tick's row is its claim, committed before anything is started; beats show that who holds it lives; and all that
    this object knows it reads from the rows, so what was committed although the answer was lost is not forgotten.
    """

    def __init__(
        self,
        db: Database | Path,
        entries: Callable[[], Mapping[str, Entry]],
        launcher: Launcher,
        probe: Probe,
        *,
        clock: Clock,
        say: Say,
        on_over: Callable[[Tick], None] = lambda _: None,
    ) -> None:
        """`on_over` is told of each tick that this scheduler saw to its end, as its row has become."""
        self.name = process_name()
        self.pulse = Pulse("scheduler", longest=25.0)
        self._db = db
        self._read_entries = entries
        self._entries: Mapping[str, Entry] = {}
        self._probe = probe
        self._clock = clock
        self._say = say
        self._on_over = on_over
        self._calendar = Calendar(say)
        self._beats = Beats()
        self._open: dict[int, Tick] = {}
        self._paused: dict[str, str] = {}
        self._planned_at: datetime | None = None
        self._next: datetime | None = None
        self._next_beat = 0.0
        self._next_prune = monotonic() + 600.0
        self._stops = 0
        self._bell = Bell()
        self._crew = Crew(launcher, self._bell.ring)

    def progress(self) -> str | None:
        """None while the loop turns, else the sentence that says that it does not."""
        silence = self.pulse.seconds()
        return f"its loop has not turned for {silence:.0f} seconds" if silence > SLOW_AFTER else None

    def stop(self) -> None:
        """Nothing new is started from now on; called again, what runs is ended at once. May be called in the handler of
        a signal, or from another thread."""
        self._stops += 1
        self._bell.ring()

    def run_once(self, grace: float) -> None:
        """One pass, and the wait until the commands that it started are over.

        Raises:
            StoreError: the database cannot be used.
        """
        try:
            self._first_turn()
            while not self._stops and (self._crew.is_busy or self._unsettled()):
                self._bell.wait(LOOK_EVERY)
                self._bravely(passing=False)
        finally:
            self._wind_down(grace)

    def _first_turn(self) -> None:
        now = self._clock()
        try:
            self._turn(now, passing=True)
        except StoreError:
            if not self._crew.is_busy:
                raise
        if int(now.timestamp()) // 60 % 1440 == PRUNE_AT:
            self._prune(now)

    def work(self, grace: float) -> None:
        """Passes, each time that something is due, until `stop` is called."""
        try:
            while not self._stops:
                self._bell.wait(self._bravely(passing=True))
        finally:
            self._wind_down(grace)

    def _bravely(self, *, passing: bool) -> float:
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
        if passing and self._is_due(now):
            self._pass(now)
        self._look(now)
        if not self._stops:
            self._start_all(now)
        if monotonic() >= self._next_prune:
            self._next_prune = monotonic() + PRUNE_EVERY
            self._prune(now)
        if self._next is None or not passing:
            return LOOK_EVERY
        return max(0.0, min(LOOK_EVERY, (self._next - self._clock()).total_seconds()))

    def _is_due(self, now: datetime) -> bool:
        last = self._planned_at
        return last is None or not last <= now < last + PLAN_EVERY or (self._next is not None and now >= self._next)

    def _pass(self, now: datetime) -> None:
        """Accounts for all ticks up to now. Whoever accounts for them first writes them; the row of an entry tells."""
        self._entries = self._read_entries()
        rows = self._do(ticks.entry_rows)
        self._paused = {
            name: plan.paused_because(row, self._say) for name, row in rows.items() if row.paused_at is not None
        }
        plans = self._calendar.plans(self._entries, rows, now)

        def write(execute: Executor) -> None:
            for name, found in plans.items():
                argv = self._entries[name].argv
                ticks.account(execute, name, argv, rows.get(name), found.row, found.ticks, self.name, now)

        self._do(write)
        self._planned_at, self._next = now, self._calendar.next_due(self._entries, now)

    def _look(self, now: datetime) -> None:
        """Writes what is to be written of ticks under way, and learns how they all stand."""
        self._crew.gather()
        unwritten = list(self._crew.unwritten)
        beats = monotonic() >= self._next_beat and bool(self._crew.runs or self._mine())

        def work(execute: Executor) -> list[Tick]:
            for tick, ending in unwritten:
                if not ticks.end(execute, tick, ending, now):
                    log.warning("a tick was another's when it ended", extra={"tick": tick.id, "entry": tick.entry})
            if beats:
                ticks.beat(execute, self.name)
            return ticks.open_ticks(execute)

        found = self._do(work)
        if beats:
            self._next_beat = monotonic() + BEAT_EVERY
        del self._crew.unwritten[: len(unwritten)]
        self._open = {tick.id: tick for tick in found}
        for tick, ending in unwritten:
            self._tell(tick, ending, now)
        self._obey()
        others = [tick for tick in found if tick.scheduler != self.name]
        self._beats.look(monotonic(), others)
        for tick in others:
            if tick.scheduler is None or self._beats.is_dead(tick):
                self._bury(tick, now)

    def _obey(self) -> None:
        """Ends what others want ended."""
        self._crew.obey(self._open, self.name)
        for tick in self._mine():
            if tick.cancel and tick not in self._crew:
                self._close(tick, Ending(TickState.CANCELLED, ASKED))

    def _bury(self, tick: Tick, now: datetime) -> None:
        """A tick whose scheduler is dead: one that ran is lost, one that did not is taken over."""
        if tick.state is TickState.RUNNING:
            reason = f"its scheduler {tick.scheduler} died while it ran"
            if self._do(lambda execute: ticks.give_up(execute, tick, reason, now)):
                log.warning("tick lost", extra={"tick": tick.id, "entry": tick.entry, "scheduler": tick.scheduler})
                del self._open[tick.id]
            return
        if tick.entry not in self._entries or self._stops:
            return
        if self._do(lambda execute: ticks.take_over(execute, tick, self.name)):
            log.warning("tick taken over", extra={"tick": tick.id, "entry": tick.entry, "scheduler": tick.scheduler})
            taken = replace(tick, scheduler=self.name, claim=tick.claim + 1)
            self._open[tick.id] = taken
            entry = self._entries[tick.entry]
            if entry.schedule.catch_up is CatchUp.NONE and plan.is_late(entry, tick.due_at, now):
                reason = "its scheduler ended before it could start it, and the next one came too late"
                self._close(taken, Ending(TickState.MISSED, reason))

    def _mine(self) -> list[Tick]:
        """The open ticks that this scheduler holds."""
        return [tick for tick in self._open.values() if tick.scheduler == self.name and _is_held(tick)]

    def _unsettled(self) -> bool:
        """Whether there is a tick that this scheduler has to start, or of which it must find out whether the scheduler
        that holds it lives: one that was not started, or one that stands in another's way."""
        later = {tick.entry: tick.id for tick in self._open.values()}
        for tick in self._open.values():
            if not _is_held(tick) or tick.entry not in self._entries:
                continue
            if tick.scheduler == self.name and tick.state is TickState.CLAIMED:
                return True
            matters = tick.state is TickState.CLAIMED or later[tick.entry] > tick.id
            if tick.scheduler != self.name and matters and not self._beats.is_known(tick):
                return True
        return False

    def _start_all(self, now: datetime) -> None:
        """Starts what can be started, oldest first."""
        for tick in list(self._open.values()):
            entry = self._entries.get(tick.entry)
            mine = tick.scheduler == self.name and _is_held(tick) and tick not in self._crew
            if tick.state is TickState.RUNNING and mine:
                # It was begun and the answer was lost; nobody else can have started it.
                self._launch(tick, entry)
            elif tick.state is TickState.WAITING and tick.entry in self._paused:
                self._close(tick, Ending(TickState.SKIPPED, self._paused[tick.entry]))
            elif entry is not None and not entry.schedule.enabled and (mine or tick.state is TickState.WAITING):
                self._close(tick, Ending(TickState.SKIPPED, "its entry was switched off"))
            elif entry is not None and (mine or tick.state is TickState.WAITING):
                self._consider(tick, entry, now)
            elif mine:
                self._close(tick, Ending(TickState.SKIPPED, "its entry was removed"))

    def _consider(self, tick: Tick, entry: Entry, now: datetime) -> None:
        earlier = [other for other in self._open.values() if other.entry == tick.entry and other.id < tick.id]
        strangers = [other for other in earlier if other.scheduler != self.name and _is_held(other)]
        unknown = [other for other in strangers if not self._beats.is_known(other)]
        under_way = None if earlier else self._probe.under_way(tick.command)
        verdict = plan.judge(tick, entry.schedule.overlap, earlier, unknown, under_way, self._say)
        if verdict.move is Move.SKIP:
            self._close(tick, Ending(TickState.SKIPPED, verdict.reason))
        elif verdict.move is Move.WAIT:
            self._do(lambda execute: ticks.wait(execute, tick, verdict.reason or ""))
            self._open[tick.id] = replace(tick, state=TickState.WAITING)
        elif verdict.move is Move.CANCEL:
            for other in earlier:
                self._cancel(other, verdict.reason or "")
            if under_way is not None:
                self._probe.cancel(tick.command)
            if not any(other.id in self._open for other in earlier):
                self._begin(tick, entry, now)
        elif verdict.move is Move.RUN:
            self._begin(tick, entry, now)

    def _begin(self, tick: Tick, entry: Entry, now: datetime) -> None:
        if self._do(lambda execute: ticks.begin(execute, tick, self.name, now)):
            begun = replace(tick, state=TickState.RUNNING, scheduler=self.name, claim=tick.claim + 1, started_at=now)
            self._open[tick.id] = begun
            self._launch(begun, entry)

    def _cancel(self, other: Tick, reason: str) -> None:
        if other in self._crew:
            self._crew.end(other, reason)
        elif other.state is TickState.WAITING or other.scheduler == self.name:
            self._close(other, Ending(TickState.CANCELLED, reason))
        elif not other.cancel:
            self._do(lambda execute: ticks.ask_to_end(execute, other))

    def _launch(self, tick: Tick, entry: Entry | None) -> None:
        try:
            timeout = entry.schedule.timeout if entry is not None else 3600.0
            pid = self._crew.launch(tick, timeout)
        except OSError as error:
            self._close(tick, Ending(TickState.FAILED, f"could not be started: {error.strerror or error}"))
            return
        self._do(lambda execute: ticks.started(execute, tick, pid))

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

    def _prune(self, now: datetime) -> None:
        gone = self._do(lambda execute: ticks.prune(execute, now - TICKS_KEPT))
        log.info("old ticks removed", extra={"ticks": gone})

    def _wind_down(self, grace: float) -> None:
        """Waits for what runs, for `grace` seconds or until the next `stop`; ends it, and writes down how it ended."""
        ends_at, gives_up_at, hurried = monotonic() + grace, monotonic() + grace + LAST_PATIENCE, False
        told = False
        while self._crew.is_busy:
            if not told and (monotonic() >= ends_at or self._stops > 1):
                self._crew.end_all(KILL_AFTER)
                told = True
            if not hurried and self._stops > 1:
                self._crew.end_all(IMPATIENCE)
                hurried = True
            self._bell.wait(LOOK_EVERY / 4)
            self.pulse.turn()
            try:
                self._look(self._clock())
            except StoreError as error:
                self._crew.gather()
                if not self._crew.runs and monotonic() >= gives_up_at:
                    log.error("the ends of commands could not be written down", extra={"error": str(error)})
                    break
        if self._mine():
            self._hand_on()
        self._crew.close()
        self._bell.close()

    def _hand_on(self) -> None:
        try:
            self._do(lambda execute: ticks.hand_on(execute, self.name))
        except StoreError as error:
            log.warning("a claimed tick is left to be taken over", extra={"error": str(error)})

    def _do(self, work: Callable[[Executor], T]) -> T:
        return transact(self._db, work, PATIENCE)


def _is_held(tick: Tick) -> bool:
    """Whether a scheduler has it in its hands, and beats for it."""
    return tick.state in (TickState.CLAIMED, TickState.RUNNING)

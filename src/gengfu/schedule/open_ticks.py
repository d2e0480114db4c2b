"""The ticks that are not over: how they stand, which can start, and which are left by schedulers that died."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gengfu.clock import Clock, monotonic
from gengfu.errors import StoreError
from gengfu.language import tr
from gengfu.process.monitor import Monitor
from gengfu.process.pids import is_here, lives
from gengfu.schedule.enqueue import Enqueuer, Settled
from gengfu.schedule.plan import Action, FormatMoment, decide, is_late
from gengfu.schedule.planner import Planner
from gengfu.schedule.policy import CatchUp, Entry
from gengfu.schedule.running import ASKED, KILL_AFTER, Running
from gengfu.store.leases import Lease
from gengfu.store.ticks import Tick, TickEnd, TickHolder, Ticks, TickState, TickStore

log = logging.getLogger("gengfu.schedule.open_ticks")


@dataclass(frozen=True, slots=True)
class ScheduleContext:
    """What ticks are started with, and who is told of them."""

    enqueuer: Enqueuer
    clock: Clock
    """That of the schedule."""
    show: FormatMoment
    """Writes a moment as people read it."""
    notify: Callable[[str, int], str | None]
    """Tells workers of a job, by its queue; the reason if they could not be told."""
    on_over: Callable[[Tick], None] = lambda _: None
    """Is told of each tick that this scheduler saw to its end, as its row has become."""


class OpenTicks:
    """Starts each tick once, by the overlap policy of its entry, and writes down how it ended.

    A tick is this scheduler's as long as its row names this process's lease. What another holds is let be while that
    one's lease counts; afterwards one that ran is lost, as soon as what it left running is ended, and one that did not
    is begun here.
    """

    def __init__(
        self,
        store: TickStore,
        name: str,
        monitor: Monitor,
        planner: Planner,
        running: Running,
        context: ScheduleContext,
        wake: Callable[[], None],
    ) -> None:
        """
        Args:
            name: the name of the scheduler.
            monitor: has its lease.
            wake: called from any thread when a command has ended.
        """
        self._store = store
        self._name = name
        self._monitor = monitor
        self._planner = planner
        self._running = running
        self._context = context
        self._wake = wake
        self._others = _OtherSchedulers()
        self._open: dict[int, Tick] = {}

    def holder(self) -> TickHolder:
        """This scheduler with its lease, which it gets when it first claims something."""
        self._monitor.start()
        return TickHolder(self._name, self._monitor.lease())

    def look(self, now: datetime, *, take_over: bool) -> None:
        """Writes down the ends of commands, and learns how all ticks stand that are not over; with `take_over`,
        what a dead scheduler has claimed is begun here."""
        unwritten = list(self._running.unwritten)

        def work(ticks: Ticks) -> None:
            for tick, ending in unwritten:
                if not ticks.end(tick, ending, now):
                    log.warning("a tick was another's when it ended", extra={"tick": tick.id, "entry": tick.entry})
            found = ticks.open()
            self._open = {tick.id: tick for tick in found}
            self._others.look(ticks.leases() if found else (), found)

        self._store.write(work)
        del self._running.unwritten[: len(unwritten)]
        for tick, ending in unwritten:
            self._tell(tick, ending, now)
        self._running.obey(self._open, self._others.held)
        for tick in list(self._open.values()):
            if tick in self._running:
                continue
            if self._is_mine(tick) and tick.cancel:
                self._close(tick, TickEnd(TickState.CANCELLED, ASKED))
            elif self._others.is_orphan(tick):
                self._settle_orphan(tick, now, take_over=take_over)

    def are_unsettled(self) -> bool:
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

    def start(self, now: datetime) -> None:
        """Starts what can be started, oldest first."""
        for tick in list(self._open.values()):
            entry = self._planner.entries.get(tick.entry)
            mine = self._is_mine(tick) and tick not in self._running
            if tick.state is TickState.RUNNING and mine:
                # It was begun and the answer was lost; nobody else can have started it.
                self._launch(tick, entry)
            elif tick.state is TickState.WAITING and tick.entry in self._planner.paused:
                self._close(tick, TickEnd(TickState.SKIPPED, self._planner.paused[tick.entry]))
            elif entry is not None and not entry.schedule.enabled and (mine or tick.state is TickState.WAITING):
                self._close(tick, TickEnd(TickState.SKIPPED, "its entry was switched off"))
            elif entry is not None and (mine or tick.state is TickState.WAITING):
                self._consider(tick, entry, now)
            elif mine:
                self._close(tick, TickEnd(TickState.SKIPPED, "its entry was removed"))

    def settled(self, settled: Settled, now: datetime) -> None:
        """A tick that only queues is over: tells workers, and whoever reads its entry's log."""
        self._tell(settled.tick, settled.ending, now)
        if settled.queued is not None:
            self._running.logs.write(settled.tick, settled.queued.text)
            problem = self._context.notify(settled.queued.queue, settled.queued.job_id)
            if problem is not None:
                told = {"job": settled.queued.job_id, "error": problem}
                log.warning("no worker could be told; the next one finds the job by itself", extra=told)

    def hand_on(self) -> None:
        """Leaves what this scheduler has claimed and not begun to the others."""
        if not any(map(self._is_mine, self._open.values())):
            return
        try:
            holder = self.holder()
            self._store.write(lambda ticks: ticks.hand_on(holder))
        except StoreError as error:
            log.warning("a claimed tick is left to be taken over", extra={"error": str(error)})

    def _settle_orphan(self, tick: Tick, now: datetime, *, take_over: bool) -> None:
        """A tick whose scheduler is dead: one that ran is lost, as soon as what it left running is ended; one that did
        not is begun by this one."""
        told = {"tick": tick.id, "entry": tick.entry, "scheduler": tick.scheduler}
        if tick.state is TickState.RUNNING:
            reason: str = tr("its scheduler {tick.scheduler} died while it ran", tick=tick)
            if self._others.end_command(self._running.found(tick)) and self._store.write(
                lambda ticks: ticks.give_up(tick, reason, now)
            ):
                log.warning("tick lost", extra=told)
                del self._open[tick.id]
            return
        if tick.entry not in self._planner.entries or not take_over:
            return
        holder = self.holder()
        if self._store.write(lambda ticks: ticks.take_over(tick, holder)):
            log.warning("tick taken over", extra=told)
            taken = replace(tick, scheduler=self._name, lease_id=holder.lease_id, fence=tick.fence + 1)
            self._open[tick.id] = taken
            entry = self._planner.entries[tick.entry]
            if entry.schedule.catch_up is CatchUp.NONE and is_late(entry, tick.due_at, now):
                reason = "its scheduler ended before it could start it, and the next one came too late"
                self._close(taken, TickEnd(TickState.MISSED, reason))

    def _is_mine(self, tick: Tick) -> bool:
        """Whether this scheduler has it in its hands."""
        return _is_held(tick) and tick.lease_id is not None and tick.lease_id == self._monitor.current_lease

    def _consider(self, tick: Tick, entry: Entry, now: datetime) -> None:
        if entry.queues is not None:
            settled = self._store.write(lambda ticks: self._context.enqueuer.settle(ticks, tick, entry, self._name))
            # Where it stays open its fencing number has changed, so it is read anew before anything else is done.
            del self._open[tick.id]
            if settled is not None:
                self.settled(settled, now)
            return
        earlier = [other for other in self._open.values() if other.entry == tick.entry and other.id < tick.id]
        others = [other for other in earlier if _is_held(other) and not self._is_mine(other)]
        unknown = [other for other in others if not self._others.is_known(other)]
        enqueuer = self._context.enqueuer
        under_way = None if earlier else self._store.write(lambda ticks: enqueuer.under_way(ticks, entry))
        decision = decide(tick, entry.schedule.overlap, earlier, unknown, under_way, self._context.show)
        reason = decision.reason or ""
        if decision.action is Action.SKIP:
            self._close(tick, TickEnd(TickState.SKIPPED, reason))
        elif decision.action is Action.WAIT:
            self._store.write(lambda ticks: ticks.wait(tick, reason))
            self._open[tick.id] = replace(tick, state=TickState.WAITING)
        elif decision.action is Action.CANCEL:
            for other in earlier:
                self._cancel(other, reason)
            if under_way is not None:
                self._store.write(lambda ticks: enqueuer.cancel(ticks, entry))
            if not any(other.id in self._open for other in earlier):
                self._begin(tick, entry, now)
        elif decision.action is Action.RUN:
            self._begin(tick, entry, now)

    def _begin(self, tick: Tick, entry: Entry, now: datetime) -> None:
        holder = self.holder()
        if self._store.write(lambda ticks: ticks.begin(tick, holder, now)):
            begun = replace(tick, state=TickState.RUNNING, scheduler=self._name, lease_id=holder.lease_id)
            begun = replace(begun, fence=tick.fence + 1, started_at=now)
            self._open[tick.id] = begun
            self._launch(begun, entry)

    def _cancel(self, other: Tick, reason: str) -> None:
        if other in self._running:
            self._running.end(other, reason)
        elif other.state is TickState.WAITING or self._is_mine(other):
            self._close(other, TickEnd(TickState.CANCELLED, reason))
        elif not other.cancel:
            self._store.write(lambda ticks: ticks.ask_to_end(other))

    def _launch(self, tick: Tick, entry: Entry | None) -> None:
        try:
            timeout = entry.schedule.timeout if entry is not None else 3600.0
            pid, birth = self._running.launch(tick, timeout, self._wake)
        except OSError as error:
            self._close(tick, TickEnd(TickState.FAILED, tr("could not be started: {error}", error=error)))
            return
        self._store.write(lambda ticks: ticks.started(tick, pid, birth))

    def _close(self, tick: Tick, ending: TickEnd) -> None:
        """Ends a tick without a command under way."""
        now = self._context.clock()
        self._open.pop(tick.id, None)
        if self._store.write(lambda ticks: ticks.end(tick, ending, now)):
            self._tell(tick, ending, now)

    def _tell(self, tick: Tick, ending: TickEnd, now: datetime) -> None:
        ended = replace(
            tick,
            state=ending.state,
            reason=ending.reason or tick.reason,
            exit_code=ending.exit_code,
            output=ending.output,
            finished_at=now,
        )
        self._context.on_over(ended)
        told = {"tick": tick.id, "entry": tick.entry, "state": str(ended.state), "why": ended.reason or ""}
        log.log(logging.WARNING if ended.state is TickState.FAILED else logging.INFO, "tick over", extra=told)


class _OtherSchedulers:
    """What is known of the schedulers that hold ticks, by their leases alone."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        """By lease, its renewals when it was seen first."""
        self._leases: Mapping[int, Lease] = {}
        self._kill_at: dict[int, float] = {}

    def look(self, leases: Collection[Lease], ticks: Collection[Tick]) -> None:
        """Takes in the leases and the open ticks as they stand in the database."""
        self._leases = {lease.id: lease for lease in leases}
        self._first = {lease.id: self._first.get(lease.id, lease.renewals) for lease in leases}
        open_now = {tick.id for tick in ticks}
        self._kill_at = {key: at for key, at in self._kill_at.items() if key in open_now}

    @property
    def held(self) -> Collection[int | None]:
        """The leases that count."""
        return {lease.id for lease in self._leases.values() if lease.lost_at is None}

    def is_orphan(self, tick: Tick) -> bool:
        """Whether nobody who lives has it in its hands."""
        return tick.state is not TickState.WAITING and tick.lease_id not in self.held

    def is_known(self, tick: Tick) -> bool:
        """Whether its scheduler has renewed its lease since it was first seen."""
        lease = self._leases.get(tick.lease_id or 0)
        return lease is not None and lease.lost_at is None and lease.renewals != self._first[lease.id]

    def end_command(self, tick: Tick) -> bool:
        """Ends what an orphan's dead scheduler has left running on this machine: by SIGTERM and, called again
        `KILL_AFTER` seconds later, by SIGKILL. True once nothing is left that could be ended from here."""
        if tick.pid is None or tick.birth is None or not is_here(tick.birth) or not lives(tick.pid, tick.birth):
            return True
        is_first = tick.id not in self._kill_at
        kill_at = self._kill_at.setdefault(tick.id, monotonic() + KILL_AFTER)
        try:
            if is_first:
                os.killpg(tick.pid, signal.SIGTERM)
            elif monotonic() >= kill_at:
                os.killpg(tick.pid, signal.SIGKILL)
        except ProcessLookupError:
            return True
        except PermissionError:
            return True  # another user's
        return False


def _is_held(tick: Tick) -> bool:
    """Whether it is in the hands of a scheduler."""
    return tick.state in (TickState.CLAIMED, TickState.RUNNING)

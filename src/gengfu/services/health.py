"""Health: judged by what the database shows, by leases that are renewed, never by a clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gengfu.clock import Clock
from gengfu.errors import GengfuError
from gengfu.language import tr
from gengfu.process.pids import host_name, is_here, is_stopped, lives
from gengfu.retry import Patience
from gengfu.schedule.cron import cron_of
from gengfu.schedule.policy import Entry
from gengfu.services.health_snapshot import HealthSnapshot, look
from gengfu.services.json import object_of, to_json
from gengfu.services.restart import EndedProcess, end_hung
from gengfu.services.within import within
from gengfu.store.leases import Lease
from gengfu.store.sources import DEFAULT

if TYPE_CHECKING:
    from pathlib import Path

    from gengfu.store.database import Database

PATIENCE = 5.0
"""Seconds for the database, and for Redis."""
RENEWAL_OLD_AFTER = 10.0
"""Seconds after its last renewal for which a lease is looked at once more, to see it renewed."""
SCHEDULE_OLD_AFTER = 150.0
"""Seconds within which each minute's `schedule:run`, or a scheduler, must have been at work; an entry with a jitter is
planned so much later."""
LOOK_FOR = 12.0
"""Seconds for which is looked again before anything that may pass counts as wrong: four renewals."""
LOOK_EVERY = 1.0
INTERVALS = 3
"""So many due moments may pass without a complete run."""


class Condition(StrEnum):
    """How a component is."""

    OK = "ok"
    PASSING = "passing"
    """It seems wrong, and may turn out not to be at the next look."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Component:
    """One line of `health`."""

    name: str
    condition: Condition
    text: str
    process: Lease | None = None
    """The process that it tells of."""

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""
        return self.condition is Condition.OK


@dataclass(frozen=True, slots=True)
class Observer:
    """Who looks: from which host, when, and what it has seen move since its first look."""

    host: str
    now: datetime
    moved: Collection[str] = ()
    """Names of processes whose lease was renewed, and of schedule entries that were planned anew."""
    lives: Callable[[int, str], bool] = lives
    is_stopped: Callable[[int, str], bool] = is_stopped
    locked: bool = False
    """Whether somebody keeps all others from writing into the database, as a migration of SQLite does."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether all is well, part by part, and what was done about what hung."""

    components: Sequence[Component]
    ended: Sequence[EndedProcess] = ()

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return all(component.ok for component in self.components)


class HealthService:
    """Tells whether all is well. Whatever hangs that it asks, it answers within seconds."""

    def __init__(
        self,
        clock: Clock,
        db: Callable[[], Database | Path],
        entries: Callable[[], Mapping[str, Entry]],
        probe_redis: Callable[[], None] | None,
    ) -> None:
        """
        Args:
            entries: those of the schedule.
            probe_redis: raises an error where Redis cannot be used; None where it is not in use.
        """
        self._clock = clock
        self._db = db
        self._entries = entries
        self._probe_redis = probe_redis

    def check(self, *, restart: bool = False) -> HealthReport:
        """How every component is. `restart` ends the processes of this host that hang, so that whoever supervises them
        starts new ones."""
        components = [self._redis(), *self._recorded()]
        report = HealthReport(components)
        if not restart or report.ok:
            return report
        hung = [part.process for part in components if not part.ok and part.process is not None]
        return HealthReport(components, end_hung(hung, host_name()))

    def _recorded(self) -> list[Component]:
        """The database, and what it shows; no more than the database where that is not well."""
        try:
            db = within(PATIENCE, "the database", self._db)
            entries = self._entries()

            def seen() -> HealthSnapshot:
                return within(PATIENCE, "the database", lambda: look(db, entries, self._clock()))

            found = examine(seen, host_name(), self._clock)
        except GengfuError as error:
            return [Component("database", Condition.WRONG, str(error))]
        return [Component("database", Condition.OK, "answers"), *found]

    def _redis(self) -> Component:
        if self._probe_redis is None:
            return Component("redis", Condition.OK, "not in use: REDIS_URL is not set")
        try:
            within(PATIENCE, "Redis", self._probe_redis)
        except GengfuError as error:
            return Component("redis", Condition.WRONG, str(error))
        return Component("redis", Condition.OK, "answers")


def examine(
    look: Callable[[], HealthSnapshot], host: str, clock: Clock, pause: Callable[[float], None] = time.sleep
) -> list[Component]:
    """Looks, and where something seems wrong that may pass, looks again for up to `LOOK_FOR` seconds.
    Every component is either OK or WRONG then.

    Raises:
        StoreError: the database cannot be read.
    """
    first = look()
    patience = Patience(LOOK_FOR, LOOK_EVERY, LOOK_EVERY, pause)
    seen, moved = first, frozenset[str]()
    while True:
        components = list(judge(seen, Observer(host, clock(), moved, locked=seen.locked)))
        passing = any(component.condition is Condition.PASSING for component in components)
        if not passing or not patience.lasts():
            return [replace(c, condition=Condition.OK if c.ok else Condition.WRONG) for c in components]
        seen = look()
        moved |= moved_between(first, seen)


def moved_between(first: HealthSnapshot, later: HealthSnapshot) -> frozenset[str]:
    """What has shown a sign of life from the one look to the other."""
    renewals = {process.name: process.renewals for process in first.processes}
    moved = {
        process.name for process in later.processes if process.renewals != renewals.get(process.name, process.renewals)
    }
    planned = {seen.entry.name: seen.planned_until for seen in first.entries}
    moved |= {seen.entry.name for seen in later.entries if seen.planned_until != planned.get(seen.entry.name)}
    return frozenset(moved)


def judge(snapshot: HealthSnapshot, observer: Observer) -> Iterator[Component]:
    """The components that the database shows."""
    processes = [judge_process(process, observer) for process in snapshot.processes]
    alive = [component.process for component in processes if component.ok and component.process is not None]
    schedule = judge_schedule(snapshot, alive, observer)
    yield schedule
    yield from processes
    yield from judge_queues(snapshot, alive)
    if schedule.ok:
        yield from judge_runs(snapshot)


def judge_process(process: Lease, observer: Observer) -> Component:
    """A worker or scheduler. One that is not of this host is judged by its renewals alone."""
    name = name_of(process)
    age = abs((observer.now - process.renewed_at).total_seconds())
    if process.host == observer.host and is_here(process.birth) and not observer.lives(process.pid, process.birth):
        return Component(
            name, Condition.PASSING, tr("it died: process {process.pid} is gone", process=process), process
        )
    if process.host == observer.host and observer.is_stopped(process.pid, process.birth):
        text = tr("it was stopped, as by SIGSTOP or Ctrl-Z: it does nothing, and keeps what it has locked")
        return Component(name, Condition.PASSING, text, process)
    if process.progress is not None:
        return Component(name, Condition.WRONG, tr("it is stuck: {process.progress}", process=process), process)
    if process.name in observer.moved or age <= RENEWAL_OLD_AFTER:
        queues = process.details.get("queues")
        return Component(
            name,
            Condition.OK,
            (tr("serves {queues}", queues=queues) if queues else "serves all queues")
            if process.kind == "worker"
            else "looks for due ticks",
            process,
        )
    if observer.locked:
        return Component(
            name, Condition.OK, "its lease cannot be renewed: another process keeps the database locked", process
        )
    text = tr(
        "it is silent: its lease is not renewed; the last time was at {renewed_at} UTC",
        renewed_at=f"{process.renewed_at:%Y-%m-%d %H:%M:%S}",
    )
    return Component(name, Condition.PASSING, text, process)


def name_of(process: Lease) -> str:
    """What people call it."""
    if process.kind == "worker":
        return tr("worker {process.name}", process=process)
    return tr("scheduler {process.name}", process=process)


def judge_schedule(snapshot: HealthSnapshot, alive: Sequence[Lease], observer: Observer) -> Component:
    """Whether somebody looks for due ticks of each entry: a scheduler that is up, or one that comes each minute."""
    if not snapshot.entries:
        return Component("schedule", Condition.OK, "not in use: no scheduler has been at work here yet")
    stalled = [
        seen
        for seen in snapshot.entries
        if seen.entry.name not in observer.moved
        and (snapshot.now - seen.planned_until).total_seconds() > SCHEDULE_OLD_AFTER + seen.entry.schedule.jitter
    ]
    if stalled:
        names = (
            ""
            if len(stalled) == len(snapshot.entries)
            else tr(" of {stalled}", stalled=[seen.entry.name for seen in stalled])
        )
        when = f"{max(seen.planned_until for seen in stalled):%Y-%m-%d %H:%M:%S} UTC"
        return Component(
            "schedule",
            Condition.PASSING,
            tr("nobody looks for due ticks{names}; the last time was at {when}", names=names, when=when),
        )
    if any(process.kind == "scheduler" for process in alive):
        return Component("schedule", Condition.OK, "a scheduler is up")
    oldest = min(seen.planned_until for seen in snapshot.entries)
    return Component(
        "schedule",
        Condition.OK,
        tr("all ticks up to {oldest} UTC are accounted for", oldest=f"{oldest:%Y-%m-%d %H:%M:%S}"),
    )


def judge_queues(snapshot: HealthSnapshot, alive: Sequence[Lease]) -> Iterator[Component]:
    """The queues in which jobs are due."""
    workers = [process for process in alive if process.kind == "worker"]
    served = {queue for worker in workers for queue in worker.details.get("queues") or ()}
    all_served = any(not worker.details.get("queues") for worker in workers)
    for queue, jobs in snapshot.due.items():
        due = tr("{jobs} jobs due", jobs=jobs) if jobs > 1 else tr("1 job due")
        if all_served or queue in served:
            yield Component(tr("queue {queue}", queue=queue), Condition.OK, due)
        else:
            yield Component(
                tr("queue {queue}", queue=queue),
                Condition.PASSING,
                tr("{due}, and no worker that is up serves it", due=due),
            )


def judge_runs(snapshot: HealthSnapshot) -> Iterator[Component]:
    """The mirrors that the schedule keeps fresh: each must have had a complete run since the third last due moment."""
    by_list = {(runs.resource, runs.scope): runs for runs in snapshot.runs if runs.source == DEFAULT}
    for seen in snapshot.entries:
        runs = by_list.get(seen.entry.mirrors) if seen.entry.mirrors is not None else None
        since = _due_before(seen.entry, snapshot.now) if runs is not None else None
        if seen.paused or runs is None or since is None:
            continue
        name = tr("runs of {argv}", argv=" ".join(seen.entry.argv))
        if runs.complete is not None and runs.complete >= since:
            text = tr("the last complete one ended at {complete} UTC", complete=f"{runs.complete:%Y-%m-%d %H:%M:%S}")
            yield Component(name, Condition.OK, text)
        elif seen.first_due is not None and seen.first_due < since:
            ended = (
                tr("the last one ended at {complete} UTC", complete=f"{runs.complete:%Y-%m-%d %H:%M:%S}")
                if runs.complete
                else tr("there is none")
            )
            text = tr(
                "no complete run for {intervals} intervals: {ended}; run {runs.newest} is {runs.newest_is}",
                intervals=INTERVALS,
                ended=ended,
                runs=runs,
            )
            yield Component(
                name, Condition.WRONG, tr("{text}; see: gengfu run:show {runs.newest}", text=text, runs=runs)
            )


def _due_before(entry: Entry, moment: datetime) -> datetime | None:
    """The third last due moment before `moment`."""
    cron = cron_of(entry)
    found: datetime | None = moment
    for _ in range(INTERVALS):
        found = cron.before(found) if found is not None else None
    return found


@to_json.register(Component)
def _component(component: Component) -> dict[str, Any]:
    return object_of(component, without=("condition", "process")) | {"ok": component.ok}


@to_json.register(EndedProcess)
def _ended(ended: EndedProcess) -> dict[str, Any]:
    return {"name": ended.process.name, "pid": ended.process.pid, "text": ended.text}


@to_json.register(HealthReport)
def _report(report: HealthReport) -> dict[str, Any]:
    return {"ok": report.ok, **object_of(report)}

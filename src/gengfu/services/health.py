"""Health: judged by what the database shows, by leases that are renewed, never by a clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gengfu.clock import Clock
from gengfu.errors import ConfigError, GengfuError
from gengfu.language import tr
from gengfu.process.pids import host_name, is_here, is_stopped, lives, was_here
from gengfu.schedule.cron import cron_of
from gengfu.schedule.policy import Entry, JobRequest
from gengfu.services.disks import disks_of
from gengfu.services.health_snapshot import EntrySeen, HealthSnapshot, look
from gengfu.services.json import object_of, to_json
from gengfu.services.restart import EndedProcess, end_hung
from gengfu.services.within import telling, within
from gengfu.store.leases import Lease
from gengfu.store.names import list_queue
from gengfu.store.overview import RunsSeen
from gengfu.store.run_rows import Verdict
from gengfu.store.sources import DEFAULT

if TYPE_CHECKING:
    from pathlib import Path

    from gengfu.store.database import Database
    from gengfu.vendor.auth import AuthStatus

PATIENCE = 5.0
"""Seconds for the database, and for Redis."""
RENEWAL_OLD_AFTER = 10.0
"""Seconds after its last renewal for which a lease is looked at once more, to see it renewed."""
NO_SCHEDULER = tr("not in use: no scheduler has been at work here yet")
SCHEDULE_OLD_AFTER = 150.0
"""Seconds within which each minute's `schedule:run`, or a scheduler, must have been at work; an entry with a jitter is
planned so much later."""
LOOK_FOR = 12.0
"""Seconds for which is looked again before a process counts as silent: four renewals."""
LOOK_EVERY = 1.0
INTERVALS = 3
"""So many due moments may pass without a complete run."""
ENDED = 2
"""So many runs in a row may not be incomplete."""
RECENT = timedelta(days=1)
"""For so long counts that a list failed that no entry of the schedule reads."""
LONG_GATE = timedelta(seconds=60)
"""A wait that the vendor asks for is told as wrong where it lasts longer."""


RESTART = tr(
    "restart them: systemctl restart, supervisorctl restart, or end gengfu up and start it again, as they were started"
)
"""How a process comes to load user code anew."""


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
    settles: float = 3.0
    """Seconds for which what seems wrong is looked at again before it counts as wrong."""

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


@dataclass(frozen=True)
class HealthSources:
    """What health looks at."""

    clock: Clock
    db: Callable[[], Database | Path]
    entries: Callable[[], Mapping[str, Entry]]
    """Those of the schedule."""
    login: Callable[[], AuthStatus]
    probe_redis: Callable[[], None] | None
    """Raises an error where Redis cannot be used; None where it is not in use."""
    folders: Sequence[Path]
    """Where the program writes."""
    code: Callable[[], str]
    """The version of user code, as it lies in the working folder now."""


class HealthService:
    """Tells whether all is well. Whatever hangs that it asks, it answers within seconds."""

    def __init__(self, sources: HealthSources) -> None:
        self._sources = sources

    def check(self, tell: Callable[[str], None], *, restart: bool = False) -> HealthReport:
        """How every component is. `restart` ends the processes of this host that hang, so that whoever supervises them
        starts new ones; `tell` is told what is waited for."""
        components = [*self._disks(), self._redis(tell), *self._recorded(tell)]
        report = HealthReport(components)
        if not restart or report.ok:
            return report
        hung = [part.process for part in components if not part.ok and part.process is not None]
        return HealthReport(components, end_hung(hung, host_name()))

    def _disks(self) -> Iterator[Component]:
        for disk in disks_of(self._sources.folders):
            if disk.is_full:
                yield Component("disk", Condition.WRONG, tr("{disk}: make room", disk=disk.told))
            else:
                yield Component("disk", Condition.OK, tr("there is room on the disk of {folder}", folder=disk.folder))

    def _recorded(self, tell: Callable[[str], None]) -> list[Component]:
        """The database, and what it shows; no more than the database where that is not well."""
        sources = self._sources
        try:
            with telling(tr("the database"), tell):
                db = within(PATIENCE, tr("the database"), sources.db)
            entries = sources.entries()

            def seen() -> HealthSnapshot:
                with telling(tr("the database"), tell):
                    return within(PATIENCE, tr("the database"), lambda: look(db, entries, sources.clock()))

            first = seen()
            code = judge_code(outdated(first.processes, sources.code()))
            components = [self._login(first, tell), code, *examine(seen, host_name(), sources.clock, tell, first)]
        except GengfuError as error:
            return [Component("database", Condition.WRONG, str(error))]
        return [Component("database", Condition.OK, "answers"), *components]

    def _login(self, snapshot: HealthSnapshot, tell: Callable[[str], None]) -> Component:
        if not snapshot.login_in_trouble:
            return Component("login", Condition.OK, "none was refused")
        try:
            with telling(tr("the database"), tell):
                status = within(PATIENCE, tr("the database"), self._sources.login)
        except ConfigError as error:
            return Component("login", Condition.OK, str(error))
        return judge_login(status, self._sources.clock())

    def _redis(self, tell: Callable[[str], None]) -> Component:
        if self._sources.probe_redis is None:
            return Component("redis", Condition.OK, "not in use: REDIS_URL is not set")
        try:
            with telling("Redis", tell):
                within(PATIENCE, "Redis", self._sources.probe_redis)
        except GengfuError as error:
            return Component("redis", Condition.WRONG, str(error))
        return Component("redis", Condition.OK, "answers")


def examine(
    look: Callable[[], HealthSnapshot],
    host: str,
    clock: Clock,
    tell: Callable[[str], None],
    first: HealthSnapshot | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> list[Component]:
    """Looks, and where something seems wrong that may pass, says so and looks again until that is settled.
    Every component is either OK or WRONG then.

    Raises:
        StoreError: the database cannot be read.
    """
    first = first or look()
    seen, moved = first, frozenset[str]()
    passed, told = 0.0, False
    while True:
        components = list(judge(seen, Observer(host, clock(), moved, locked=seen.locked)))
        passing = [part for part in components if part.condition is Condition.PASSING and part.settles > passed]
        if not passing:
            return [replace(c, condition=Condition.OK if c.ok else Condition.WRONG) for c in components]
        if not told:
            part = passing[0]
            seconds = max(part.settles for part in passing)
            tell(tr("{name}: {text}; looking again for {seconds:g} s", name=part.name, text=part.text, seconds=seconds))
            told = True
        pause(LOOK_EVERY)
        passed += LOOK_EVERY
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
    yield from judge_runs(snapshot, schedule)


def judge_login(status: AuthStatus, now: datetime) -> Component:
    """The login of the vendor's account, and the wait that the vendor asked for."""
    if status.refused_at is not None:
        text = tr(
            "the vendor refused the login of {user} on {time} UTC ({reason}): correct API_USERNAME and API_PASSWORD, "
            "or, if they are right, run: gengfu auth:reset",
            user=status.username,
            time=f"{status.refused_at:%Y-%m-%d %H:%M}",
            reason=status.reason,
        )
        return Component("login", Condition.WRONG, text)
    if status.gate_until is not None:
        text = tr(
            "no request is sent before {time} UTC: {reason}",
            time=f"{status.gate_until:%Y-%m-%d %H:%M:%S}",
            reason=status.gate_reason,
        )
        is_long = status.gate_until - now > LONG_GATE
        return Component("login", Condition.WRONG if is_long else Condition.OK, text)
    return Component("login", Condition.OK, "none was refused")


def outdated(processes: Iterable[Lease], code: str) -> list[Lease]:
    """The processes of this host that have loaded other user code than there is now."""
    here = [process for process in processes if process.host == host_name()]
    return [process for process in here if process.details.get("code", code) != code]


def judge_code(stale: Sequence[Lease]) -> Component:
    """Whether all processes work by the user code that there is; those that do not work on, so it is no fault."""
    if not stale:
        return Component("user code", Condition.OK, "every process works by it as it is now")
    text = tr(
        "app/ was changed since these began: {names}; {remedy}",
        names=[name_of(process) for process in stale],
        remedy=RESTART,
    )
    return Component("user code", Condition.OK, text)


def judge_process(process: Lease, observer: Observer) -> Component:
    """A worker or scheduler. One that is not of this host is judged by its renewals alone."""
    name = name_of(process)
    age = abs((observer.now - process.renewed_at).total_seconds())
    is_gone = is_here(process.birth) and not observer.lives(process.pid, process.birth)
    if process.host == observer.host and (is_gone or was_here(process.birth)):
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
    return Component(name, Condition.PASSING, text, process, LOOK_FOR)


def name_of(process: Lease) -> str:
    """What people call it."""
    if process.kind == "worker":
        return tr("worker {process.name}", process=process)
    return tr("scheduler {process.name}", process=process)


def judge_schedule(snapshot: HealthSnapshot, alive: Sequence[Lease], observer: Observer) -> Component:
    """Whether somebody looks for due ticks of each entry: a scheduler that is up, or one that comes each minute."""
    if not snapshot.entries:
        return Component("schedule", Condition.OK, NO_SCHEDULER)
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
            settles=LOOK_FOR,
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
    """The queues in which jobs are due, and those that the schedule uses."""
    workers = [process for process in alive if process.kind == "worker"]
    served = {queue for worker in workers for queue in worker.details.get("queues") or ()}
    all_served = any(not worker.details.get("queues") for worker in workers)
    used = {
        _queue_of(seen.entry): seen.entry.name for seen in snapshot.entries if seen.entry.queues and not seen.paused
    }
    for queue in [*snapshot.due, *sorted(used.keys() - snapshot.due.keys())]:
        name, jobs = tr("queue {queue}", queue=queue), snapshot.due.get(queue, 0)
        due = tr("{jobs} jobs due", jobs=jobs) if jobs > 1 else tr("1 job due")
        if all_served or queue in served:
            if jobs:
                yield Component(name, Condition.OK, due)
        elif jobs:
            yield Component(name, Condition.PASSING, tr("{due}, and no worker that is up serves it", due=due))
        else:
            text = tr("the schedule uses it for {entry}, and no worker that is up serves it", entry=used[queue])
            yield Component(name, Condition.PASSING, text)


def _queue_of(entry: Entry) -> str:
    assert entry.queues is not None
    return entry.queues.queue if isinstance(entry.queues, JobRequest) else list_queue(entry.queues.resource)


def judge_runs(snapshot: HealthSnapshot, schedule: Component) -> Iterator[Component]:
    """The mirrors: none waits for a person, and of the last two runs of each one was complete. Those that the schedule
    keeps fresh must have had a complete run since the third last due moment, too."""
    by_list = {
        seen.entry.mirrors: seen for seen in snapshot.entries if seen.entry.mirrors is not None and not seen.paused
    }
    for runs in snapshot.runs:
        seen = by_list.get((runs.resource, runs.scope)) if runs.source == DEFAULT else None
        is_recent = seen is not None or (runs.ended_at is not None and snapshot.now - runs.ended_at < RECENT)
        if seen is not None:
            name = tr("runs of {argv}", argv=" ".join(seen.entry.argv))
        else:
            name = tr("runs of {list}, scope {scope}", list=runs.resource, scope=runs.scope)
        if runs.held is not None:
            text = tr(
                "run {run} is held and waits for you; see: gengfu run:show {run}, then gengfu device:approve {run} or "
                "gengfu device:discard {run}",
                run=runs.held,
            )
            yield Component(name, Condition.WRONG, text)
        elif is_recent and len(runs.ended) == ENDED and Verdict.COMPLETE not in runs.ended:
            text = tr(
                "the last two were not complete: {verdicts}; see: gengfu run:show {run}",
                verdicts=list(runs.ended),
                run=runs.newest,
            )
            yield Component(name, Condition.WRONG, text)
        elif seen is not None and schedule.ok:
            yield from _freshness(name, seen, runs, snapshot.now)


def _freshness(name: str, seen: EntrySeen, runs: RunsSeen, now: datetime) -> Iterator[Component]:
    since = _due_before(seen.entry, now)
    if since is None:
        return
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
        yield Component(name, Condition.WRONG, tr("{text}; see: gengfu run:show {runs.newest}", text=text, runs=runs))


def _due_before(entry: Entry, moment: datetime) -> datetime | None:
    """The third last due moment before `moment`."""
    cron = cron_of(entry)
    found: datetime | None = moment
    for _ in range(INTERVALS):
        found = cron.before(found) if found is not None else None
    return found


@to_json.register(Component)
def _component(component: Component) -> dict[str, Any]:
    return object_of(component, without=("condition", "process", "settles")) | {"ok": component.ok}


@to_json.register(EndedProcess)
def _ended(ended: EndedProcess) -> dict[str, Any]:
    return {"name": ended.process.name, "pid": ended.process.pid, "text": ended.text}


@to_json.register(HealthReport)
def _report(report: HealthReport) -> dict[str, Any]:
    return {"ok": report.ok, **object_of(report)}

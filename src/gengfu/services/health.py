"""Judges the program's health by what the database shows: by beats that move, never by a clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from gengfu.clock import Clock, monotonic
from gengfu.process.pids import is_here, lives
from gengfu.schedule.cron import cron_of
from gengfu.schedule.policy import Entry
from gengfu.services.health_snapshot import Sight
from gengfu.store.leases import Lease

BEAT_OLD_AFTER = 10.0
"""Seconds after which a beat is looked at once more, to see it move."""
SCHEDULE_OLD_AFTER = 150.0
"""Seconds within which each minute's `schedule:run`, or a scheduler, must have been at work; an entry with a jitter is
planned so much later."""
LOOK_FOR = 12.0
"""Seconds for which is looked again before anything that may pass counts as wrong: four beats."""
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
    """Names of processes whose beat has moved, and of schedule entries that were planned anew."""
    lives: Callable[[int, str], bool] = lives
    locked: bool = False
    """Whether somebody keeps all others from writing into the database, as a migration of SQLite does."""


def examine(
    look: Callable[[], Sight], host: str, clock: Clock, pause: Callable[[float], None] = time.sleep
) -> list[Component]:
    """Looks, and where something seems wrong that may pass, looks again for up to `LOOK_FOR` seconds.
    Every component is either OK or WRONG then.

    Raises:
        StoreError: the database cannot be read.
    """
    first = look()
    deadline = monotonic() + LOOK_FOR
    seen, moved = first, frozenset[str]()
    while True:
        components = list(judge(seen, Observer(host, clock(), moved, locked=seen.locked)))
        passing = any(component.condition is Condition.PASSING for component in components)
        if not passing or monotonic() >= deadline:
            return [replace(c, condition=Condition.OK if c.ok else Condition.WRONG) for c in components]
        pause(LOOK_EVERY)
        seen = look()
        moved |= moved_between(first, seen)


def moved_between(first: Sight, later: Sight) -> frozenset[str]:
    """What has shown a sign of life from the one look to the other."""
    beats = {process.name: process.renewals for process in first.processes}
    moved = {
        process.name for process in later.processes if process.renewals != beats.get(process.name, process.renewals)
    }
    planned = {seen.entry.name: seen.planned_until for seen in first.entries}
    moved |= {seen.entry.name for seen in later.entries if seen.planned_until != planned.get(seen.entry.name)}
    return frozenset(moved)


def judge(sight: Sight, observer: Observer) -> Iterator[Component]:
    """The components that the database shows."""
    processes = [judge_process(process, observer) for process in sight.processes]
    alive = [component.process for component in processes if component.ok and component.process is not None]
    schedule = judge_schedule(sight, alive, observer)
    yield schedule
    yield from processes
    yield from judge_queues(sight, alive)
    if schedule.ok:
        yield from judge_runs(sight)


def judge_process(process: Lease, observer: Observer) -> Component:
    """A worker or scheduler. One that is not of this host is judged by its beats alone."""
    name = f"{process.kind} {process.name}"
    age = abs((observer.now - process.renewed_at).total_seconds())
    if process.host == observer.host and is_here(process.birth) and not observer.lives(process.pid, process.birth):
        return Component(name, Condition.PASSING, f"it died: process {process.pid} is gone", process)
    if process.progress is not None:
        return Component(name, Condition.WRONG, f"it is stuck: {process.progress}", process)
    if process.name in observer.moved or age <= BEAT_OLD_AFTER:
        serves = ", ".join(process.details.get("queues") or ()) or "all queues"
        return Component(name, Condition.OK, f"serves {serves}" if process.kind == "worker" else "turns", process)
    if observer.locked:
        return Component(name, Condition.OK, "its beat cannot move: another process keeps the database locked", process)
    text = f"it is silent: its beat does not move; the last one was at {process.renewed_at:%Y-%m-%d %H:%M:%S} UTC"
    return Component(name, Condition.PASSING, text, process)


def judge_schedule(sight: Sight, alive: Sequence[Lease], observer: Observer) -> Component:
    """Whether somebody looks for due ticks of each entry: a scheduler that is up, or one that comes each minute."""
    if not sight.entries:
        return Component("schedule", Condition.OK, "not in use: no scheduler has been at work here yet")
    stalled = [
        seen
        for seen in sight.entries
        if seen.entry.name not in observer.moved
        and (sight.now - seen.planned_until).total_seconds() > SCHEDULE_OLD_AFTER + seen.entry.schedule.jitter
    ]
    if stalled:
        names = "" if len(stalled) == len(sight.entries) else f" of {', '.join(seen.entry.name for seen in stalled)}"
        when = f"{max(seen.planned_until for seen in stalled):%Y-%m-%d %H:%M:%S} UTC"
        return Component(
            "schedule", Condition.PASSING, f"nobody looks for due ticks{names}; the last time was at {when}"
        )
    if any(process.kind == "scheduler" for process in alive):
        return Component("schedule", Condition.OK, "a scheduler is up")
    oldest = min(seen.planned_until for seen in sight.entries)
    return Component("schedule", Condition.OK, f"all ticks up to {oldest:%Y-%m-%d %H:%M:%S} UTC are accounted for")


def judge_queues(sight: Sight, alive: Sequence[Lease]) -> Iterator[Component]:
    """The queues in which jobs are due."""
    workers = [process for process in alive if process.kind == "worker"]
    served = {queue for worker in workers for queue in worker.details.get("queues") or ()}
    all_served = any(not worker.details.get("queues") for worker in workers)
    for queue, jobs in sight.due.items():
        due = f"{jobs} job{'s' if jobs > 1 else ''} due"
        if all_served or queue in served:
            yield Component(f"queue {queue}", Condition.OK, due)
        else:
            yield Component(f"queue {queue}", Condition.PASSING, f"{due}, and no worker that is up serves it")


def judge_runs(sight: Sight) -> Iterator[Component]:
    """The mirrors that the schedule keeps fresh: each must have had a complete run since the third last due moment."""
    by_list = {(runs.resource, runs.scope): runs for runs in sight.runs}
    for seen in sight.entries:
        runs = by_list.get(seen.entry.mirrors) if seen.entry.mirrors is not None else None
        since = _due_before(seen.entry, sight.now) if runs is not None else None
        if seen.paused or runs is None or since is None:
            continue
        name = f"runs of {' '.join(seen.entry.argv)}"
        if runs.complete is not None and runs.complete >= since:
            text = f"the last complete one ended at {runs.complete:%Y-%m-%d %H:%M:%S} UTC"
            yield Component(name, Condition.OK, text)
        elif seen.first_due is not None and seen.first_due < since:
            ended = f"the last one ended at {runs.complete:%Y-%m-%d %H:%M:%S} UTC" if runs.complete else "there is none"
            text = f"no complete run for {INTERVALS} intervals: {ended}; run {runs.newest} is {runs.newest_is}"
            yield Component(name, Condition.WRONG, f"{text}; see: gengfu run:show {runs.newest}")


def _due_before(entry: Entry, moment: datetime) -> datetime | None:
    """The third last due moment before `moment`."""
    cron = cron_of(entry)
    found: datetime | None = moment
    for _ in range(INTERVALS):
        found = cron.before(found) if found is not None else None
    return found

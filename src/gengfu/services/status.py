"""Is all well? One answer from health, the mirrors, the runs, the queues and the schedule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gengfu.clock import Clock
from gengfu.language import tr
from gengfu.services.health import HealthReport, HealthService
from gengfu.services.jobs import JobService, QueueCounts
from gengfu.services.json import object_of, to_json
from gengfu.services.lists import ListService, ListStatus
from gengfu.services.runs import Run, RunService, Verdict
from gengfu.services.schedule import DueTick, ScheduleService

NEXT = 3
"""Of so many entries of the schedule is told when they are due next."""
OLD = timedelta(days=2)
"""Devices that were read longer ago are no fresh copy, whatever the schedule asks for."""


@dataclass(frozen=True, slots=True)
class Status:
    """How everything is. Where the database cannot be read, there is no more than what health tells."""

    to_do: Sequence[str]
    """What a person has to look at, each with what to run."""
    health: HealthReport
    devices: ListStatus | None = None
    runs: Sequence[Run] = ()
    """The last one of each list and scope."""
    queues: Sequence[QueueCounts] = ()
    next: Sequence[DueTick] = ()

    @property
    def ok(self) -> bool:
        """Whether all is well: never, where health does not say so."""
        return self.health.ok and not self.to_do

    def up(self, kind: str) -> int:
        """How many workers, or schedulers, live."""
        processes = [part.process for part in self.health.components if part.ok and part.process is not None]
        return sum(process.kind == kind for process in processes)


class StatusService:
    """Asks all the others."""

    def __init__(
        self,
        health: HealthService,
        lists: Callable[[], Sequence[ListService]],
        runs: RunService,
        queue: Callable[[], JobService],
        schedule: ScheduleService,
        clock: Clock,
        zone: str,
    ) -> None:
        """`lists`: those that are mirrored, the devices first."""
        self._clock = clock
        self._zone = zone
        self._health = health
        self._lists = lists
        self._runs = runs
        self._queue = queue
        self._schedule = schedule

    def look(self, tell: Callable[[str], None]) -> Status:
        """How everything is now; `tell` is told what is waited for."""
        health = self._health.check(tell)
        if any(part.name == "database" and not part.ok for part in health.components):
            return Status(list(advice(health, None, (), self._clock())), health)
        lists = self._lists()
        devices = lists[0].status(0)
        asked = [(each.resource.name, scope.name) for each in lists for scope in each.resource.scopes]
        latest = [self._runs.latest(1, resource=resource, scope=scope) for resource, scope in asked]
        runs = [run for found in latest for run in found]
        to_do = list(advice(health, devices, runs, self._clock()))
        return Status(to_do, health, devices, runs, self._queue().status(), self._next())

    def _next(self) -> list[DueTick]:
        """When the next entries of the schedule are due, of those that a scheduler has seen: no other would run."""
        entries = [each for each in self._schedule.statuses() if each.row is not None and each.row.paused_at is None]
        due = [(each.next_due, each.entry.name) for each in entries if each.next_due is not None]
        return [DueTick(name, moment, self._zone) for moment, name in sorted(due)[:NEXT]]


def advice(health: HealthReport, devices: ListStatus | None, runs: Sequence[Run], now: datetime) -> Iterator[str]:
    """What a person has to look at: what health finds wrong, the last runs that were not complete, and a mirror of the
    devices that is empty or old."""
    wrong = [part for part in health.components if not part.ok]
    for part in wrong:
        yield tr("{name}: {text}", name=tr(part.name), text=tr(part.text))
    told = "\n".join(part.text for part in wrong)
    for run in runs:
        if (
            run.verdict not in (None, Verdict.COMPLETE)
            and run.decision is None
            and not re.search(rf"run:show {run.id}\b", told)
        ):
            yield tr(
                "the last run of {list} (scope {run.scope}) ended as {verdict}; see: gengfu run:show {run.id}",
                list=run.resource,
                run=run,
                verdict=tr(run.verdict),
            )
    if devices is None or wrong:
        return
    if devices.as_of is None:
        yield tr("no run of the device list was complete yet; read it with: gengfu device:list --wait, or --now")
    elif now - devices.as_of > OLD:
        days = (now - devices.as_of) // timedelta(days=1)
        yield tr(
            "the last complete run of the device list is {days} days old; read it with: gengfu device:list", days=days
        )


@to_json.register(Status)
def _status(status: Status) -> dict[str, Any]:
    told = {"ok": status.ok, **object_of(status), "workers": status.up("worker"), "schedulers": status.up("scheduler")}
    if status.devices is not None:
        told["devices"] = object_of(status.devices, without=("totals",))
    return {**told, "next": [{"entry": tick.entry, "due_at": to_json(tick.due_at)} for tick in status.next]}

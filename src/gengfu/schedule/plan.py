"""Decides what becomes of due moments: pure functions of an entry, what is remembered of it, and the time."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from gengfu.language import tr
from gengfu.schedule.policy import CatchUp, Entry, Overlap
from gengfu.store.ticks import EntryRow, NewTick, Tick, TickState

if TYPE_CHECKING:
    from gengfu.schedule.cron import Cron

FormatMoment = Callable[[datetime], str]
"""Writes a moment as people read it."""

SMALL_STEP = timedelta(seconds=60)
"""A clock that was set back by no more than this is waited for."""
FIXED_STEP = timedelta(hours=3)
"""By less than this, what runs at a fixed time is not repeated (cron(8) of Debian)."""
MOST = 20_000
"""The most due moments that are counted one by one; of more, only the latest matter."""
AT_ONCE = 100
"""The most ticks of an entry that are on time in one pass; earlier ones are skipped."""
DISABLED = "disabled"
"""The fingerprint of an entry that is switched off, so that it begins afresh when it is switched on."""

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """What a pass writes for an entry: how far it is accounted for from now on, and the ticks."""

    row: EntryRow
    ticks: Sequence[NewTick] = ()


class Action(StrEnum):
    """What is done with a tick that is to start."""

    RUN = "run"
    LEAVE = "leave"
    """It stays as it is until more is known of what stands in its way."""
    WAIT = "wait"
    SKIP = "skip"
    CANCEL = "cancel"
    """What stands in its way is ended; then it runs."""


@dataclass(frozen=True, slots=True)
class TickDecision:
    """What is done with a tick, and why."""

    action: Action
    reason: str | None = None


def offset(entry: Entry) -> timedelta:
    """By how much the entry's jitter puts off each of its ticks: always the same, on every host."""
    share = zlib.crc32(entry.name.encode()) / 2**32
    return timedelta(milliseconds=round(entry.schedule.jitter * share * 1000))


def fingerprint(entry: Entry) -> str:
    """What the entry's due moments follow from."""
    schedule = entry.schedule
    if not schedule.enabled:
        return DISABLED
    jitter = f"|{schedule.jitter:g}" if schedule.jitter else ""
    return f"{schedule.cron}|{schedule.timezone}{jitter}"[-255:]


def plan(entry: Entry, cron: Cron, row: EntryRow | None, now: datetime, show: FormatMoment) -> EntryPlan | None:
    """What becomes of the entry's due moments since its last pass; None where nothing is to be written."""
    mark = fingerprint(entry)
    if mark == DISABLED:
        switched_off = row is not None and row.fingerprint != DISABLED
        return EntryPlan(replace(row, fingerprint=DISABLED)) if switched_off and row is not None else None
    late_by = offset(entry)
    until = now - late_by
    if row is None or row.fingerprint != mark:
        start = _start(entry, until)
        if row is not None and row.paused_at is not None:
            # Nobody expects a command that was paused before the schedule knew it to run once more.
            start = max(start, row.paused_at - late_by)
        row = _afresh(entry.name, mark, min(start, until), row)
    elif until < row.planned_until:
        return _set_back(cron, row, until)
    moments, exact = _moments(cron, row.planned_until, until)
    paused_at = row.paused_at
    active = [due for due in moments if paused_at is None or due + late_by <= paused_at]
    ticks = _active(entry, active, row.planned_until + late_by, now, show, exact)
    asleep = moments[len(active) :]
    if asleep:
        ticks.append(_together(asleep, TickState.SKIPPED, paused_because(row, show), extends=True))
    return EntryPlan(replace(row, planned_until=until), ticks)


def paused_because(row: EntryRow, show: FormatMoment) -> str:
    """Who paused the entry, since when, and why."""
    since = tr(" since {paused_at}", paused_at=show(row.paused_at)) if row.paused_at is not None else ""
    reason = tr(": {row.pause_reason}", row=row) if row.pause_reason else ""
    return tr("paused by {row.paused_by}{since}{reason}", row=row, since=since, reason=reason)


def decide(
    tick: Tick,
    overlap: Overlap,
    earlier: Sequence[Tick],
    unknown: Sequence[Tick],
    under_way: str | None,
    show: FormatMoment,
) -> TickDecision:
    """What is done with a tick that is to start.

    Args:
        earlier: the earlier ticks of its entry that are not over.
        unknown: those of them of whose scheduler nobody knows yet whether it lives.
        under_way: what its command says is still under way; asked only where there is no earlier tick.
    """
    if tick.state is TickState.WAITING:
        return TickDecision(Action.LEAVE if earlier or under_way else Action.RUN)
    if not earlier and under_way is None:
        return TickDecision(Action.RUN)
    if overlap is Overlap.CANCEL_RUNNING:
        return TickDecision(Action.CANCEL, tr("ended for the tick of {due_at}", due_at=show(tick.due_at)))
    waiting = [other for other in earlier if other.state is TickState.WAITING]
    if waiting:
        return TickDecision(Action.SKIP, tr("the tick of {due_at} is waiting already", due_at=show(waiting[-1].due_at)))
    reason = _in_the_way(earlier[-1], show) if earlier else under_way
    if overlap is Overlap.QUEUE_ONE:
        return TickDecision(Action.WAIT, tr("waited: {reason}", reason=reason))
    return TickDecision(Action.LEAVE) if unknown else TickDecision(Action.SKIP, reason)


def is_late(entry: Entry, due_at: datetime, now: datetime) -> bool:
    """Whether a tick is so late that its catch-up policy decides."""
    return now - due_at - offset(entry) > timedelta(seconds=entry.schedule.grace)


def _in_the_way(other: Tick, show: FormatMoment) -> str:
    if other.started_at is None:
        return tr("the tick of {due_at} is about to start", due_at=show(other.due_at))
    return tr(
        "the tick of {due_at} is still running, since {started_at}",
        due_at=show(other.due_at),
        started_at=show(other.started_at),
    )


def _start(entry: Entry, until: datetime) -> datetime:
    """From when on a new entry's ticks count: those of this minute do, or of this second where seconds are named."""
    begun = until.replace(microsecond=0)
    if len(entry.schedule.cron.split()) != 6:
        begun = begun.replace(second=0)
    return begun - _TICK


def _afresh(name: str, mark: str, start: datetime, row: EntryRow | None) -> EntryRow:
    if row is None:
        return EntryRow(name, mark, start, 0, None, None, None)
    return replace(row, fingerprint=mark, planned_until=start)


def _set_back(cron: Cron, row: EntryRow, until: datetime) -> EntryPlan | None:
    step = row.planned_until - until
    if step <= SMALL_STEP or (step < FIXED_STEP and cron.is_fixed):
        return None
    return EntryPlan(replace(row, planned_until=until, clock_epoch=row.clock_epoch + 1))


def _moments(cron: Cron, after: datetime, until: datetime) -> tuple[list[datetime], bool]:
    """The due moments in between, and whether these are all: of very many, the first and the latest."""
    found = list(islice(cron.between(after, until), MOST))
    if len(found) < MOST:
        return found, True
    latest = max(found[-1], until - (found[-1] - found[0]))
    rest = deque(cron.between(latest, until), MOST)
    return found + list(rest), False


def _active(
    entry: Entry, moments: list[datetime], since: datetime, now: datetime, show: FormatMoment, exact: bool
) -> list[NewTick]:
    """The ticks of moments at which the entry was not paused."""
    late = [due for due in moments if is_late(entry, due, now)]
    timely = moments[len(late) :]
    few = {CatchUp.NONE: 0, CatchUp.LATEST: 1, CatchUp.ALL: max(0, entry.schedule.catch_up_limit)}
    wanted = min(few[entry.schedule.catch_up], len(late))
    missed, caught_up = late[: len(late) - wanted], late[len(late) - wanted :]
    span = tr("no scheduler was running from {since} to {now}", since=show(since), now=show(now))
    ticks = []
    if missed:
        ticks.append(
            _together(missed, TickState.MISSED, span if exact else tr("{span}; there are more than these", span=span))
        )
    state = TickState.WAITING if entry.schedule.catch_up is CatchUp.ALL else TickState.CLAIMED
    ticks += [NewTick(due, state, tr("caught up: {span}", span=span)) for due in caught_up]
    if len(timely) > AT_ONCE:
        crowd, timely = timely[:-AT_ONCE], timely[-AT_ONCE:]
        ticks.append(
            _together(crowd, TickState.SKIPPED, tr("more than {at_once} ticks came due at once", at_once=AT_ONCE))
        )
    # Those that come due behind a queue of caught-up ones stand in it too.
    state = state if caught_up else TickState.CLAIMED
    return ticks + [NewTick(due, state) for due in timely]


def _together(moments: Sequence[datetime], state: TickState, reason: str, *, extends: bool = False) -> NewTick:
    until = moments[-1] if len(moments) > 1 else None
    return NewTick(moments[0], state, reason, len(moments), until, extends)

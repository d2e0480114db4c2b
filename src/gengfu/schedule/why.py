"""Why a tick did or did not run, decided from what is on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gengfu.schedule.cron import Cron, cron_of
from gengfu.schedule.plan import FormatMoment, paused_because
from gengfu.schedule.policy import Entry
from gengfu.store.retention import TICKS_KEPT
from gengfu.store.ticks import EntryRow, Tick, TickState


class NoTick(StrEnum):
    """Why there is no row of a tick."""

    NOT_DUE = "not-due"
    FUTURE = "future"
    DISABLED = "disabled"
    NO_SCHEDULER = "no-scheduler"
    NEVER_SEEN = "never-seen"
    PAUSED = "paused"
    NOT_LOOKED_AT = "not-looked-at"
    PRUNED = "pruned"
    NOT_SCHEDULED_THEN = "not-scheduled-then"
    NOT_DECLARED = "not-declared"


@dataclass(frozen=True)
class Facts:
    """What is known of an entry and of one moment."""

    name: str
    entry: Entry | None
    """As it is declared now; None where it is not, or not usably."""
    row: EntryRow | None
    """What the schedule remembers of it."""
    anyone: bool
    """Whether the schedule remembers any entry."""
    ticks: Sequence[Tick]
    """The rows that stand for that moment, by due time and clock epoch."""
    first_due: datetime | None
    """When its earliest tick on record was due."""


@dataclass(frozen=True)
class Explanation:
    """Why, in a word for programs and a sentence for people."""

    outcome: TickState | NoTick
    text: str
    before: datetime | None = None
    """Where nothing was due: the nearest due moments around."""
    after: datetime | None = None


def explain(facts: Facts, moment: datetime, now: datetime, tell: FormatMoment) -> Explanation:
    """Why the tick of `moment` did or did not run. `tell` writes a moment for people."""
    if facts.ticks:
        exact = [tick for tick in facts.ticks if tick.due_at == moment]
        return _of_row((exact or list(facts.ticks))[-1], moment, tell)
    if facts.entry is None:
        text = (
            f"no row tells of {tell(moment)}, and {facts.name} is no entry that can be used; see: gengfu schedule:list"
        )
        return Explanation(NoTick.NOT_DECLARED, text)
    cron = cron_of(facts.entry)
    if moment not in cron.between(moment - timedelta(microseconds=1), moment):
        return _not_due(facts, cron, moment, tell)
    if moment > now:
        return Explanation(NoTick.FUTURE, f"the tick of {tell(moment)} is yet to come{_obstacle(facts, tell)}")
    return _silent(facts, facts.entry, moment, now, tell)


def _not_due(facts: Facts, cron: Cron, moment: datetime, tell: FormatMoment) -> Explanation:
    before, after = cron.before(moment), cron.after(moment)
    around = [f"the one before is {tell(before)}"] if before is not None else []
    around += [f"the next is {tell(after)}"] if after is not None else []
    when = f"{cron.words()} ({cron.expression}, {cron.zone})"
    text = f"no tick of {facts.name} is due at {tell(moment)}: it is due {when}"
    return Explanation(NoTick.NOT_DUE, "; ".join([text, *around]), before, after)


def _obstacle(facts: Facts, tell: FormatMoment) -> str:
    if facts.entry is not None and not facts.entry.schedule.enabled:
        return f", and will not run unless {facts.name} is enabled ({facts.entry.source})"
    if facts.row is not None and facts.row.paused_at is not None:
        return f", and will be skipped unless {facts.name} is resumed: {paused_because(facts.row, tell)}"
    return ""


def _silent(facts: Facts, entry: Entry, moment: datetime, now: datetime, tell: FormatMoment) -> Explanation:
    """Of a tick that was due and has no row."""
    told, row = f"the tick of {tell(moment)} did not run: ", facts.row
    if not entry.schedule.enabled:
        text = f"{told}{facts.name} is disabled (enabled = false, {entry.source})"
        return Explanation(NoTick.DISABLED, text)
    if row is None:
        start = "start one with gengfu schedule:work, or gengfu schedule:run each minute"
        if not facts.anyone:
            return Explanation(NoTick.NO_SCHEDULER, f"{told}no scheduler has ever run on this database; {start}")
        return Explanation(NoTick.NEVER_SEEN, f"{told}no scheduler has run since {facts.name} was added; {start}")
    if row.planned_until < moment:
        if row.paused_at is not None and row.paused_at <= moment:
            return Explanation(NoTick.PAUSED, f"{told}{facts.name} is {paused_because(row, tell)}")
        text = f"no scheduler has looked at {facts.name} since {tell(row.planned_until)}"
        late = entry.schedule.grace + entry.schedule.jitter
        if (now - moment).total_seconds() <= late:
            return Explanation(NoTick.NOT_LOOKED_AT, f"the tick of {tell(moment)} has not run yet: {text}")
        return Explanation(NoTick.NOT_LOOKED_AT, f"{told}{text}")
    if moment < now - TICKS_KEPT:
        kept = f"rows are kept for {TICKS_KEPT.days} days"
        text = f"what became of the tick of {tell(moment)} is no longer on record: {kept}"
        return Explanation(NoTick.PRUNED, text)
    since = f"; the earliest tick on record is that of {tell(facts.first_due)}" if facts.first_due is not None else ""
    reason = f"{facts.name} was not on the schedule then (not yet added, disabled, or due at other times){since}"
    return Explanation(NoTick.NOT_SCHEDULED_THEN, told + reason)


def _of_row(tick: Tick, moment: datetime, tell: FormatMoment) -> Explanation:
    """Of a tick that has a row, or shares one."""
    told = f"the tick of {tell(moment)} {_became(tick, tell)}"
    if tick.covers > 1 and tick.until_at is not None:
        told += f"; its row stands for {tick.covers} ticks, from {tell(tick.due_at)} to {tell(tick.until_at)}"
    if tick.clock_epoch > 0:
        told += f"; it is of clock epoch {tick.clock_epoch}, which is counted since the clock was set back"
    return Explanation(tick.state, told)


def _became(tick: Tick, tell: FormatMoment) -> str:
    where = f" by {tick.scheduler}" if tick.scheduler else ""
    started = f"was started at {tell(tick.started_at)}{where}" if tick.started_at is not None else "was not started"
    reason = tick.reason or (f"exit code {tick.exit_code}" if tick.exit_code is not None else "no reason is on record")
    took = ""
    if tick.started_at is not None and tick.finished_at is not None:
        took = f" after {max(0.0, (tick.finished_at - tick.started_at).total_seconds()):.1f} s"
    match tick.state:
        case TickState.DONE if tick.job_id is not None:
            run = f"run {tick.run_id} was queued as " if tick.run_id is not None else ""
            when = f" at {tell(tick.started_at)}" if tick.started_at is not None else ""
            return f"ran: {run}job {tick.job_id}{'' if run else ' was queued'}{when}{where}"
        case TickState.DONE:
            return f"ran: it {started} and ended well{took}"
        case TickState.FAILED:
            return f"{started} and failed{took}: {reason}"
        case TickState.RUNNING:
            return f"is running: it {started}"
        case TickState.CLAIMED:
            return f"is about to be started{where}"
        case TickState.WAITING:
            return f"waits: {tick.reason or 'an earlier tick is under way'}"
        case TickState.CANCELLED:
            return f"{started} and was cancelled{took}: {reason}"
        case TickState.LOST:
            return f"{started}, and nobody saw how it ended: {reason}"
        case TickState.SKIPPED:
            return f"was skipped: {reason}"
        case TickState.MISSED:
            return f"was missed: {reason}"

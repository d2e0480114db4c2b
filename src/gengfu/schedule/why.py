"""Why a tick did or did not run, decided from what is on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gengfu.language import joined, tr
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
        text = tr(
            "no row tells of {moment}, and {facts.name} is no entry that can be used; see: gengfu schedule:list",
            moment=tell(moment),
            facts=facts,
        )
        return Explanation(NoTick.NOT_DECLARED, text)
    cron = cron_of(facts.entry)
    if moment not in cron.between(moment - timedelta(microseconds=1), moment):
        return _not_due(facts, cron, moment, tell)
    if moment > now:
        return Explanation(
            NoTick.FUTURE,
            tr("the tick of {moment} is yet to come{obstacle}", moment=tell(moment), obstacle=_obstacle(facts, tell)),
        )
    return _silent(facts, facts.entry, moment, now, tell)


def _not_due(facts: Facts, cron: Cron, moment: datetime, tell: FormatMoment) -> Explanation:
    before, after = cron.before(moment), cron.after(moment)
    around = [tr("the one before is {before}", before=tell(before))] if before is not None else []
    around += [tr("the next is {after}", after=tell(after))] if after is not None else []
    when = tr("{words} ({cron.expression}, {cron.zone})", words=cron.words(), cron=cron)
    text = tr(
        "no tick of {facts.name} is due at {moment}: it is due {when}", facts=facts, moment=tell(moment), when=when
    )
    return Explanation(NoTick.NOT_DUE, joined("; ", [text, *around]), before, after)


def _obstacle(facts: Facts, tell: FormatMoment) -> str:
    if facts.entry is not None and not facts.entry.schedule.enabled:
        return tr(", and will not run unless {facts.name} is enabled ({facts.entry.source})", facts=facts)
    if facts.row is not None and facts.row.paused_at is not None:
        return tr(
            ", and will be skipped unless {facts.name} is resumed: {paused_because}",
            facts=facts,
            paused_because=paused_because(facts.row, tell),
        )
    return ""


def _silent(facts: Facts, entry: Entry, moment: datetime, now: datetime, tell: FormatMoment) -> Explanation:
    """Of a tick that was due and has no row."""
    told, row = tr("the tick of {moment} did not run: ", moment=tell(moment)), facts.row
    if not entry.schedule.enabled:
        text = tr(
            "{told}{facts.name} is disabled (enabled = false, {entry.source})", told=told, facts=facts, entry=entry
        )
        return Explanation(NoTick.DISABLED, text)
    if row is None:
        start = "start one with gengfu schedule:work, or gengfu schedule:run each minute"
        if not facts.anyone:
            return Explanation(
                NoTick.NO_SCHEDULER,
                tr("{told}no scheduler has ever run on this database; {start}", told=told, start=start),
            )
        return Explanation(
            NoTick.NEVER_SEEN,
            tr("{told}no scheduler has run since {facts.name} was added; {start}", told=told, facts=facts, start=start),
        )
    if row.planned_until < moment:
        return _unplanned(facts, entry, row, moment, now, tell)
    if moment < now - TICKS_KEPT:
        kept = tr("rows are kept for {TICKS_KEPT.days} days", TICKS_KEPT=TICKS_KEPT)
        text = tr("what became of the tick of {moment} is no longer on record: {kept}", moment=tell(moment), kept=kept)
        return Explanation(NoTick.PRUNED, text)
    since = (
        tr("; the earliest tick on record is that of {first_due}", first_due=tell(facts.first_due))
        if facts.first_due is not None
        else ""
    )
    reason = tr(
        "{facts.name} was not on the schedule then (not yet added, disabled, or due at other times){since}",
        facts=facts,
        since=since,
    )
    return Explanation(NoTick.NOT_SCHEDULED_THEN, tr("{told}{reason}", told=told, reason=reason))


def _unplanned(
    facts: Facts, entry: Entry, row: EntryRow, moment: datetime, now: datetime, tell: FormatMoment
) -> Explanation:
    """Of a tick that no scheduler has looked for yet."""
    told = tr("the tick of {moment} did not run: ", moment=tell(moment))
    if row.paused_at is not None and row.paused_at <= moment:
        why = paused_because(row, tell)
        return Explanation(NoTick.PAUSED, tr("{told}{facts.name} is {why}", told=told, facts=facts, why=why))
    looked = tell(row.planned_until)
    text = tr("no scheduler has looked at {facts.name} since {looked}", facts=facts, looked=looked)
    if (now - moment).total_seconds() <= entry.schedule.grace + entry.schedule.jitter:
        text = tr("the tick of {moment} has not run yet: {text}", moment=tell(moment), text=text)
        return Explanation(NoTick.NOT_LOOKED_AT, text)
    return Explanation(NoTick.NOT_LOOKED_AT, tr("{told}{text}", told=told, text=text))


def _of_row(tick: Tick, moment: datetime, tell: FormatMoment) -> Explanation:
    """Of a tick that has a row, or shares one."""
    told = tr("the tick of {moment} {became}", moment=tell(moment), became=_became(tick, tell))
    if tick.covers > 1 and tick.until_at is not None:
        told = tr(
            "{told}; its row stands for {tick.covers} ticks, from {due_at} to {until_at}",
            told=told,
            tick=tick,
            due_at=tell(tick.due_at),
            until_at=tell(tick.until_at),
        )
    if tick.clock_epoch > 0:
        told = tr(
            "{told}; it is of clock epoch {tick.clock_epoch}, which is counted since the clock was set back",
            told=told,
            tick=tick,
        )
    return Explanation(tick.state, told)


def _became(tick: Tick, tell: FormatMoment) -> str:
    where = tr(" by {tick.scheduler}", tick=tick) if tick.scheduler else ""
    started = (
        tr("was started at {started_at}{where}", started_at=tell(tick.started_at), where=where)
        if tick.started_at is not None
        else tr("was not started")
    )
    reason = tick.reason or (
        tr("exit code {tick.exit_code}", tick=tick) if tick.exit_code is not None else tr("no reason is on record")
    )
    took = ""
    if tick.started_at is not None and tick.finished_at is not None:
        took = tr(" after {seconds:.1f} s", seconds=max(0.0, (tick.finished_at - tick.started_at).total_seconds()))
    match tick.state:
        case TickState.DONE if tick.job_id is not None:
            what = (
                tr("run {tick.run_id} was queued as job {tick.job_id}", tick=tick)
                if tick.run_id is not None
                else tr("job {tick.job_id} was queued", tick=tick)
            )
            when = tr(" at {started_at}", started_at=tell(tick.started_at)) if tick.started_at is not None else ""
            return tr("ran: {what}{when}{where}", what=what, when=when, where=where)
        case TickState.DONE:
            return tr("ran: it {started} and ended well{took}", started=started, took=took)
        case TickState.FAILED:
            return tr("{started} and failed{took}: {reason}", started=started, took=took, reason=reason)
        case TickState.RUNNING:
            return tr("is running: it {started}", started=started)
        case TickState.CLAIMED:
            return tr("is about to be started{where}", where=where)
        case TickState.WAITING:
            return tr("waits: {reason}", reason=tick.reason or tr("an earlier tick is under way"))
        case TickState.CANCELLED:
            return tr("{started} and was cancelled{took}: {reason}", started=started, took=took, reason=reason)
        case TickState.LOST:
            return tr("{started}, and nobody saw how it ended: {reason}", started=started, reason=reason)
        case TickState.SKIPPED:
            return tr("was skipped: {reason}", reason=reason)
        case TickState.MISSED:
            return tr("was missed: {reason}", reason=reason)

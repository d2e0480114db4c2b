"""What would run when: the ticks of the days to come, and what the overlap policy would make of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from gengfu.language import tr
from gengfu.schedule.cron import ClockChange, Cron, clock_changes
from gengfu.schedule.policy import Overlap


class Fate(StrEnum):
    """What is forecast of a tick."""

    RUNS = "runs"
    """It starts when it is due."""
    WAITS = "waits"
    """It starts when the earlier one has ended."""
    SKIPPED = "skipped"
    """It is not run since an earlier one is under way or waits already."""
    CANCELS = "cancels"
    """It starts when it is due, for which the earlier one is ended."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """A tick to come. Without a past to judge from, every tick is taken to end at once."""

    due_at: datetime
    fate: Fate
    starts_at: datetime | None
    """None for one that is skipped."""
    ends_at: datetime | None
    """None for one that is skipped, or where nothing is known of how long it takes."""


def forecast(due: Iterable[datetime], overlap: Overlap, seconds: float | None) -> Iterator[Forecast]:
    """Plays the ticks of one entry, in order, each taking `seconds`, which is None where nobody knows."""
    length = timedelta(seconds=seconds or 0.0)
    busy_until = waits_until = datetime.min.replace(tzinfo=UTC)
    for moment in due:
        start: datetime | None = moment
        fate = Fate.RUNS
        if moment < busy_until:
            if overlap is Overlap.CANCEL_RUNNING:
                fate = Fate.CANCELS
            elif overlap is Overlap.QUEUE_ONE and moment >= waits_until:
                fate = Fate.WAITS
                start = waits_until = busy_until
            else:
                fate, start = Fate.SKIPPED, None
        if start is not None:
            busy_until = start + length
        yield Forecast(moment, fate, start, busy_until if start is not None and seconds is not None else None)


def clock_notes(cron: Cron, after: datetime, until: datetime) -> Iterator[str]:
    """What changes of the zone's clock do to the entry, in sentences; nothing where they meet none of its times."""
    for change in clock_changes(cron.zone, after, until):
        note = _skipped(cron, change) if change.after > change.before else _repeated(cron, change)
        if note is not None:
            shown = tr(
                "{before} becomes {after}",
                before=f"{change.before:%Y-%m-%d %H:%M}",
                after=_clock(change.after, change.before),
            )
            yield tr("{shown} in {cron.zone}: {note}", shown=shown, cron=cron, note=note)


def _skipped(cron: Cron, change: ClockChange) -> str | None:
    if not _due_between(cron, change.before, change.after):
        return None
    if cron.goes_by_date:
        return tr("what falls into the skipped time is due once, at {after}", after=f"{change.after:%H:%M}")
    return "nothing is due in the skipped time"


def _repeated(cron: Cron, change: ClockChange) -> str | None:
    if not _due_between(cron, change.after, change.before):
        return None
    return "what falls into the repeated time is due " + ("once, in the first" if cron.goes_by_date else "in both")


def _due_between(cron: Cron, first: datetime, last: datetime) -> bool:
    """Whether the expression names a time from `first` to just before `last` of a clock."""
    edge, moment = timedelta(microseconds=1), Cron(cron.expression, "UTC")
    start, end = first.replace(tzinfo=UTC), last.replace(tzinfo=UTC)
    return next(moment.between(start - edge, end - edge), None) is not None


def _clock(moment: datetime, other: datetime) -> str:
    return f"{moment:%H:%M}" if moment.date() == other.date() else f"{moment:%Y-%m-%d %H:%M}"

"""The command that plays the schedule's days to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column

if TYPE_CHECKING:
    from gengfu.schedule.forecast import Forecast
    from gengfu.schedule.policy import Entry
    from gengfu.store.tick_history import TickHistory

MOST = 200_000
"""The most ticks of one entry that are played."""


class ScheduleSimulate(BaseCommand):
    """Forecast what would run when, and which ticks would overlap

    How long a tick takes is judged from the past: the median of the entry's
    latest ticks that ended well or, where its command leaves the work to a run,
    of the latest runs. Jitter, paused entries and the stops of schedulers are
    left out.

    Examples:
      gengfu schedule:simulate
      gengfu schedule:simulate --days 400 --from 2026-01-01
      gengfu schedule:simulate --days 1 --ticks
      gengfu schedule:simulate --json | jq '.entries[] | {name, overlaps}'
    """

    name = "schedule:simulate"
    options = (
        click.Option(["--days"], type=click.IntRange(1, 3660), default=7, show_default=True, help="How many."),
        click.Option(["--from", "start"], metavar="TIME", help="When they begin; now unless given."),
        click.Option(["--ticks", "each"], is_flag=True, help="List every tick too."),
    )

    def handle(self, days: int, start: str | None, each: bool) -> int:
        from gengfu.cli.parts import ticks
        from gengfu.store.tick_history import TickHistory

        now = self.app.clock()
        first = ticks.time_of(start, self.app.settings.gengfu_timezone, now) if start is not None else now
        last = first + timedelta(days=days)
        found = ticks.usable(self.app, self.out)
        history = TickHistory(self.app.db)
        plays = [self._play(entry, history, first, last) for entry in found.entries.values() if entry.schedule.enabled]
        self._tell(plays, each)
        told = [_json(play) for play in plays]
        self.out.answer({"from": first, "to": last, "days": days, "entries": told, "problems": list(found.problems)})
        return 0

    def _play(self, entry: Entry, history: TickHistory, first: datetime, last: datetime) -> _Play:
        from gengfu.cli.parts import ticks
        from gengfu.schedule.cron import cron_of
        from gengfu.schedule.forecast import clock_notes, forecast

        cron = cron_of(entry)
        edge = timedelta(microseconds=1)  # what is due just when the days begin is one of their ticks
        due = list(islice(cron.between(first - edge, last - edge), MOST + 1))
        seconds, source = self._seconds(entry, history)
        notes = list(clock_notes(cron, first, last))
        if len(due) > MOST:
            notes.append(f"only the first {MOST} ticks are played, up to {ticks.local(due[MOST - 1], cron.zone)}")
        return _Play(entry, seconds, source, list(forecast(due[:MOST], entry.schedule.overlap, seconds)), notes)

    def _seconds(self, entry: Entry, history: TickHistory) -> tuple[float | None, str]:
        """How long a tick keeps the next one from starting, and what that is judged from."""
        took, source = history.seconds(entry.name), "ticks"
        if entry.mirrors is not None:
            runs = history.run_seconds(*entry.mirrors)
            if runs is not None and runs >= (took or 0.0):
                took, source = runs, "runs"
        return took, source if took is not None else "nothing yet"

    def _tell(self, plays: Sequence[_Play], each: bool) -> None:
        from gengfu.cli.parts import ticks
        from gengfu.schedule.cron import cron_of

        if not plays:
            self.out.note("no entry is enabled")
            return
        columns = [Column("entry"), Column("when", wraps=True), Column("ticks", right=True)]
        columns += [Column("seconds", right=True), Column("judged from"), Column("overlaps", right=True)]
        columns += [Column("policy"), Column("forecast", wraps=True)]
        self.out.table(columns, map(_line, plays))
        for play in plays:
            for note in play.notes:
                self.out.say(f"{play.entry.name}: {note}")
        if each:
            self.out.say()
            zones = {play.entry.name: cron_of(play.entry).zone for play in plays}
            every = sorted((tick.due_at, play.entry.name, tick.fate) for play in plays for tick in play.ticks)
            lines = [[name, ticks.local(due, zones[name]), zones[name], fate] for due, name, fate in every]
            self.out.table([Column("entry"), Column("due"), Column("zone"), Column("forecast")], lines)


@dataclass(frozen=True)
class _Play:
    """The days to come of one entry."""

    entry: Entry
    seconds: float | None
    """How long a tick takes; None where nobody knows."""
    source: str
    ticks: Sequence[Forecast]
    notes: Sequence[str]

    @property
    def fates(self) -> Counter[str]:
        return Counter(str(tick.fate) for tick in self.ticks)

    @property
    def overlaps(self) -> int | None:
        """How many ticks come due while an earlier one is under way; None where nobody knows how long one takes."""
        return None if self.seconds is None else sum(number for fate, number in self.fates.items() if fate != "runs")


def _line(play: _Play) -> list[object]:
    from gengfu.schedule.cron import cron_of

    fates = ", ".join(f"{fate} {number}" for fate, number in sorted(play.fates.items()))
    words, policy = cron_of(play.entry).words(), play.entry.schedule.overlap
    return [play.entry.name, words, len(play.ticks), play.seconds, play.source, play.overlaps, policy, fates]


def _json(play: _Play) -> dict[str, Any]:
    from gengfu.cli.parts import ticks

    told = {**ticks.entry_json(play.entry), "seconds": play.seconds, "judged_from": play.source}
    told |= {"count": len(play.ticks), "overlaps": play.overlaps, "fates": dict(play.fates), "notes": play.notes}
    return {**told, "ticks": [asdict(tick) for tick in play.ticks]}

"""The command that plays the schedule's days to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.cli.schedule_history import noted_problems
from gengfu.language import joined, tr

if TYPE_CHECKING:
    from gengfu.services.schedule import Played


LISTED = 10_000
"""The most ticks in a table: nobody reads more, and a terminal takes long over them."""


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
        problems = noted_problems(self.app, self.out)
        found = self.app.schedule.simulate(days, start)
        if found.entries:
            self._tell(found.entries, each)
        else:
            self.out.note("no entry is enabled")
        told = {"from": found.start, "to": found.end, "days": days, "entries": found.entries, "problems": problems}
        self.out.answer(told)
        return 0

    def _tell(self, entries: Sequence[Played], each: bool) -> None:
        columns = [Column("entry"), Column("when", wraps=True, words=True), Column("ticks", right=True)]
        columns += [Column("seconds", right=True), Column("judged from", words=True), Column("overlaps", right=True)]
        columns += [Column("policy"), Column("forecast", wraps=True)]
        self.out.table(columns, map(_line, entries))
        for played in entries:
            for note in played.notes:
                self.out.say(tr("{played.entry.name}: {note}", played=played, note=note))
        if each:
            from gengfu.services.schedule import local

            self.out.say()
            zones = {played.entry.name: played.entry.schedule.timezone or "UTC" for played in entries}
            every = sorted((tick.due_at, played.entry.name, tick.fate) for played in entries for tick in played.ticks)
            lines = [[name, local(due, zones[name]), zones[name], fate] for due, name, fate in every[:LISTED]]
            self.out.table([Column("entry"), Column("due"), Column("zone"), Column("forecast")], lines)
            if len(every) > LISTED:
                self.out.note(
                    tr(
                        "only the first {listed} of {number} ticks are listed; for all of them: --json",
                        listed=LISTED,
                        number=len(every),
                    )
                )


def _line(played: Played) -> list[object]:
    fates = joined(
        ", ", [tr("{fate} {number}", fate=tr(fate), number=number) for fate, number in sorted(played.fates.items())]
    )
    policy, judged = played.entry.schedule.overlap, [played.seconds, played.judged_from, played.overlaps]
    return [played.entry.name, played.words, len(played.ticks), *judged, policy, fates]

"""The commands that tell what the schedule holds, what it will run and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.cli.wording import span_words
from gengfu.language import tr, worded
from gengfu.text import visible

if TYPE_CHECKING:
    from gengfu.app import App
    from gengfu.cli.output import Output
    from gengfu.services.schedule import EntryRow, EntryStatus, Tick

STATES = ("claimed", "waiting", "running", "done", "failed", "cancelled", "lost", "skipped", "missed")
"""The values of `TickState`, which is not imported for the sake of a help text."""


def noted_problems(app: App, out: Output) -> list[str]:
    """What keeps entries from use; each is noted."""
    problems = list(app.schedule.entries().problems)
    for problem in problems:
        out.note(tr("warning: {problem}", problem=problem))
    return problems


class ScheduleList(BaseCommand):
    """List the schedule's entries: when they are due, and how they last ended

    An entry is declared by a command's class or by [schedule.NAME] in
    gengfu.toml. What keeps an entry from use is told on stderr; the others run
    all the same.

    Examples:
      gengfu schedule:list
      gengfu schedule:list --json | jq '.entries[] | {name, next_due}'
    """

    name = "schedule:list"

    def handle(self) -> int:
        problems = noted_problems(self.app, self.out)
        entries = self.app.schedule.statuses()
        if entries:
            columns = [
                Column("entry"),
                Column("when", wraps=True, words=True),
                Column("cron", wraps=True),
                Column("next due"),
            ]
            columns += [Column("last", wraps=True), Column("reason", wraps=True, words=True)]
            self.out.table(columns, map(self._line, entries))
        else:
            self.out.note('the schedule has no entry; give a command one: schedule = "0 2 * * *"')
        self.out.answer({"entries": entries, "count": len(entries), "problems": problems})
        return 0

    def _line(self, status: EntryStatus) -> list[object]:
        from gengfu.services.schedule import paused_because

        schedule, row, last = status.entry.schedule, status.row, status.last
        due = status.next_due if schedule.enabled else tr("disabled")
        reason = _reason_of(last) if last is not None else None
        if schedule.enabled and row is not None and row.paused_at is not None:
            due, reason = tr("paused"), paused_because(row, self.out.moment)
        last_due = self.out.moment(last.until_at or last.due_at) if last is not None else None
        ended = tr("{last.state} {last_due}", last=last, last_due=last_due) if last is not None else None
        return [status.entry.name, status.words, f"{schedule.cron} {schedule.timezone}", due, ended, reason]


class ScheduleNext(BaseCommand):
    """Tell when entries are due next, by the clock of their time zone

    Without a name the next ticks of all enabled entries.

    Examples:
      gengfu schedule:next
      gengfu schedule:next device_list --count 3
    """

    name = "schedule:next"
    options = (
        click.Argument(["entry"], metavar="[NAME]", required=False),
        click.Option(["--count"], type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many."),
    )

    def handle(self, entry: str | None, count: int) -> int:
        noted_problems(self.app, self.out)
        found = self.app.schedule.next(entry, count)
        for disabled in found.disabled:
            self.out.note(
                tr("{disabled.name} is disabled ({disabled.source}): none of these will run", disabled=disabled)
            )
        for paused in found.paused:
            self.out.note(tr("{paused.name} is paused: its ticks are skipped until it is resumed", paused=paused))
        if found.ticks:
            now = self.app.clock()
            columns = [Column("entry"), Column("due"), Column("zone"), Column("in", right=True)]
            lines = [[tick.entry, tick.local, tick.timezone, span_words(tick.due_at - now)] for tick in found.ticks]
            self.out.table(columns, lines)
        else:
            self.out.note("nothing will be due")
        self.out.answer({"ticks": found.ticks, "count": len(found.ticks)})
        return 0


class ScheduleHistory(BaseCommand):
    """List the latest ticks and what became of them

    A row may stand for several ticks in a row that shared one fate, as where no
    scheduler was running.

    Examples:
      gengfu schedule:history
      gengfu schedule:history device_list --state missed
      gengfu schedule:history --limit 5 --json
    """

    name = "schedule:history"
    options = (
        click.Argument(["entry"], metavar="[NAME]", required=False),
        click.Option(["--limit"], type=click.IntRange(1), default=20, show_default=True, help="The most rows."),
        click.Option(["--state"], type=click.Choice(STATES), help="Only those."),
    )

    def handle(self, entry: str | None, limit: int, state: str | None) -> int:
        from gengfu.services.schedule import TickState

        name, found = self.app.schedule.history(entry, limit, TickState(state) if state is not None else None)
        if found:
            columns = [Column("due"), Column("entry"), Column("state", words=True), Column("ticks", right=True)]
            columns += [Column("seconds", right=True), Column("reason", wraps=True, words=True)]
            self.out.table(columns, map(_tick_line, found))
        else:
            of = tr("{name} that is {state}", name=name or tr("any entry"), state=tr(state)) if state else name
            self.out.note(tr("no tick of {of} is on record", of=of or tr("any entry")))
        self.out.answer({"ticks": found, "count": len(found)})
        return 0


class ScheduleWhy(BaseCommand):
    """Tell why an entry did or did not run at a time, with the rows as evidence

    TIME is by the clock of the entry's zone, unless it carries an offset; 10:05
    is the last one that was. Without it the entry's latest due moment is meant.

    Examples:
      gengfu schedule:why device_list
      gengfu schedule:why device_list 10:05
      gengfu schedule:why device_list "2026-11-22 10:05"
      gengfu schedule:why device_list 2026-11-22T02:05:00Z --json
    """

    name = "schedule:why"
    options = (
        click.Argument(["entry"], metavar="NAME"),
        click.Argument(["time"], metavar="[TIME]", required=False, nargs=-1),
    )

    def handle(self, entry: str, time: Sequence[str]) -> int:
        noted_problems(self.app, self.out)
        found = self.app.schedule.why(entry, " ".join(time) or None)
        if isinstance(found, str):
            told = tr("{found} has never been due", found=found)
            self.out.say(tr("{sentence}.", sentence=told))
            self.out.answer({"entry": found, "time": None, "verdict": None, "answer": told})
            return 0
        text = visible(worded(tr("{sentence}.", sentence=found.answer.text)))
        self.out.say(text[:1].upper() + text[1:])
        for tick in found.ticks:
            self._show_tick(tick)
        if found.row is not None:
            self._show_row(found.row)
        self.out.answer(found)
        return 0

    def _show_tick(self, tick: Tick) -> None:
        from gengfu.services.schedule import brief_json

        self.out.say("\nThe row of the tick:")
        self.out.record(brief_json(tick).items())
        printed = (tick.output or "").splitlines()
        if printed:
            shown = printed[-_SHOWN:]
            self.out.say(
                tr(
                    "\nWhat its command printed last ({number} of {number2} lines kept):",
                    number=len(shown),
                    number2=len(printed),
                )
            )
            for line in shown:
                self.out.say(f"  {visible(line)}")

    def _show_row(self, row: EntryRow) -> None:
        self.out.say("\nThe row of the entry:")
        self.out.record((field.name, getattr(row, field.name)) for field in fields(row))


_SHOWN = 10
"""The most lines of a command's output that people are shown."""


def _tick_line(tick: Tick) -> list[object]:
    from gengfu.services.times import seconds

    took = seconds(tick.started_at, tick.finished_at)
    return [tick.due_at, tick.entry, tick.state, tick.covers, took, _reason_of(tick)]


def _reason_of(tick: Tick) -> str | None:
    """Why it ended as it did; of a command that failed without a word, its exit code."""
    return tick.reason or (tr("exit code {tick.exit_code}", tick=tick) if tick.exit_code else None)

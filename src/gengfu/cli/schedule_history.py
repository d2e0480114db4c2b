"""The commands that tell what the schedule holds, what it will run and what became of it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.store.tick_rows import EntryRow, Tick, TickState

if TYPE_CHECKING:
    from gengfu.schedule.policy import Entry
    from gengfu.schedule.why import Answer
    from gengfu.store.tick_history import TickHistory


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
        from gengfu.cli.parts import ticks
        from gengfu.schedule.cron import cron_of
        from gengfu.store.tick_history import TickHistory

        found = ticks.usable(self.app, self.out)
        history = TickHistory(self.app.db)
        rows, lines, told = history.entries(), [], []
        for entry in found.entries.values():
            row, last = rows.get(entry.name), next(iter(history.latest(1, entry.name)), None)
            next_due = cron_of(entry).after(self.app.clock()) if entry.schedule.enabled else None
            lines.append(self._line(entry, row, last, next_due))
            told.append({**ticks.entry_json(entry), "next_due": next_due, "paused": ticks.pause_json(row)})
            told[-1]["last"] = ticks.tick_json(last) if last is not None else None
        if lines:
            columns = [Column("entry"), Column("when", wraps=True), Column("cron", wraps=True), Column("next due")]
            columns += [Column("last", wraps=True), Column("reason", wraps=True)]
            self.out.table(columns, lines)
        else:
            self.out.note('the schedule has no entry; give a command one: schedule = "0 2 * * *"')
        self.out.answer({"entries": told, "count": len(told), "problems": list(found.problems)})
        return 0

    def _line(self, entry: Entry, row: EntryRow | None, last: Tick | None, next_due: datetime | None) -> list[object]:
        from gengfu.cli.parts import ticks
        from gengfu.schedule.cron import cron_of
        from gengfu.schedule.plan import paused_because

        cron = cron_of(entry)
        due: datetime | str | None = next_due if entry.schedule.enabled else "disabled"
        reason = ticks.reason_of(last) if last is not None else None
        if entry.schedule.enabled and row is not None and row.paused_at is not None:
            due, reason = "paused", paused_because(row, self.out.moment)
        ended = f"{last.state} {self.out.moment(last.until_at or last.due_at)}" if last is not None else None
        return [entry.name, cron.words(), f"{cron.expression} {cron.zone}", due, ended, reason]


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
        from gengfu.cli.parts import scheduling, ticks
        from gengfu.store.tick_history import TickHistory

        entries = ticks.usable(self.app, self.out).entries
        chosen = [found for found in entries.values() if found.schedule.enabled]
        if entry is not None:
            chosen = [entries[scheduling.known(entry, entries)]]
        rows = TickHistory(self.app.db).entries()
        for found in chosen:
            self._warn(found, rows.get(found.name))
        now = self.app.clock()
        due = list(islice(heapq.merge(*(_due_after(found, now) for found in chosen)), count))
        if due:
            columns = [Column("entry"), Column("due"), Column("zone"), Column("in", right=True)]
            lines = [[name, ticks.local(moment, zone), zone, _span(moment - now)] for moment, name, zone in due]
            self.out.table(columns, lines)
        else:
            self.out.note("nothing will be due")
        told = [
            {"entry": name, "due_at": moment, "local": ticks.local(moment, zone), "timezone": zone}
            for moment, name, zone in due
        ]
        self.out.answer({"ticks": told, "count": len(told)})
        return 0

    def _warn(self, entry: Entry, row: EntryRow | None) -> None:
        if not entry.schedule.enabled:
            self.out.note(f"{entry.name} is disabled ({entry.source}): none of these will run")
        elif row is not None and row.paused_at is not None:
            self.out.note(f"{entry.name} is paused: its ticks are skipped until it is resumed")


def _due_after(entry: Entry, now: datetime) -> Iterator[tuple[datetime, str, str]]:
    """Its due moments with its name and zone, one after the other."""
    from gengfu.schedule.cron import FAR, cron_of

    cron = cron_of(entry)
    return ((moment, entry.name, cron.zone) for moment in cron.between(now, now + FAR))


def _span(length: timedelta) -> str:
    """A length of time in the largest unit that tells it well."""
    seconds = length.total_seconds()
    for unit, whole in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * whole:
            return f"{seconds / whole:.0f} {unit}"
    return f"{seconds:.0f} s"


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
        click.Option(["--state"], type=click.Choice([str(state) for state in TickState]), help="Only those."),
    )

    def handle(self, entry: str | None, limit: int, state: str | None) -> int:
        from gengfu.cli.parts import scheduling, ticks
        from gengfu.schedule.entries import load_entries
        from gengfu.store.tick_history import TickHistory

        history = TickHistory(self.app.db)
        if entry is not None:
            names = {*load_entries(self.app.settings, self.app.catalogue).entries, *history.entries()}
            entry = scheduling.known(entry, names)
        found = history.latest(limit, entry, TickState(state) if state is not None else None)
        if found:
            self.out.table(ticks.TICK_COLUMNS, map(ticks.tick_line, found))
        else:
            of = f"{entry or 'any entry'}{f' that is {state}' if state is not None else ''}"
            self.out.note(f"no tick of {of} is on record")
        self.out.answer({"ticks": [ticks.tick_json(tick, output=True) for tick in found], "count": len(found)})
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
        from gengfu.cli.parts import scheduling, ticks
        from gengfu.schedule.why import Facts, explain
        from gengfu.store.tick_history import TickHistory

        history, entries = TickHistory(self.app.db), ticks.usable(self.app, self.out).entries
        rows, now = history.entries(), self.app.clock()
        name = scheduling.known(entry, {*entries, *rows})
        declared = entries.get(name)
        zone = declared.schedule.timezone if declared is not None else None
        zone = zone or self.app.settings.gengfu_timezone
        moment = ticks.time_of(" ".join(time), zone, now) if time else self._latest(history, declared, name, now)
        if moment is None:
            self.out.say(f"{name} has never been due.")
            self.out.answer({"entry": name, "time": None, "verdict": None, "answer": f"{name} has never been due"})
            return 0
        found = history.at(name, moment)
        facts = Facts(name, declared, rows.get(name), bool(rows), found, history.first_due(name))
        answer = explain(facts, moment, now, lambda when: ticks.local(when, zone))
        self._tell(answer, found, rows.get(name))
        told = {"entry": name, "time": moment, "verdict": answer.verdict, "answer": answer.text}
        told |= {"before": answer.before, "after": answer.after, "schedule_entry": None}
        if (row := rows.get(name)) is not None:
            told["schedule_entry"] = _row_json(row)
        self.out.answer({**told, "ticks": [ticks.tick_json(tick, output=True) for tick in found]})
        return 0

    def _latest(self, history: TickHistory, entry: Entry | None, name: str, now: datetime) -> datetime | None:
        """The entry's latest due moment that was; of an entry no longer declared, that of its last row."""
        from gengfu.schedule.cron import cron_of

        if entry is not None:
            return cron_of(entry).before(now + timedelta(microseconds=1))
        last = history.latest(1, name)
        return last[0].due_at if last else None

    def _tell(self, answer: Answer, found: Sequence[Tick], row: EntryRow | None) -> None:
        from gengfu.cli.output import clean
        from gengfu.cli.parts import ticks

        self.out.say(clean(answer.text[:1].upper() + answer.text[1:]) + ".")
        for tick in found:
            self.out.say("\nThe row of the tick:")
            self.out.record(ticks.tick_json(tick).items())
            printed = (tick.output or "").splitlines()
            if printed:
                self.out.say(
                    f"\nWhat its command printed last ({len(printed[-_SHOWN:])} of {len(printed)} lines kept):"
                )
                for line in printed[-_SHOWN:]:
                    self.out.say(f"  {clean(line)}")
        if row is not None:
            self.out.say("\nThe row of the entry:")
            self.out.record(_row_json(row).items())


_SHOWN = 10
"""The most lines of a command's output that people are shown."""


def _row_json(row: EntryRow) -> Mapping[str, Any]:
    """What the schedule remembers of the entry."""
    from dataclasses import asdict

    values = asdict(row)
    values["turn"] = values.pop("clock_epoch")
    return values

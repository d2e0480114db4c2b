"""The schedule: what it holds, what is due next, what became of ticks and why, pausing, and a forecast."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from gengfu.clock import Clock
from gengfu.errors import NotFound
from gengfu.language import tr
from gengfu.schedule.cron import FAR, cron_of
from gengfu.schedule.entries import Declarations, Entries, load_entries
from gengfu.schedule.forecast import Forecast, clock_notes, forecast
from gengfu.schedule.plan import FormatMoment, paused_because, plan
from gengfu.schedule.policy import Entry
from gengfu.schedule.server_clock import ServerClock
from gengfu.schedule.why import Explanation, Facts, explain
from gengfu.services.json import object_of, to_json
from gengfu.services.times import moment_of, seconds
from gengfu.settings import Settings
from gengfu.store.ticks import EntryRow, Tick, Ticks, TickState, TickStore

if TYPE_CHECKING:
    from gengfu.store.database import Database

__all__ = [
    "DueTick",
    "Entry",
    "EntryRow",
    "EntryStatus",
    "Forecast",
    "Paused",
    "Played",
    "Resumed",
    "ScheduleService",
    "Simulation",
    "Tick",
    "TickState",
    "Upcoming",
    "Why",
    "brief_json",
    "local",
    "paused_because",
]

T = TypeVar("T")

MOST = 200_000
"""The most ticks of one entry that are played."""
_EDGE = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """An entry as it is declared, when it is due next, and how it last ended."""

    entry: Entry
    words: str
    """When it is due, in words."""
    next_due: datetime | None
    """None for one that is disabled, or never due again."""
    row: EntryRow | None
    """What the schedule remembers of it."""
    last: Tick | None


@dataclass(frozen=True, slots=True)
class DueTick:
    """A due moment to come."""

    entry: str
    due_at: datetime
    timezone: str

    @property
    def local(self) -> str:
        """The moment by the clock of the entry's zone."""
        return local(self.due_at, self.timezone)


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The next due moments, and the entries of which none will run."""

    ticks: Sequence[DueTick]
    disabled: Sequence[Entry]
    paused: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Why:
    """Why an entry did or did not run at a time, with the rows as evidence."""

    entry: str
    time: datetime
    answer: Explanation
    row: EntryRow | None
    ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True)
class Paused:
    """A paused entry."""

    row: EntryRow
    changed: bool
    """Whether it was not paused before."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """An entry that goes on."""

    entry: str
    row: EntryRow | None
    """As it was before."""

    @property
    def changed(self) -> bool:
        """Whether it was paused before."""
        return self.row is not None and self.row.paused_at is not None


@dataclass(frozen=True, slots=True)
class Played:
    """The days to come of one entry."""

    entry: Entry
    words: str
    seconds: float | None
    """How long a tick takes; None where nobody knows."""
    judged_from: str
    ticks: Sequence[Forecast]
    notes: Sequence[str]
    """What changes of the zone's clock do to it."""

    @property
    def fates(self) -> Counter[str]:
        """How many ticks have each fate."""
        return Counter(str(tick.fate) for tick in self.ticks)

    @property
    def overlaps(self) -> int | None:
        """How many ticks come due while an earlier one is under way; None where nobody knows how long one takes."""
        return None if self.seconds is None else sum(number for fate, number in self.fates.items() if fate != "runs")


@dataclass(frozen=True, slots=True)
class Simulation:
    """The days to come of all enabled entries."""

    start: datetime
    end: datetime
    entries: Sequence[Played]


class ScheduleService:
    """Answers for the schedule. An entry may be named as its command is: `device:list`."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Declarations,
        clock: Clock,
        open_db: Callable[[], Database | Path],
    ) -> None:
        """`open_db`: gives an SQLite file, or the database, when it is needed."""
        self._settings = settings
        self._catalogue = catalogue
        self._clock = clock
        self._open_db = open_db

    def entries(self) -> Entries:
        """The entries as the commands and `gengfu.toml` have them now, and what keeps others from use."""
        return load_entries(self._settings, self._catalogue)

    def named(self, name: str) -> list[Entry]:
        """The entry of that name, or with the name `all` every one of them.

        Raises:
            NotFound: there is no such entry that can be used; the text names those with near names.
        """
        entries = self.entries().entries
        return list(entries.values()) if name == "all" else [entries[_known(name, entries)]]

    def statuses(self) -> list[EntryStatus]:
        """All entries that can be used, by name."""
        entries, now = self.entries().entries.values(), self._clock()

        def status(ticks: Ticks, entry: Entry) -> EntryStatus:
            cron = cron_of(entry)
            next_due = cron.after(now) if entry.schedule.enabled else None
            last = next(iter(ticks.latest(1, entry.name)), None)
            return EntryStatus(entry, cron.words(), next_due, ticks.entries().get(entry.name), last)

        return self._store().read(lambda ticks: [status(ticks, entry) for entry in entries])

    def next(self, name: str | None, count: int) -> Upcoming:
        """The next `count` due moments of that entry, or of all enabled ones.

        Raises:
            NotFound: there is no such entry.
        """
        now, entries = self._clock(), self.entries().entries
        chosen = [entry for entry in entries.values() if entry.schedule.enabled]
        if name is not None:
            chosen = [entries[_known(name, entries)]]
        due = (_due_after(entry, now) for entry in chosen)
        moments = [DueTick(entry, moment, zone) for moment, entry, zone in islice(heapq.merge(*due), count)]
        rows = self._store().read(Ticks.entries)
        disabled = [entry for entry in chosen if not entry.schedule.enabled]
        paused = [entry for entry in chosen if entry.schedule.enabled and _is_paused(rows.get(entry.name))]
        return Upcoming(moments, disabled, paused)

    def history(self, name: str | None, limit: int, state: TickState | None) -> tuple[str | None, list[Tick]]:
        """The latest ticks of an entry, declared or remembered, or of all, in that state, newest first; and its name.

        Raises:
            NotFound: there is no such entry.
        """
        store = self._store()
        if name is not None:
            name = _known(name, {*self.entries().entries, *store.read(Ticks.entries)})
        return name, store.read(lambda ticks: ticks.latest(limit, name, state))

    def why(self, name: str, time: str | None) -> Why | str:
        """Why an entry did or did not run at a time; its name alone where it has never been due.

        Args:
            time: by the clock of its zone, as `moment_of` reads it; None for its latest due moment.

        Raises:
            NotFound: there is no such entry.
            UsageError: that is no time.
        """
        return self._store().read(lambda ticks: self._why(ticks, name, time))

    def _why(self, ticks: Ticks, asked: str, time: str | None) -> Why | str:
        entries, rows, now = self.entries().entries, ticks.entries(), self._clock()
        name = _known(asked, {*entries, *rows})
        entry = entries.get(name)
        zone = (entry.schedule.timezone if entry is not None else None) or self._settings.gengfu_timezone
        moment = moment_of(time, zone, now) if time else _latest(ticks, entry, name, now)
        if moment is None:
            return name
        found = ticks.at(name, moment)
        facts = Facts(name, entry, rows.get(name), bool(rows), found, ticks.first_due(name))
        return Why(name, moment, explain(facts, moment, now, lambda when: local(when, zone)), rows.get(name), found)

    def pause(self, name: str, by: str, reason: str | None) -> list[Paused]:
        """Pauses an entry, or with the name `all` every one; one that is paused already stays as it is.

        Raises:
            NotFound: there is no such entry.
            StoreError: the database cannot do it.
        """
        entries = self.named(name)

        def work(ticks: Ticks, now: datetime) -> list[Paused]:
            changed = {entry.name: ticks.pause(entry.name, by, reason, now) for entry in entries}
            rows = ticks.entries()
            return [Paused(rows[entry.name], changed[entry.name]) for entry in entries]

        return self._write(work)

    def resume(self, name: str, by: str, show: FormatMoment) -> list[Resumed]:
        """Lets an entry go on, or with the name `all` every one. What came due until now came due in the pause, though
        no scheduler may have looked: it is recorded as skipped.

        Raises:
            NotFound: there is no such entry.
            StoreError: the database cannot do it.
        """
        entries = self.named(name)

        def work(ticks: Ticks, now: datetime) -> list[Resumed]:
            before = ticks.entries()
            for entry in entries:
                row = before.get(entry.name)
                if not _is_paused(row):
                    continue
                found = plan(entry, cron_of(entry), row, now, show)
                if found is not None and ticks.advance(entry.name, row, found.row):
                    for new in found.ticks:
                        ticks.record(entry.name, found.row.clock_epoch, entry.argv, new, by, now)
                ticks.resume(entry.name)
            return [Resumed(entry.name, before.get(entry.name)) for entry in entries]

        return self._write(work)

    def simulate(self, days: int, start: str | None) -> Simulation:
        """Plays the ticks of so many days, each taking as long as in the past.

        Args:
            start: when they begin, as `moment_of` reads it; None for now.

        Raises:
            UsageError: that is no time.
        """
        now = self._clock()
        first = moment_of(start, self._settings.gengfu_timezone, now) if start is not None else now
        last = first + timedelta(days=days)
        enabled = [entry for entry in self.entries().entries.values() if entry.schedule.enabled]
        return self._store().read(
            lambda ticks: Simulation(first, last, [_play(entry, ticks, first, last) for entry in enabled])
        )

    def _store(self) -> TickStore:
        return TickStore(self._open_db())

    def _write(self, work: Callable[[Ticks, datetime], T]) -> T:
        """Does the work in one transaction, by the clock of the schedule."""
        store = self._store()
        now = ServerClock(store, self._clock)()
        return store.write(lambda ticks: work(ticks, now))


def local(moment: datetime, zone: str) -> str:
    """A moment as a clock of that zone shows it, to the second, with the offset from UTC."""
    return moment.astimezone(ZoneInfo(zone)).isoformat(" ", "seconds")


def brief_json(tick: Tick) -> dict[str, Any]:
    """A tick as JSON, without what its command printed."""
    told = object_of(tick, without=("id", "lease_id", "fence", "birth", "cancel", "run_id", "job_id"))
    del told["output"]
    told |= {"tick": tick.id, "run": tick.run_id, "job": tick.job_id}
    return {**told, "seconds": seconds(tick.started_at, tick.finished_at)}


def _known(name: str, names: Iterable[str]) -> str:
    """The entry's name, which may be written as its command: `device:list`.

    Raises:
        NotFound: there is no such entry that can be used; the text names those with near names.
    """
    there = sorted(names)
    for spelling in (name, re.sub(r"[^A-Za-z0-9_]", "_", name)):
        if spelling in there:
            return spelling
    from difflib import get_close_matches

    near = get_close_matches(name.replace(":", "_"), there, 3, 0.5)
    hint = (
        tr("did you mean {near}?", near=near)
        if near
        else tr("there are: {there}", there=there)
        if there
        else tr("there is none")
    )
    raise NotFound(tr("there is no schedule entry {name!r} that can be used; {hint}", name=name, hint=hint))


def _is_paused(row: EntryRow | None) -> bool:
    return row is not None and row.paused_at is not None


def _due_after(entry: Entry, now: datetime) -> Iterable[tuple[datetime, str, str]]:
    """Its due moments with its name and zone, one after the other."""
    cron = cron_of(entry)
    return ((moment, entry.name, cron.zone) for moment in cron.between(now, now + FAR))


def _latest(ticks: Ticks, entry: Entry | None, name: str, now: datetime) -> datetime | None:
    """The entry's latest due moment that was; of an entry no longer declared, that of its last row."""
    if entry is not None:
        return cron_of(entry).before(now + _EDGE)
    last = ticks.latest(1, name)
    return last[0].due_at if last else None


def _play(entry: Entry, ticks: Ticks, first: datetime, last: datetime) -> Played:
    cron = cron_of(entry)
    # What is due just when the days begin is one of their ticks.
    due = list(islice(cron.between(first - _EDGE, last - _EDGE), MOST + 1))
    took, source = _seconds(entry, ticks)
    notes = list(clock_notes(cron, first, last))
    if len(due) > MOST:
        notes.append(
            tr("only the first {most} ticks are played, up to {due}", most=MOST, due=local(due[MOST - 1], cron.zone))
        )
    played = list(forecast(due[:MOST], entry.schedule.overlap, took))
    return Played(entry, cron.words(), took, source, played, notes)


def _seconds(entry: Entry, ticks: Ticks) -> tuple[float | None, str]:
    """How long a tick keeps the next one from starting, and what that is judged from."""
    took, source = ticks.seconds(entry.name), "ticks"
    if entry.mirrors is not None:
        runs = ticks.run_seconds(*entry.mirrors)
        if runs is not None and runs >= (took or 0.0):
            took, source = runs, "runs"
    return took, source if took is not None else "nothing yet"


def _entry_json(entry: Entry, words: str) -> Mapping[str, Any]:
    told = {"name": entry.name, "command": list(entry.argv), "source": entry.source, "words": words}
    return {**told, **object_of(entry.schedule, without=("command",))}


@to_json.register(Tick)
def _tick(tick: Tick) -> dict[str, Any]:
    return {**brief_json(tick), "output": tick.output}


@to_json.register(EntryStatus)
def _status(status: EntryStatus) -> dict[str, Any]:
    row, paused = status.row, None
    if row is not None and row.paused_at is not None:
        paused = {"at": to_json(row.paused_at), "by": row.paused_by, "reason": row.pause_reason}
    told = {**_entry_json(status.entry, status.words), "next_due": to_json(status.next_due), "paused": paused}
    return {**told, "last": brief_json(status.last) if status.last is not None else None}


@to_json.register(DueTick)
def _due(tick: DueTick) -> dict[str, Any]:
    return {**object_of(tick), "local": tick.local}


@to_json.register(Why)
def _why(why: Why) -> dict[str, Any]:
    told = {"entry": why.entry, "time": why.time, "verdict": why.answer.outcome, "answer": why.answer.text}
    told |= {"before": why.answer.before, "after": why.answer.after, "schedule_entry": why.row, "ticks": why.ticks}
    return {name: to_json(value) for name, value in told.items()}


@to_json.register(Paused)
def _paused(paused: Paused) -> dict[str, Any]:
    row = paused.row
    told = {"entry": row.name, "paused": True, "changed": paused.changed, "paused_at": to_json(row.paused_at)}
    return {**told, "paused_by": row.paused_by, "reason": row.pause_reason}


@to_json.register(Resumed)
def _resumed(resumed: Resumed) -> dict[str, Any]:
    return {"entry": resumed.entry, "paused": False, "changed": resumed.changed}


@to_json.register(Played)
def _played(played: Played) -> dict[str, Any]:
    told = {**_entry_json(played.entry, played.words), "seconds": played.seconds, "judged_from": played.judged_from}
    told |= {"count": len(played.ticks), "overlaps": played.overlaps, "fates": dict(played.fates)}
    return {**told, "notes": list(played.notes), "ticks": to_json(played.ticks)}

"""What ticks and entries look like, and how the schedule's commands are told of an entry and of a time."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gengfu.app import App
from gengfu.cli.output import Column, Output
from gengfu.cli.parts import scheduling
from gengfu.errors import UsageError
from gengfu.schedule.cron import clock_changes, cron_of
from gengfu.schedule.entries import Entries
from gengfu.schedule.policy import Entry
from gengfu.services.times import seconds
from gengfu.store.tick_rows import EntryRow, Tick

_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def usable(app: App, out: Output) -> Entries:
    """The schedule's entries; what keeps others from use is noted."""
    found = scheduling.load(app)
    for problem in found.problems:
        out.note(f"warning: {problem}")
    return found


def local(moment: datetime, zone: str) -> str:
    """A moment as a clock of that zone shows it, to the second, with the offset from UTC."""
    return moment.astimezone(ZoneInfo(zone)).isoformat(" ", "seconds")


def time_of(text: str, zone: str, now: datetime) -> datetime:
    """`10:05`, the last one that was; `2026-11-22 10:05`; or with an offset, `2026-11-22T10:05:00+08:00`. Where it
    names none, it is in that zone: of two equal times of a repeated hour the first, and for one in a skipped hour the
    end of that hour, to which fixed times are put off.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    try:
        if clock is None:
            found = datetime.fromisoformat(text)
            if not 1970 <= found.year < 2200:
                raise ValueError
            return _placed(found, zone) if found.tzinfo is None else found.astimezone(UTC)
        hour, minute, second = (int(part or 0) for part in clock.groups())
        today = now.astimezone(ZoneInfo(zone)).replace(hour=hour, minute=minute, second=second, microsecond=0)
        clock_time = today.replace(tzinfo=None)
        moment = _placed(clock_time, zone)
        return moment if moment <= now else _placed(clock_time - timedelta(days=1), zone)
    except (ValueError, OverflowError):
        raise UsageError(
            f'{text!r} is no time; for example: 10:05, "2026-01-31 10:05" or 2026-01-31T10:05+08:00'
        ) from None


def _placed(clock_time: datetime, zone: str) -> datetime:
    """The moment at which that zone's clock shows it."""
    moment = clock_time.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    day = timedelta(days=1)
    for change in clock_changes(zone, moment - day, moment + day):
        if change.before <= clock_time < change.after:
            return change.moment
    return moment


def tick_json(tick: Tick, *, output: bool = False) -> dict[str, Any]:
    """A tick for a program; what its command printed only if that is wanted."""
    values = asdict(tick)
    for internal in ("lease_id", "fence", "birth", "cancel", *(() if output else ("output",))):
        del values[internal]
    values["command"], values["turn"] = list(tick.command), values.pop("clock_epoch")
    values["run"], values["job"] = values.pop("run_id"), values.pop("job_id")
    return {"tick": values.pop("id"), **values, "seconds": seconds(tick.started_at, tick.finished_at)}


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry for a program, as it is declared."""
    values = asdict(entry.schedule)
    del values["command"]
    told = {"name": entry.name, "command": list(entry.argv), "source": entry.source, "words": cron_of(entry).words()}
    return {**told, **values}


def pause_json(row: EntryRow | None) -> dict[str, Any] | None:
    """Since when, by whom and why the entry is paused; None if it is not."""
    if row is None or row.paused_at is None:
        return None
    return {"at": row.paused_at, "by": row.paused_by, "reason": row.pause_reason}


TICK_COLUMNS = (
    *(Column("due"), Column("entry"), Column("state"), Column("ticks", right=True), Column("seconds", right=True)),
    Column("reason", wraps=True),
)


def tick_line(tick: Tick) -> list[object]:
    """A tick as a row of a table with `TICK_COLUMNS`."""
    took = seconds(tick.started_at, tick.finished_at)
    return [tick.due_at, tick.entry, tick.state, tick.covers, took, reason_of(tick)]


def reason_of(tick: Tick) -> str | None:
    """Why it ended as it did; of a command that failed without a word, its exit code."""
    return tick.reason or (f"exit code {tick.exit_code}" if tick.exit_code else None)

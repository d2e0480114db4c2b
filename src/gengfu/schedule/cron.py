"""When a cron expression is due, in any time zone, across changes of its clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.schedule.cron_words import words_of
from gengfu.schedule.policy import Entry

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Short spellings, as in crontab(5)."""

FAR = timedelta(days=50 * 366)
"""What is not due within this time counts as never due."""

_SECOND = timedelta(seconds=1)
_LOOK = timedelta(days=1)
"""How far one look for a change of the zone's clock reaches: the clock of no zone changes twice in so short a time, so
that two looks which find the same offset have no other between them."""

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression, read in a time zone, by the rules of Debian's cron(8).

    An expression whose minute or hour begins with `*` is due whenever the zone's clock shows a time that matches: in an
    hour that is repeated it is due in both, in one that is skipped it is not. One with a fixed minute and hour is due
    once a day even so: what falls into a skipped hour is due right after it, what falls into a repeated one is due in
    the first. Expressions with six fields, of which the first is the second, are none of Debian's: they always go by
    the clock.

    What is due does not depend on where one begins to look: adjoining intervals have the moments of their union.
    """

    expression: str
    zone: str
    _fields: str = field(init=False, repr=False, compare=False)
    _place: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises ConfigError where the expression or the zone is none; the text says what is wrong with an example."""
        object.__setattr__(self, "_fields", _fields(self.expression))
        try:
            place = ZoneInfo(self.zone)
        except (ValueError, OSError, LookupError, TypeError):
            raise ConfigError(
                tr("{zone!r} is not a time zone that this machine knows; for example: Asia/Shanghai", zone=self.zone)
            ) from None
        object.__setattr__(self, "_place", place)

    def after(self, moment: datetime) -> datetime | None:
        """The next due moment strictly after `moment`, in UTC; None if there is none within 50 years."""
        return next(self.between(moment, moment + FAR), None)

    def before(self, moment: datetime) -> datetime | None:
        """The last due moment strictly before `moment`, in UTC; None if there was none within 50 years."""
        end, reach = moment - timedelta(microseconds=1), timedelta(minutes=2)
        while reach < 30 * FAR:
            last = deque(self.between(end - min(reach, FAR), end), maxlen=1)
            if last:
                return last[0]
            reach *= 30
        return None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The due moments after `after`, up to and including `until`: in UTC, ascending, each once."""
        start, end = after.astimezone(UTC), until.astimezone(UTC)
        return self._by_date(start, end) if self.goes_by_date else self._by_clock(start, end)

    @property
    def goes_by_date(self) -> bool:
        """Whether it is due at its times once a day, whatever is done to the clock on that day."""
        return self.is_fixed and len(self._fields.split()) == 5

    @property
    def is_fixed(self) -> bool:
        """Whether it names its minutes and hours, as a daily job does; cron(8) does not repeat such a job after a small
        step back of the clock."""
        *_, minute, hour, _day, _month, _weekday = self._fields.split()
        return not minute.startswith("*") and not hour.startswith("*")

    def words(self) -> str:
        """The expression in words: "every 5 minutes", "at 02:00 every day"."""
        return words_of(self._fields)

    def _by_date(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The moments of an expression that is due at fixed times of the day."""
        for local in CronSim(self._fields, after.astimezone(self._place)):
            due = local.astimezone(UTC)
            if due > until:
                return
            # In the second of two equal hours it begins with what was due in the first.
            if due > after:
                yield due

    def _by_clock(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The moments at which the zone's clock shows what matches: one stretch without a change of it at a time."""
        begin: datetime | None = after.replace(microsecond=0) + _SECOND
        while begin is not None and begin <= until:
            offset = _offset(self._place, begin)
            seen, begin = begin, None
            for local in CronSim(self._fields, (seen + offset - _SECOND).replace(tzinfo=None)):
                due = local.replace(tzinfo=UTC) - offset
                begin = _change(self._place, seen, min(due, until))
                if begin is not None:
                    break
                if due > until:
                    return
                yield due
                seen = due


def cron_of(entry: Entry) -> Cron:
    """When a schedule entry is due."""
    assert entry.schedule.timezone is not None
    return Cron(entry.schedule.cron, entry.schedule.timezone)


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A moment at which a zone's clock is put forward or back, as in spring and in autumn."""

    moment: datetime
    """The first second of the new time, in UTC."""
    before: datetime
    """What the clock would have shown at that moment, without a zone ..."""
    after: datetime
    """... and what it shows."""


def clock_changes(zone: str, after: datetime, until: datetime) -> Iterator[ClockChange]:
    """The changes of the zone's clock after `after`, up to and including `until`."""
    place = ZoneInfo(zone)
    moment = _change(place, after.replace(microsecond=0), until)
    while moment is not None:
        new, old = _offset(place, moment), _offset(place, moment - _SECOND)
        yield ClockChange(moment, (moment + old).replace(tzinfo=None), (moment + new).replace(tzinfo=None))
        moment = _change(place, moment, until)


def _change(place: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first second after `start`, up to and including `end`, at which the zone's clock is not as at `start`."""
    offset = _offset(place, start)
    while start < end:
        look = min(start + _LOOK, end)
        if _offset(place, look) != offset:
            same, other = 0, int((look - start).total_seconds())
            while other - same > 1:
                middle = (same + other) // 2
                if _offset(place, start + timedelta(seconds=middle)) == offset:
                    same = middle
                else:
                    other = middle
            return start + timedelta(seconds=other)
        start = look
    return None


def _offset(place: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(place).utcoffset()
    assert offset is not None
    return offset


def _fields(expression: str) -> str:
    """The five or six fields. Raises ConfigError where it is no expression."""
    text = " ".join(expression.split())
    fields = ALIASES.get(text.lower(), text)
    if fields.startswith("@"):
        raise _wrong(expression, tr("is none of {aliases}", aliases=ALIASES))
    if len(fields) > _LONGEST:
        raise _wrong(expression[:20] + "...", tr("is longer than {longest} characters", longest=_LONGEST))
    count = len(fields.split())
    if count not in (5, 6):
        raise _wrong(
            expression,
            tr("has {count} fields, not 5 (or 6, the first for seconds)", count=count)
            if count != 1
            else "has 1 field, not 5 (or 6, the first for seconds)",
        )
    try:
        CronSim(fields, datetime(2000, 1, 1))  # noqa: DTZ001 (no zone is at work here)
    except (CronSimError, ValueError, AssertionError) as error:
        raise _wrong(expression, tr("cannot be read: {error}", error=str(error).lower() or "bad field")) from None
    return fields


def _wrong(expression: object, wrong: str) -> ConfigError:
    return ConfigError(
        tr(
            'the cron expression {expression!r} {wrong}; for example: "*/5 * * * *" or "@daily"',
            expression=expression,
            wrong=wrong,
        )
    )

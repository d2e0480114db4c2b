"""What a person means by a time, and how long something took."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gengfu.errors import UsageError

_SPAN = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def moment_of(text: str, zone: str, now: datetime) -> datetime:
    """`90m`, `24h`, `7d` or `2w` ago; `10:05`, the last one that was; `2026-11-22 10:05`, or the day alone; or with an
    offset, `2026-11-22T10:05:00+08:00`. Where it names none, it is in that zone: of two equal times of a repeated hour
    the first, and for one in a skipped hour the end of that hour, to which fixed times are put off.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip()
    span, clock = _SPAN.fullmatch(text), _CLOCK.fullmatch(text)
    try:
        if span is not None:
            return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        if clock is not None:
            return _last(clock, zone, now)
        found = datetime.fromisoformat(text)
        if not 1970 <= found.year < 2200:
            raise ValueError
        return _placed(found, zone) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f'{text!r} is no time; for example: 90m, 7d, 10:05, 2026-01-31, "2026-01-31 10:05"'
            " or 2026-01-31T10:05+08:00"
        ) from None


def _last(clock: re.Match[str], zone: str, now: datetime) -> datetime:
    """The last moment at which that zone's clock showed this."""
    from zoneinfo import ZoneInfo

    hour, minute, second = (int(part or 0) for part in clock.groups())
    today = now.astimezone(ZoneInfo(zone)).replace(hour=hour, minute=minute, second=second, microsecond=0, tzinfo=None)
    moment = _placed(today, zone)
    return moment if moment <= now else _placed(today - timedelta(days=1), zone)


def _placed(clock_time: datetime, zone: str) -> datetime:
    """The moment at which that zone's clock shows it."""
    from zoneinfo import ZoneInfo

    from gengfu.schedule.cron import clock_changes

    moment = clock_time.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    day = timedelta(days=1)
    for change in clock_changes(zone, moment - day, moment + day):
        if change.before <= clock_time < change.after:
            return change.moment
    return moment


def seconds(start: datetime | None, end: datetime | None) -> float | None:
    """How long it took, to the hundredth; None while it goes on."""
    return None if start is None or end is None else round((end - start).total_seconds(), 2)

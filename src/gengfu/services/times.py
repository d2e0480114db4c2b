"""What a person means by a time, in English or Chinese, and how long something took."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time

from gengfu.durations import duration
from gengfu.errors import UsageError
from gengfu.language import tr

_AGO = re.compile(r"(.+?) ?(?:ago|之前|以前|前)")
_CLOCK = re.compile(r"(?P<day>.*?) ?(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?")
_SPOKEN_CLOCK = re.compile(r"(?<=[0-9])点(?:(?P<half>半)|(?P<minutes>[0-9]{1,2})分?)?")
_DATE = re.compile(r"(?:([0-9]{4})[-/年])?([0-9]{1,2})[-/月]([0-9]{1,2})日?")
_DAYS_AGO = {
    **dict.fromkeys(("today", "今天", "今日"), 0),
    **dict.fromkeys(("yesterday", "昨天", "昨日"), 1),
    **dict.fromkeys(("the day before yesterday", "前天", "前日"), 2),
    "大前天": 3,
    **dict.fromkeys(("tomorrow", "明天", "明日"), -1),
}
_WEEKS_AGO = {
    **dict.fromkeys(("this week", "本周", "这周", "本星期"), 0),
    **dict.fromkeys(("last week", "上周", "上星期", "上个星期"), 1),
}
_MONTHS_AGO = {
    **dict.fromkeys(("this month", "本月", "这个月"), 0),
    **dict.fromkeys(("last month", "上月", "上个月"), 1),
}


def moment_of(text: str, zone: str, now: datetime) -> datetime:
    """A time as a person writes it; where it names no offset, it is by the clock of that zone:

    - so long ago: `90m`, `24h`, `3 days ago`, `3天前`, `半小时前`;
    - a day, from its first moment: `today`, `昨天`, `前天`, `2026-11-20`, or the last `11月20日` that was;
    - a week from its Monday, a month from its first day: `last week`, `上周`, `this month`, `本月`;
    - a time of such a day: `昨天 09:00`, `2026-11-20 09:00`; without a day the last one that was: `09:00`, `9点`;
    - ISO 8601: `2026-11-20T09:00+08:00`.

    Of two equal times of a repeated hour it is the first, and for one in a skipped hour the end of that hour, to which
    fixed times are put off.

    Raises:
        UsageError: it is none of these.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    plain = _SPOKEN_CLOCK.sub(lambda found: ":30" if found["half"] else f":{found['minutes'] or 0:0>2}", plain)
    try:
        return _moment(plain, zone, now)
    except (ValueError, OverflowError):
        raise UsageError(
            tr(
                "{text!r} is no time; for example: 90m, 7d, 10:05, yesterday, 昨天 09:00, last week, 3天前, "
                '2026-01-31, "2026-01-31 10:05" or 2026-01-31T10:05+08:00',
                text=text,
            )
        ) from None


def span_of(text: str) -> timedelta:
    """A length of time as a person writes it: `3d`, `36h`, `2 weeks`, `3天`, `半小时`.

    Raises:
        UsageError: it is none.
    """
    seconds = duration(unicodedata.normalize("NFKC", text))
    if seconds is None or seconds > timedelta.max.total_seconds() / 1_000:
        raise UsageError(
            tr("{text!r} is no length of time; for example: 90m, 36h, 3d, 2 weeks, 3天, 半小时", text=text)
        )
    return timedelta(seconds=seconds)


def _moment(text: str, zone: str, now: datetime) -> datetime:
    from zoneinfo import ZoneInfo

    ago = _AGO.fullmatch(text)
    seconds = duration(ago[1] if ago is not None else text)
    if seconds is not None:
        return now - timedelta(seconds=seconds)
    today = now.astimezone(ZoneInfo(zone)).date()
    clock = _CLOCK.fullmatch(text)
    day = _day(text if clock is None else clock["day"], today)
    if day is not None:
        return _placed(datetime.combine(day, clock_time() if clock is None else _clock_time(clock)), zone)
    if clock is not None and not clock["day"]:
        last = _placed(datetime.combine(today, _clock_time(clock)), zone)
        return last if last <= now else _placed(datetime.combine(today - timedelta(days=1), _clock_time(clock)), zone)
    found = datetime.fromisoformat(text.upper())
    return _placed(found, zone) if found.tzinfo is None else found.astimezone(UTC)


def _day(text: str, today: date) -> date | None:
    """The day that a text names, if it is one of the words and forms of a day."""
    if text in _DAYS_AGO:
        return today - timedelta(days=_DAYS_AGO[text])
    if text in _WEEKS_AGO:
        return today - timedelta(days=today.weekday(), weeks=_WEEKS_AGO[text])
    if text in _MONTHS_AGO:
        return (today.replace(day=1) - timedelta(days=_MONTHS_AGO[text])).replace(day=1)
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    month, day = int(found[2]), int(found[3])
    if found[1] is not None:
        return date(int(found[1]), month, day)
    this_year = date(today.year, month, day)
    return this_year if this_year <= today else date(today.year - 1, month, day)


def _clock_time(found: re.Match[str]) -> clock_time:
    return clock_time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))


def _placed(local: datetime, zone: str) -> datetime:
    """The moment at which that zone's clock shows it."""
    from zoneinfo import ZoneInfo

    from gengfu.schedule.cron import clock_changes

    if not 1970 <= local.year < 2200:
        raise ValueError
    moment = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    day = timedelta(days=1)
    for change in clock_changes(zone, moment - day, moment + day):
        if change.before <= local < change.after:
            return change.moment
    return moment


def seconds(start: datetime | None, end: datetime | None) -> float | None:
    """How long it took, to the hundredth; None while it goes on."""
    return None if start is None or end is None else round((end - start).total_seconds(), 2)

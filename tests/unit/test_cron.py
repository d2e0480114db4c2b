"""When cron expressions are due: in words, at fixed times, and where a zone's clock is changed."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from documents import ROOT, rows
from gengfu.errors import ConfigError
from gengfu.schedule.cron import ALIASES, Cron, clock_changes

ZONES = sorted(available_timezones() - {"localtime", "posixrules"})
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(expression: str, zone: str, first: str, last: str) -> list[str]:
    """What is due in these hours of UTC, as the zone's clock shows it."""
    found = Cron(expression, zone).between(utc(first), utc(last))
    return [moment.astimezone(ZoneInfo(zone)).strftime("%d %H:%M:%S%z") for moment in found]


@functools.cache
def changes(zone: str) -> list[datetime]:
    """The days of UTC, from 1975 to 2040, in which the zone's clock is changed."""
    place, found = ZoneInfo(zone), []
    day, end = datetime(1975, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    before = day.astimezone(place).utcoffset()
    while day < end:
        day += timedelta(days=1)
        after = day.astimezone(place).utcoffset()
        if after != before:
            found.append(day - timedelta(days=1))
        before = after
    return found


@st.composite
def moments(draw: st.DrawFn, zone: str) -> datetime:
    """A moment, most often near a change of the zone's clock."""
    near = changes(zone)
    if near and draw(st.integers(0, 4)):
        return draw(st.sampled_from(near)) + timedelta(seconds=draw(st.integers(-3600, 26 * 3600)))
    return datetime(1975, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 60 * 365 * 86400)))


MINUTES = st.sampled_from(["*", "*/5", "*/15", "*/7", "0", "45", "0,30", "5-50/20", "59"])
HOURS = st.sampled_from(["*", "*/2", "*/7", "0", "1", "2", "3", "23", "0-4", "1,2,3"])
DAYS = st.sampled_from(
    ["* * *", "* * *", "* * *", "1,15 * *", "* * SUN", "L * *", "* 3,4,9-11 *", "25-31 * 7", "LW * *"]
)
EXPRESSIONS = st.builds("{} {} {}".format, MINUTES, HOURS, DAYS)


@st.composite
def places(draw: st.DrawFn) -> tuple[Cron, datetime]:
    zone = draw(st.sampled_from(ZONES))
    expression = draw(EXPRESSIONS)
    if draw(st.integers(0, 5)) == 0:
        expression = f"{draw(st.sampled_from(['0', '30', '*/20', '15,45']))} {expression}"
    return Cron(expression, zone), draw(moments(zone))


def expected(cron: Cron, after: datetime, until: datetime) -> list[datetime]:
    """What is due by the rule itself, minute by minute, for five fields."""
    fields = CronSim(cron.expression, datetime(2000, 1, 1))  # noqa: DTZ001
    place = ZoneInfo(cron.zone)

    def matches(clock: datetime) -> bool:
        day = clock.date()
        there = clock.minute in fields.minutes and clock.hour in fields.hours and day.month in fields.months
        return there and fields.match_day(day)

    found = set()
    if cron.is_fixed:
        clock = after.astimezone(place).replace(second=0, microsecond=0, tzinfo=None) - timedelta(days=2)
        last = until.astimezone(place).replace(tzinfo=None) + timedelta(days=2)
        while clock <= last:
            if matches(clock):
                shown = clock
                while (there := shown.replace(tzinfo=place).astimezone(UTC)).astimezone(place).replace(
                    tzinfo=None
                ) != shown:
                    shown += MINUTE
                found.add(there)
            clock += MINUTE
    else:
        moment = after.replace(second=0, microsecond=0)
        while moment <= until:
            if matches(moment.astimezone(place)):
                found.add(moment)
            moment += MINUTE
    return sorted(moment for moment in found if after < moment <= until)


@settings(max_examples=150)
@given(zone=st.sampled_from(ZONES), expression=EXPRESSIONS, data=st.data(), hours=st.integers(1, 40))
def test_what_is_due_is_what_the_rule_says(zone: str, expression: str, data: st.DataObject, hours: int) -> None:
    cron, after = Cron(expression, zone), data.draw(moments(zone))
    until = after + timedelta(hours=hours)
    assert list(cron.between(after, until)) == expected(cron, after, until)


@settings(max_examples=400)
@given(place=places(), lengths=st.lists(st.integers(1, 20_000), min_size=2, max_size=5), part=st.integers(0, 999_999))
@example(place=(Cron("45 * * * *", "Australia/Lord_Howe"), utc("2026-04-04 14:00")), lengths=[3000, 1500, 3000], part=0)
@example(
    place=(Cron("*/10 0-5 * * *", "Australia/Lord_Howe"), utc("2026-04-04 14:00")), lengths=[3601, 7200, 9000], part=0
)
@example(place=(Cron("*/10 0 * * *", "Africa/Cairo"), utc("2026-04-23 20:00")), lengths=[7200, 90_000], part=0)
@example(place=(Cron("45 1 * * *", "Europe/London"), utc("2026-10-25 00:00")), lengths=[3600, 600, 90_000], part=0)
@example(place=(Cron("0 2 * * *", "Pacific/Apia"), utc("2011-12-29 09:00")), lengths=[3600, 90_000, 90_000], part=0)
def test_adjoining_intervals_have_what_their_union_has(
    place: tuple[Cron, datetime], lengths: list[int], part: int
) -> None:
    cron, start = place
    start += timedelta(microseconds=part)
    ends = [start]
    for length in lengths:
        ends.append(ends[-1] + timedelta(seconds=length))
    whole = list(cron.between(start, ends[-1]))
    pieces = [moment for first, last in pairwise(ends) for moment in cron.between(first, last)]
    assert pieces == whole
    assert whole == sorted(set(whole))
    assert all(start < moment <= ends[-1] and moment.tzinfo is UTC for moment in whole)


@settings(max_examples=200)
@given(place=places())
def test_one_moment_after_the_other_is_all_of_them(place: tuple[Cron, datetime]) -> None:
    cron, moment = place
    until = moment + timedelta(hours=9)
    whole, found = list(cron.between(moment, until))[:40], []
    while len(found) < len(whole):
        following = cron.after(moment)
        assert following is not None
        assert following > moment
        found.append(following)
        moment = following
    assert found == whole


def test_a_fixed_time_in_a_skipped_hour_is_due_once_right_after_it() -> None:
    spring = ("2026-03-28 12:00", "2026-03-29 12:00")
    assert local("30 2 * * *", "Europe/Berlin", *spring) == ["29 03:00:00+0200"]
    assert local("0,15,30 2 * * *", "Europe/Berlin", *spring) == ["29 03:00:00+0200"]
    assert local("30 2,3 * * *", "Europe/Berlin", *spring) == ["29 03:00:00+0200", "29 03:30:00+0200"]
    assert local("0 2,3 * * *", "Europe/Berlin", *spring) == ["29 03:00:00+0200"]
    cairo = ("2026-04-23 00:00", "2026-04-24 12:00")
    assert local("15 0 * * *", "Africa/Cairo", *cairo) == ["24 01:00:00+0300"]


def test_a_fixed_time_in_a_repeated_hour_is_due_once_in_the_first() -> None:
    autumn = ("2026-10-24 12:00", "2026-10-25 12:00")
    assert local("30 2 * * *", "Europe/Berlin", *autumn) == ["25 02:30:00+0200"]
    assert local("0 2,3 * * *", "Europe/Berlin", *autumn) == ["25 02:00:00+0200", "25 03:00:00+0100"]


def test_what_has_a_wildcard_goes_by_the_clock() -> None:
    assert local("30 * * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 02:00") == [
        "29 01:30:00+0100",
        "29 03:30:00+0200",
    ]
    assert local("30 * * * *", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 02:00") == [
        "25 02:30:00+0200",
        "25 02:30:00+0100",
    ]
    twice = local("*/10 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "2026-10-25 12:00")
    assert len(twice) == 12
    assert local("*/10 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-29 12:00") == []


def test_a_shift_of_half_an_hour_makes_no_moment_slip() -> None:
    assert local("45 * * * *", "Australia/Lord_Howe", "2026-04-04 14:00", "2026-04-04 16:30") == [
        "05 01:45:00+1100",
        "05 01:45:00+1030",
        "05 02:45:00+1030",
    ]
    assert local("*/30 2 * * *", "Australia/Lord_Howe", "2026-10-03 14:00", "2026-10-03 17:00") == ["04 02:30:00+1100"]


def test_a_date_that_a_zone_skipped_has_its_fixed_job_before_the_next_date() -> None:
    assert local("0 2 * * *", "Pacific/Apia", "2011-12-28 20:00", "2012-01-01 00:00") == [
        "29 02:00:00-1000",
        "31 00:00:00+1400",
        "31 02:00:00+1400",
        "01 02:00:00+1400",
    ]


def test_six_fields_begin_with_the_second_and_go_by_the_clock() -> None:
    assert local("*/20 * * * * *", "Asia/Shanghai", "2026-01-01 00:00", "2026-01-01 00:01") == [
        "01 08:00:20+0800",
        "01 08:00:40+0800",
        "01 08:01:00+0800",
    ]
    assert local("0 30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "2026-10-25 12:00") == [
        "25 02:30:00+0200",
        "25 02:30:00+0100",
    ]


def test_a_moment_is_due_strictly_after_its_start_and_up_to_its_end() -> None:
    cron = Cron("* * * * *", "UTC")
    noon = utc("2026-01-01 12:00")
    assert list(cron.between(noon - timedelta(microseconds=1), noon)) == [noon]
    assert list(cron.between(noon, noon)) == []
    assert list(cron.between(noon, noon + MINUTE)) == [noon + MINUTE]
    assert list(cron.between(noon, noon - MINUTE)) == []


@settings(max_examples=150)
@given(place=places())
def test_what_was_due_before_is_found_again(place: tuple[Cron, datetime]) -> None:
    cron, moment = place
    following = cron.after(moment)
    assert following is not None
    before = cron.before(following)
    assert before is None or before <= moment < following
    assert cron.before(following + timedelta(microseconds=1)) == following
    assert before is None or cron.after(before) == following


def test_changes_of_a_clock_are_found_to_the_second() -> None:
    year = utc("2026-01-01 00:00"), utc("2027-01-01 00:00")
    found = [
        (change.moment, f"{change.before:%H:%M} {change.after:%H:%M}")
        for change in clock_changes("Europe/Berlin", *year)
    ]
    assert found == [(utc("2026-03-29 01:00"), "02:00 03:00"), (utc("2026-10-25 01:00"), "03:00 02:00")]
    assert list(clock_changes("Asia/Shanghai", *year)) == []
    (lost,) = clock_changes("Pacific/Apia", utc("2011-12-25 00:00"), utc("2012-01-05 00:00"))
    assert lost.after - lost.before == timedelta(days=1)


@pytest.mark.parametrize(("alias", "fields"), ALIASES.items())
def test_short_spellings_mean_their_fields(alias: str, fields: str) -> None:
    start = utc("2026-02-03 04:05")
    assert Cron(alias, "Asia/Shanghai").after(start) == Cron(fields, "Asia/Shanghai").after(start)
    assert Cron(alias.upper(), "Asia/Shanghai").is_fixed is Cron(fields, "Asia/Shanghai").is_fixed


@pytest.mark.parametrize(
    ("expression", "fixed"),
    [
        ("0 2 * * *", True),
        ("0,30 1-5 * * 1-5", True),
        ("@daily", True),
        ("@hourly", False),
        ("*/5 * * * *", False),
        ("*/5 2 * * *", False),
        ("10 0 2 * * *", True),
        ("*/10 * * * * *", False),
    ],
)
def test_fixed_is_what_names_its_minutes_and_hours(expression: str, fixed: bool) -> None:
    assert Cron(expression, "UTC").is_fixed is fixed


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "every seventh minute of every hour"),
        ("*/5 9-17 * * 1-5", "every 5 minutes from 09:00 through 17:59 on Monday through Friday"),
        ("@hourly", "at the start of every hour"),
        ("20 * * * *", "at minute 20 of every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("15 */6 * * *", "every 6 hours at minute 15"),
        ("0 */5 * * *", "at minute 0 past every fifth hour"),
        ("0 2 * * *", "at 02:00 every day"),
        ("30 8 * * 1", "at 08:30 on Monday"),
        ("0 0 L * *", "at 00:00 on the last day of every month"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("* * * * * *", "every second"),
        ("0 30 2 * * *", "at 02:30 every day"),
    ],
)
def test_words(expression: str, words: str) -> None:
    assert Cron(expression, "UTC").words() == words


def test_the_words_on_the_page_are_the_program_s() -> None:
    table = [row for row in rows(ROOT / "docs" / "schedule.md", 2) if re.match(r"`[^a-z]", row[0])]
    assert len(table) == 8
    for row in table:
        assert Cron(row[0].split("`")[1], "UTC").words() == row[1].partition(": six fields")[0]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("@", "is none of @yearly"),
        ("@reboot", "is none of @yearly"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * fri#6", "bad day-of-week"),
        ("5-1 * * * *", "bad minute"),
        ("١ * * * *", "bad minute"),
        ("9" * 5000 + " * * * *", "longer than"),
    ],
)
def test_what_is_no_expression_is_refused_with_an_example(expression: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Cron(expression, "UTC")
    assert told in str(refused.value)
    assert '"*/5 * * * *"' in str(refused.value)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "Asia", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_what_is_no_zone_is_refused_with_an_example(zone: str) -> None:
    with pytest.raises(ConfigError, match="for example: Asia/Shanghai"):
        Cron("* * * * *", zone)


@given(st.text(alphabet="0123456789*/,-#LW@ MONJA", max_size=25))
def test_any_text_is_an_expression_with_words_or_refused(text: str) -> None:
    try:
        cron = Cron(text, "UTC")
    except ConfigError:
        return
    assert cron.words()


def test_what_is_never_due_is_found_out_quickly() -> None:
    now = utc("2026-01-01 00:00")
    assert Cron("0 0 */31 2 MON#5", "Europe/Berlin").after(now) is None
    assert Cron("*/5 * */31 2 MON#5", "Europe/Berlin").after(now) is None
    assert list(Cron("*/5 * */31 2 MON#5", "Europe/Berlin").between(now, now + timedelta(days=1))) == []


def test_what_is_rarely_due_is_found() -> None:
    assert Cron("0 12 29 2 *", "Asia/Shanghai").after(utc("2026-01-01 00:00")) == utc("2028-02-29 04:00")
    assert Cron("*/30 12 * 2 MON#5", "Asia/Shanghai").after(utc("2026-01-01 00:00")) == utc("2044-02-29 04:00")

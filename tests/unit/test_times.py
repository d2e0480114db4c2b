"""What a person means by a time, and by a length of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.durations import duration
from gengfu.errors import UsageError
from gengfu.services.times import moment_of, span_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
"""A Wednesday, 13:06:07 in Shanghai."""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", "2026-03-04T03:36:07"),
        ("24h", "2026-03-03T05:06:07"),
        ("2w", "2026-02-18T05:06:07"),
        ("13:06", "2026-03-04T05:06:00"),
        ("13:07", "2026-03-03T05:07:00"),
        ("13:06:08", "2026-03-03T05:06:08"),
        ("2026-01-31", "2026-01-30T16:00:00"),
        (" 2026-01-31 10:05 ", "2026-01-31T02:05:00"),
        ("2026-01-31T10:05+01:00", "2026-01-31T09:05:00"),
        ("2026-01-31t10:05z", "2026-01-31T10:05:00"),
    ],
)
def test_a_time_is_read_in_the_zone_of_people(text: str, moment: str) -> None:
    assert moment_of(text, "Asia/Shanghai", NOW) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("texts", "local"),
    [
        (("today", "今天", "今日", "Today"), "2026-03-04 00:00"),
        (("yesterday", "昨天", "昨日"), "2026-03-03 00:00"),
        (("the day before yesterday", "前天"), "2026-03-02 00:00"),
        (("大前天",), "2026-03-01 00:00"),
        (("tomorrow", "明天"), "2026-03-05 00:00"),
        (("yesterday 09:00", "昨天 09:00", "昨天09:00", "昨天9点", "昨天 ９：００", "昨天 9:00"), "2026-03-03 09:00"),
        (("前天9点半", "前天 9点30分"), "2026-03-02 09:30"),
        (("09:00", "9点", "today 09:00"), "2026-03-04 09:00"),
        (("15点",), "2026-03-03 15:00"),
        (("this week", "本周", "这周"), "2026-03-02 00:00"),
        (("last week", "上周", "上个星期"), "2026-02-23 00:00"),
        (("this month", "本月"), "2026-03-01 00:00"),
        (("last month", "上个月"), "2026-02-01 00:00"),
        (("2026-2-3", "2026/02/03", "2026年2月3日", "2月3日", "02-03"), "2026-02-03 00:00"),
        (("2月3日 9:05", "2026年2月3日 9点5分"), "2026-02-03 09:05"),
        (("11月20日", "11-20"), "2025-11-20 00:00"),
        (("3 days ago", "3天前", "三天前", "3d ago", "72h", "3 天之前"), "2026-03-01 13:06:07"),
        (("2小时前", "两小时前", "2 hours ago", "2h", "2个小时以前"), "2026-03-04 11:06:07"),
        (("半小时前", "30分钟前", "30 minutes ago"), "2026-03-04 12:36:07"),
        (("an hour ago", "1h"), "2026-03-04 12:06:07"),
        (("一周前", "1 week ago", "七天前"), "2026-02-25 13:06:07"),
    ],
)
def test_a_time_may_be_told_in_words_of_either_language(texts: tuple[str, ...], local: str) -> None:
    expected = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Asia/Shanghai"))
    assert {text: moment_of(text, "Asia/Shanghai", NOW) for text in texts} == dict.fromkeys(texts, expected)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-29 02:30", "2026-03-29T01:00:00"),
        ("2026-10-25 02:30", "2026-10-25T00:30:00"),
        ("2026年3月29日 2点半", "2026-03-29T01:00:00"),
    ],
    ids=["in a skipped hour", "in a repeated hour", "in words"],
)
def test_a_time_that_is_there_never_or_twice(text: str, moment: str) -> None:
    assert moment_of(text, "Europe/Berlin", NOW) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "Pacific/Kiritimati"])
def test_yesterday_is_that_of_the_zone(zone: str) -> None:
    found = moment_of("昨天", zone, NOW).astimezone(ZoneInfo(zone))
    assert (found.hour, found.minute) == (0, 0)
    assert found.date() == NOW.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "25:00",
        "7y",
        "999999w",
        "2026-02-30",
        "0001-01-01",
        "13月1日",
        "昨天 25:00",
        "昨天前",
        "1个月前",
        "ago",
    ],
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no time; for example: 90m, 7d, 10:05, yesterday, 昨天 09:00"):
        moment_of(text, "UTC", NOW)


@given(st.text(max_size=30) | st.from_regex(r"[0-9./:天月年日点半前 adhmtz+-]{1,20}", fullmatch=True))
def test_any_text_is_a_time_with_a_zone_or_refused(text: str) -> None:
    try:
        assert moment_of(text, "Asia/Shanghai", NOW).tzinfo is not None
    except UsageError:
        pass


@pytest.mark.parametrize(
    ("text", "hours"),
    [("3d", 72), ("3天", 72), ("36h", 36), ("2 weeks", 336), ("半小时", 0.5), ("1.5h", 1.5), ("二十三天", 552)],
)
def test_a_length_of_time_is_read_in_either_language(text: str, hours: float) -> None:
    assert span_of(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "3", "3x", "d", "三二天", "十半天", "999999999w", "-3d", "3 months"])
def test_what_is_no_length_of_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no length of time; for example: 90m, 36h, 3d"):
        span_of(text)


def test_a_number_alone_counts_in_the_unit_that_the_reader_names() -> None:
    assert (duration("90"), duration("90", bare=1), duration("1.5", bare=60)) == (None, 90.0, 90.0)

"""Which backups are removed: a table of cases, and what holds for any backups, rules and clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.backup.manifest import BackupName, parse_name
from gengfu.backup.retention import DAY, Candidate, Rule, outdated

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


def rule(daily: int = 7, weekly: int = 4, monthly: int = 6) -> Rule:
    return Rule(daily, weekly, monthly, SHANGHAI)


def made(*days_ago: float) -> list[Candidate]:
    return [Candidate(f"{ago:g}", NOW - ago * DAY) for ago in days_ago]


def kept(candidates: list[Candidate], by: Rule, now: datetime = NOW, spared: tuple[str, ...] = ()) -> set[str]:
    return {found.file for found in candidates} - set(outdated(candidates, by, now, spared))


@pytest.mark.parametrize(
    ("days_ago", "by", "expected"),
    [
        ((), rule(), ""),
        ((400,), rule(), "400"),
        ((0, 1, 2), rule(0, 0, 0), "0"),
        ((0, 1, 2, 3), rule(2, 0, 0), "0 1"),
        # Days without a backup count for nothing.
        ((0, 30, 60, 90), rule(3, 0, 0), "0 30 60"),
        # Of one day the newest stays; in Shanghai a day began 2 hours before `NOW`.
        ((1.5, 1.55, 2, 2.05, 2.1, 3), rule(2, 0, 0), "1.5 2.1"),
        # That day is a Monday.
        ((0, 1, 2, 7, 8, 9), rule(0, 2, 0), "0 1"),
        ((0, 1, 8, 15, 22, 29), rule(0, 3, 0), "0 1 8"),
        # The 23rd of November, the 31st of October, the 30th of September.
        ((0, 10, 23, 24, 54, 55), rule(0, 0, 3), "0 23 54"),
        (tuple(range(400)), rule(), "0 1 2 3 4 5 6 8 15 23 54 84 115 146"),
    ],
)
def test_the_newest_of_each_day_week_and_month_is_kept(days_ago: tuple[float, ...], by: Rule, expected: str) -> None:
    assert kept(made(*days_ago), by) == set(expected.split())


def test_what_is_younger_than_a_day_stays() -> None:
    assert kept(made(0.1, 0.2, 0.3, 0.9, 1.1, 1.2), rule(1, 0, 0)) == {"0.1", "0.2", "0.3", "0.9"}


def test_a_backup_from_a_clock_that_ran_ahead_takes_no_place_from_others() -> None:
    ahead = made(*(-1000 - number for number in range(20)))
    assert kept([*made(0, 1, 2, 3), *ahead], rule(2, 0, 0)) == {"0", "1"} | {found.file for found in ahead}


def test_after_the_clock_was_set_back_nothing_is_removed() -> None:
    everything = made(*range(100))
    assert outdated(everything, rule(), NOW - 1000 * DAY) == []


def test_the_one_just_made_is_spared_even_if_it_is_dated_earlier_than_all() -> None:
    assert "50" in kept(made(0, 1, 2, 50), rule(1, 0, 0), spared=("50",))


moments = st.integers(0, 3650 * 86400).map(lambda seconds: NOW + timedelta(seconds=seconds))
numbers = st.integers(0, 12)


@given(st.lists(moments, max_size=60), numbers, numbers, numbers, moments)
def test_the_newest_is_never_removed_and_a_second_look_removes_no_more(
    made_at: list[datetime], daily: int, weekly: int, monthly: int, now: datetime
) -> None:
    everything = [Candidate(f"{number:02}", moment) for number, moment in enumerate(made_at)]
    by = rule(daily, weekly, monthly)
    left = kept(everything, by, now)
    past = [found for found in everything if found.moment <= now]
    future = {found.file for found in everything} - {found.file for found in past}
    young = {found.file for found in past if found.moment > now - DAY}
    assert future | young <= left
    if past:
        newest = max(past, key=lambda found: (found.moment, found.file))
        assert newest.file in left
    assert len(left - future - young) <= max(1, daily + weekly + monthly)
    again = [found for found in everything if found.file in left]
    assert outdated(again, by, now) == []


@given(moments, st.sampled_from(["sqlite", "postgresql", "mysql"]), st.sampled_from(["", "before-restore"]))
def test_a_name_can_be_read_again(moment: datetime, kind: str, label: str) -> None:
    name = BackupName(kind, moment, label)
    assert parse_name(name.file) == name


@pytest.mark.parametrize(
    "file",
    [
        "gengfu.db",
        "gengfu-sqlite-20261122T020000Z.jsonl",
        "gengfu-sqlite-20261122T020000Z.sqlite.gz",
        "gengfu-oracle-20261122T020000Z.jsonl.gz",
        "gengfu-sqlite-20261322T020000Z.jsonl.gz",
        "gengfu-sqlite-20261122T020000Z-mine.jsonl.gz",
        "my-gengfu-sqlite-20261122T020000Z.jsonl.gz",
        "gengfu-sqlite-20261122T020000Z.jsonl.gz.bad",
    ],
)
def test_other_files_are_no_backups(file: str) -> None:
    assert parse_name(file) is None


def test_two_hours_of_backups_every_minute_leaves_the_newest_of_it_a_day_later() -> None:
    everything = [Candidate(str(number), NOW - DAY - timedelta(minutes=number)) for number in range(120)]
    assert kept(everything, rule()) == {"0"}

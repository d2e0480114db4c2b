"""What is forecast of the days to come: overlaps and what the policy makes of them, and changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.schedule.cron import Cron
from gengfu.schedule.forecast import Fate, clock_notes, forecast
from gengfu.schedule.policy import Overlap

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(*minutes: float) -> list[datetime]:
    return [START + timedelta(minutes=minute) for minute in minutes]


R, W, S, C = Fate.RUNS, Fate.WAITS, Fate.SKIPPED, Fate.CANCELS


@pytest.mark.parametrize(
    ("overlap", "seconds", "fates"),
    [
        (Overlap.SKIP, None, [R, R, R, R, R]),
        (Overlap.SKIP, 300.0, [R, R, R, R, R]),
        (Overlap.SKIP, 301.0, [R, S, R, S, R]),
        (Overlap.SKIP, 700.0, [R, S, S, R, S]),
        (Overlap.QUEUE_ONE, 301.0, [R, W, W, W, W]),
        (Overlap.QUEUE_ONE, 700.0, [R, W, S, W, S]),
        (Overlap.CANCEL_RUNNING, 700.0, [R, C, C, C, C]),
    ],
)
def test_what_the_policy_makes_of_overlaps(overlap: Overlap, seconds: float | None, fates: list[Fate]) -> None:
    assert [tick.fate for tick in forecast(at(0, 5, 10, 15, 20), overlap, seconds)] == fates


def test_a_tick_that_waits_starts_when_the_earlier_one_ends() -> None:
    _, second, third = forecast(at(0, 5, 6), Overlap.QUEUE_ONE, 600.0)
    assert (second.starts_at, second.ends_at) == tuple(at(10, 20))
    assert (third.fate, third.starts_at, third.ends_at) == (S, None, None)


@given(st.lists(st.integers(1, 20), max_size=40), st.sampled_from(Overlap), st.integers(0, 3000))
def test_no_two_ticks_that_are_not_cancelled_run_at_once(gaps: list[int], overlap: Overlap, seconds: int) -> None:
    due = [START]
    for gap in gaps:
        due.append(due[-1] + timedelta(minutes=gap))
    played = list(forecast(due, overlap, float(seconds)))
    assert [tick.due_at for tick in played] == due
    started = [tick for tick in played if tick.starts_at is not None]
    for earlier, later in pairwise(started):
        assert earlier.ends_at is not None
        assert later.starts_at is not None
        assert later.fate is Fate.CANCELS or earlier.ends_at <= later.starts_at


YEAR = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
SPRING, AUTUMN = (
    "2026-03-29 02:00 becomes 03:00 in Europe/Berlin: ",
    "2026-10-25 03:00 becomes 02:00 in Europe/Berlin: ",
)


@pytest.mark.parametrize(
    ("expression", "notes"),
    [
        (
            "30 2 * * *",
            [
                SPRING + "what falls into the skipped time is due once, at 03:00",
                AUTUMN + "what falls into the repeated time is due once, in the first",
            ],
        ),
        (
            "*/5 * * * *",
            [
                SPRING + "nothing is due in the skipped time",
                AUTUMN + "what falls into the repeated time is due in both",
            ],
        ),
        (
            "0 30 2 * * *",
            [
                SPRING + "nothing is due in the skipped time",
                AUTUMN + "what falls into the repeated time is due in both",
            ],
        ),
        ("0 4 * * *", []),
        ("30 2 * * 1", []),
    ],
)
def test_changes_of_the_clock_that_meet_an_entry_are_told(expression: str, notes: list[str]) -> None:
    assert list(clock_notes(Cron(expression, "Europe/Berlin"), *YEAR)) == notes
    assert list(clock_notes(Cron(expression, "Asia/Shanghai"), *YEAR)) == []

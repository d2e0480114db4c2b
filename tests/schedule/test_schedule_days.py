"""10 000 days of ticks over all zones, with outages, pauses and clocks that are set: each due moment has one fate."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gengfu.schedule.cron import Cron
from gengfu.schedule.plan import plan
from gengfu.schedule.policy import CatchUp, Entry, Schedule
from gengfu.store.ticks import EntryRow, NewTick, TickState

ZONES = sorted(available_timezones())
PARTS = 8
EXAMPLES = 3
DAYS = 6
"""About 600 zones, and so many examples of so many days for each: more than 10 000 days."""

GRACE = timedelta(minutes=10)
HOUR = timedelta(hours=1)

_minutes = st.sampled_from(["0", "30", "59", "5,35", "*/30"])
_hours = st.sampled_from(["*/6", "0", "1", "2", "3", "1-3", "23", "0,12", "*/8"])
_days = st.sampled_from(["*", "*", "*", "1-15", "L"])
_weekdays = st.sampled_from(["*", "*", "*", "MON-FRI", "SUN"])
_expressions = st.builds(" ".join, st.tuples(_minutes, _hours, _days, st.just("*"), _weekdays))
_steps = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "run", "outage", "pause", "forward", "back", "slightly back"]),
        st.integers(min_value=1, max_value=40),
    ),
    min_size=2,
    max_size=7,
)


@cache
def turn_of_the_clock(zone: str) -> datetime:
    """A day near which the zone's clock is put on or back, if it ever is in that year."""
    start, local = datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    days = [start + timedelta(days=day) for day in range(366)]
    offsets = [day.astimezone(local).utcoffset() for day in days]
    return next((day for day, one, two in zip(days, offsets, offsets[1:]) if one != two), start)


class World:
    """One entry, its rows as the database would hold them, and passes at whatever time the clock tells."""

    def __init__(self, expression: str, zone: str, catch_up: CatchUp, start: datetime) -> None:
        self.entry = Entry("tock", ("x",), Schedule(expression, "", zone, catch_up=catch_up, catch_up_limit=3), "")
        self.entry = replace(self.entry, schedule=replace(self.entry.schedule, grace=GRACE.total_seconds()))
        self.cron = Cron(expression, zone)
        self.known_until = start - 6 * HOUR
        self.dues: list[datetime] = []
        self.row: EntryRow | None = None
        self.now = start
        self.ticks: dict[tuple[datetime, int], NewTick] = {}
        self.passes: list[datetime] = []
        self.pauses: dict[int, datetime] = {}
        """By the number of the pass that ended it, since when each pause was."""

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """The due moments in (after, until]."""
        while until > self.known_until:
            further = self.known_until + timedelta(days=DAYS)
            self.dues += self.cron.between(self.known_until, further)
            self.known_until = further
        return self.dues[bisect_right(self.dues, after) : bisect_right(self.dues, until)]

    def look(self, *, twice: bool = False) -> None:
        """A pass; a second scheduler may have made the same plan, and loses."""
        self.passes.append(self.now)
        found = plan(self.entry, self.cron, self.row, self.now, str)
        if found is None:
            return
        again = plan(self.entry, self.cron, found.row, self.now, str) if twice else None
        assert again is None or not again.ticks
        self.row = found.row
        for tick in found.ticks:
            key = (tick.due_at, found.row.clock_epoch)
            assert key not in self.ticks
            self.ticks[key] = tick

    def step(self, what: str, amount: int) -> None:
        if what == "run":
            for _ in range(amount // 4 + 1):
                soon = self.now + 20 * HOUR
                self.now = next(iter(self.between(self.now, soon)), soon) + timedelta(seconds=amount % 7)
                self.look(twice=amount % 5 == 0)
        elif what == "pause":
            assert self.row is not None
            since = self.now
            self.row = replace(self.row, paused_at=since, paused_by="root@web1")
            self.now += amount * HOUR / 2
            self.look()
            assert self.row is not None
            self.pauses[len(self.passes) - 1] = since
            self.row = replace(self.row, paused_at=None, paused_by=None)
        else:
            moves = {"outage": amount * HOUR, "forward": HOUR, "back": -HOUR, "slightly back": -timedelta(seconds=50)}
            self.now += moves[what]
            self.look()


def stretches(world: World) -> list[tuple[datetime, list[int]]]:
    """The numbers of the passes that count, in stretches of a clock that goes on, each with the moment from which its
    ticks count."""
    first = world.passes[0].replace(second=0, microsecond=0) - timedelta(microseconds=1)
    found: list[tuple[datetime, list[int]]] = [(first, [])]
    for number, now in enumerate(world.passes):
        latest = world.passes[found[-1][1][-1]] if found[-1][1] else first
        if now >= latest:
            found[-1][1].append(number)
        elif latest - now > timedelta(seconds=60) and not (world.cron.is_fixed and latest - now < 3 * HOUR):
            found.append((now, [number]))
    return found


def expected(world: World) -> dict[tuple[datetime, int], str]:
    """The fate of each due moment, told by the policies alone."""
    fates = {}
    for epoch, (start, numbers) in enumerate(stretches(world)):
        passes = [world.passes[number] for number in numbers]
        late: dict[datetime, list[datetime]] = {}
        for due in world.between(start, passes[-1]):
            place = bisect_left(passes, due)
            seen, paused_at = passes[place], world.pauses.get(numbers[place])
            if paused_at is not None and paused_at < due:
                fates[due, epoch] = "skipped"
            elif seen - due <= GRACE:
                fates[due, epoch] = "fired"
            else:
                fates[due, epoch] = "missed"
                late.setdefault(seen, []).append(due)
        limit = {CatchUp.NONE: 0, CatchUp.LATEST: 1, CatchUp.ALL: 3}[world.entry.schedule.catch_up]
        for missed in late.values():
            fates |= {(due, epoch): "fired" for due in missed[len(missed) - min(limit, len(missed)) :]}
    return fates


def actual(world: World) -> Counter[tuple[datetime, int, str]]:
    """What the rows say, each that stands for several unfolded."""
    found: Counter[tuple[datetime, int, str]] = Counter()
    words: dict[Any, str] = {TickState.CLAIMED: "fired", TickState.WAITING: "fired"}
    for (due, epoch), tick in world.ticks.items():
        moments = world.between(due - timedelta(seconds=1), tick.until_at or due)
        assert len(moments) == tick.covers
        found.update((moment, epoch, words.get(tick.state, tick.state)) for moment in moments)
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_over_10_000_days_in_all_zones_no_tick_fires_twice_and_none_is_missed_but_by_policy(part: int) -> None:
    for zone in ZONES[part::PARTS]:
        days(zone)


def days(zone: str) -> None:
    @settings(max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_expressions, st.sampled_from(CatchUp), _steps, st.integers(-3, 360))
    def live(expression: str, catch_up: CatchUp, steps: list[tuple[str, int]], day: int) -> None:
        start = turn_of_the_clock(zone) + timedelta(days=day if day > 2 else -3, minutes=7)
        world = World(expression, zone, catch_up, start)
        world.look()
        for what, amount in steps:
            world.step(what, amount)
        while world.now < start + timedelta(days=DAYS):
            world.step("run", 16)
        fates = {(due, epoch, fate): 1 for (due, epoch), fate in expected(world).items()}
        assert actual(world) == fates

    live()

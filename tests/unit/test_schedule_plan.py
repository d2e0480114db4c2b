"""What becomes of due moments, case by case: late, paused, disabled, new, changed, and a clock that is set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gengfu.schedule.cron import Cron
from gengfu.schedule.plan import AT_ONCE, MOST, Action, decide, fingerprint, offset, plan
from gengfu.schedule.policy import CatchUp, Entry, Overlap, Schedule
from gengfu.store.ticks import EntryRow, NewTick, Tick, TickState

EVERY_FIVE = {"cron": "*/5 * * * *"}
AT_TWO = {"cron": "0 2 * * *"}
DAY = datetime(2026, 11, 20, tzinfo=UTC)


def at(time: str) -> datetime:
    """`10:05`, `10:05:30`, or `+1 10:05` for the next day."""
    days, _, clock = time.rpartition(" ")
    parts = [int(part) for part in clock.split(":")]
    return DAY + timedelta(days=int(days or 0), hours=parts[0], minutes=parts[1], seconds=sum(parts[2:]))


def show(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S")


def entry_of(**schedule: Any) -> Entry:
    return Entry("tock", ("run:list",), Schedule(**{"timezone": "UTC"} | schedule), "gengfu.toml")


def row_of(entry: Entry, until: str, **more: Any) -> EntryRow:
    return replace(EntryRow("tock", fingerprint(entry), at(until), 0, None, None, None), **more)


def brief(ticks: Any) -> list[str]:
    """A tick as `state due[-until][ xN]`."""

    def one(tick: NewTick) -> str:
        until = f"-{tick.until_at:%H:%M}" if tick.until_at else ""
        return f"{tick.state} {tick.due_at:%H:%M}{until}" + (f" x{tick.covers}" if tick.covers > 1 else "")

    return [one(tick) for tick in ticks]


@dataclass(frozen=True)
class Case:
    """A pass at `now`, `until` being how far the entry was accounted for."""

    what: str
    schedule: dict[str, Any]
    until: str
    now: str
    ticks: list[str]
    epoch: int = 0
    row: dict[str, Any] = field(default_factory=dict)


LATE = EVERY_FIVE | {"grace": 60.0}
LATEST = LATE | {"catch_up": CatchUp.LATEST}
ALL = LATE | {"catch_up": CatchUp.ALL}
CASES = [
    Case("nothing is due", EVERY_FIVE, "10:00", "10:04:59", []),
    Case("a tick is due", EVERY_FIVE, "10:00", "10:05", ["claimed 10:05"]),
    Case("a tick at the edge of the grace is on time", LATE, "10:00", "10:06", ["claimed 10:05"]),
    Case("a tick beyond it is missed", LATE, "10:00", "10:06:01", ["missed 10:05"]),
    Case("missed ones are one row", LATE, "10:00", "10:20:01", ["missed 10:05-10:15 x3", "claimed 10:20"]),
    Case("the latest is caught up", LATEST, "10:00", "10:19", ["missed 10:05-10:10 x2", "claimed 10:15"]),
    Case("one late tick is caught up", LATEST, "10:00", "10:07", ["claimed 10:05"]),
    Case("all are caught up, one after the other", ALL, "10:00", "10:12", ["waiting 10:05", "waiting 10:10"]),
    Case("all up to a limit", ALL | {"catch_up_limit": 1}, "10:00", "10:12", ["missed 10:05", "waiting 10:10"]),
    Case("what is on time then stands in line", ALL, "10:00", "10:10:30", ["waiting 10:05", "waiting 10:10"]),
    Case("a long grace", EVERY_FIVE | {"grace": 600.0}, "10:00", "10:14", ["claimed 10:05", "claimed 10:10"]),
    Case("a paused entry", EVERY_FIVE, "10:00", "10:12", ["skipped 10:05-10:10 x2"], row={"paused_at": at("10:01")}),
    Case(
        "what came due before the pause runs",
        EVERY_FIVE,
        "10:00",
        "10:05:30",
        ["claimed 10:05"],
        row={"paused_at": at("10:05:10")},
    ),
    Case("a clock a minute behind is waited for", EVERY_FIVE, "10:05", "10:04", []),
    Case("a clock set back by an hour begins an epoch", EVERY_FIVE, "10:05", "09:05", [], epoch=1),
    Case("a fixed time is not repeated after an hour back", AT_TWO, "02:30", "01:30", []),
    Case("nor after nearly three hours", AT_TWO, "02:30", "+0 00:00", []),
    Case("but after four", AT_TWO, "05:30", "01:30", [], epoch=1),
    Case("a clock set forward is like a stop", LATE, "10:00", "11:00:30", ["missed 10:05-10:55 x11", "claimed 11:00"]),
]


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
def test_a_pass_gives_each_due_moment_its_fate(case: Case) -> None:
    entry = entry_of(**case.schedule)
    found = plan(entry, Cron(entry.schedule.cron, "UTC"), row_of(entry, case.until, **case.row), at(case.now), show)
    if found is None:
        assert case.ticks == []
        assert case.epoch == 0
        return
    assert brief(found.ticks) == case.ticks
    assert (found.row.planned_until, found.row.clock_epoch) == (at(case.now), case.epoch)


def pass_at(entry: Entry, row: EntryRow | None, now: str) -> list[str]:
    found = plan(entry, Cron(entry.schedule.cron, "UTC"), row, at(now), show)
    return brief(found.ticks) if found is not None else []


def test_a_new_entry_counts_from_the_minute_in_which_it_is_first_seen() -> None:
    assert pass_at(entry_of(**EVERY_FIVE), None, "10:05:59") == ["claimed 10:05"]
    assert pass_at(entry_of(**EVERY_FIVE), None, "10:06") == []


def test_a_new_entry_with_seconds_counts_from_its_second() -> None:
    assert pass_at(entry_of(cron="* * * * * *"), None, "10:05:30") == ["claimed 10:05"]


def test_a_changed_entry_begins_afresh_and_stays_paused() -> None:
    old = row_of(entry_of(cron="0 0 1 1 *"), "10:00", paused_at=at("09:00"), paused_by="root@web1")
    entry = entry_of(**EVERY_FIVE)
    found = plan(entry, Cron("*/5 * * * *", "UTC"), old, at("12:05"), show)
    assert found is not None
    assert brief(found.ticks) == ["skipped 12:05"]
    assert found.row.fingerprint == fingerprint(entry)


def test_an_entry_that_was_paused_before_it_was_seen_does_not_run_for_its_minute() -> None:
    paused = EntryRow("tock", "", at("10:05:30"), 0, at("10:05:30"), "root@web1", None)
    assert pass_at(entry_of(**EVERY_FIVE), paused, "10:05:40") == []
    assert pass_at(entry_of(**EVERY_FIVE), paused, "10:10") == ["skipped 10:10"]


def test_an_entry_that_was_switched_off_has_missed_nothing_when_it_comes_back() -> None:
    entry = entry_of(**EVERY_FIVE)
    off = entry_of(**EVERY_FIVE, enabled=False)
    found = plan(off, Cron("*/5 * * * *", "UTC"), row_of(entry, "10:00"), at("10:30"), show)
    assert found is not None
    assert found.ticks == ()
    assert plan(off, Cron("*/5 * * * *", "UTC"), found.row, at("10:31"), show) is None
    assert pass_at(entry, found.row, "12:05") == ["claimed 12:05"]


def test_jitter_puts_off_all_ticks_of_an_entry_alike() -> None:
    entry = entry_of(**EVERY_FIVE, jitter=200.0, grace=30.0)
    late_by = offset(entry)
    assert timedelta() < late_by < timedelta(seconds=200)
    row = replace(row_of(entry, "10:00"), planned_until=at("10:00"))
    cron = Cron("*/5 * * * *", "UTC")
    early = plan(entry, cron, row, at("10:05") + late_by - timedelta(seconds=1), show)
    there = plan(entry, cron, row, at("10:05") + late_by, show)
    late = plan(entry, cron, row, at("10:05") + late_by + timedelta(seconds=31), show)
    assert [brief(found.ticks) for found in (early, there, late) if found] == [[], ["claimed 10:05"], ["missed 10:05"]]


def test_a_stop_of_a_year_is_told_without_counting_every_second() -> None:
    entry = entry_of(cron="* * * * * *", catch_up=CatchUp.ALL, catch_up_limit=2)
    row = replace(row_of(entry, "10:00"), planned_until=DAY - timedelta(days=365))
    found = plan(entry, Cron(entry.schedule.cron, "UTC"), row, at("10:00"), show)
    assert found is not None
    missed, *rest = found.ticks
    assert missed.covers >= MOST
    assert "there are more" in (missed.reason or "")
    assert rest[-1].due_at == at("10:00")
    assert len(rest) == 2 + 61


def test_a_crowd_of_ticks_that_are_on_time_is_cut() -> None:
    entry = entry_of(cron="* * * * * *", grace=3600.0)
    found = plan(entry, Cron(entry.schedule.cron, "UTC"), row_of(entry, "10:00"), at("10:30"), show)
    assert found is not None
    assert [tick.covers for tick in found.ticks] == [1800 - AT_ONCE] + [1] * AT_ONCE


def test_reasons_are_for_people() -> None:
    entry = entry_of(**LATE)
    paused = row_of(entry, "10:00", paused_at=at("10:10"), paused_by="root@web1", pause_reason="the vendor upgrades")
    found = plan(entry, Cron("*/5 * * * *", "UTC"), paused, at("10:16"), show)
    assert found is not None
    assert [tick.reason for tick in found.ticks] == [
        "no scheduler was running from 10:00:00 to 10:16:00",
        "paused by root@web1 since 10:10:00: the vendor upgrades",
    ]


def tick(number: int, state: TickState = TickState.CLAIMED, started: str | None = None) -> Tick:
    due = at(f"10:{5 * number:02}")
    begun = at(started) if started else None
    none = dict.fromkeys(
        ("reason", "until_at", "pid", "birth", "exit_code", "output", "run_id", "job_id", "finished_at")
    )
    held = {"command": ("run:list",), "scheduler": "web1:1:a", "lease_id": 7, "fence": 0, "cancel": False}
    when = {"due_at": due, "clock_epoch": 0, "claimed_at": due, "started_at": begun}
    return Tick(id=number, entry="tock", state=state, covers=1, **none, **held, **when)  # type: ignore[arg-type]


RUNNING = tick(1, TickState.RUNNING, "10:05:01")
WAITING = tick(2, TickState.WAITING)
RUN_812 = "run 812 is still active, page 7 of 40, since 10:02"
STILL = "the tick of 10:05:00 is still running, since 10:05:01"


@pytest.mark.parametrize(
    ("overlap", "earlier", "unknown", "under_way", "action", "reason"),
    [
        (Overlap.SKIP, [], [], None, Action.RUN, None),
        (Overlap.SKIP, [RUNNING], [], None, Action.SKIP, STILL),
        (Overlap.SKIP, [RUNNING], [RUNNING], None, Action.LEAVE, None),
        (Overlap.SKIP, [], [], RUN_812, Action.SKIP, RUN_812),
        (Overlap.SKIP, [tick(1)], [], None, Action.SKIP, "the tick of 10:05:00 is about to start"),
        (Overlap.SKIP, [RUNNING, WAITING], [], None, Action.SKIP, "the tick of 10:10:00 is waiting already"),
        (Overlap.QUEUE_ONE, [], [], None, Action.RUN, None),
        (Overlap.QUEUE_ONE, [RUNNING], [RUNNING], None, Action.WAIT, f"waited: {STILL}"),
        (Overlap.QUEUE_ONE, [], [], RUN_812, Action.WAIT, f"waited: {RUN_812}"),
        (Overlap.QUEUE_ONE, [RUNNING, WAITING], [], None, Action.SKIP, "the tick of 10:10:00 is waiting already"),
        (Overlap.CANCEL_RUNNING, [], [], None, Action.RUN, None),
        (Overlap.CANCEL_RUNNING, [RUNNING], [RUNNING], None, Action.CANCEL, "ended for the tick of 10:15:00"),
        (Overlap.CANCEL_RUNNING, [], [], RUN_812, Action.CANCEL, "ended for the tick of 10:15:00"),
    ],
)
def test_what_is_under_way_decides_by_the_overlap_policy(
    overlap: Overlap,
    earlier: list[Tick],
    unknown: list[Tick],
    under_way: str | None,
    action: Action,
    reason: str | None,
) -> None:
    decision = decide(tick(3), overlap, earlier, unknown, under_way, show)
    assert (decision.action, decision.reason) == (action, reason)


@pytest.mark.parametrize("overlap", list(Overlap))
def test_a_tick_that_waits_runs_as_soon_as_nothing_is_under_way(overlap: Overlap) -> None:
    waiting = tick(3, TickState.WAITING)
    assert decide(waiting, overlap, [RUNNING], [], None, show).action is Action.LEAVE
    assert decide(waiting, overlap, [], [], RUN_812, show).action is Action.LEAVE
    assert decide(waiting, overlap, [], [], None, show).action is Action.RUN

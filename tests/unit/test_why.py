"""Why a tick did or did not run, as it is told from what is on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gengfu.schedule.policy import Entry, Schedule
from gengfu.schedule.why import Explanation, Facts, NoTick, explain
from gengfu.store.ticks import EntryRow, Tick, TickState

NOW = datetime(2026, 11, 22, 10, 7, tzinfo=UTC)
DUE = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ENTRY = Entry("sweep", ("floor:sweep",), Schedule("*/5 * * * *", timezone="UTC"), "floor:sweep")
ROW = EntryRow("sweep", "*/5 * * * *|UTC", NOW, 0, None, None, None)
PAUSED = replace(ROW, planned_until=DUE - MINUTE, paused_at=DUE - MINUTE, paused_by="root@hall", pause_reason="paint")
FACTS = Facts("sweep", ENTRY, ROW, anyone=True, ticks=(), first_due=None)
STARTED = "the tick of 10:05:00 was started at 10:05:01 by hall:4711"
RAN = "the tick of 10:05:00 ran: it was started at 10:05:01 and ended well after 3.5 s"
TICK = Tick(
    id=7,
    entry="sweep",
    due_at=DUE,
    clock_epoch=0,
    state=TickState.DONE,
    reason=None,
    covers=1,
    until_at=None,
    command=("floor:sweep",),
    scheduler="hall:4711",
    pid=12,
    lease_id=3,
    fence=1,
    birth="here:17",
    cancel=False,
    exit_code=0,
    output=None,
    run_id=None,
    job_id=None,
    claimed_at=DUE,
    started_at=DUE + timedelta(seconds=1),
    finished_at=DUE + timedelta(seconds=4.5),
)


def why(facts: Facts, moment: datetime = DUE, now: datetime = NOW) -> Explanation:
    return explain(facts, moment, now, lambda when: f"{when:%H:%M:%S}")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"state": TickState.DONE},
            "the tick of 10:05:00 ran: it was started at 10:05:01 by hall:4711 and ended well after 3.5 s",
        ),
        (
            {"state": TickState.FAILED, "exit_code": 2},
            f"{STARTED} and failed after 3.5 s: exit code 2",
        ),
        (
            {"state": TickState.FAILED, "reason": "ran into its time limit of 3600 s", "exit_code": None},
            f"{STARTED} and failed after 3.5 s: ran into its time limit of 3600 s",
        ),
        (
            {"state": TickState.RUNNING, "finished_at": None},
            "the tick of 10:05:00 is running: it was started at 10:05:01 by hall:4711",
        ),
        (
            {"state": TickState.DONE, "exit_code": None, "run_id": 812, "job_id": 900},
            "the tick of 10:05:00 ran: run 812 was queued as job 900 at 10:05:01 by hall:4711",
        ),
        (
            {"state": TickState.DONE, "exit_code": None, "job_id": 900},
            "the tick of 10:05:00 ran: job 900 was queued at 10:05:01 by hall:4711",
        ),
        ({"state": TickState.CLAIMED}, "the tick of 10:05:00 is about to be started by hall:4711"),
        ({"state": TickState.WAITING}, "the tick of 10:05:00 waits: an earlier tick is under way"),
        (
            {"state": TickState.CANCELLED, "reason": "for the tick of 10:10"},
            f"{STARTED} and was cancelled after 3.5 s: for the tick of 10:10",
        ),
        (
            {"state": TickState.LOST, "reason": "its scheduler died", "finished_at": None},
            f"{STARTED}, and nobody saw how it ended: its scheduler died",
        ),
        (
            {"state": TickState.SKIPPED, "reason": "run 812 is still active, page 7 of 40, since 10:02"},
            "the tick of 10:05:00 was skipped: run 812 is still active, page 7 of 40, since 10:02",
        ),
        (
            {"state": TickState.DONE, "clock_epoch": 1, "scheduler": None},
            f"{RAN}; it is of clock epoch 1, which is counted since the clock was set back",
        ),
    ],
)
def test_a_row_tells_what_became_of_its_tick(changes: dict[str, object], text: str) -> None:
    tick = replace(TICK, **changes)  # type: ignore[arg-type]
    answer = why(replace(FACTS, ticks=(tick,)))
    assert (answer.outcome, answer.text) == (tick.state, text)


def test_a_row_that_stands_for_several_ticks_tells_of_each() -> None:
    missed = replace(TICK, state=TickState.MISSED, reason="no scheduler was running", due_at=DUE - 10 * MINUTE)
    covering = replace(missed, covers=4, until_at=DUE + 5 * MINUTE)
    answer = why(replace(FACTS, ticks=(covering,)))
    assert answer.outcome is TickState.MISSED
    assert answer.text == (
        "the tick of 10:05:00 was missed: no scheduler was running; "
        "its row stands for 4 ticks, from 09:55:00 to 10:10:00"
    )


def test_the_tick_s_own_row_counts_before_one_that_covers_it_and_the_last_turn_before_others() -> None:
    covering = replace(TICK, state=TickState.SKIPPED, due_at=DUE - 10 * MINUTE, covers=9, until_at=DUE + 5 * MINUTE)
    later = replace(TICK, clock_epoch=1, state=TickState.FAILED)
    assert why(replace(FACTS, ticks=(covering, TICK))).outcome is TickState.DONE
    assert why(replace(FACTS, ticks=(covering, TICK, later))).outcome is TickState.FAILED


@pytest.mark.parametrize(
    ("facts", "moment", "now", "outcome", "told"),
    [
        (FACTS, DUE + MINUTE, NOW, NoTick.NOT_DUE, "the one before is 10:05:00; the next is 10:10:00"),
        (FACTS, DUE + 5 * MINUTE, NOW, NoTick.FUTURE, "the tick of 10:10:00 is yet to come"),
        (
            replace(FACTS, row=PAUSED),
            DUE + 5 * MINUTE,
            NOW,
            NoTick.FUTURE,
            "skipped unless sweep is resumed: paused by",
        ),
        (
            replace(FACTS, entry=replace(ENTRY, schedule=replace(ENTRY.schedule, enabled=False))),
            DUE,
            NOW,
            NoTick.DISABLED,
            "sweep is disabled (enabled = false, floor:sweep)",
        ),
        (replace(FACTS, row=None, anyone=False), DUE, NOW, NoTick.NO_SCHEDULER, "no scheduler has ever run"),
        (replace(FACTS, row=None), DUE, NOW, NoTick.NEVER_SEEN, "no scheduler has run since sweep was added"),
        (replace(FACTS, row=PAUSED), DUE, NOW, NoTick.PAUSED, "sweep is paused by root@hall since 10:04:00: paint"),
        (
            replace(FACTS, row=replace(ROW, planned_until=DUE - MINUTE)),
            DUE,
            NOW,
            NoTick.NOT_LOOKED_AT,
            "did not run: no scheduler has looked at sweep since 10:04:00",
        ),
        (
            replace(FACTS, row=replace(ROW, planned_until=DUE - MINUTE)),
            DUE,
            DUE + timedelta(seconds=59),
            NoTick.NOT_LOOKED_AT,
            "has not run yet: no scheduler has looked at sweep since 10:04:00",
        ),
        (FACTS, DUE - timedelta(days=91), NOW, NoTick.PRUNED, "rows are kept for 90 days"),
        (
            replace(FACTS, first_due=DUE + 5 * MINUTE),
            DUE,
            NOW,
            NoTick.NOT_SCHEDULED_THEN,
            "the earliest tick on record is that of 10:10:00",
        ),
        (replace(FACTS, entry=None), DUE, NOW, NoTick.NOT_DECLARED, "sweep is no entry that can be used"),
    ],
)
def test_where_there_is_no_row_the_cause_is_found(
    facts: Facts, moment: datetime, now: datetime, outcome: NoTick, told: str
) -> None:
    answer = why(facts, moment, now)
    assert answer.outcome is outcome
    assert told in answer.text


def test_a_time_at_which_nothing_is_due_comes_with_its_neighbours() -> None:
    answer = why(FACTS, DUE + MINUTE)
    assert (answer.before, answer.after) == (DUE, DUE + 5 * MINUTE)
    assert "every 5 minutes (*/5 * * * *, UTC)" in answer.text


def test_a_row_counts_even_where_the_expression_has_changed_since() -> None:
    changed = replace(ENTRY, schedule=Schedule("0 3 * * *", timezone="UTC"))
    assert why(replace(FACTS, entry=changed, ticks=(TICK,))).outcome is TickState.DONE

"""Entries and ticks of the schedule as rows: recording, claiming, beating and ending them.

Each function is a few statements in a transaction of `light.transact`, in the SQL that every database speaks. A tick is
written to only by who holds its `claim`, so what is done twice, or by somebody who was given up, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gengfu.store.light import Executor, Row, moment, value
from gengfu.store.tick_rows import EntryRow, Tick, TickState

_OPEN = "('claimed', 'waiting', 'running')"
_COLUMNS = (
    "id, entry, due_at, turn, state, reason, covers, until_at, command, scheduler, pid, claim, beat, cancel, "
    "exit_code, claimed_at, started_at, finished_at"
)


@dataclass(frozen=True, slots=True)
class NewTick:
    """A row about to be recorded: one tick, or `covers` of them in a row with one fate."""

    due_at: datetime
    state: TickState
    reason: str | None = None
    covers: int = 1
    until_at: datetime | None = None
    extends: bool = False
    """Whether the entry's last row grows by it, where that has the same reason."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a tick's command ended."""

    state: TickState
    reason: str | None
    exit_code: int | None = None
    output: str | None = None


def entry_rows(execute: Executor) -> dict[str, EntryRow]:
    """What the schedule remembers of entries, by name."""
    rows = execute.all("SELECT * FROM schedule_entry", {})
    return {row["name"]: _entry(row) for row in rows}


def advance(execute: Executor, name: str, old: EntryRow | None, fresh: EntryRow) -> bool:
    """Accounts for ticks up to `fresh.planned_until`; False where another scheduler did so first. The row is locked
    until the end of the transaction."""
    values = {
        "name": name,
        "fingerprint": fresh.fingerprint,
        "planned_until": fresh.planned_until,
        "turn": fresh.turn,
    }
    if old is None:
        return execute.insert("schedule_entry", values, or_ignore=True) is not None
    met = execute.change(
        "UPDATE schedule_entry SET fingerprint = :fingerprint, planned_until = :planned_until, turn = :turn"
        " WHERE name = :name AND planned_until = :old AND turn = :old_turn AND fingerprint = :old_fingerprint",
        values | {"old": old.planned_until, "old_turn": old.turn, "old_fingerprint": old.fingerprint},
    )
    return met == 1


def account(
    execute: Executor,
    name: str,
    command: Sequence[str],
    old: EntryRow | None,
    fresh: EntryRow,
    new: Sequence[NewTick],
    scheduler: str,
    now: datetime,
) -> None:
    """Advances an entry and writes its new ticks down, or nothing where another scheduler was first."""
    if advance(execute, name, old, fresh):
        for tick in new:
            record(execute, name, fresh.turn, command, tick, scheduler, now)


def record(
    execute: Executor, entry: str, turn: int, command: Sequence[str], new: NewTick, scheduler: str, now: datetime
) -> None:
    """Writes a tick down, unless it is there already: the row is the claim."""
    if new.extends and _extend(execute, entry, new, now):
        return
    over = new.state not in (TickState.CLAIMED, TickState.WAITING)
    row = {
        "entry": entry,
        "due_at": new.due_at,
        "turn": turn,
        "state": new.state.value,
        "reason": new.reason,
        "covers": new.covers,
        "until_at": new.until_at,
        "command": list(command),
        "scheduler": scheduler,
        "claim": 0,
        "beat": 0,
        "cancel": False,
        "claimed_at": now,
        "finished_at": now if over else None,
    }
    execute.insert("schedule_tick", row, or_ignore=True)


def _extend(execute: Executor, entry: str, new: NewTick, now: datetime) -> bool:
    last = execute.one(
        "SELECT id, state, reason FROM schedule_tick WHERE id ="
        " (SELECT max(id) FROM schedule_tick WHERE entry = :entry)",
        {"entry": entry},
    )
    if last is None or (last["state"], last["reason"]) != (new.state.value, new.reason):
        return False
    execute.change(
        "UPDATE schedule_tick SET covers = covers + :covers, until_at = :until, finished_at = :now WHERE id = :id",
        {"covers": new.covers, "until": new.until_at or new.due_at, "now": now, "id": last["id"]},
    )
    return True


def open_ticks(execute: Executor) -> list[Tick]:
    """The ticks that are not over, oldest first, without their output."""
    rows = execute.all(f"SELECT {_COLUMNS} FROM schedule_tick WHERE state IN {_OPEN} ORDER BY id", {})
    return [_tick(row) for row in rows]


def beat(execute: Executor, scheduler: str) -> None:
    """A sign of life for all that this scheduler holds."""
    execute.change(
        "UPDATE schedule_tick SET beat = beat + 1 WHERE scheduler = :scheduler AND state IN ('claimed', 'running')",
        {"scheduler": scheduler},
    )


def begin(execute: Executor, tick: Tick, scheduler: str, now: datetime) -> bool:
    """Makes the tick a running one, unless an earlier one of its entry is open, or another scheduler was first. To be
    committed before its command is started."""
    # Held to the end of the transaction, so that of two ticks that begin at once one sees the other.
    execute.change("UPDATE schedule_entry SET turn = turn WHERE name = :name", {"name": tick.entry})
    earlier = f"SELECT count(*) AS found FROM schedule_tick WHERE entry = :entry AND id < :id AND state IN {_OPEN}"
    found = execute.one(earlier, {"entry": tick.entry, "id": tick.id})
    if found is None or found["found"]:
        return False
    met = execute.change(
        "UPDATE schedule_tick SET state = 'running', scheduler = :scheduler, claim = :next, beat = beat + 1,"
        " started_at = :now WHERE id = :id AND claim = :claim AND state = :state",
        _held(tick) | {"next": tick.claim + 1, "scheduler": scheduler, "now": now, "state": tick.state.value},
    )
    if met == 1:
        return True
    # A transaction whose answer was lost is run again.
    row = execute.one("SELECT scheduler, claim, state FROM schedule_tick WHERE id = :id", {"id": tick.id})
    return row is not None and (row["scheduler"], row["claim"], row["state"]) == (scheduler, tick.claim + 1, "running")


def started(execute: Executor, tick: Tick, pid: int) -> None:
    """Notes the process in which the tick's command runs."""
    execute.change("UPDATE schedule_tick SET pid = :pid WHERE id = :id AND claim = :claim", _held(tick) | {"pid": pid})


def wait(execute: Executor, tick: Tick, reason: str) -> None:
    """Lets a claimed tick wait for an earlier one; whichever scheduler finds it free begins it."""
    execute.change(
        "UPDATE schedule_tick SET state = 'waiting', reason = :reason WHERE id = :id AND claim = :claim"
        " AND state = 'claimed'",
        _held(tick) | {"reason": reason},
    )


def end(execute: Executor, tick: Tick, ending: Ending, now: datetime) -> bool:
    """Closes the tick; False where it is another's by now. One that was given up as lost, although its scheduler lived,
    becomes what it was."""
    met = execute.change(
        "UPDATE schedule_tick SET state = :state, reason = COALESCE(:reason, reason), exit_code = :code,"
        " output = :output, finished_at = :now WHERE id = :id AND claim = :claim"
        f" AND (state IN {_OPEN} OR state = 'lost')",
        _held(tick)
        | {
            "state": ending.state.value,
            "reason": ending.reason,
            "code": ending.exit_code,
            "output": ending.output,
            "now": now,
        },
    )
    return met == 1


def ask_to_end(execute: Executor, tick: Tick) -> None:
    """Asks the scheduler that holds the tick to end its command."""
    execute.change(
        f"UPDATE schedule_tick SET cancel = :yes WHERE id = :id AND state IN {_OPEN}", {"yes": True, "id": tick.id}
    )


def take_over(execute: Executor, tick: Tick, scheduler: str) -> bool:
    """Takes a claimed tick from a scheduler that died before it could start it; False where it lives after all."""
    met = execute.change(
        "UPDATE schedule_tick SET scheduler = :scheduler, claim = :next, beat = beat + 1"
        " WHERE id = :id AND claim = :claim AND beat = :beat AND state = 'claimed'",
        _held(tick) | {"next": tick.claim + 1, "scheduler": scheduler, "beat": tick.beat},
    )
    return met == 1


def hand_on(execute: Executor, scheduler: str) -> None:
    """Leaves the ticks that this scheduler has claimed and not started to whichever looks next."""
    execute.change(
        "UPDATE schedule_tick SET scheduler = NULL WHERE scheduler = :scheduler AND state = 'claimed'",
        {"scheduler": scheduler},
    )


def give_up(execute: Executor, tick: Tick, reason: str, now: datetime) -> bool:
    """Marks a running tick as lost; False where its scheduler lives after all."""
    met = execute.change(
        "UPDATE schedule_tick SET state = 'lost', reason = :reason, finished_at = :now"
        " WHERE id = :id AND claim = :claim AND beat = :beat AND state = 'running'",
        _held(tick) | {"reason": reason, "now": now, "beat": tick.beat},
    )
    return met == 1


def prune(execute: Executor, before: datetime) -> int:
    """Removes the rows from before that moment that are over, but for the last of each entry; how many there were."""
    return execute.change(
        f"DELETE FROM schedule_tick WHERE claimed_at < :before AND state NOT IN {_OPEN} AND id NOT IN"
        " (SELECT latest FROM (SELECT max(id) AS latest FROM schedule_tick GROUP BY entry) AS kept)",
        {"before": before},
    )


def pause(execute: Executor, name: str, by: str, reason: str | None, now: datetime) -> bool:
    """Pauses an entry; False where it is paused already."""
    unseen = {"name": name, "fingerprint": "", "planned_until": now, "turn": 0}
    execute.insert("schedule_entry", unseen, or_ignore=True)
    met = execute.change(
        "UPDATE schedule_entry SET paused_at = :now, paused_by = :by, pause_reason = :reason"
        " WHERE name = :name AND paused_at IS NULL",
        {"name": name, "now": now, "by": by, "reason": reason},
    )
    return met == 1


def resume(execute: Executor, name: str) -> bool:
    """Lets a paused entry go on; False where it is not paused."""
    met = execute.change(
        "UPDATE schedule_entry SET paused_at = NULL, paused_by = NULL, pause_reason = NULL"
        " WHERE name = :name AND paused_at IS NOT NULL",
        {"name": name},
    )
    return met == 1


def server_time(execute: Executor, kind: str) -> datetime:
    """What the clock of a database server says, in the middle of a transaction too."""
    sql = "SELECT clock_timestamp() AS now" if kind == "postgresql" else "SELECT UTC_TIMESTAMP(6) AS now"
    row = execute.one(sql, {})
    now = moment(row["now"]) if row is not None else None
    assert now is not None
    return now


def _held(tick: Tick) -> dict[str, Any]:
    return {"id": tick.id, "claim": tick.claim}


def _entry(row: Row) -> EntryRow:
    return EntryRow(
        name=row["name"],
        fingerprint=row["fingerprint"],
        planned_until=_moment(row["planned_until"]),
        turn=row["turn"],
        paused_at=moment(row["paused_at"]),
        paused_by=row["paused_by"],
        pause_reason=row["pause_reason"],
    )


def _tick(row: Row) -> Tick:
    return Tick(
        id=row["id"],
        entry=row["entry"],
        due_at=_moment(row["due_at"]),
        turn=row["turn"],
        state=TickState(row["state"]),
        reason=row["reason"],
        covers=row["covers"],
        until_at=moment(row["until_at"]),
        command=tuple(value(row["command"])),
        scheduler=row["scheduler"],
        pid=row["pid"],
        claim=row["claim"],
        beat=row["beat"],
        cancel=bool(row["cancel"]),
        exit_code=row["exit_code"],
        output=None,
        claimed_at=_moment(row["claimed_at"]),
        started_at=moment(row["started_at"]),
        finished_at=moment(row["finished_at"]),
    )


def _moment(stored: datetime | str) -> datetime:
    found = moment(stored)
    assert found is not None
    return found

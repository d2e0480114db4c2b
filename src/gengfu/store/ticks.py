"""Entries and ticks of the schedule as rows: recording, claiming, taking over and ending them.

Each function is a few statements in a transaction of `light.transact`, in the SQL that every database speaks. A tick is
written to only under its `fence`, so what is done twice, or by somebody who was given up, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gengfu.store.leases import HELD
from gengfu.store.light import Executor, Row, moment, value
from gengfu.store.tick_rows import EntryRow, Tick, TickHolder, TickState

OPEN = "('claimed', 'waiting', 'running')"
_COLUMNS = (
    "id, entry, due_at, clock_epoch, state, reason, covers, until_at, command, scheduler, lease_id, fence, pid, birth, "
    "cancel, exit_code, run_id, job_id, claimed_at, started_at, finished_at"
)
_ORPHANED = f"(lease_id IS NULL OR lease_id NOT IN {HELD})"
"""The condition by which nobody who lives has it in its hands."""


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
class TickEnd:
    """How a tick's command ended."""

    state: TickState
    reason: str | None
    exit_code: int | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """What was queued for a tick in place of a process."""

    queue: str
    job_id: int
    run_id: int | None
    text: str
    """In words for people."""


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
        "clock_epoch": fresh.clock_epoch,
    }
    if old is None:
        return execute.insert("schedule_entry", values, or_ignore=True) is not None
    met = execute.change(
        "UPDATE schedule_entry SET fingerprint = :fingerprint, planned_until = :planned_until,"
        " clock_epoch = :clock_epoch WHERE name = :name AND planned_until = :old AND clock_epoch = :old_epoch"
        " AND fingerprint = :old_fingerprint",
        values | {"old": old.planned_until, "old_epoch": old.clock_epoch, "old_fingerprint": old.fingerprint},
    )
    return met == 1


def record(
    execute: Executor,
    entry: str,
    epoch: int,
    command: Sequence[str],
    new: NewTick,
    holder: TickHolder | str,
    now: datetime,
) -> int | None:
    """Writes a tick down; None where it is there already, or was added to the entry's last row.

    `holder`: who has a claimed one in its hands; the name alone where it is left to whichever scheduler looks next.
    """
    if new.extends and _extend(execute, entry, new, now):
        return None
    over = new.state not in (TickState.CLAIMED, TickState.WAITING)
    held = isinstance(holder, TickHolder) and new.state is TickState.CLAIMED
    row = {
        "entry": entry,
        "due_at": new.due_at,
        "clock_epoch": epoch,
        "state": new.state.value,
        "reason": new.reason,
        "covers": new.covers,
        "until_at": new.until_at,
        "command": list(command),
        "scheduler": holder.name if isinstance(holder, TickHolder) else holder,
        "lease_id": holder.lease_id if held and isinstance(holder, TickHolder) else None,
        "fence": 0,
        "cancel": False,
        "claimed_at": now,
        "finished_at": now if over else None,
    }
    return execute.insert("schedule_tick", row, or_ignore=True)


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
    rows = execute.all(f"SELECT {_COLUMNS} FROM schedule_tick WHERE state IN {OPEN} ORDER BY id", {})
    return [_tick(row) for row in rows]


def tick_of(execute: Executor, tick_id: int) -> Tick:
    """The tick of that id, without its output."""
    row = execute.one(f"SELECT {_COLUMNS} FROM schedule_tick WHERE id = :id", {"id": tick_id})
    assert row is not None
    return _tick(row)


def fence(execute: Executor, tick: Tick) -> Tick | None:
    """The open tick under the next fencing number, its row and its entry's held to the end of the transaction; None
    where it was changed since it was read."""
    _lock_entry(execute, tick)
    met = execute.change(
        "UPDATE schedule_tick SET fence = fence + 1 WHERE id = :id AND fence = :fence AND state = :state",
        _fenced(tick) | {"state": tick.state.value},
    )
    return replace(tick, fence=tick.fence + 1) if met == 1 else None


def earlier_ticks(execute: Executor, tick: Tick) -> list[Tick]:
    """The earlier ticks of its entry that are not over, oldest first."""
    return [other for other in open_ticks(execute) if other.entry == tick.entry and other.id < tick.id]


def queued(execute: Executor, tick: Tick, made: Queued, ending: TickEnd, scheduler: str, now: datetime) -> None:
    """Closes a tick whose work was queued in this transaction."""
    execute.change(
        "UPDATE schedule_tick SET state = :state, scheduler = :scheduler, output = :output, run_id = :run,"
        " job_id = :job, started_at = :now, finished_at = :now WHERE id = :id AND fence = :fence",
        _fenced(tick)
        | {"state": ending.state.value, "scheduler": scheduler, "output": ending.output, "now": now}
        | {"run": made.run_id, "job": made.job_id},
    )


def begin(execute: Executor, tick: Tick, holder: TickHolder, now: datetime) -> bool:
    """Makes the tick a running one, unless an earlier one of its entry is open, or another scheduler was first. To be
    committed before its command is started."""
    if not _is_first(execute, tick):
        return False
    met = execute.change(
        "UPDATE schedule_tick SET state = 'running', scheduler = :scheduler, lease_id = :lease, fence = :next,"
        " started_at = :now WHERE id = :id AND fence = :fence AND state = :state",
        _fenced(tick) | _taken(tick, holder) | {"now": now, "state": tick.state.value},
    )
    if met == 1:
        return True
    # A transaction whose answer was lost is run again.
    row = execute.one("SELECT lease_id, fence, state FROM schedule_tick WHERE id = :id", {"id": tick.id})
    found = (row["lease_id"], row["fence"], row["state"]) if row is not None else None
    return found == (holder.lease_id, tick.fence + 1, "running")


def _lock_entry(execute: Executor, tick: Tick) -> None:
    """Locks the row of its entry to the end of the transaction, so that of two ticks that begin at once one sees the
    other."""
    execute.change("UPDATE schedule_entry SET clock_epoch = clock_epoch WHERE name = :name", {"name": tick.entry})


def _is_first(execute: Executor, tick: Tick) -> bool:
    """Whether no earlier tick of its entry is open."""
    _lock_entry(execute, tick)
    earlier = f"SELECT count(*) AS found FROM schedule_tick WHERE entry = :entry AND id < :id AND state IN {OPEN}"
    found = execute.one(earlier, {"entry": tick.entry, "id": tick.id})
    return found is not None and not found["found"]


def started(execute: Executor, tick: Tick, pid: int, birth: str | None) -> None:
    """Notes the process in which the tick's command runs."""
    execute.change(
        "UPDATE schedule_tick SET pid = :pid, birth = :birth WHERE id = :id AND fence = :fence",
        _fenced(tick) | {"pid": pid, "birth": birth},
    )


def wait(execute: Executor, tick: Tick, reason: str) -> None:
    """Lets a claimed tick wait for an earlier one; whichever scheduler finds it free begins it."""
    execute.change(
        "UPDATE schedule_tick SET state = 'waiting', reason = :reason, lease_id = NULL"
        " WHERE id = :id AND fence = :fence AND state = 'claimed'",
        _fenced(tick) | {"reason": reason},
    )


def end(execute: Executor, tick: Tick, ending: TickEnd, now: datetime) -> bool:
    """Closes the tick; False where it is another's by now. One that was given up as lost, although its scheduler lived,
    becomes what it was."""
    met = execute.change(
        "UPDATE schedule_tick SET state = :state, reason = COALESCE(:reason, reason), exit_code = :code,"
        " output = :output, finished_at = :now WHERE id = :id AND fence = :fence"
        f" AND (state IN {OPEN} OR state = 'lost')",
        _fenced(tick)
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
        f"UPDATE schedule_tick SET cancel = :yes WHERE id = :id AND state IN {OPEN}", {"yes": True, "id": tick.id}
    )


def take_over(execute: Executor, tick: Tick, holder: TickHolder) -> bool:
    """Takes a claimed tick from a scheduler that died before it could start it; False where it lives after all."""
    met = execute.change(
        "UPDATE schedule_tick SET scheduler = :scheduler, lease_id = :lease, fence = :next"
        f" WHERE id = :id AND fence = :fence AND state = 'claimed' AND {_ORPHANED}",
        _fenced(tick) | _taken(tick, holder),
    )
    return met == 1


def hand_on(execute: Executor, holder: TickHolder) -> None:
    """Leaves the ticks that this scheduler has claimed and not started to whichever looks next."""
    execute.change(
        "UPDATE schedule_tick SET scheduler = NULL, lease_id = NULL WHERE lease_id = :lease AND state = 'claimed'",
        {"lease": holder.lease_id},
    )


def give_up(execute: Executor, tick: Tick, reason: str, now: datetime) -> bool:
    """Marks a running tick as lost; False where its scheduler lives after all."""
    met = execute.change(
        "UPDATE schedule_tick SET state = 'lost', reason = :reason, finished_at = :now"
        f" WHERE id = :id AND fence = :fence AND state = 'running' AND {_ORPHANED}",
        _fenced(tick) | {"reason": reason, "now": now},
    )
    return met == 1


def pause(execute: Executor, name: str, by: str, reason: str | None, now: datetime) -> bool:
    """Pauses an entry; False where it is paused already."""
    unseen = {"name": name, "fingerprint": "", "planned_until": now, "clock_epoch": 0}
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


def _fenced(tick: Tick) -> dict[str, Any]:
    return {"id": tick.id, "fence": tick.fence}


def _taken(tick: Tick, holder: TickHolder) -> dict[str, Any]:
    return {"scheduler": holder.name, "lease": holder.lease_id, "next": tick.fence + 1}


def _entry(row: Row) -> EntryRow:
    return EntryRow(
        name=row["name"],
        fingerprint=row["fingerprint"],
        planned_until=_moment(row["planned_until"]),
        clock_epoch=row["clock_epoch"],
        paused_at=moment(row["paused_at"]),
        paused_by=row["paused_by"],
        pause_reason=row["pause_reason"],
    )


def _tick(row: Row) -> Tick:
    return Tick(
        id=row["id"],
        entry=row["entry"],
        due_at=_moment(row["due_at"]),
        clock_epoch=row["clock_epoch"],
        state=TickState(row["state"]),
        reason=row["reason"],
        covers=row["covers"],
        until_at=moment(row["until_at"]),
        command=tuple(value(row["command"])),
        scheduler=row["scheduler"],
        lease_id=row["lease_id"],
        fence=row["fence"],
        pid=row["pid"],
        birth=row["birth"],
        cancel=bool(row["cancel"]),
        exit_code=row["exit_code"],
        output=None,
        run_id=row["run_id"],
        job_id=row["job_id"],
        claimed_at=_moment(row["claimed_at"]),
        started_at=moment(row["started_at"]),
        finished_at=moment(row["finished_at"]),
    )


def _moment(stored: datetime | str) -> datetime:
    found = moment(stored)
    assert found is not None
    return found

"""Entries and ticks of the schedule: recording, claiming, taking over and ending them, and what is on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gengfu.store.enqueue import Enqueuing
from gengfu.store.leases import HELD, Lease, leases_in
from gengfu.store.statements import Row, Statements, look, moment, sentence, transact, value

if TYPE_CHECKING:
    from gengfu.store.database import Database

T = TypeVar("T")

OPEN = "('claimed', 'waiting', 'running')"
"""The states of a tick that is not over."""
LOOKED_THROUGH = 1000
"""Among so many rows before a moment one is looked for that covers it; rows of an entry hardly overlap."""
JUDGED = 100
"""From so many of the latest ticks or runs it is judged how long the next one takes."""
_ORPHANED = f"(lease_id IS NULL OR lease_id NOT IN {HELD})"
"""The condition by which nobody who lives has it in its hands."""


class TickState(StrEnum):
    """What has become of a tick."""

    CLAIMED = "claimed"
    """A scheduler has taken it and not started its command yet; another may take it over if that one dies."""
    WAITING = "waiting"
    """It waits for an earlier tick of its entry to end."""
    RUNNING = "running"
    """Its command is under way, or was when its scheduler was last heard of."""
    DONE = "done"
    """Its command ended with exit code 0."""
    FAILED = "failed"
    """Its command ended otherwise, ran into its time limit, or could not be started; `reason` says which."""
    CANCELLED = "cancelled"
    """Its command was ended for a later tick, by a person, or by the end of its scheduler."""
    LOST = "lost"
    """Its scheduler died while the command ran, so nobody saw how it ended."""
    SKIPPED = "skipped"
    """It was not run, for `reason`: an earlier one was under way, or the entry was paused."""
    MISSED = "missed"
    """It was not run since it was found too late; `reason` says from when to when nobody looked."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A row of `schedule_tick`."""

    id: int
    entry: str
    due_at: datetime
    clock_epoch: int
    state: TickState
    reason: str | None
    covers: int
    until_at: datetime | None
    command: tuple[str, ...]
    scheduler: str | None
    lease_id: int | None
    fence: int
    pid: int | None
    birth: str | None
    cancel: bool
    exit_code: int | None
    output: str | None
    run_id: int | None
    job_id: int | None
    claimed_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class TickHolder:
    """The scheduler that has a tick in its hands: its name for people, and its lease."""

    name: str
    lease_id: int


@dataclass(frozen=True, slots=True)
class EntryRow:
    """A row of `schedule_entry`."""

    name: str
    fingerprint: str
    planned_until: datetime
    clock_epoch: int
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None


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


class TickStore:
    """The tables of the schedule, in an SQLite file or a database; what is asked in one call is one transaction."""

    def __init__(self, db: Database | Path, patience: float = 30.0) -> None:
        """`patience`: seconds for which a database that is away is asked again before a write fails."""
        self._db = db
        self._patience = patience

    def write(self, work: Callable[[Ticks], T]) -> T:
        """Runs `work` in one transaction and commits. It may be run again from the start, so it must change nothing but
        the database.

        Raises:
            StoreError: the database cannot do it.
        """
        return transact(self._db, lambda statements: work(Ticks(statements)), self._patience)

    def read(self, work: Callable[[Ticks], T]) -> T:
        """Runs `work`, which only reads, on one snapshot.

        Raises:
            StoreError: the database cannot be read.
        """
        return look(self._db, lambda statements: work(Ticks(statements)))


class Ticks:
    """Entries and ticks within one transaction. A tick is written to only under its `fence`, so what is done twice, or
    by somebody who was given up, changes nothing."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self.work = Enqueuing(statements)
        """What is queued in the same transaction."""

    def entries(self) -> dict[str, EntryRow]:
        """What the schedule remembers of entries, by name."""
        rows = self._statements.all("SELECT * FROM schedule_entry", {})
        return {row["name"]: _entry(row) for row in rows}

    def advance(self, name: str, old: EntryRow | None, fresh: EntryRow) -> bool:
        """Accounts for ticks up to `fresh.planned_until`; False where another scheduler did so first. The row is locked
        until the end of the transaction."""
        values = {
            "name": name,
            "fingerprint": fresh.fingerprint,
            "planned_until": fresh.planned_until,
            "clock_epoch": fresh.clock_epoch,
        }
        if old is None:
            return self._statements.insert("schedule_entry", values, or_ignore=True) is not None
        met = self._statements.change(
            "UPDATE schedule_entry SET fingerprint = :fingerprint, planned_until = :planned_until,"
            " clock_epoch = :clock_epoch WHERE name = :name AND planned_until = :old AND clock_epoch = :old_epoch"
            " AND fingerprint = :old_fingerprint",
            values | {"old": old.planned_until, "old_epoch": old.clock_epoch, "old_fingerprint": old.fingerprint},
        )
        return met == 1

    def record(
        self,
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
        if new.extends and self._extend(entry, new, now):
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
        return self._statements.insert("schedule_tick", row, or_ignore=True)

    def _extend(self, entry: str, new: NewTick, now: datetime) -> bool:
        last = self._statements.one(
            "SELECT id, state, reason FROM schedule_tick WHERE id ="
            " (SELECT max(id) FROM schedule_tick WHERE entry = :entry)",
            {"entry": entry},
        )
        if last is None or (last["state"], sentence(last["reason"])) != (new.state.value, new.reason):
            return False
        self._statements.change(
            "UPDATE schedule_tick SET covers = covers + :covers, until_at = :until, finished_at = :now WHERE id = :id",
            {"covers": new.covers, "until": new.until_at or new.due_at, "now": now, "id": last["id"]},
        )
        return True

    def open(self) -> list[Tick]:
        """The ticks that are not over, oldest first."""
        return self._ticks(f"state IN {OPEN} ORDER BY id", {})

    def get(self, tick_id: int) -> Tick:
        """The tick of that id."""
        return self._ticks("id = :id", {"id": tick_id})[0]

    def earlier(self, tick: Tick) -> list[Tick]:
        """The earlier ticks of its entry that are not over, oldest first."""
        where = f"entry = :entry AND id < :id AND state IN {OPEN} ORDER BY id"
        return self._ticks(where, {"entry": tick.entry, "id": tick.id})

    def fence(self, tick: Tick) -> Tick | None:
        """The open tick under the next fencing number, its row and its entry's held to the end of the transaction; None
        where it was changed since it was read."""
        self._lock_entry(tick)
        met = self._change(tick, "fence = fence + 1", "state = :state", state=tick.state.value)
        return replace(tick, fence=tick.fence + 1) if met else None

    def queued(self, tick: Tick, made: Queued, ending: TickEnd, scheduler: str, now: datetime) -> None:
        """Closes a tick whose work was queued in this transaction."""
        self._change(
            tick,
            "state = :state, scheduler = :scheduler, output = :output, run_id = :run, job_id = :job,"
            " started_at = :now, finished_at = :now",
            state=ending.state.value,
            scheduler=scheduler,
            output=ending.output,
            run=made.run_id,
            job=made.job_id,
            now=now,
        )

    def begin(self, tick: Tick, holder: TickHolder, now: datetime) -> bool:
        """Makes the tick a running one, unless an earlier one of its entry is open, or another scheduler was first. To
        be committed before its command is started."""
        self._lock_entry(tick)
        if self.earlier(tick):
            return False
        changes = "state = 'running', scheduler = :scheduler, lease_id = :lease, fence = fence + 1, started_at = :now"
        given = {"scheduler": holder.name, "lease": holder.lease_id, "now": now, "state": tick.state.value}
        if self._change(tick, changes, "state = :state", **given):
            return True
        # A transaction whose answer was lost is run again.
        found = self.get(tick.id)
        return (found.lease_id, found.fence, found.state) == (holder.lease_id, tick.fence + 1, TickState.RUNNING)

    def started(self, tick: Tick, pid: int, birth: str | None) -> None:
        """Notes the process in which the tick's command runs."""
        self._change(tick, "pid = :pid, birth = :birth", pid=pid, birth=birth)

    def wait(self, tick: Tick, reason: str) -> None:
        """Lets a claimed tick wait for an earlier one; whichever scheduler finds it free begins it."""
        self._change(tick, "state = 'waiting', reason = :reason, lease_id = NULL", "state = 'claimed'", reason=reason)

    def end(self, tick: Tick, ending: TickEnd, now: datetime) -> bool:
        """Closes the tick; False where it is another's by now. One that was given up as lost, although its scheduler
        lived, becomes what it was."""
        return self._change(
            tick,
            "state = :state, reason = COALESCE(:reason, reason), exit_code = :code, output = :output,"
            " finished_at = :now",
            f"(state IN {OPEN} OR state = 'lost')",
            state=ending.state.value,
            reason=ending.reason,
            code=ending.exit_code,
            output=ending.output,
            now=now,
        )

    def ask_to_end(self, tick: Tick) -> None:
        """Asks the scheduler that holds the tick to end its command."""
        sql = f"UPDATE schedule_tick SET cancel = :yes WHERE id = :id AND state IN {OPEN}"
        self._statements.change(sql, {"yes": True, "id": tick.id})

    def take_over(self, tick: Tick, holder: TickHolder) -> bool:
        """Takes a claimed tick from a scheduler that died before it could start it; False where it lives after all."""
        return self._change(
            tick,
            "scheduler = :scheduler, lease_id = :lease, fence = fence + 1",
            f"state = 'claimed' AND {_ORPHANED}",
            scheduler=holder.name,
            lease=holder.lease_id,
        )

    def hand_on(self, holder: TickHolder) -> None:
        """Leaves the ticks that this scheduler has claimed and not started to whichever looks next."""
        self._statements.change(
            "UPDATE schedule_tick SET scheduler = NULL, lease_id = NULL WHERE lease_id = :lease AND state = 'claimed'",
            {"lease": holder.lease_id},
        )

    def give_up(self, tick: Tick, reason: str, now: datetime) -> bool:
        """Marks a running tick as lost; False where its scheduler lives after all."""
        changes = "state = 'lost', reason = :reason, finished_at = :now"
        return self._change(tick, changes, f"state = 'running' AND {_ORPHANED}", reason=reason, now=now)

    def lose_open(self, reason: str, now: datetime) -> None:
        """Marks every tick that is not over as lost, where no scheduler can be left that has one in its hands."""
        self._statements.change(
            f"UPDATE schedule_tick SET state = 'lost', reason = :reason, finished_at = :now WHERE state IN {OPEN}",
            {"reason": reason, "now": now},
        )

    def pause(self, name: str, by: str, reason: str | None, now: datetime) -> bool:
        """Pauses an entry; False where it is paused already."""
        unseen = {"name": name, "fingerprint": "", "planned_until": now, "clock_epoch": 0}
        self._statements.insert("schedule_entry", unseen, or_ignore=True)
        met = self._statements.change(
            "UPDATE schedule_entry SET paused_at = :now, paused_by = :by, pause_reason = :reason"
            " WHERE name = :name AND paused_at IS NULL",
            {"name": name, "now": now, "by": by, "reason": reason},
        )
        return met == 1

    def resume(self, name: str) -> bool:
        """Lets a paused entry go on; False where it is not paused."""
        met = self._statements.change(
            "UPDATE schedule_entry SET paused_at = NULL, paused_by = NULL, pause_reason = NULL"
            " WHERE name = :name AND paused_at IS NOT NULL",
            {"name": name},
        )
        return met == 1

    def _lock_entry(self, tick: Tick) -> None:
        """Locks the row of its entry to the end of the transaction, so that of two ticks that begin at once one sees
        the other."""
        sql = "UPDATE schedule_entry SET clock_epoch = clock_epoch WHERE name = :name"
        self._statements.change(sql, {"name": tick.entry})

    def _change(self, tick: Tick, changes: str, where: str = "1 = 1", **values: Any) -> bool:
        """Writes to the tick under its fencing number; False where it is another's by now, or not as `where` says."""
        sql = f"UPDATE schedule_tick SET {changes} WHERE id = :id AND fence = :fence AND {where}"
        return self._statements.change(sql, {"id": tick.id, "fence": tick.fence, **values}) == 1

    def server_time(self) -> datetime | None:
        """What the clock of the database server says; None where the database is a file of this host."""
        return self._statements.server_time()

    def leases(self) -> list[Lease]:
        """The leases of all processes, oldest first."""
        return leases_in(self._statements)

    def latest(self, limit: int, entry: str | None = None, state: TickState | None = None) -> list[Tick]:
        """The latest ticks of that entry, or of all, in that state, by when they were due, newest first."""
        values = {name: value for name, value in (("entry", entry), ("state", state)) if value is not None}
        where = " AND ".join(f"{name} = :{name}" for name in values) or "1 = 1"
        # Of all entries, those written last: for them there is a key to read by.
        order = "due_at DESC, clock_epoch DESC" if entry is not None else "id DESC"
        found = self._ticks(f"{where} ORDER BY {order} LIMIT :limit", values | {"limit": limit})
        return sorted(found, key=lambda tick: (tick.due_at, tick.id), reverse=True) if entry is None else found

    def at(self, entry: str, due_at: datetime) -> list[Tick]:
        """The rows that stand for the tick due at that moment: its own, and one that covers it with others."""
        near = self._statements.all(
            "SELECT id, due_at, until_at FROM schedule_tick WHERE entry = :entry AND due_at <= :due"
            " ORDER BY due_at DESC LIMIT :limit",
            {"entry": entry, "due": due_at, "limit": LOOKED_THROUGH},
        )
        ids = [str(row["id"]) for row in near if _moment(row["until_at"] or row["due_at"]) >= due_at]
        return self._ticks(f"id IN ({','.join(ids)}) ORDER BY due_at, clock_epoch", {}) if ids else []

    def first_due(self, entry: str) -> datetime | None:
        """When the earliest tick was due that is still on record."""
        row = self._statements.one(
            "SELECT min(due_at) AS due_at FROM schedule_tick WHERE entry = :entry", {"entry": entry}
        )
        return moment(row["due_at"]) if row is not None else None

    def seconds(self, entry: str) -> float | None:
        """The median of how long the entry's latest ticks took that ended well; None if there is none."""
        return self._median("schedule_tick WHERE entry = :entry AND state = 'done'", "due_at", {"entry": entry})

    def run_seconds(self, resource: str, scope: str) -> float | None:
        """The median of how long the latest runs of that scope took; None if there is none."""
        where = "sync_run WHERE resource = :resource AND scope = :scope"
        return self._median(where, "id", {"resource": resource, "scope": scope})

    def _median(self, rows: str, order: str, values: Row) -> float | None:
        found = self._statements.all(
            f"SELECT started_at, finished_at FROM {rows} AND started_at IS NOT NULL AND finished_at IS NOT NULL"
            f" ORDER BY {order} DESC LIMIT {JUDGED}",
            values,
        )
        spans = [_moment(row["finished_at"]) - _moment(row["started_at"]) for row in found]
        if not spans:
            return None
        from statistics import median

        # A clock that was set back in between must not make a time negative.
        return median(max(0.0, span.total_seconds()) for span in spans)

    def _ticks(self, where: str, values: Row) -> list[Tick]:
        return [_tick(row) for row in self._statements.all(f"SELECT * FROM schedule_tick WHERE {where}", values)]


def _entry(row: Row) -> EntryRow:
    return EntryRow(**{**row, "planned_until": moment(row["planned_until"]), "paused_at": moment(row["paused_at"])})


def _tick(row: Row) -> Tick:
    moments = ("due_at", "until_at", "claimed_at", "started_at", "finished_at")
    read = {"state": TickState(row["state"]), "command": tuple(value(row["command"])), "cancel": bool(row["cancel"])}
    read["reason"] = sentence(row["reason"])
    return Tick(**{**row, **read, **{name: moment(row[name]) for name in moments}})


def _moment(stored: datetime | str) -> datetime:
    found = moment(stored)
    assert found is not None
    return found

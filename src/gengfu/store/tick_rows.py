"""Ticks and entries as the schedule's tables keep them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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


OPEN = (TickState.CLAIMED, TickState.WAITING, TickState.RUNNING)
"""The states of a tick that is not over."""


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

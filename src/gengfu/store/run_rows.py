"""What the rows of runs, windows and pages hold, and the words for where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gengfu.language import tr

OPEN_END = 2**31 - 1
"""The last page of a window whose end nobody knows until it is read."""


def span(first: int, last: int) -> str:
    """The pages of a window, for people."""
    return (
        tr("{first} to the end", first=first) if last == OPEN_END else tr("{first} to {last}", first=first, last=last)
    )


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    """Accepted; no worker has taken it."""
    READING = "reading"
    """Its windows are being fetched."""
    CLOSING = "closing"
    """All windows ended; one worker compares and decides."""
    HELD = "held"
    """Read whole, but too much vanished at once: a person approves or discards it."""
    CLOSED = "closed"
    """Over."""


class Verdict(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    """Every row that existed throughout was read."""
    DRIFTED = "drifted"
    """The list shifted while it was read, and reading it again did not settle it."""
    PARTIAL = "partial"
    """Pages are missing."""
    HELD = "held"
    """Too much vanished at once; nothing was marked as gone."""
    FAILED = "failed"
    """It could not be read at all, or was abandoned."""


class Decision(StrEnum):
    """What a person decided of a held run."""

    APPROVED = "approved"
    """What was missing is gone."""
    DISCARDED = "discarded"
    """The run is not believed; nothing was marked."""


class WindowState(StrEnum):
    """Where a window stands."""

    WAITING = "waiting"
    READING = "reading"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to bring one mirror up to date; the columns of `sync_run`. Counts are rows of the vendor's list."""

    id: int
    source_id: int
    resource: str
    scope: str
    tick_id: int | None
    active_key: str | None
    state: RunState
    verdict: Verdict | None
    reason: str | None
    fence: int
    pass_number: int
    page_size: int | None
    pages: int | None
    windows: int
    windows_done: int
    pages_done: int
    shifted: bool
    closer: int | None
    total_first: int | None
    total_last: int | None
    seen: int | None
    new: int
    changed: int
    heartbeat: int
    unchanged: int
    returned: int
    gone: int
    absent: int
    rejected: int
    """Rows that could not be read ..."""
    doubled: int
    """... that came again, ..."""
    differing: int
    """... and of these with other values than before."""
    calls: int
    retries: int
    throttled: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    decision: Decision | None
    decided_by: str | None
    decided_at: datetime | None

    @property
    def active(self) -> bool:
        """Whether workers may still write for it."""
        return self.active_key is not None

    @property
    def why_not_held(self) -> str:
        """Why there is nothing to decide about it."""
        if self.decision is not None:
            return tr("run {id} was {decision} already; see: gengfu run:show {id}", id=self.id, decision=self.decision)
        is_over = self.verdict is Verdict.HELD and self.state is not RunState.HELD
        return tr(
            "run {id} is not held; {reason}",
            id=self.id,
            reason=self.reason if is_over else tr("it is {state}", state=tr(self.verdict or self.state)),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive pages, both ends included, and the fencing number of this hold on them."""

    id: int
    run_id: int
    pass_number: int
    first_page: int
    last_page: int
    fence: int


@dataclass(frozen=True, slots=True)
class PageRecord:
    """A page that was read: `ids` as packed 64-bit integers, `rejected` of its rows set aside, `took_ms` of the answer
    that counted."""

    page: int
    rows: int
    total: int
    ids: bytes
    rejected: int
    took_ms: int
    attempts: int
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be read."""

    page: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window as it is told to people."""

    id: int
    pass_number: int
    first_page: int
    last_page: int | None
    """None as long as nobody knows the end."""
    state: WindowState
    job_id: int
    reason: str | None
    started_at: datetime | None
    finished_at: datetime | None
    pages_read: int


@dataclass(frozen=True, slots=True)
class PageRow:
    """A page that was read, as it is told to people."""

    pass_number: int
    page: int
    rows: int
    total: int
    rejected: int
    took_ms: int
    attempts: int
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class RejectRow:
    """A row that was set aside, as it is told to people."""

    id: int
    page: int
    reason: str
    raw: str

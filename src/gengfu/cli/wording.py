"""How runs stand and ended, and what they changed, in words for people."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from gengfu.services.times import seconds
from gengfu.text import visible

if TYPE_CHECKING:
    from gengfu.services.devices import Change
    from gengfu.services.runs import Run

COUNTS = ("new", "changed", "gone", "returned", "unchanged")
"""What a run did to the mirror, in the order in which people read it."""


def rows_of(run: Run) -> str:
    """What the rows of its list are called."""
    return "devices" if run.resource == "device" else "rows"


def run_line(run: Run) -> str:
    """How a run stands, as one sentence."""
    if run.verdict is None:
        if run.started_at is None:
            return f"Run {run.id} waits for a worker."
        pages = f"page {run.pages_done} of {run.pages}" if run.pages is not None else f"{run.pages_done} pages read"
        return f"Run {run.id} is {run.state}: {pages}, pass {run.pass_number}."
    took = seconds(run.created_at, run.finished_at)
    seen = f" {run.seen} {rows_of(run)} seen" if run.seen is not None else ""
    return f"Run {run.id}: {run.verdict}.{seen}{' in' if seen else ' After'} {took or 0.0:.2f} s."


def run_summary(run: Run) -> list[str]:
    """How a run ended, why, and what it did to the mirror, line by line."""
    return [run_line(run), *([f"  {visible(run.reason)}"] if run.reason else []), f"  {run_counts(run)}"]


def run_counts(run: Run) -> str:
    """What a run did to the mirror, as one line."""
    counts = [f"{name} {getattr(run, name)}" for name in COUNTS]
    more = [f"{name} {number}" for name in ("absent", "rejected") if (number := getattr(run, name))]
    return "  ".join(counts + more)


def ends_of(change: Change) -> tuple[Any, Any]:
    """What a field was and what it is; moments, which are kept as text, as moments."""
    if change.field is None or not change.field.endswith(("_at", "_time")):
        return change.old, change.new
    return _moment(change.old), _moment(change.new)


def _moment(kept: Any) -> Any:
    return datetime.fromisoformat(kept) if kept is not None else None

"""How runs stand and ended, and what they changed, in words for people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gengfu.services.times import seconds
from gengfu.text import visible

if TYPE_CHECKING:
    from gengfu.services.lists import Change
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


def span_words(span: timedelta) -> str:
    """How long something lasts, in its two greatest units: `3 d 4 h`, `2 h 5 min`, `40 s`."""
    seconds = max(0, int(span.total_seconds()))
    units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    first = next((place for place, (_, length) in enumerate(units) if seconds >= length), len(units) - 1)
    (unit, length), rest = units[first], units[first + 1 : first + 2]
    more = [
        f"{seconds % length // shorter} {name}"
        for name, shorter in rest
        if unit != "min" and seconds % length >= shorter
    ]
    return " ".join([f"{seconds // length} {unit}", *more])

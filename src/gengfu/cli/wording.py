"""How runs stand and ended, and what they changed, in words for people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gengfu.language import joined, tr
from gengfu.services.times import seconds
from gengfu.text import visible

if TYPE_CHECKING:
    from gengfu.services.lists import Change
    from gengfu.services.runs import Run

COUNTS = (tr("new"), tr("changed"), tr("gone"), tr("returned"), tr("unchanged"))
"""What a run did to the mirror, in the order in which people read it."""


def rows_of(run: Run) -> str:
    """What the rows of its list are called."""
    return tr("devices") if run.resource == "device" else tr("rows")


def run_line(run: Run) -> str:
    """How a run stands, as one sentence."""
    if run.verdict is None:
        if run.started_at is None:
            return tr("Run {run.id} waits for a worker.", run=run)
        if run.pages is None:
            return tr("Run {run.id} is {state}: {run.pages_done} pages read, pass {run.pass_number}.", **_named(run))
        return tr(
            "Run {run.id} is {state}: page {run.pages_done} of {run.pages}, pass {run.pass_number}.", **_named(run)
        )
    took = seconds(run.created_at, run.finished_at) or 0.0
    if run.seen is None:
        return tr("Run {run.id}: {state}. After {took:.2f} s.", took=took, **_named(run))
    return tr(
        "Run {run.id}: {state}. {run.seen} {rows} seen in {took:.2f} s.", took=took, rows=rows_of(run), **_named(run)
    )


def _named(run: Run) -> dict[str, object]:
    return {"run": run, "state": tr(run.verdict or run.state)}


def run_summary(run: Run) -> list[str]:
    """How a run ended, why, and what it did to the mirror, line by line."""
    reason = [tr("  {reason}", reason=visible(run.reason))] if run.reason else []
    return [run_line(run), *reason, tr("  {counts}", counts=run_counts(run))]


def run_counts(run: Run) -> str:
    """What a run did to the mirror, as one line."""
    rare = (tr("absent"), tr("rejected"), tr("doubled"), tr("differing"))
    more = [name for name in rare if getattr(run, name)]
    counts = [tr("{name} {number}", name=name, number=getattr(run, name)) for name in (*COUNTS, *more)]
    return joined("  ", counts)


def ends_of(change: Change) -> tuple[Any, Any]:
    """What a field was and what it is; moments, which are kept as text, as moments."""
    if change.field is None or not change.field.endswith(("_at", "_time")):
        return change.old, change.new
    return _moment(change.old), _moment(change.new)


def _moment(kept: Any) -> Any:
    return datetime.fromisoformat(kept) if kept is not None else None


def span_words(span: timedelta) -> str:
    """How long something lasts, in its two greatest units: `3 d 4 h`, `2 h 5 min`, `40 s`."""
    rest = max(0, int(span.total_seconds()))
    parts: list[str] = []
    for unit, length in ((tr("d"), 86_400), (tr("h"), 3_600), (tr("min"), 60), (tr("s"), 1)):
        # Of an hour and more, seconds are not told.
        if rest >= length and len(parts) < 2 and not (length == 1 and parts):
            parts.append(tr("{number} {unit}", number=rest // length, unit=unit))
            rest %= length
        elif parts:
            break
    return joined(" ", parts or [tr("0 s")])

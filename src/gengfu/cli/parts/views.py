"""What runs, jobs and devices look like: as a mapping for JSON, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gengfu.cli.output import clean

if TYPE_CHECKING:
    from gengfu.store.changes import Change
    from gengfu.store.jobs import AttemptRecord, JobRecord
    from gengfu.store.run_rows import Run

COUNTS = ("new", "changed", "gone", "returned", "unchanged")
"""What a run did to the mirror, in the order in which people read it."""


def run_json(run: Run) -> dict[str, Any]:
    """A run for a program; `seconds` is from its acceptance to its end."""
    values = asdict(run)
    for internal in ("active_key", "fence", "closer", "source_id", "tick_id", "decision", "decided_by", "decided_at"):
        del values[internal]
    values["pass"] = values.pop("pass_number")
    return {
        "run": values.pop("id"),
        "active": run.active,
        "seconds": seconds(run.created_at, run.finished_at),
        **values,
    }


def job_json(job: JobRecord) -> dict[str, Any]:
    """A job for a program."""
    values = asdict(job)
    for internal in ("claim", "beat", "nudges"):
        del values[internal]
    return {"job": values.pop("id"), **values}


def attempt_json(attempt: AttemptRecord) -> dict[str, Any]:
    """An attempt for a program."""
    values = asdict(attempt)
    for internal in ("claim", "job_id"):
        del values[internal]
    return {**values, "seconds": seconds(attempt.started_at, attempt.finished_at)}


def device_status(row: Mapping[str, Any], missed_by: int | None) -> str:
    """Whether the vendor still lists the device, in words."""
    if row["gone_at"] is not None:
        return "gone"
    return "present" if missed_by is None else f"missing since run {missed_by}"


def device_name(row: Mapping[str, Any]) -> str | None:
    """The name by which people know the device: the first there is of real name, nickname and user name."""
    found: str | None = row["real_name"] or row["nickname"] or row["user_name"]
    return found


def readable(change: Change) -> dict[str, Any]:
    """A change of a field with its moments, which are kept as text, as moments."""
    told = asdict(change)
    if change.field is None or not change.field.endswith(("_at", "_time")):
        return told
    moments = {end: datetime.fromisoformat(told[end]) for end in ("old", "new") if told[end] is not None}
    return {**told, **moments}


def run_line(run: Run) -> str:
    """How a run stands, as one sentence."""
    if run.verdict is None:
        if run.started_at is None:
            return f"Run {run.id} waits for a worker."
        pages = f"page {run.pages_done} of {run.pages}" if run.pages is not None else f"{run.pages_done} pages read"
        return f"Run {run.id} is {run.state}: {pages}, pass {run.pass_number}."
    took = seconds(run.created_at, run.finished_at)
    seen = f" {run.seen} {'devices' if run.resource == 'device' else 'rows'} seen" if run.seen is not None else ""
    return f"Run {run.id}: {run.verdict}.{seen}{' in' if seen else ' After'} {took or 0.0:.2f} s."


def run_summary(run: Run) -> list[str]:
    """How a run ended, why, and what it did to the mirror, line by line."""
    return [run_line(run), *([f"  {clean(run.reason)}"] if run.reason else []), f"  {run_counts(run)}"]


def run_counts(run: Run) -> str:
    """What a run did to the mirror, as one line."""
    counts = [f"{name} {getattr(run, name)}" for name in COUNTS]
    more = [f"{name} {number}" for name in ("absent", "rejected") if (number := getattr(run, name))]
    return "  ".join(counts + more)


def seconds(start: datetime | None, end: datetime | None) -> float | None:
    """How long it took, to the hundredth; None while it goes on."""
    return None if start is None or end is None else round((end - start).total_seconds(), 2)

"""Follows a run to its end, and says what is amiss meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from gengfu.clock import Clock, monotonic
from gengfu.errors import RunError, StoreError
from gengfu.language import joined, tr
from gengfu.retry import Patience
from gengfu.store.run_rows import Run, RunState

if TYPE_CHECKING:
    from gengfu.store.runs import RunStore

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.2
"""Seconds between two looks: short at first, since most runs are."""
WORKER_PATIENCE = 5.0
"""Seconds after which somebody should have taken the run."""
CHECK_EVERY = 1.0
"""Seconds without progress between two looks at the jobs that work for the run."""
STANDSTILL = 20.0
"""Seconds without progress that are worth a word; a dead worker's job passes to another one before."""
DATABASE_PATIENCE = 60.0
"""Seconds for which a database that is away is asked again."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is new about a run that is followed: how far it is, or a warning."""

    done: int = 0
    """Pages read in this pass ..."""
    total: int | None = None
    """... of so many, if that is known."""
    words: str = ""
    warning: str | None = None
    """What is amiss; each is told once."""


class Follower:
    """Watches one run until nobody works on it any more."""

    def __init__(self, runs: RunStore, tell: Callable[[Step], None], clock: Clock, *, elsewhere: bool) -> None:
        """`elsewhere`: workers of other processes are to do the work."""
        self._runs = runs
        self._tell = tell
        self._elsewhere = elsewhere
        self._clock = clock
        self._next_check = CHECK_EVERY
        self._warned: set[str] = set()

    def follow(self, run_id: int) -> Run:
        """The run as it ended.

        Raises:
            StoreError: the database has been away for a minute.
            RunError: there is no such run, or nobody is left to work for it.
        """
        pauses = Patience(inf, SHORTEST_PAUSE, LONGEST_PAUSE)
        moved = monotonic()
        last: Run | None = None
        rate = _Rate()
        while True:
            run = self._look(run_id)
            if last is None or _mark(run) != _mark(last):
                moved, self._next_check = monotonic(), CHECK_EVERY
            last = run
            self._tell(self._step(run, rate))
            if not run.active:
                return run
            self._check(run, monotonic() - moved)
            pauses.lasts()

    def _look(self, run_id: int) -> Run:
        patience = Patience(DATABASE_PATIENCE, LONGEST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                run = self._runs.get(run_id)
            except StoreError as error:
                self._warn("database", tr("{error}; trying on", error=error))
                if not patience.lasts():
                    raise
                continue
            if run is None:
                raise RunError(tr("there is no run {run_id}", run_id=run_id))
            return run

    def _step(self, run: Run, rate: _Rate) -> Step:
        if run.started_at is None:
            return Step(words=tr("waits for a worker") if self._elsewhere else tr("starts"))
        words = [tr("pass {run.pass_number}", run=run)] if run.pass_number > 1 else []
        if run.state == RunState.CLOSING:
            words.append(tr("closing"))
        elif run.active and (speed := rate.of(run)) is not None:
            words.append(tr("{speed:.0f} pages/s", speed=speed))
        done = run.pages_done if run.pages is None else min(run.pages_done, run.pages)
        return Step(done, run.pages, joined(", ", words) if words else "")

    def _check(self, run: Run, still: float) -> None:
        from gengfu.store.jobs import JobState

        if still < self._next_check:
            return
        self._next_check = still + CHECK_EVERY
        jobs, now = self._runs.jobs(run.id), self._clock()
        put_off = [job for job in jobs if job.state is JobState.QUEUED and job.cause and job.available_at > now]
        if put_off:
            job, cause = put_off[0], put_off[0].cause or ""
            wait = (job.available_at - now).total_seconds()
            number = job.attempts + 1
            told = tr(
                "{cause}; try {number} of {job.tries} in {wait:.0f} s",
                cause=tr(cause),
                number=number,
                job=job,
                wait=wait,
            )
            self._warn(cause, told)
        elif run.state == RunState.QUEUED and self._elsewhere and still > WORKER_PATIENCE:
            self._warn("worker", "no worker has taken the run yet; start one with: gengfu queue:work")
        elif still > STANDSTILL:
            if not jobs:
                raise RunError(
                    tr("no job is left to work for run {run.id}; the next {run.resource}:list closes it", run=run)
                )
            hint = tr("; is a worker running? (gengfu queue:work)") if self._elsewhere else ""
            self._warn(
                "standstill", tr("the run has not moved for {standstill:.0f} s{hint}", standstill=STANDSTILL, hint=hint)
            )

    def _warn(self, topic: str, text: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            self._tell(Step(warning=text))


def _mark(run: Run) -> tuple[object, ...]:
    return run.state, run.pass_number, run.pages_done, run.fence


class _Rate:
    """Pages a second, since the first page of a pass was seen."""

    def __init__(self) -> None:
        self._start: tuple[int, float, int] | None = None

    def of(self, run: Run) -> float | None:
        """The rate by now; None as long as there is too little to tell."""
        if self._start is None or self._start[0] != run.pass_number:
            self._start = (run.pass_number, monotonic(), run.pages_done)
        _, since, before = self._start
        lapse = monotonic() - since
        return (run.pages_done - before) / lapse if lapse > 0.5 and run.pages_done > before else None

"""Following a run to its end, with a bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gengfu.clock import monotonic
from gengfu.errors import RunError, StoreError
from gengfu.store.run_rows import Run, RunState
from gengfu.store.runs import RunStore

if TYPE_CHECKING:
    from gengfu.cli.output import Output, Progress
    from gengfu.store.runs import RunStore

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.2
"""Seconds between two looks: short at first, since most runs are."""
WORKER_PATIENCE = 5.0
"""Seconds after which somebody should have taken the run."""
STANDSTILL = 20.0
"""Seconds without progress that are worth a word; a dead worker's job passes to another one before."""
DATABASE_PATIENCE = 60.0
"""Seconds for which a database that is away is asked again."""


class Follower:
    """Watches one run until nobody works on it any more, and says once what is amiss meanwhile."""

    def __init__(self, runs: RunStore, out: Output, *, elsewhere: bool) -> None:
        """`elsewhere`: workers of other processes are to do the work."""
        self._runs = runs
        self._out = out
        self._elsewhere = elsewhere
        self._said: set[str] = set()

    def follow(self, run_id: int, meanwhile: Callable[[], None] = lambda: None) -> Run:
        """The run as it ended; `meanwhile` is called at each look.

        Raises:
            StoreError: the database has been away for a minute.
            RunError: there is no such run, or nobody is left to work for it.
        """
        pause = SHORTEST_PAUSE
        moved = monotonic()
        last: Run | None = None
        rate = _Rate()
        with self._out.progress(f"run {run_id}", "pages") as bar:
            while True:
                meanwhile()
                run = self._look(run_id)
                if last is None or _mark(run) != _mark(last):
                    moved = monotonic()
                last = run
                self._show(bar, run, rate)
                if not run.active:
                    return run
                self._worry(run, monotonic() - moved)
                time.sleep(pause)
                pause = min(pause * 1.1, LONGEST_PAUSE)

    def _look(self, run_id: int) -> Run:
        deadline = monotonic() + DATABASE_PATIENCE
        while True:
            try:
                run = self._runs.get(run_id)
            except StoreError as error:
                if monotonic() > deadline:
                    raise
                self._say_once("database", f"{error}; trying on")
                time.sleep(LONGEST_PAUSE)
                continue
            if run is None:
                raise RunError(f"there is no run {run_id}")
            return run

    def _show(self, bar: Progress, run: Run, rate: _Rate) -> None:
        if run.started_at is None:
            bar.show(0, None, "waits for a worker" if self._elsewhere else "starts")
            return
        words = [f"pass {run.pass_number}"] if run.pass_number > 1 else []
        if run.state == RunState.CLOSING:
            words.append("closing")
        elif run.active and (speed := rate.of(run)) is not None:
            words.append(f"{speed:.0f} pages/s")
        done = run.pages_done if run.pages is None else min(run.pages_done, run.pages)
        bar.show(done, run.pages, ", ".join(words))

    def _worry(self, run: Run, still: float) -> None:
        if run.state == RunState.QUEUED and self._elsewhere and still > WORKER_PATIENCE:
            self._say_once("worker", "no worker has taken the run yet; start one with: gengfu queue:work")
        elif still > STANDSTILL:
            if not self._runs.has_jobs(run.id):
                raise RunError(f"no job is left to work for run {run.id}; the next {run.resource}:list closes it")
            hint = "; is a worker running? (gengfu queue:work)" if self._elsewhere else ""
            self._say_once("standstill", f"the run has not moved for {STANDSTILL:.0f} s{hint}")

    def _say_once(self, topic: str, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self._out.note(text)


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

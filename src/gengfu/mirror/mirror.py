"""The mirror: takes a run from its first page to its verdict, whatever dies on the way.

A run is worked on by jobs. Each job does, again and again, the first of these that there is to do: plan the run, read a
window of its own, close the run if it is the last. Every step is one transaction that only the holder of the row can
commit, so a job that is started again goes on where its predecessor stopped, and a predecessor that wakes up late is
refused.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from gengfu.clock import Clock
from gengfu.errors import LoginRefused, RunError
from gengfu.mirror.closing import Closing, Outcome
from gengfu.mirror.read_strategy import Plan, course_of
from gengfu.mirror.reading import Assignment, Batches
from gengfu.mirror.resource import Resource
from gengfu.mirror.row_writer import Intake
from gengfu.mirror.rows import RowReader
from gengfu.settings import Settings
from gengfu.store.changes import ChangeStore
from gengfu.store.database import PATIENCE, Database
from gengfu.store.rows import MirrorTable, form_of
from gengfu.store.run_rows import Run, RunState, Verdict, Window
from gengfu.store.runs import RunStore
from gengfu.store.table_check import TableCheck
from gengfu.vendor.client import VendorClient
from gengfu.vendor.listing import Page

log = logging.getLogger("gengfu.mirror")


class Hold(Protocol):
    """What the mirror needs to know of the job that works for it."""

    @property
    def job_id(self) -> int: ...

    @property
    def stop(self) -> threading.Event: ...


class Jobs(Protocol):
    """How the mirror has further windows worked on."""

    def add(self, connection: Connection, resource: Resource, run_id: int) -> int:
        """Records a job for the run of that list in the open transaction and gives its id."""

    def notify(self, resource: Resource, job_ids: Sequence[int]) -> None:
        """Tells the workers, after the commit."""


@dataclass(frozen=True)
class _Mirrored:
    """A resource with what reads and keeps its rows."""

    resource: Resource
    reader: RowReader

    def table(self, db: Database, source_id: int) -> MirrorTable:
        """The rows of that source."""
        volatile = [field.column for field in self.resource.volatile]
        return MirrorTable(db, self.resource.table, source_id, self.resource.columns, volatile)


class Mirror:
    """Brings the mirrors of `resources` up to date, run by run."""

    def __init__(
        self,
        db: Database,
        vendor: VendorClient,
        jobs: Jobs,
        settings: Settings,
        resources: Sequence[Resource],
        clock: Clock,
    ) -> None:
        self._db = db
        self._vendor = vendor
        self._jobs = jobs
        self._settings = settings
        self._clock = clock
        self._counted = vendor.counters()
        self._counting = threading.Lock()
        self.runs = RunStore(db, clock, PATIENCE)
        self._tables = TableCheck(db)
        self._mirrored: dict[str, _Mirrored] = {}
        for resource in resources:
            reader = RowReader(resource, settings.api_timezone, form_of(db))
            self._mirrored[resource.name] = _Mirrored(resource, reader)

    def work(self, run_id: int, hold: Hold) -> str:
        """Does all there is to do for that job; a note on how it ended.

        Raises:
            LoginRefused: the run was ended; trying again is no use.
            VendorError: pages could not be read; what was read is kept, so trying again reads the rest.
            Postpone, Stopped: likewise, for the reason given.
            Fenced: another worker has taken over.
        """
        try:
            while (run := self._get(run_id)).active:
                if run.state == RunState.QUEUED:
                    self._plan(run, hold)
                elif (window := self.runs.take_window(run_id, hold.job_id)) is not None:
                    self._read(run, window, hold)
                elif (closing := self.runs.begin_close(run_id, hold.job_id)) is not None:
                    self._close(closing, hold)
                else:
                    break
        except LoginRefused as refusal:
            self.runs.abort(run_id, str(refusal))
            raise
        run = self._get(run_id)
        return f"run {run_id} goes on" if run.active else f"run {run_id}: {run.verdict}"

    def reopen(self, run_id: int) -> bool:
        """Makes a run that failed or lacks pages active again, for a job that is sent once more; False if it ended
        well, or if a newer run has taken its place."""
        return self.runs.reopen(run_id)

    def give_up(self, run_id: int, job_id: int, cause: str) -> None:
        """A job of the run is out of tries: what it had to do stays undone, and the run ends if it was the last."""
        run = self._get(run_id)
        if run.state == RunState.QUEUED or (run.state == RunState.CLOSING and run.closer == job_id):
            self.runs.abort(run_id, cause)
            return
        self.runs.fail_windows(run_id, job_id, cause)
        closing = self.runs.begin_close(run_id, job_id)
        if closing is not None:
            self._close_partial(closing)

    def approve(self, run_id: int) -> int:
        """Marks what is still missing since a held run as gone; how many rows that were.

        Raises:
            RunError: the run is not held.
        """
        run = self._get(run_id)
        marked = 0

        def effects(connection: Connection) -> dict[str, int]:
            nonlocal marked
            marked = self._closing(run).approve(connection)
            return {"gone": marked}

        if not self.runs.decide(run_id, Verdict.COMPLETE, "approved by a person", effects):
            raise self._not_held(run_id)
        return marked

    def discard(self, run_id: int) -> None:
        """Closes a held run without marking anything.

        Raises:
            RunError: the run is not held.
        """
        run = self._get(run_id)
        effects = self._closing(run).discard
        if not self.runs.decide(run_id, Verdict.HELD, "discarded by a person", effects):
            raise self._not_held(run_id)

    def _not_held(self, run_id: int) -> RunError:
        run = self._get(run_id)
        return RunError(f"run {run_id} is not held: {run.reason or run.verdict or run.state}")

    def _get(self, run_id: int) -> Run:
        run = self.runs.get(run_id)
        if run is None:
            raise RunError(f"there is no run {run_id}")
        return run

    def _of(self, run: Run) -> _Mirrored:
        try:
            return self._mirrored[run.resource]
        except KeyError:
            raise RunError(f"run {run.id} mirrors {run.resource!r}, which this program does not know") from None

    def _plan(self, run: Run, hold: Hold) -> None:
        """Cuts the list into windows and reads the first of them."""
        resource = self._of(run).resource
        self._tables.check(resource.table)
        listing = resource.listing_of(resource.scope(run.scope))
        asked = self._settings.api_page_size
        before = self.runs.pages_before(run, asked)
        plan = course_of(listing).begin(self._vendor, listing, asked, before, hold.stop)
        try:
            self._begin(run, hold, plan)
        finally:
            plan.call_off()

    def _begin(self, run: Run, hold: Hold, plan: Plan) -> None:
        with self._windows(run, plan, hold) as windows:
            begun = self.runs.start(run.id, page_size=plan.page_size, pages=plan.pages, total=plan.total, plan=windows)
            if not begun:
                return
        window = self.runs.take_window(run.id, hold.job_id)
        if window is not None:
            self._read(self._get(run.id), window, hold, plan.have, plan.ahead)

    @contextmanager
    def _windows(self, run: Run, plan: Plan, hold: Hold) -> Any:
        """Gives the function that records the windows of a pass: the first for this job, a job for each of the rest,
        told to the workers when the block has committed them."""
        added: list[int] = []
        resource = self._of(run).resource

        def record(connection: Connection) -> list[dict[str, int]]:
            added[:] = [self._jobs.add(connection, resource, run.id) for _ in plan.windows[1:]]
            owners = [hold.job_id, *added]
            return [
                {"job_id": job_id, "first_page": first, "last_page": last}
                for job_id, (first, last) in zip(owners, plan.windows, strict=True)
            ]

        yield record
        self._jobs.notify(resource, added)

    def _read(
        self, run: Run, window: Window, hold: Hold, have: Sequence[Page] = (), ahead: Batches | None = None
    ) -> None:
        mirrored = self._of(run)
        scope = mirrored.resource.scope(run.scope)
        table, changes = mirrored.table(self._db, run.source_id), ChangeStore(self._db, run.source_id)
        intake = Intake(self._db, mirrored.resource, scope, mirrored.reader, table, changes, run.id, self._clock)
        listing = mirrored.resource.listing_of(scope)
        given = Assignment(self._vendor, self.runs, listing, run, window, intake, self._new_calls)
        course_of(listing).reader(given).read(have, hold.stop, ahead)

    def _new_calls(self) -> dict[str, int]:
        """The calls of this process that no run has been charged with yet."""
        with self._counting:
            before, self._counted = self._counted, self._vendor.counters()
            names = ("calls", "retries", "throttled")
            return {name: getattr(self._counted, name) - getattr(before, name) for name in names}

    def _closing(self, run: Run) -> Closing:
        mirrored = self._of(run)
        table = mirrored.table(self._db, run.source_id)
        return Closing(
            self._db, self._vendor, self._settings, self._clock, mirrored.resource, mirrored.reader, table, run
        )

    def _close(self, run: Run, hold: Hold) -> None:
        if self._close_partial(run):
            return
        closing = self._closing(run)
        outcome = closing.decide(self.runs, hold.stop)
        if outcome.verdict is None:
            log.warning("list shifted", extra={"run": run.id, "pass": run.pass_number, "why": outcome.reason})
            plan = course_of(self._of(run).resource.listing).again(run, outcome.total)
            with self._windows(run, plan, hold) as windows:
                self.runs.next_pass(run, page_size=plan.page_size, pages=plan.pages, plan=windows)
            return
        self._end(run, outcome, closing)

    def _end(self, run: Run, outcome: Outcome, closing: Closing) -> None:
        assert outcome.verdict is not None
        calls = {name: getattr(run, name) + count for name, count in self._new_calls().items()}
        self.runs.close(
            run, outcome.verdict, outcome.reason, {**outcome.counts, **calls}, lambda c: closing.mark(c, outcome)
        )
        level = logging.INFO if outcome.verdict == Verdict.COMPLETE else logging.WARNING
        log.log(level, "run closed", extra={"run": run.id, "verdict": outcome.verdict, "why": outcome.reason or ""})

    def _close_partial(self, run: Run) -> bool:
        """Ends the run as partial if windows of it were given up."""
        failed = self.runs.failed_windows(run)
        if not failed:
            return False
        reason = "; ".join(failed[:5]) + (f"; and {len(failed) - 5} more" if len(failed) > 5 else "")
        self.runs.close(run, Verdict.PARTIAL, reason, {})
        log.warning("run closed", extra={"run": run.id, "verdict": Verdict.PARTIAL, "why": reason})
        return True

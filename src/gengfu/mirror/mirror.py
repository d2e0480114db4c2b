"""The mirror: takes a run from its first page to its verdict, whatever dies on the way.

A run is worked on by jobs. Each job does, again and again, the first of these that there is to do: plan the run, read a
window of its own, close the run if it is the last. Every step is one transaction that only the holder of the row can
commit, so a job that is started again goes on where its predecessor stopped, and a predecessor that wakes up late is
refused.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gengfu.clock import Clock
from gengfu.errors import LoginRefused, RunError
from gengfu.language import tr
from gengfu.mirror import closing, planning
from gengfu.mirror.reading import read_window
from gengfu.mirror.resource import Resource
from gengfu.mirror.rows import RowReader
from gengfu.mirror.run_context import RunContext
from gengfu.mirror.window_jobs import WindowJobs
from gengfu.queue.job import JobContext
from gengfu.settings import Settings
from gengfu.store.changes import ChangeStore
from gengfu.store.database import PATIENCE, Database, Transaction
from gengfu.store.rows import MirrorTable, codec_of
from gengfu.store.run_rows import Decision, Run, RunState
from gengfu.store.runs import RunStore
from gengfu.store.table_check import TableCheck
from gengfu.store.windows import WindowStore
from gengfu.vendor.client import VendorClient


class Mirror:
    """Brings the mirrors of `resources` up to date, run by run."""

    def __init__(
        self,
        db: Database,
        vendor: VendorClient,
        jobs: WindowJobs,
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
        self.windows = WindowStore(db, clock)
        self._tables = TableCheck(db)
        self._resources = {each.name: each for each in resources}
        self._readers: dict[str, RowReader] = {}

    def work(self, run_id: int, job: JobContext) -> str:
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
                    self._begin(self._context(run), job)
                elif (window := self.windows.take(run_id, job.job_id)) is not None:
                    read_window(self._context(run), window, job.stop)
                elif (ended := self.runs.begin_close(run_id, job.job_id)) is not None:
                    closing.close(self._context(ended), job.job_id, job.stop)
                else:
                    break
        except LoginRefused as refusal:
            self.runs.abort(run_id, str(refusal))
            raise
        run = self._get(run_id)
        return (
            tr("run {run_id} goes on", run_id=run_id)
            if run.active
            else tr("run {run_id}: {run.verdict}", run_id=run_id, run=run)
        )

    def _begin(self, context: RunContext, job: JobContext) -> None:
        """Cuts the list into windows and reads the first of them."""
        run_id = context.run.id
        self._tables.check(context.resource.table)
        plan = planning.first_pass(context, job.stop)
        try:
            if not planning.begin(context, plan, job.job_id):
                return
            window = self.windows.take(run_id, job.job_id)
            if window is not None:
                read_window(context.of(self._get(run_id)), window, job.stop, plan.have, plan.ahead)
        finally:
            plan.call_off()

    def reopen(self, transaction: Transaction, run_id: int) -> bool:
        """Makes a run that failed or lacks pages active again, for a job that is sent once more; False if it ended
        well, or if a newer run has taken its place."""
        return self.runs.reopen(transaction, run_id)

    def give_up(self, run_id: int, job_id: int, cause: str) -> None:
        """A job of the run is out of tries: what it had to do stays undone, and the run ends if it was the last."""
        run = self._get(run_id)
        is_known = run.resource in self._resources
        if run.state == RunState.QUEUED or (run.state == RunState.CLOSING and run.closer == job_id) or not is_known:
            self.runs.abort(run_id, cause)
            return
        self.windows.fail(run_id, job_id, cause)
        ended = self.runs.begin_close(run_id, job_id)
        if ended is not None:
            closing.close_partial(self._context(ended))

    def approve(self, run_id: int, by: str) -> int:
        """Marks what is still missing since a held run as gone; how many rows that were.

        Raises:
            RunError: the run is not held.
        """
        return self._decide(run_id, Decision.APPROVED, by)

    def discard(self, run_id: int, by: str) -> None:
        """Closes a held run without marking anything.

        Raises:
            RunError: the run is not held.
        """
        self._decide(run_id, Decision.DISCARDED, by)

    def _decide(self, run_id: int, decision: Decision, by: str) -> int:
        marked = closing.decide(self._context(self._get(run_id)), decision, by)
        if marked is None:
            raise RunError(self._get(run_id).why_not_held)
        return marked

    def _get(self, run_id: int) -> Run:
        run = self.runs.get(run_id)
        if run is None:
            raise RunError(tr("there is no run {run_id}", run_id=run_id))
        return run

    def _context(self, run: Run) -> RunContext:
        """
        Raises:
            RunError: the run is of a list that this program does not know.
        """
        resource = self._resources.get(run.resource)
        if resource is None:
            raise RunError(tr("run {run.id} mirrors {run.resource!r}, which this program does not know", run=run))
        if resource.name not in self._readers:
            self._readers[resource.name] = RowReader(resource, self._settings.api_timezone, codec_of(self._db))
        volatile = [field.column for field in resource.volatile]
        return RunContext(
            db=self._db,
            vendor=self._vendor,
            jobs=self._jobs,
            settings=self._settings,
            clock=self._clock,
            runs=self.runs,
            windows=self.windows,
            new_calls=self._new_calls,
            resource=resource,
            reader=self._readers[resource.name],
            table=MirrorTable(self._db, resource.table, run.source_id, resource.columns, volatile),
            changes=ChangeStore(self._db, run.source_id),
            run=run,
        )

    def _new_calls(self) -> dict[str, int]:
        """The calls of this process that no run has been charged with yet."""
        with self._counting:
            before, self._counted = self._counted, self._vendor.counters()
            names = ("calls", "retries", "throttled")
            return {name: getattr(self._counted, name) - getattr(before, name) for name in names}

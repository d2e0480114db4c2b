"""Runs, windows and pages as rows; every change of a run's state is one conditional statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from gengfu.clock import Clock
from gengfu.errors import Fenced
from gengfu.store.database import Database
from gengfu.store.doorstep import active_key, run_subject
from gengfu.store.run_rows import PageRecord, Reject, Run, RunState, Verdict, Window, WindowState, span
from gengfu.store.run_steps import (
    add_windows,
    forget_pages,
    pages_before,
    prune,
    run_from,
    run_of,
    same_list,
    supersede,
)
from gengfu.store.tables import job, sync_page, sync_reject, sync_run, sync_window


class RunStore:
    """Reads and moves runs. What changes something for a worker raises Fenced when that worker has lost its hold.

    For reading, a database that is away is asked again for `patience` seconds.
    """

    def __init__(self, db: Database, clock: Clock, patience: float = 0.0) -> None:
        self._db = db
        self._clock = clock
        self._patience = patience

    def get(self, run_id: int) -> Run | None:
        """The run of that id."""
        with self._db.read(self._patience) as connection:
            return run_of(connection, run_id)

    def latest(
        self,
        limit: int = 20,
        scope: str | None = None,
        verdict: Verdict | None = None,
        resource: str | None = None,
    ) -> list[Run]:
        """The newest runs, newest first; of that scope and list, with that verdict."""
        query = select(sync_run).order_by(sync_run.c.id.desc()).limit(limit)
        if scope is not None:
            query = query.where(sync_run.c.scope == scope)
        if resource is not None:
            query = query.where(sync_run.c.resource == resource)
        if verdict is not None:
            query = query.where(sync_run.c.verdict == verdict)
        with self._db.read(self._patience) as connection:
            return [run_from(row) for row in connection.execute(query).mappings()]

    def windows(self, run_id: int) -> list[Mapping[str, Any]]:
        """The run's windows with the number of pages read of each, in order."""
        read = select(sync_page.c.window_id, func.count().label("pages_read")).where(sync_page.c.run_id == run_id)
        counted = read.group_by(sync_page.c.window_id).subquery()
        query = (
            select(sync_window, func.coalesce(counted.c.pages_read, 0).label("pages_read"))
            .outerjoin(counted, counted.c.window_id == sync_window.c.id)
            .where(sync_window.c.run_id == run_id)
            .order_by(sync_window.c.id)
        )
        return self._rows(query)

    def pages(self, run_id: int) -> list[Mapping[str, Any]]:
        """The pages read by the run, without their ids, by pass and page."""
        columns = [column for column in sync_page.c if column.name != "ids"]
        query = select(*columns).where(sync_page.c.run_id == run_id)
        return self._rows(query.order_by(sync_page.c.pass_number, sync_page.c.page))

    def rejects(self, run_id: int) -> list[Mapping[str, Any]]:
        """The rows that the run set aside."""
        return self._rows(select(sync_reject).where(sync_reject.c.run_id == run_id).order_by(sync_reject.c.id))

    def _rows(self, query: Select[Any]) -> list[Mapping[str, Any]]:
        with self._db.read(self._patience) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def page_records(self, connection: Connection, run_id: int) -> Iterator[tuple[int, PageRecord]]:
        """The pass and record of every page that the run has read, by pass and page, streamed."""
        query = select(sync_page).where(sync_page.c.run_id == run_id)
        ordered = query.order_by(sync_page.c.pass_number, sync_page.c.page)
        for row in connection.execution_options(stream_results=True, yield_per=500).execute(ordered):
            yield (
                row.pass_number,
                PageRecord(row.page, row.rows, row.total, row.ids or b"", row.took_ms, row.attempts, row.fetched_at),
            )

    def pages_before(self, run: Run, page_size: int) -> int | None:
        """How many pages of that size the last complete run of the same list read in one window, if that is known."""
        with self._db.read(self._patience) as connection:
            return pages_before(connection, run, page_size)

    def start(
        self,
        run_id: int,
        *,
        page_size: int,
        pages: int | None,
        total: int | None,
        plan: Callable[[Connection], Sequence[Mapping[str, Any]]],
    ) -> bool:
        """Cuts a queued run into windows; False if another worker did so first. `plan` gives the window rows; `pages`
        and `total` are None where only the list's end tells them."""
        now = self._clock()

        def work(connection: Connection) -> bool:
            values = {
                "state": RunState.READING,
                "page_size": page_size,
                "pages": pages,
                "total_first": total,
                "started_at": now,
                "fence": sync_run.c.fence + 1,
            }
            where = (sync_run.c.id == run_id, sync_run.c.state == RunState.QUEUED)
            if connection.execute(update(sync_run).where(*where).values(**values)).rowcount != 1:
                return False
            add_windows(connection, run_id, 1, plan(connection))
            return True

        return self._db.write(work)

    def next_pass(
        self, run: Run, *, page_size: int, pages: int | None, plan: Callable[[Connection], Sequence[Mapping[str, Any]]]
    ) -> None:
        """Sends a closing run back to reading, with windows for a further pass."""

        def work(connection: Connection) -> None:
            values = {
                "state": RunState.READING,
                "pass_number": run.pass_number + 1,
                "page_size": page_size,
                "pages": pages,
                "pages_done": 0,
                "closer": None,
            }
            self._fenced(connection, run, values)
            add_windows(connection, run.id, run.pass_number + 1, plan(connection))

        self._db.write(work)

    def take_window(self, run_id: int, job_id: int) -> Window | None:
        """The next window of that job that is not done, held from now on under a new fencing number."""
        now = self._clock()

        def work(connection: Connection) -> Window | None:
            run = run_of(connection, run_id, lock=True)
            if run is None or run.state != RunState.READING:
                return None
            query = select(sync_window).where(
                sync_window.c.run_id == run_id,
                sync_window.c.job_id == job_id,
                sync_window.c.pass_number == run.pass_number,
                sync_window.c.state != WindowState.DONE,
            )
            row = connection.execute(query.order_by(sync_window.c.id).limit(1)).first()
            if row is None:
                return None
            values = {"state": WindowState.READING, "fence": row.fence + 1, "started_at": now, "reason": None}
            connection.execute(update(sync_window).where(sync_window.c.id == row.id).values(**values))
            if row.fence or row.state == WindowState.FAILED:
                revived = 1 if row.state == WindowState.FAILED else 0
                changes: dict[str, Any] = {"windows_done": sync_run.c.windows_done - revived}
                if run.pages_done:
                    changes["shifted"] = True
                connection.execute(update(sync_run).where(sync_run.c.id == run_id).values(**changes))
            return Window(row.id, run_id, row.pass_number, row.first_page, row.last_page, row.fence + 1)

        return self._db.write(work)

    def pages_of(self, window: Window) -> set[int]:
        """The pages of the window that are already recorded."""
        query = select(sync_page.c.page).where(sync_page.c.window_id == window.id)
        with self._db.read(self._patience) as connection:
            return set(connection.scalars(query))

    def record(
        self,
        window: Window,
        pages: Sequence[PageRecord],
        rejects: Sequence[Reject],
        write: Callable[[Connection], Mapping[str, int]],
        *,
        shifted: bool = False,
        last_page: int | None = None,
    ) -> None:
        """Records pages of a held window together with their rows, in one transaction: `write` writes them and says how
        much to add to the run's counts. `shifted` when the pages turned out to be of different states of the list;
        `last_page` when the end of an open window was found.

        Raises:
            Fenced: the window or the run has passed to another; nothing was written.
        """
        if last_page is not None:
            window = replace(window, last_page=last_page)
        self._db.write(lambda connection: self._record(connection, window, pages, rejects, write, shifted))

    def _record(
        self,
        connection: Connection,
        window: Window,
        pages: Sequence[PageRecord],
        rejects: Sequence[Reject],
        write: Callable[[Connection], Mapping[str, int]],
        shifted: bool,
    ) -> None:
        held = select(sync_window.c.id).where(
            sync_window.c.id == window.id,
            sync_window.c.fence == window.fence,
            sync_window.c.state == WindowState.READING,
        )
        if connection.scalar(held.with_for_update()) is None:
            raise Fenced(f"window {window.id} of run {window.run_id} is held by another worker")
        values: dict[str, Any] = {name: sync_run.c[name] + count for name, count in write(connection).items() if count}
        place = {"run_id": window.run_id, "pass_number": window.pass_number, "window_id": window.id}
        if pages:
            rows = [{name: getattr(page, name) for name in PageRecord.__slots__} | place for page in pages]
            connection.execute(insert(sync_page), rows)
        if rejects:
            connection.execute(
                insert(sync_reject),
                [{"run_id": window.run_id, "page": r.page, "reason": r.reason, "raw": r.raw} for r in rejects],
            )
        read = connection.scalar(select(func.count()).where(sync_page.c.window_id == window.id))
        done = read == window.last_page - window.first_page + 1
        if done:
            finished = {"state": WindowState.DONE, "finished_at": self._clock(), "last_page": window.last_page}
            values["pages"] = func.coalesce(sync_run.c.pages, window.last_page + 1)
            connection.execute(update(sync_window).where(sync_window.c.id == window.id).values(**finished))
        if shifted:
            values["shifted"] = True
        values["pages_done"] = sync_run.c.pages_done + len(pages)
        values["windows_done"] = sync_run.c.windows_done + int(done)
        active = (
            sync_run.c.id == window.run_id,
            sync_run.c.state == RunState.READING,
            sync_run.c.pass_number == window.pass_number,
        )
        if connection.execute(update(sync_run).where(*active).values(**values)).rowcount != 1:
            raise Fenced(f"run {window.run_id} no longer reads pass {window.pass_number}")

    def restart(self, window: Window) -> None:
        """Takes the pages of a held window that an earlier hold has recorded off the record, to be read anew.

        Raises:
            Fenced: the window has passed to another.
        """

        def work(connection: Connection) -> None:
            held = select(sync_window.c.id).where(sync_window.c.id == window.id, sync_window.c.fence == window.fence)
            if connection.scalar(held.with_for_update()) is None:
                raise Fenced(f"window {window.id} of run {window.run_id} is held by another worker")
            forget_pages(connection, window)

        if window.fence > 1:
            self._db.write(work)

    def begin_close(self, run_id: int, job_id: int) -> Run | None:
        """The run, if all its windows ended and this job is the one to close it (or was, and died over it)."""

        def work(connection: Connection) -> Run | None:
            run = run_of(connection, run_id, lock=True)
            if run is None or not run.active:
                return None
            is_mine = run.state == RunState.CLOSING and run.closer == job_id
            if not is_mine and not (run.state == RunState.READING and run.windows_done >= run.windows):
                return None
            values = {"state": RunState.CLOSING, "closer": job_id, "fence": run.fence + 1}
            connection.execute(update(sync_run).where(sync_run.c.id == run_id).values(**values))
            return run_of(connection, run_id)

        return self._db.write(work)

    def close(
        self,
        run: Run,
        verdict: Verdict,
        reason: str | None,
        counts: Mapping[str, int | None],
        effects: Callable[[Connection], Mapping[str, int]] = lambda connection: {},
    ) -> None:
        """Ends a closing run: `effects` (marks in the mirror, and tells further counts) and the verdict, or neither."""

        def work(connection: Connection) -> None:
            now = self._clock()
            state = RunState.HELD if verdict == Verdict.HELD else RunState.CLOSED
            values = {"state": state, "verdict": verdict, "reason": reason, "active_key": None, "finished_at": now}
            self._fenced(connection, run, {**values, **counts})
            marked = effects(connection)
            if marked:
                connection.execute(update(sync_run).where(sync_run.c.id == run.id).values(**marked))
            if verdict in (Verdict.COMPLETE, Verdict.HELD):
                supersede(connection, run)
            if verdict not in (Verdict.PARTIAL, Verdict.FAILED):
                connection.execute(update(sync_page).where(sync_page.c.run_id == run.id).values(ids=None))
            prune(connection, run)

        self._db.write(work)

    def _fenced(self, connection: Connection, run: Run, values: Mapping[str, Any]) -> None:
        mine = (sync_run.c.id == run.id, sync_run.c.state == RunState.CLOSING, sync_run.c.fence == run.fence)
        if connection.execute(update(sync_run).where(*mine).values(**values)).rowcount != 1:
            raise Fenced(f"run {run.id} is being closed by another worker")

    def has_jobs(self, run_id: int) -> bool:
        """Whether a job that waits or runs works for it."""
        live = (job.c.subject == run_subject(run_id), job.c.state.in_(["queued", "running"]))
        with self._db.read() as connection:
            return connection.scalar(select(func.count()).where(*live)) != 0

    def abort(self, run_id: int, reason: str) -> bool:
        """Ends an active run as failed, whatever it is at; False if it was over already."""
        values = {
            "state": RunState.CLOSED,
            "verdict": Verdict.FAILED,
            "reason": reason,
            "active_key": None,
            "finished_at": self._clock(),
            "fence": sync_run.c.fence + 1,
        }
        where = (sync_run.c.id == run_id, sync_run.c.active_key.is_not(None))
        return self._db.write(lambda c: c.execute(update(sync_run).where(*where).values(**values)).rowcount == 1)

    def fail_windows(self, run_id: int, job_id: int, reason: str) -> None:
        """Gives up the job's windows of the current pass that are not done."""

        def work(connection: Connection) -> None:
            run = run_of(connection, run_id, lock=True)
            if run is None or not run.active:
                return
            where = (
                sync_window.c.run_id == run_id,
                sync_window.c.job_id == job_id,
                sync_window.c.pass_number == run.pass_number,
                sync_window.c.state.in_([WindowState.WAITING, WindowState.READING]),
            )
            values = {"state": WindowState.FAILED, "reason": reason, "finished_at": self._clock()}
            failed = connection.execute(update(sync_window).where(*where).values(**values)).rowcount
            done = {"windows_done": sync_run.c.windows_done + failed}
            connection.execute(update(sync_run).where(sync_run.c.id == run_id).values(**done))

        self._db.write(work)

    def failed_windows(self, run: Run) -> list[str]:
        """Why each given-up window of the run's current pass was given up, by page."""
        query = select(sync_window).where(
            sync_window.c.run_id == run.id,
            sync_window.c.pass_number == run.pass_number,
            sync_window.c.state == WindowState.FAILED,
        )
        return [
            f"pages {span(row['first_page'], row['last_page'])}: {row['reason']}"
            for row in self._rows(query.order_by(sync_window.c.first_page))
        ]

    def reopen(self, run_id: int) -> bool:
        """Makes an ended run active again, if it failed or lacks pages and no newer run of its scope was accepted."""

        def work(connection: Connection) -> bool:
            run = run_of(connection, run_id, lock=True)
            if run is None or run.verdict not in (Verdict.FAILED, Verdict.PARTIAL) or run.active:
                return False
            if connection.scalar(select(func.max(sync_run.c.id)).where(same_list(run))) != run_id:
                return False
            values = {
                "state": RunState.READING if run.windows else RunState.QUEUED,
                "active_key": active_key(run.source_id, run.resource, run.scope),
                "verdict": None,
                "reason": None,
                "finished_at": None,
                "closer": None,
                "shifted": bool(run.windows),
            }
            connection.execute(update(sync_run).where(sync_run.c.id == run_id).values(**values))
            return True

        return self._db.write(work)

    def decide(
        self, run_id: int, verdict: Verdict, reason: str, effects: Callable[[Connection], Mapping[str, int]]
    ) -> bool:
        """A person's word on a held run, with its effects; False if the run is not held."""

        def work(connection: Connection) -> bool:
            where = (sync_run.c.id == run_id, sync_run.c.state == RunState.HELD)
            values = {"state": RunState.CLOSED, "verdict": verdict, "reason": reason}
            if connection.execute(update(sync_run).where(*where).values(**values)).rowcount != 1:
                return False
            marked = effects(connection)
            if marked:
                connection.execute(update(sync_run).where(sync_run.c.id == run_id).values(**marked))
            return True

        return self._db.write(work)

"""The windows of runs, the pages read of them, and the rows set aside; what is recorded of a window is fenced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update

from gengfu.clock import Clock
from gengfu.errors import Fenced
from gengfu.language import tr
from gengfu.store.database import PATIENCE, Database, Transaction
from gengfu.store.run_rows import (
    OPEN_END,
    PageRecord,
    PageRow,
    Reject,
    RejectRow,
    Run,
    RunState,
    Window,
    WindowRow,
    WindowState,
    span,
)
from gengfu.store.runs import run_of
from gengfu.store.tables import sync_page, sync_reject, sync_run, sync_window


class WindowStore:
    """Hands windows to jobs and records what they read. Raises Fenced where a window has passed to another job, or its
    run reads another pass by now."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def add(
        self, transaction: Transaction, run_id: int, pass_number: int, windows: Sequence[tuple[int, int, int]]
    ) -> None:
        """Records the windows of a pass: for each its job, its first and its last page."""
        shared = {"run_id": run_id, "pass_number": pass_number, "state": WindowState.WAITING, "fence": 0}
        rows = [{"job_id": job_id, "first_page": first, "last_page": last, **shared} for job_id, first, last in windows]
        transaction.execute(insert(sync_window), rows)
        counts = {"windows": len(rows), "windows_done": 0}
        transaction.execute(update(sync_run).where(sync_run.c.id == run_id).values(**counts))

    def take(self, run_id: int, job_id: int) -> Window | None:
        """The next window of that job that is not done, held from now on under a new fencing number."""
        now = self._clock()

        def work(transaction: Transaction) -> Window | None:
            run = run_of(transaction, run_id, lock=True)
            if run is None or run.state != RunState.READING:
                return None
            query = select(sync_window).where(
                sync_window.c.run_id == run_id,
                sync_window.c.job_id == job_id,
                sync_window.c.pass_number == run.pass_number,
                sync_window.c.state != WindowState.DONE,
            )
            row = transaction.execute(query.order_by(sync_window.c.id).limit(1)).first()
            if row is None:
                return None
            values = {"state": WindowState.READING, "fence": row.fence + 1, "started_at": now, "reason": None}
            transaction.execute(update(sync_window).where(sync_window.c.id == row.id).values(**values))
            if row.fence or row.state == WindowState.FAILED:
                revived = 1 if row.state == WindowState.FAILED else 0
                changes: dict[str, Any] = {"windows_done": sync_run.c.windows_done - revived}
                if run.pages_done:
                    changes["shifted"] = True
                transaction.execute(update(sync_run).where(sync_run.c.id == run_id).values(**changes))
            return Window(row.id, run_id, row.pass_number, row.first_page, row.last_page, row.fence + 1)

        return self._db.write(work)

    def recorded(self, window: Window) -> set[int]:
        """The pages of the window that are already recorded."""
        query = select(sync_page.c.page).where(sync_page.c.window_id == window.id)
        with self._db.read(PATIENCE) as connection:
            return set(connection.scalars(query))

    def restart(self, window: Window) -> None:
        """Takes the pages of a held window that an earlier hold has recorded off the record, to be read anew.

        Raises:
            Fenced: the window has passed to another.
        """
        if window.fence > 1:
            self._db.write(lambda transaction: self._forget(transaction, window))

    def _forget(self, transaction: Transaction, window: Window) -> None:
        self.lock(transaction, window)
        pages = transaction.execute(delete(sync_page).where(sync_page.c.window_id == window.id)).rowcount
        rejects = transaction.execute(delete(sync_reject).where(sync_reject.c.run_id == window.run_id)).rowcount
        values = {"pages_done": sync_run.c.pages_done - pages, "rejected": sync_run.c.rejected - rejects}
        run = update(sync_run).where(sync_run.c.id == window.run_id)
        transaction.execute(run.values(shifted=False, **values))

    def lock(self, transaction: Transaction, window: Window) -> None:
        """Keeps the window from passing to another until the transaction ends.

        Raises:
            Fenced: it has passed.
        """
        held = select(sync_window.c.id).where(
            sync_window.c.id == window.id,
            sync_window.c.fence == window.fence,
            sync_window.c.state == WindowState.READING,
        )
        if transaction.scalar(held.with_for_update()) is None:
            raise Fenced(tr("window {window.id} of run {window.run_id} is held by another worker", window=window))

    def record(
        self,
        transaction: Transaction,
        window: Window,
        pages: Sequence[PageRecord],
        rejects: Sequence[Reject],
        counts: Mapping[str, int],
        *,
        shifted: bool = False,
    ) -> None:
        """Records pages of a held window, the rows set aside on them, and what to add to the run's `counts`. `shifted`
        when the pages turned out to be of different states of the list.

        Raises:
            Fenced: the run has passed to another.
        """
        values: dict[str, Any] = {name: sync_run.c[name] + count for name, count in counts.items() if count}
        place = {"run_id": window.run_id, "pass_number": window.pass_number, "window_id": window.id}
        if pages:
            rows = [{name: getattr(page, name) for name in PageRecord.__slots__} | place for page in pages]
            transaction.execute(insert(sync_page), rows)
        if rejects:
            told = [{"run_id": window.run_id, "page": r.page, "reason": r.reason, "raw": r.raw} for r in rejects]
            transaction.execute(insert(sync_reject), told)
        read = transaction.scalar(select(func.count()).where(sync_page.c.window_id == window.id))
        done = read == window.last_page - window.first_page + 1
        if done:
            finished = {"state": WindowState.DONE, "finished_at": self._clock(), "last_page": window.last_page}
            values["pages"] = func.coalesce(sync_run.c.pages, window.last_page + 1)
            transaction.execute(update(sync_window).where(sync_window.c.id == window.id).values(**finished))
        if shifted:
            values["shifted"] = True
        values["pages_done"] = sync_run.c.pages_done + len(pages)
        values["windows_done"] = sync_run.c.windows_done + int(done)
        active = (
            sync_run.c.id == window.run_id,
            sync_run.c.state == RunState.READING,
            sync_run.c.pass_number == window.pass_number,
        )
        if transaction.execute(update(sync_run).where(*active).values(**values)).rowcount != 1:
            raise Fenced(tr("run {window.run_id} no longer reads pass {window.pass_number}", window=window))

    def fail(self, run_id: int, job_id: int, reason: str) -> None:
        """Gives up the job's windows of the current pass that are not done."""

        def work(transaction: Transaction) -> None:
            run = run_of(transaction, run_id, lock=True)
            if run is None or not run.active:
                return
            where = (
                sync_window.c.run_id == run_id,
                sync_window.c.job_id == job_id,
                sync_window.c.pass_number == run.pass_number,
                sync_window.c.state.in_([WindowState.WAITING, WindowState.READING]),
            )
            values = {"state": WindowState.FAILED, "reason": reason, "finished_at": self._clock()}
            failed = transaction.execute(update(sync_window).where(*where).values(**values)).rowcount
            done = {"windows_done": sync_run.c.windows_done + failed}
            transaction.execute(update(sync_run).where(sync_run.c.id == run_id).values(**done))

        self._db.write(work)

    def failures(self, run: Run) -> list[str]:
        """Why each given-up window of the run's current pass was given up, by page."""
        query = select(sync_window).where(
            sync_window.c.run_id == run.id,
            sync_window.c.pass_number == run.pass_number,
            sync_window.c.state == WindowState.FAILED,
        )
        found = self._rows(query.order_by(sync_window.c.first_page), PATIENCE)
        return [
            tr("pages {pages}: {reason}", pages=span(row["first_page"], row["last_page"]), reason=row["reason"])
            for row in found
        ]

    def page_records(self, run_id: int) -> Iterator[tuple[int, PageRecord]]:
        """The pass and record of every page that the run has read, by pass and page, streamed."""
        query = select(sync_page).where(sync_page.c.run_id == run_id)
        ordered = query.order_by(sync_page.c.pass_number, sync_page.c.page)
        with self._db.read(PATIENCE) as connection:
            for row in connection.execution_options(stream_results=True, yield_per=500).execute(ordered):
                values = {name: getattr(row, name) for name in PageRecord.__slots__}
                yield row.pass_number, PageRecord(**{**values, "ids": row.ids or b""})

    def windows(self, run_id: int) -> list[WindowRow]:
        """The run's windows with the number of pages read of each, in order."""
        read = select(sync_page.c.window_id, func.count().label("pages_read")).where(sync_page.c.run_id == run_id)
        counted = read.group_by(sync_page.c.window_id).subquery()
        number = func.coalesce(counted.c.pages_read, 0).label("pages_read")
        columns = [sync_window.c[name] for name in WindowRow.__slots__ if name != "pages_read"]
        query = select(*columns, number).outerjoin_from(sync_window, counted, counted.c.window_id == sync_window.c.id)
        found = self._rows(query.where(sync_window.c.run_id == run_id).order_by(sync_window.c.id))
        return [WindowRow(**{**row, "state": WindowState(row["state"]), "last_page": _end(row)}) for row in found]

    def pages(self, run_id: int) -> list[PageRow]:
        """The pages read by the run, by pass and page."""
        columns = [sync_page.c[name] for name in PageRow.__slots__]
        query = select(*columns).where(sync_page.c.run_id == run_id)
        return [PageRow(**row) for row in self._rows(query.order_by(sync_page.c.pass_number, sync_page.c.page))]

    def rejects(self, run_id: int) -> list[RejectRow]:
        """The rows that the run set aside in its latest pass, as far as they are kept."""
        columns = [sync_reject.c[name] for name in RejectRow.__slots__]
        query = select(*columns).where(sync_reject.c.run_id == run_id)
        return [RejectRow(**row) for row in self._rows(query.order_by(sync_reject.c.id))]

    def _rows(self, query: Select[Any], patience: float = 0.0) -> list[Mapping[str, Any]]:
        with self._db.read(patience) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _end(row: Mapping[str, Any]) -> int | None:
    return None if row["last_page"] == OPEN_END else row["last_page"]

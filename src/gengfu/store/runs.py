"""Runs as rows; every change of a run's state is one conditional statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, select, update

from gengfu.clock import Clock
from gengfu.errors import Fenced
from gengfu.language import tr
from gengfu.store.database import Database, Transaction
from gengfu.store.enqueue import active_key
from gengfu.store.jobs import JobRecord, open_of
from gengfu.store.names import run_subject
from gengfu.store.run_rows import Decision, Run, RunState, Verdict
from gengfu.store.tables import source as sources
from gengfu.store.tables import sync_page, sync_reject, sync_run

Values = Mapping[str, Any]


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
        source: str | None = None,
    ) -> list[Run]:
        """The newest runs, newest first; of that scope and list, with that verdict, of the source of that name."""
        wanted = {"scope": scope, "resource": resource, "verdict": verdict}
        conditions = [sync_run.c[name] == value for name, value in wanted.items() if value is not None]
        if source is not None:
            conditions.append(sync_run.c.source_id.in_(select(sources.c.id).where(sources.c.name == source)))
        query = select(sync_run).where(*conditions).order_by(sync_run.c.id.desc()).limit(limit)
        with self._db.read(self._patience) as connection:
            return [_run(row) for row in connection.execute(query).mappings()]

    def pages_before(self, run: Run, page_size: int) -> int | None:
        """How many pages of that size the last complete run of the same list read in one window, if that is known."""
        query = select(sync_run.c.pages).where(
            same_list(run),
            sync_run.c.verdict == Verdict.COMPLETE,
            sync_run.c.windows == 1,
            sync_run.c.page_size == page_size,
        )
        with self._db.read(self._patience) as connection:
            pages: int | None = connection.scalar(query.order_by(sync_run.c.id.desc()).limit(1))
            return pages

    def last_total(self, run: Run) -> int | None:
        """How long the same list was when it was last read whole, if it was."""
        query = select(sync_run.c.total_last).where(same_list(run), sync_run.c.verdict == Verdict.COMPLETE)
        with self._db.read(self._patience) as connection:
            total: int | None = connection.scalar(query.order_by(sync_run.c.id.desc()).limit(1))
            return total

    def jobs(self, run_id: int) -> list[JobRecord]:
        """The jobs that wait or run for it, the first due first."""
        with self._db.read() as connection:
            return open_of(connection, run_subject(run_id))

    def start(
        self, transaction: Transaction, run_id: int, *, page_size: int, pages: int | None, total: int | None
    ) -> bool:
        """Has a queued run be read from now on; False if another worker did so first. `pages` and `total` are None
        where only the list's end tells them."""
        values = {"state": RunState.READING, "page_size": page_size, "pages": pages, "total_first": total}
        values |= {"started_at": self._clock(), "fence": sync_run.c.fence + 1}
        where = (sync_run.c.id == run_id, sync_run.c.state == RunState.QUEUED)
        return transaction.execute(update(sync_run).where(*where).values(**values)).rowcount == 1

    def next_pass(self, transaction: Transaction, run: Run, *, page_size: int, pages: int | None) -> None:
        """Sends a closing run back to reading, for a further pass.

        Raises:
            Fenced: another worker closes it.
        """
        values = {"state": RunState.READING, "pass_number": run.pass_number + 1, "page_size": page_size}
        values |= {"pages": pages, "pages_done": 0, "closer": None, "rejected": 0, "differing": 0}
        _update_closing(transaction, run, values)
        transaction.execute(delete(sync_reject).where(sync_reject.c.run_id == run.id))

    def begin_close(self, run_id: int, job_id: int) -> Run | None:
        """The run, if all its windows ended and this job is the one to close it (or was, and died over it)."""

        def work(transaction: Transaction) -> Run | None:
            run = run_of(transaction, run_id, lock=True)
            if run is None or not run.active:
                return None
            is_mine = run.state == RunState.CLOSING and run.closer == job_id
            if not is_mine and not (run.state == RunState.READING and run.windows_done >= run.windows):
                return None
            values = {"state": RunState.CLOSING, "closer": job_id, "fence": run.fence + 1}
            transaction.execute(update(sync_run).where(sync_run.c.id == run_id).values(**values))
            return run_of(transaction, run_id)

        return self._db.write(work)

    def close(
        self,
        transaction: Transaction,
        run: Run,
        verdict: Verdict,
        reason: str | None,
        counts: Mapping[str, int | None],
    ) -> None:
        """Ends a closing run.

        Raises:
            Fenced: another worker closes it.
        """
        state = RunState.HELD if verdict == Verdict.HELD else RunState.CLOSED
        values = {"state": state, "verdict": verdict, "reason": reason, "active_key": None}
        _update_closing(transaction, run, {**values, "finished_at": self._clock(), **counts})
        if verdict in (Verdict.COMPLETE, Verdict.HELD):
            _supersede(transaction, run)
        if verdict not in (Verdict.PARTIAL, Verdict.FAILED):
            transaction.execute(update(sync_page).where(sync_page.c.run_id == run.id).values(ids=None))

    def abort(self, run_id: int, reason: str) -> bool:
        """Ends an active run as failed, whatever it is at; False if it was over already."""
        values: dict[str, Any] = {"state": RunState.CLOSED, "verdict": Verdict.FAILED, "reason": reason}
        values |= {"active_key": None, "finished_at": self._clock(), "fence": sync_run.c.fence + 1}
        where = (sync_run.c.id == run_id, sync_run.c.active_key.is_not(None))
        return self._db.write(lambda t: t.execute(update(sync_run).where(*where).values(**values)).rowcount == 1)

    def reopen(self, transaction: Transaction, run_id: int) -> bool:
        """Makes an ended run active again, if it failed or lacks pages and no newer run of its scope was accepted."""
        run = run_of(transaction, run_id, lock=True)
        if run is None or run.verdict not in (Verdict.FAILED, Verdict.PARTIAL) or run.active:
            return False
        if transaction.scalar(select(func.max(sync_run.c.id)).where(same_list(run))) != run_id:
            return False
        values = {
            "state": RunState.READING if run.windows else RunState.QUEUED,
            "active_key": active_key(run.source_id, run.resource, run.scope),
            "shifted": bool(run.windows),
            **dict.fromkeys(("verdict", "reason", "finished_at", "closer")),
        }
        transaction.execute(update(sync_run).where(sync_run.c.id == run_id).values(**values))
        return True

    def decide(self, transaction: Transaction, run: Run, decision: Decision, by: str, now: datetime) -> bool:
        """Keeps a person's word on a held run; False if it is not held."""
        is_approved = decision is Decision.APPROVED
        values: dict[str, Any] = {"state": RunState.CLOSED, "reason": tr("{decision} by a person", decision=decision)}
        values |= {"verdict": Verdict.COMPLETE if is_approved else Verdict.HELD}
        values |= {"decision": decision, "decided_by": by, "decided_at": now}
        where = (sync_run.c.id == run.id, sync_run.c.state == RunState.HELD)
        return transaction.execute(update(sync_run).where(*where).values(**values)).rowcount == 1

    def count_gone(self, transaction: Transaction, run: Run, gone: int) -> None:
        """Keeps how many rows it marked as gone."""
        if gone:
            transaction.execute(update(sync_run).where(sync_run.c.id == run.id).values(gone=gone))


def run_of(transaction: Transaction, run_id: int, *, lock: bool = False) -> Run | None:
    """The run of that id; with `lock`, nobody else changes it until the transaction ends."""
    query = select(sync_run).where(sync_run.c.id == run_id)
    row = transaction.execute(query.with_for_update() if lock else query).mappings().first()
    return None if row is None else _run(row)


def same_list(run: Run) -> ColumnElement[bool]:
    """Of runs: that they mirror what this one does, in the same scope."""
    return and_(*(sync_run.c[name] == getattr(run, name) for name in ("source_id", "resource", "scope")))


def _run(row: Mapping[Any, Any]) -> Run:
    values = {field.name: row[field.name] for field in fields(Run)}
    values["state"] = RunState(values["state"])
    for name, kind in (("verdict", Verdict), ("decision", Decision)):
        values[name] = kind(values[name]) if values[name] else None
    return Run(**values)


def _update_closing(transaction: Transaction, run: Run, values: Values) -> None:
    mine = (sync_run.c.id == run.id, sync_run.c.state == RunState.CLOSING, sync_run.c.fence == run.fence)
    if transaction.execute(update(sync_run).where(*mine).values(**values)).rowcount != 1:
        raise Fenced(tr("run {run.id} is being closed by another worker", run=run))


def _supersede(transaction: Transaction, run: Run) -> None:
    """A held run has nothing left to decide once a later one has read the whole list."""
    older = (same_list(run), sync_run.c.state == RunState.HELD, sync_run.c.id < run.id)
    values = {"state": RunState.CLOSED, "reason": tr("held; run {run.id} has taken its place", run=run)}
    transaction.execute(update(sync_run).where(*older).values(**values))

"""How many jobs that do nothing one worker process brings through the whole ledger."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.databases import migrated
from benchmarks.figures import Figure, Size
from benchmarks.noop_worker import JOB, NoopWorker
from gengfu.clock import utcnow
from gengfu.store.database import Database
from gengfu.store.enqueue import new_job
from gengfu.store.tables import job

ASKED = {
    ("SQLite", 2): 800.0,
    ("SQLite", 8): 2_000.0,
    ("PostgreSQL", 2): 500.0,
    ("PostgreSQL", 8): 1_000.0,
    ("MariaDB", 8): 800.0,
}
"""Jobs a second, by database and threads."""


def measure(size: Size) -> Iterator[Figure]:
    """From the lease on the first job to the end of the last one, by the rows; the best of a few drains, since nothing
    but a disturbance makes one slower."""
    for name in ("SQLite", "PostgreSQL", "MariaDB") if size.databases else ("SQLite",):
        for threads in (2, 8):
            try:
                drained = [_drain(name, threads, size.jobs) for _ in range(max(1, size.repetitions // 2))]
            except SQLAlchemyError:
                continue
            asked = ASKED.get((name, threads))
            what = f"{size.jobs} jobs, {name}, {threads} threads"
            yield Figure(what, max(drained), " jobs/s", asked, at_least=True, samples=tuple(drained))


def _drain(name: str, threads: int, jobs: int) -> float:
    with migrated(name) as database:
        fill(database, jobs)
        with NoopWorker(database, concurrency=threads, until_empty=True) as worker:
            worker.wait()
        with database.read() as connection:
            ends = select(func.min(job.c.started_at), func.max(job.c.finished_at), func.count()).where(
                job.c.state == "done"
            )
            first, last, done = connection.execute(ends).one()
        if done != jobs:
            raise RuntimeError(f"{done} of {jobs} jobs are done")
        return float(jobs / (last - first).total_seconds())


def fill(database: Database, jobs: int) -> None:
    """Queues so many jobs."""
    now = utcnow()
    row = new_job(JOB, {}, queue="default", tries=3, subject=None, now=now)
    database.write(lambda connection: connection.execute(insert(job), [row] * jobs))

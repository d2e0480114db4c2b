"""What the queue adds to a run, and how fast an idle worker picks up a job."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.databases import migrated
from benchmarks.figures import Figure, Size, middle, percentile
from benchmarks.installation import Installation
from benchmarks.noop_worker import JOB, NoopWorker
from benchmarks.warm import WarmWorker
from gengfu.clock import utcnow
from gengfu.queue.ledger import Ledger
from gengfu.queue.notify import Notifier
from gengfu.settings import Secret, Settings
from gengfu.store.tables import job
from gengfu_simulator.testing import Simulator

CHANGED = 0.02
PICK_UPS = 20
"""Jobs queued for each repetition."""
REDIS = "redis://127.0.0.1:6379/15"


def measure(size: Size) -> Iterator[Figure]:
    """From `device:list` accepted to run closed by a waiting worker, beside the same run without a queue."""
    yield from _queue(size)
    yield from _pick_up(size)


def _queue(size: Size) -> Iterator[Figure]:
    total, alone = [], []
    with (
        Simulator(devices=size.devices, latency="20ms") as sim,
        WarmWorker(sim) as warm,
        Installation(sim) as installation,
    ):
        installation.start()
        mirror = warm.sqlite("mirror")
        installation.command("device:list")
        installation.last_run()
        warm.run(mirror)
        for _ in range(size.repetitions):
            sim.fleet("change", share=CHANGED, pick="random")
            installation.command("device:list")
            run = installation.last_run()
            total.append(run["total"] * 1000)
            alone.append(warm.run(mirror)["seconds"] * 1000)
    yield middle("from device:list accepted to run closed", total, " ms")
    yield middle("the run itself", alone, " ms")
    yield Figure("what the queue adds", median(total) - median(alone), " ms", 150.0)


def _pick_up(size: Size) -> Iterator[Figure]:
    """By a producer that is up already, from the commit that queued a job to the lease on it."""
    yield from _idle_worker("SQLite", "SQLite", None, size, (30.0, 60.0))
    if not size.databases:
        return
    for name, database, redis, asked in (
        ("Redis, PostgreSQL", "PostgreSQL", REDIS, (10.0, 30.0)),
        ("PostgreSQL without Redis", "PostgreSQL", None, (300.0, 300.0)),
    ):
        try:
            yield from _idle_worker(name, database, redis, size, asked)
        except SQLAlchemyError:
            continue


def _idle_worker(
    name: str, database: str, redis: str | None, size: Size, asked: tuple[float, float]
) -> Iterator[Figure]:
    settings = Settings(Path(tempfile.gettempdir()), redis_url=Secret(redis) if redis is not None else None)
    chance = random.Random(1)
    with migrated(database) as db, NoopWorker(db, redis) as worker, closing(Notifier(settings)) as notifier:
        ledger = Ledger(db)
        ids, committed = [], []
        for number in range(size.repetitions * PICK_UPS + 1):
            time.sleep(chance.uniform(0.05, 0.35) if number else 2.0)
            ids.append(db.write(lambda c: ledger.add(c, JOB, {}, queue="default", tries=3)))
            committed.append(utcnow())
            notifier.notify("default", ids[-1:])
        time.sleep(2.0)
        cpu, statements, since = worker.cpu(), worker.statements(), time.monotonic()
        time.sleep(size.seconds * 2)
        lapse = time.monotonic() - since
        idle, sent = (worker.cpu() - cpu) / lapse, (worker.statements() - statements) / lapse
        with db.read() as connection:
            started = {row.id: row.started_at for row in connection.execute(select(job.c.id, job.c.started_at))}
    spent = [max(0.0, (started[i] - at).total_seconds() * 1000) for i, at in zip(ids, committed, strict=True)][1:]
    yield middle(f"{name}: from queued to taken by an idle worker", spent, " ms", asked[0])
    yield percentile(f"{name}: the same, 99 %", spent, 0.99, " ms", asked[1])
    yield Figure(f"{name}: an idle worker, of a core", idle * 100, " %", 1.0)
    yield Figure(f"{name}: an idle worker, statements a second", sent, "", 5.0)

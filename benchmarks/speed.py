"""A cold run, a repeat with few changes and one with heartbeats everywhere, against the floor and the old way."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from benchmarks import floor, oldway
from benchmarks.databases import SERVERS, fresh
from benchmarks.figures import Figure, Size, middle, ratio
from benchmarks.warm import WarmWorker
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from gengfu_simulator.testing import Simulator

CONCURRENCY = 16
CHANGED = 0.02
LATENCIES = ("20ms", "0ms")
OLD_WAY = 2_000
"""Devices that the old way is watched with; its time grows with their number, and would be minutes for all."""


def measure(size: Size) -> Iterator[Figure]:
    """Figures for each latency."""
    for latency in LATENCIES:
        with Simulator(devices=size.devices, latency=latency) as sim, WarmWorker(sim, CONCURRENCY) as worker:
            yield from _against_floor(size, latency, sim, worker)
            if size.databases and latency == LATENCIES[0]:
                yield from _servers(size, sim, worker)


def _against_floor(size: Size, latency: str, sim: Simulator, worker: WarmWorker) -> Iterator[Figure]:
    fetched, written, cold, busy, repeat, beats = ([] for _ in range(6))
    token = floor.log_in(sim)
    asked = floor.requests(token, -(-size.devices // floor.PAGE_SIZE))
    empty = _migrated(worker.home / "empty.db")
    address = worker.sqlite("mirror")
    worker.run(address)
    for number in range(size.repetitions):
        worker.empty(address)
        fetched.append(floor.fetch(sim.port, asked, CONCURRENCY))
        run = worker.run(address)
        cold.append(run["seconds"])
        busy.append(run["cpu"])
        rows = floor.stored_rows(worker.home / "mirror.db")
        written.append(floor.write(_copy(empty, f"floor-{number}.db"), rows))
        sim.fleet("change", share=CHANGED, pick="random")
        repeat.append(worker.run(address)["seconds"])
        sim.fleet("heartbeat", share=1.0)
        beats.append(worker.run(address)["seconds"])
    part = min(size.devices, OLD_WAY)
    old = oldway.mirror(_engine(_copy(empty, "old.db")), sim.url, token, part) * size.devices / part
    whole = [f + w for f, w in zip(fetched, written, strict=True)]
    strict = latency == LATENCIES[0]
    at = f"{size.devices} devices, {latency}"
    yield middle(f"{at}: fetching alone", fetched)
    yield middle(f"{at}: the floor, with one bulk write", whole)
    yield middle(f"{at}: cold run", cold)
    yield middle(f"{at}: cold run, processor time of the worker", busy)
    yield ratio(f"{at}: cold run / floor", cold, whole, 1.6 if strict else None)
    yield middle(f"{at}: repeat, {CHANGED:.0%} changed", repeat)
    yield ratio(f"{at}: repeat / fetching alone", repeat, fetched, 1.3 if strict else None)
    yield middle(f"{at}: repeat, every heartbeat moved", beats)
    yield ratio(f"{at}: repeat with heartbeats / fetching alone", beats, fetched)
    yield Figure(f"{at}: the old way, cold (from {part} of them)", old, " s")
    yield ratio(f"{at}: the old way / cold run", [old], cold, 20.0, at_least=True)


def _servers(size: Size, sim: Simulator, worker: WarmWorker) -> Iterator[Figure]:
    for name, (driver, server) in SERVERS.items():
        cold, repeat = [], []
        try:
            for _ in range(size.repetitions):
                with fresh(driver, server) as address:
                    cold.append(worker.run(address)["seconds"])
                    sim.fleet("change", share=CHANGED, pick="random")
                    repeat.append(worker.run(address)["seconds"])
        except SQLAlchemyError:
            continue
        at = f"{size.devices} devices, {LATENCIES[0]}, {name}"
        yield middle(f"{at}: cold run", cold)
        yield middle(f"{at}: repeat, {CHANGED:.0%} changed", repeat)


def _migrated(path: Path) -> Path:
    database = Database(Secret(f"sqlite:///{path}"), path.parent)
    schema.upgrade(database)
    database.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _copy(path: Path, name: str) -> Path:
    return Path(shutil.copy(path, path.with_name(name)))


def _engine(path: Path) -> Engine:
    """SQLite as it comes, without what Gengfu sets: each commit waits for the disk."""
    return create_engine(f"sqlite:///{path}")

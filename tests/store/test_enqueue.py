"""Accepting a run: one of each scope at a time, whoever starts it and however often."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gengfu.errors import StoreError
from gengfu.settings import Secret
from gengfu.store.database import Database
from gengfu.store.enqueue import RunStart, enqueue
from gengfu.store.run_rows import RunState, Verdict
from gengfu.store.runs import RunStore
from gengfu.store.sources import Source
from gengfu.store.tables import job, sync_run

SOURCE = Source("default", "https://vendor.test/", "operator")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def start(place: Database | Path, scope: str = "0") -> RunStart:
    return enqueue(place, lambda work: work.start_run(SOURCE, "device", scope, 3, NOW))


@pytest.fixture
def place(database: Database) -> Database | Path:
    """The way in that the program takes: the bare driver for SQLite, SQLAlchemy for the others."""
    return database.path or database


def test_a_run_and_its_job_are_recorded_together(place: Database | Path, database: Database) -> None:
    accepted = start(place)
    run = RunStore(database, lambda: NOW).get(accepted.run)
    assert run is not None
    assert (run.state, run.scope, run.created_at, run.new) == (RunState.QUEUED, "0", NOW, 0)
    with database.read() as connection:
        row = connection.execute(select(job)).one()
    assert (row.id, row.args, row.state, row.subject) == (accepted.job, {"run": run.id}, "queued", f"run:{run.id}")
    assert (row.available_at, row.created_at, row.tries, row.attempts) == (NOW, NOW, 3, 0)


def test_a_second_start_names_the_run_that_is_active(place: Database | Path) -> None:
    first = start(place)
    assert start(place) == RunStart(first.run, None, "0", NOW, "no worker has taken it yet")
    assert start(place, "1").run != first.run


def test_skipped_starts_use_up_no_numbers(place: Database | Path, database: Database) -> None:
    first = start(place)
    for _ in range(3):
        start(place)
    RunStore(database, lambda: NOW).abort(first.run, "test")
    assert start(place).run == first.run + 1


def test_runs_of_two_sources_stay_apart(place: Database | Path, database: Database) -> None:
    first = start(place)
    other = enqueue(place, lambda work: work.start_run(replace(SOURCE, name="second"), "device", "0", 3, NOW))
    assert other.job is not None
    runs = RunStore(database, lambda: NOW)
    assert [run.id for run in runs.latest(source="default")] == [first.run]
    assert [run.id for run in runs.latest(source="second")] == [other.run]
    assert [run.id for run in runs.latest()] == [other.run, first.run]


def test_starts_in_the_same_instant_make_one_run(place: Database | Path, database: Database) -> None:
    ready = threading.Barrier(8)
    accepted: list[RunStart] = []

    def run() -> None:
        ready.wait()
        accepted.append(start(place))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.run for each in accepted}) == 1
    assert sum(each.job is not None for each in accepted) == 1
    with database.read() as connection:
        assert len(connection.execute(select(job)).all()) == 1


def test_a_run_that_no_job_works_for_does_not_block_its_successors(place: Database | Path, database: Database) -> None:
    first = start(place)
    database.write(lambda connection: connection.execute(update(job).values(state="failed")))
    second = start(place)
    assert second.run != first.run
    abandoned = RunStore(database, lambda: NOW).get(first.run)
    assert abandoned is not None
    assert (abandoned.verdict, abandoned.state) == (Verdict.FAILED, RunState.CLOSED)


def test_progress_of_the_active_run_is_told_in_words(place: Database | Path, database: Database) -> None:
    start(place)
    values = {"state": "reading", "pages": 40, "pages_done": 7, "pass_number": 2}
    database.write(lambda connection: connection.execute(update(sync_run).values(**values)))
    assert start(place).progress == "page 7 of 40, pass 2"


@pytest.mark.parametrize("database_kind", ["mysql"], indirect=True)
def test_an_address_may_name_mariadb(database: Database, database_url: str, tmp_path: Path) -> None:
    named = Database(Secret(database_url.replace("mysql", "mariadb", 1)), tmp_path)
    first = start(named)
    assert first.job is not None
    assert start(named).run == first.run
    named.dispose()


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    broken = tmp_path / "gengfu.db"
    broken.write_text("not a database, but long enough to be read as one " * 10)
    with pytest.raises(StoreError, match=str(broken)):
        start(broken)

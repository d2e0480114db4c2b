"""Transactions whose connection is lost, and those of a process that never wakes up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gengfu.clock import utcnow
from gengfu.settings import Secret
from gengfu.store.database import Database
from gengfu.store.engines import SLEEPER_AFTER
from gengfu.store.enqueue import enqueue, new_job
from gengfu.store.leases import Leases, ProcessInfo
from stage import state_of, wait_for

ON_SERVERS = pytest.mark.parametrize("database_kind", ["postgresql", "mysql"], indirect=True)


def end_other_connections(url: str, home: Path) -> None:
    """Has the server end every connection to the database but the one that says so."""
    database = Database(Secret(url), home)
    own, all_of, end = {
        "postgresql": (
            "SELECT pg_backend_pid()",
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()",
            "SELECT pg_terminate_backend({})",
        ),
        "mysql": (
            "SELECT CONNECTION_ID()",
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE()",
            "KILL {}",
        ),
    }[database.kind]

    def others(connection: Connection) -> set[int]:
        return set(connection.scalars(text(all_of))) - {connection.scalar(text(own))}

    for number in database.look(others):
        database.look(lambda connection, which=number: connection.execute(text(end.format(which))))
    wait_for(lambda: not database.look(others))
    database.dispose()


@ON_SERVERS
def test_a_connection_that_the_server_ended_is_not_noticed(database_url: str, database: Database) -> None:
    leases = Leases(database)
    lease = leases.open(ProcessInfo("worker", "w", "host", 1, "birth", {}), utcnow())

    def stale_pool() -> None:
        """More than one connection lies in the pool, and all of them are dead."""
        with database.read(), database.read():
            pass
        end_other_connections(database_url, Path())

    stale_pool()
    assert leases.renew(lease, None, utcnow())
    stale_pool()
    assert [each.id for each in leases.all()] == [lease]
    stale_pool()
    with database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM lease")) == 1


@ON_SERVERS
def test_a_connection_that_is_lost_in_the_middle_of_a_transaction_undoes_it_and_it_is_run_again(
    database_url: str, database: Database
) -> None:
    runs = []

    def work(connection: Connection) -> None:
        runs.append(1)
        connection.execute(text("INSERT INTO source (name) VALUES ('a')"))
        if len(runs) == 1:
            end_other_connections(database_url, Path())
            connection.execute(text("SELECT 1"))

    database.write(work, patience=0.0)
    with database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM source WHERE name = 'a'")) == 1
    assert len(runs) == 2


SLEEPER = """
import json, os, signal, sys
from pathlib import Path
from sqlalchemy import text
from gengfu.settings import Secret
from gengfu.store.database import Database

def work(connection):
    connection.execute(text("SELECT id FROM job WHERE id = :id FOR UPDATE"), {"id": told["id"]})
    os.kill(os.getpid(), signal.SIGSTOP)
    connection.execute(text("UPDATE job SET note = 'overwritten' WHERE id = :id"), {"id": told["id"]})

told = json.loads(sys.argv[1])
Database(Secret(told["url"]), Path(told["home"])).write(work, patience=0.0)
"""


@ON_SERVERS
def test_a_row_that_a_frozen_process_locked_without_changing_it_is_set_free_by_the_server(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    row = new_job("noop", {}, queue="q", tries=1, subject=None, now=utcnow())
    job_id = enqueue(database, lambda work: work.add_job(row))
    told = json.dumps({"url": database_url, "home": str(tmp_path), "id": job_id})
    process = subprocess.Popen([sys.executable, "-c", SLEEPER, told])
    try:
        wait_for(lambda: state_of(process.pid) == "T")
        taken = text("UPDATE job SET note = 'taken over' WHERE id = :id")
        database.write(lambda connection: connection.execute(taken, {"id": job_id}), patience=3.0 * SLEEPER_AFTER)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with database.read() as connection:
        note = connection.scalar(text("SELECT note FROM job WHERE id = :id"), {"id": job_id})
    assert note == "taken over"


@ON_SERVERS
def test_a_reader_at_leisure_is_left_alone(database: Database) -> None:
    with database.read() as connection:
        limit = "idle_in_transaction_session_timeout" if database.kind == "postgresql" else "in_transaction"
        asked = f"SHOW {limit}" if database.kind == "postgresql" else f"SELECT @@{limit}"
        assert connection.scalar(text(asked)) in ("0", 0)

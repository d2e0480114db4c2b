"""What is asked of a database that may be ill."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from gengfu.clock import Clock
from gengfu.store.database import Database
from gengfu.store.statements import moment


def damage_of(file: Path, seconds: float) -> str | None:
    """What is wrong with an SQLite file, which is read through for that; None where it is whole. A writer is waited for
    so long."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=seconds)) as connection:
        said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if said == "ok" else said


def longest_statement(db: Database) -> int | None:
    """The most bytes of a statement that a MySQL or MariaDB takes; None of other databases.

    Raises:
        StoreError: it does not answer.
    """
    if db.kind != "mysql":
        return None
    with db.read() as connection:
        return int(connection.scalar(text("SELECT @@max_allowed_packet")) or 0)


def clock_ahead(db: Database, clock: Clock) -> float:
    """Seconds by which the server's clock is ahead of this one.

    Raises:
        StoreError: it does not answer.
    """
    with db.read() as connection:
        connection.execute(text("SELECT 1"))
        before = clock()
        told: Any = connection.scalar(text("SELECT CURRENT_TIMESTAMP(6)"))
        after: datetime = clock()
    there = moment(told)
    assert there is not None
    return (there - before).total_seconds() - (after - before).total_seconds() / 2

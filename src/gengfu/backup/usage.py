"""Whether workers or schedulers are at a database, told by their beats and not by clocks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gengfu.clock import monotonic
from gengfu.errors import StoreError
from gengfu.process.pids import host_name

if TYPE_CHECKING:
    from gengfu.store.database import Database

PATIENCE = 12.0
"""Seconds within which whoever is at it beats."""
LOOK = 0.2
"""Seconds between two looks."""

Beats = dict[str, int]
"""What each process and each running job is called, and its beat."""


def in_use(db: Database, patience: float = PATIENCE, pause: Callable[[float], None] = time.sleep) -> str | None:
    """Who is at the database, in words; None where nobody is. Rows of processes that are dead do not beat.

    Raises:
        StoreError: the database cannot be read.
    """
    first = _beats(db)
    deadline = monotonic() + patience
    while first and monotonic() < deadline:
        pause(LOOK)
        now = _beats(db)
        for who, beat in now.items():
            if first.get(who) != beat:
                return who
        first = {who: beat for who, beat in first.items() if who in now}
    return None


def _beats(db: Database) -> Beats:
    from sqlalchemy import inspect, text

    with db.read(5.0) as connection:
        there = set(inspect(connection).get_table_names())
        found: Beats = {}
        if "lease" in there:
            for kind, name, host, pid, beat in connection.execute(
                text("SELECT kind, name, host, pid, renewals FROM lease")
            ):
                if (host, pid) != (host_name(), os.getpid()):
                    found[f"{kind} {name} (process {pid} on {host})"] = beat
        if "job" in there:
            running = text("SELECT id, name, worker, claim, beat FROM job WHERE state = 'running'")
            for job, name, worker, claim, beat in connection.execute(running):
                found[f"job {job} ({name}, claim {claim}) of worker {worker}"] = beat
    return found


def tell_unless_free(db: Database) -> None:
    """Raises StoreError that names who is at the database, where somebody is."""
    who = in_use(db)
    if who is not None:
        raise StoreError(
            f"the database {db.where} is in use by {who}; stop all workers and schedulers first, or restore "
            "nevertheless: --force"
        )

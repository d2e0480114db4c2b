"""Whether workers or schedulers are at a database, told by whether they renew their leases and not by clocks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gengfu.errors import StoreError
from gengfu.language import tr
from gengfu.process.pids import host_name
from gengfu.retry import Patience
from gengfu.store.leases import Leases

if TYPE_CHECKING:
    from gengfu.store.database import Database

PATIENCE = 12.0
"""Seconds within which whoever is at it renews."""
LOOK = 0.2
"""Seconds between two looks."""


def user_of(db: Database, patience: float = PATIENCE, pause: Callable[[float], None] = time.sleep) -> str | None:
    """Who is at the database, in words; None where nobody is. Rows of processes that are dead are not renewed.

    Raises:
        StoreError: the database cannot be read.
    """
    first = _renewals(db)
    looks = Patience(patience, LOOK, LOOK, pause)
    while first and looks.lasts():
        now = _renewals(db)
        for who, renewals in now.items():
            if first.get(who) != renewals:
                return who
        first = {who: renewals for who, renewals in first.items() if who in now}
    return None


def _renewals(db: Database) -> dict[str, int]:
    me = (host_name(), os.getpid())
    others = (lease for lease in Leases(db).all() if (lease.host, lease.pid) != me)
    return {
        tr("{lease.kind} {lease.name} (process {lease.pid} on {lease.host})", lease=lease): lease.renewals
        for lease in others
    }


def demand_free(db: Database) -> None:
    """Raises StoreError that names who is at the database, where somebody is."""
    who = user_of(db)
    if who is not None:
        raise StoreError(
            tr(
                "the database {db.where} is in use by {who}; stop all workers and schedulers first, or restore "
                "nevertheless: --force",
                db=db,
                who=who,
            )
        )

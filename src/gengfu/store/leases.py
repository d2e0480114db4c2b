"""Leases: one row for each process that works on rows of others. Who is dead is decided here and nowhere else.

A job, a tick or a login that a process works on names the process's lease and has a fencing number of its own. As long
as the lease is renewed, its owner has the right to all of them; once it is marked as lost, whoever needs one takes it,
under the next fencing number. `HELD` is the condition by which a statement tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengfu.store.statements import Row, Statements, look, moment, sentence, transact, value

if TYPE_CHECKING:
    from gengfu.store.database import Database

HELD = "(SELECT id FROM lease WHERE lost_at IS NULL)"
"""The leases that count, for `lease_id IN` and `lease_id NOT IN`."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What a process says of itself."""

    kind: str
    """`worker`, `scheduler` or `console`."""
    name: str
    host: str
    pid: int
    birth: str
    """See `gengfu.process.pids.birth_of`."""
    details: Mapping[str, Any]
    """`queues` of a worker: those that it serves, in order; empty for all."""


@dataclass(frozen=True, slots=True)
class Lease(ProcessInfo):
    """A row of `lease`: whose it is, and how it stands."""

    id: int
    renewals: int
    """Grows as long as the process lives."""
    progress: str | None
    """What is stuck in it; None while all of its loops make progress."""
    started_at: datetime
    renewed_at: datetime
    """When it was renewed last, by that process's clock."""
    lost_at: datetime | None
    """When others took the process for dead; its row stays until it is known to be gone."""


class Leases:
    """Opens, renews and ends leases, on an SQLite file or a database."""

    def __init__(self, db: Database | Path) -> None:
        self._db = db

    def open(self, who: ProcessInfo, now: datetime) -> int:
        """A new lease; its id.

        Raises:
            StoreError: the database cannot do it.
        """
        row = asdict(who) | {"renewals": 0, "progress": None, "started_at": now, "renewed_at": now}

        def work(statements: Statements) -> int:
            # One of the same name is left of an earlier run of this transaction whose answer was lost.
            statements.change("DELETE FROM lease WHERE name = :name", {"name": who.name})
            lease_id = statements.insert("lease", row)
            assert lease_id is not None
            return lease_id

        return transact(self._db, work)

    def renew(self, lease_id: int, progress: str | None, now: datetime) -> bool:
        """Shows that the owner lives, and what is stuck in it; False where others have taken it for dead.

        Raises:
            StoreError: the database cannot do it, for now.
        """
        sql = (
            "UPDATE lease SET renewals = renewals + 1, renewed_at = :now, progress = :progress"
            " WHERE id = :id AND lost_at IS NULL"
        )
        values = {"id": lease_id, "now": now, "progress": progress}
        return transact(self._db, lambda statements: statements.change(sql, values) == 1, patience=0.0)

    def close(self, name: str) -> None:
        """Removes the leases of a process that ends well, by its name.

        Raises:
            StoreError: the database cannot do it.
        """
        sql = "DELETE FROM lease WHERE name = :name"
        transact(self._db, lambda statements: statements.change(sql, {"name": name}), patience=0.0)

    def all(self) -> list[Lease]:
        """All rows, oldest first.

        Raises:
            StoreError: the database cannot be read.
        """
        return look(self._db, leases_in)

    def lose(self, seen: Lease, now: datetime) -> bool:
        """Takes the owner for dead: whatever it works on is anybody's from now on. False where it was renewed since it
        was seen, or others were first.

        Raises:
            StoreError: the database cannot do it.
        """
        sql = "UPDATE lease SET lost_at = :now WHERE id = :id AND renewals = :renewals AND lost_at IS NULL"
        values = {"id": seen.id, "renewals": seen.renewals, "now": now}
        return transact(self._db, lambda statements: statements.change(sql, values) == 1, patience=0.0)

    def remove(self, seen: Lease) -> bool:
        """Removes the row of a process that is gone; False where it was renewed since it was seen.

        Raises:
            StoreError: the database cannot do it.
        """
        sql = "DELETE FROM lease WHERE id = :id AND renewals = :renewals"
        values = {"id": seen.id, "renewals": seen.renewals}
        return transact(self._db, lambda statements: statements.change(sql, values) == 1, patience=0.0)


def leases_in(statements: Statements) -> list[Lease]:
    """All rows, oldest first."""
    return [_lease(row) for row in statements.all("SELECT * FROM lease ORDER BY id", {})]


def _lease(row: Row) -> Lease:
    moments = {name: moment(row[name]) for name in ("started_at", "renewed_at", "lost_at")}
    read = {"details": value(row["details"]) or {}, "progress": sentence(row["progress"])}
    return Lease(**{**row, **moments, **read})

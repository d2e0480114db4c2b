"""Brings a database to the version of the tables that this program knows, and tells quickly when it is there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.errors import FileError, StoreError
from gengfu.language import tr
from gengfu.locks import Held, held
from gengfu.retry import Patience
from gengfu.store.failures import explained

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.store.database import Database

REVISIONS = ("0001",)
"""Every version of the tables, oldest first."""

HEAD = REVISIONS[-1]
"""The version that this program works with."""

_BEFORE_RELEASE = ("0001", "0002", "0003")
"""Versions that a database without the table `source` may have."""

PATIENCE = 60.0
"""Seconds to wait for another process that is upgrading the same database."""

_TRY_LOCK = {
    "postgresql": "SELECT pg_try_advisory_xact_lock(7306079281)",
    "mysql": "SELECT GET_LOCK(SHA2(CONCAT('gengfu:', DATABASE()), 224), 0)",
}
"""PostgreSQL's holds for the transaction, MySQL's for the connection. MySQL's names are the whole server's, at most 64
characters."""


def ensure(db: Database) -> None:
    """Makes sure that the tables are of this program's version: SQLite is upgraded, other databases are only looked at.

    Raises:
        StoreError: a database server is behind, the database belongs to a newer program, or it cannot be used.
    """
    if db.path is not None:
        if quick_version(db.path) != HEAD:
            upgrade(db)
    elif state := lack(db):
        raise StoreError(tr("the database {db.where} {state}; run: gengfu db:upgrade", db=db, state=state))


def lack(db: Database) -> str:
    """What the tables lack, in words; empty where they are of this program's version.

    Raises:
        StoreError: the database belongs to a newer program, or it cannot be read.
    """
    steps = pending(db)
    if not steps:
        return ""
    if len(steps) < len(REVISIONS):
        return tr("is behind ({steps} is still to come)", steps=steps[0])
    return "has some of its tables: an upgrade was interrupted" if _is_begun(db) else "has no tables yet"


def _is_begun(db: Database) -> bool:
    from sqlalchemy import inspect

    if db.path is not None:
        return False
    with db.read() as connection:
        return inspect(connection).has_table("alembic_version")


def pending(db: Database) -> list[str]:
    """The revisions that the database lacks, oldest first.

    Raises:
        StoreError: the database belongs to a newer program, or it cannot be read.
    """
    if db.path is not None:
        return _after(quick_version(db.path), db.where)
    with db.read() as connection:
        return _after(version(connection, db.where), db.where)


def upgrade(db: Database, to: str = HEAD) -> list[str]:
    """Runs the revisions that the database lacks and returns them. Of several processes that start at once, one does it
    and the others wait.

    Args:
        to: the last revision to run.

    Raises:
        StoreError: the database belongs to a newer program, or it cannot be changed.
    """
    if not pending(db):
        return []
    return alone(db, lambda connection: _migrate(connection, db.where, to))


def quick_version(path: Path) -> str | None:
    """The version of an SQLite file, read without SQLAlchemy; `None` where there is no file, or no table in it.

    Raises:
        StoreError: the file cannot be read, or its tables are of a program before the first release.
    """
    try:
        if not path.exists():
            return None
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10.0)) as connection:
            looked = "SELECT name FROM sqlite_master WHERE name IN ('alembic_version', 'source')"
            tables = {name for (name,) in connection.execute(looked)}
            if "alembic_version" not in tables:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            version = str(row[0]) if row else None
    except (OSError, sqlite3.Error) as error:
        raise explained(str(path), error) from error
    if version is not None and "source" not in tables:
        _refuse_before_release(version, str(path), tr("move the file away: mv {path} {path}.old", path=path))
    return version


def _refuse_before_release(version: str, where: str, anew: str) -> None:
    """Says how to start anew where the tables are those of a program before the first release, which had no sources."""
    if version in _BEFORE_RELEASE:
        raise StoreError(
            tr(
                "the database {where} was made by a Gengfu from before its first release, whose tables cannot be "
                "brought up to date; it is left as it is. To start anew, {anew}",
                where=where,
                anew=anew,
            )
        )


def version(connection: Connection, where: str) -> str | None:
    """The version of the tables; None where there are none.

    Raises:
        StoreError: they are of a program before the first release.
    """
    from sqlalchemy import inspect, text

    inspector = inspect(connection)
    if not inspector.has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found is not None and not inspector.has_table("source"):
        _refuse_before_release(found, where, "name an empty database in DATABASE_URL, and run: gengfu db:upgrade")
    return found


def _after(version: str | None, where: str) -> list[str]:
    if version is None:
        return list(REVISIONS)
    if version not in REVISIONS:
        raise StoreError(
            tr(
                "the database {where} was made by a newer Gengfu (its version is {version}, this program knows "
                "{head}); upgrade the program",
                where=where,
                version=version,
                head=HEAD,
            )
        )
    return list(REVISIONS[REVISIONS.index(version) + 1 :])


def _migrate(connection: Connection, where: str, to: str) -> list[str]:
    from alembic import command
    from alembic.config import Config

    steps = [step for step in _after(version(connection, where), where) if REVISIONS.index(step) <= REVISIONS.index(to)]
    if steps:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
        command.upgrade(config, to)
    return steps


def alone(db: Database, migrate: Callable[[Connection], list[str]]) -> list[str]:
    """Runs `migrate` in a transaction while no other upgrade of the database is under way: by a lock file beside an
    SQLite file, by a server's own lock elsewhere.

    Raises:
        StoreError: another one takes too long, the lock file cannot be made, or the database cannot be changed.
    """
    if db.path is None:
        return db.write(lambda connection: _locked(db, connection, migrate))
    try:
        with held(db.path.with_name(f"{db.path.name}.upgrade"), patience=PATIENCE):
            return db.write(migrate)
    except Held:
        raise _occupied(db) from None
    except FileError as error:
        raise StoreError(str(error)) from error


def _locked(db: Database, connection: Connection, migrate: Callable[[Connection], list[str]]) -> list[str]:
    from sqlalchemy import text

    if db.kind == "mysql":
        # Off the pool, so that leaving closes it and with it ends the lock.
        connection.detach()
    patience = Patience(PATIENCE)
    while not connection.scalar(text(_TRY_LOCK[db.kind])):
        if not patience.lasts():
            raise _occupied(db)
    return migrate(connection)


def _occupied(db: Database) -> StoreError:
    return StoreError(
        tr(
            "another process is upgrading the database {db.where} since {patience:g} s; try again later",
            db=db,
            patience=PATIENCE,
        )
    )

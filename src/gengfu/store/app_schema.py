"""The tables of the working folder's own lists: migrations `NAME_0001.py` and so on, in `app/migrations`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.errors import StoreError
from gengfu.language import tr
from gengfu.store.schema import alone

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.store.database import Database

log = logging.getLogger("gengfu.store.app_schema")


def folder(home: Path) -> Path:
    """Where the migrations lie."""
    return home / "app" / "migrations"


def revisions(home: Path) -> dict[str, list[str]]:
    """The migrations that there are, by table, oldest first."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder(home).glob("*.py")):
        if re.fullmatch(r"[a-z][a-z0-9_]*_[0-9]{4}", path.stem):
            found.setdefault(path.stem[:-5], []).append(path.stem)
    return found


def pending(db: Database, home: Path) -> list[str]:
    """The migrations that the database lacks, by table, oldest first.

    Raises:
        StoreError: the database cannot be read.
    """
    there = revisions(home)
    if not there:
        return []
    with db.read() as connection:
        return _lacking(connection, there)


def upgrade(db: Database, home: Path, to: Sequence[str] = ("heads",)) -> list[str]:
    """Runs the migrations that the database lacks, and returns them; only one process does it at a time.

    Args:
        to: the last ones to run.

    Raises:
        StoreError: one of them is broken, or the database cannot be changed.
    """
    if not pending(db, home):
        return []
    return alone(db, lambda connection: _migrate(connection, home, to))


def ensure(db: Database, home: Path) -> None:
    """On SQLite, runs what is pending. What is broken there is logged, and stops nothing but the lists whose tables it
    would make; other databases are left to `gengfu db:upgrade`."""
    if db.path is None:
        return
    try:
        upgrade(db, home)
    except StoreError as error:
        log.warning("a table of the working folder's own cannot be made", extra={"error": str(error)})


def versions(connection: Connection) -> set[str]:
    """The last migration of each table that was run."""
    from sqlalchemy import inspect, text

    is_there = inspect(connection).has_table("app_version")
    return set(connection.scalars(text("SELECT version_num FROM app_version"))) if is_there else set()


def _lacking(connection: Connection, there: Mapping[str, list[str]]) -> list[str]:
    done = versions(connection)
    lacking: list[str] = []
    for steps in there.values():
        last = max((place for place, step in enumerate(steps) if step in done), default=-1)
        lacking += steps[last + 1 :]
    return lacking


def _migrate(connection: Connection, home: Path, to: Sequence[str]) -> list[str]:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    steps = _lacking(connection, revisions(home))
    config = Config(attributes={"connection": connection})
    places = {"script_location": Path(__file__).with_name("app_migrations"), "version_locations": folder(home)}
    for name, place in places.items():
        config.set_main_option(name, str(place).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        for revision in to:
            command.upgrade(config, revision)
    except (CommandError, SyntaxError, ImportError, NameError, AttributeError, TypeError, KeyError) as error:
        raise StoreError(
            tr(
                "a migration in {folder} is broken: {kind}: {error}",
                folder=folder(home),
                kind=type(error).__name__,
                error=error,
            )
        ) from error
    return steps

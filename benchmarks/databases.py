"""The databases that the benchmarks run on: files, and fresh databases of this machine's servers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import URL, make_url

from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database

SERVERS = {
    "PostgreSQL": ("postgresql+psycopg", make_url("postgresql://postgres@127.0.0.1:5432/postgres")),
    "MariaDB": ("mysql+pymysql", make_url("mysql://root@127.0.0.1:3306/mysql")),
}


@contextmanager
def fresh(driver: str, server: URL) -> Iterator[str]:
    """The address of a database with nothing in it, which is gone after the block."""
    name = f"gengfu_bench_{uuid4().hex[:12]}"
    engine = create_engine(server.set(drivername=driver), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if driver.startswith("postgresql") else ""
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}{force}"))


@contextmanager
def migrated(name: str) -> Iterator[Database]:
    """A database with tables: `SQLite`, or of one of the servers."""
    with tempfile.TemporaryDirectory(prefix="gengfu-bench-") as folder:
        if name == "SQLite":
            yield _upgraded(f"sqlite:///{folder}/gengfu.db", Path(folder))
            return
        with fresh(*SERVERS[name]) as address:
            database = _upgraded(address, Path(folder))
            try:
                yield database
            finally:
                database.dispose()


def _upgraded(address: str, folder: Path) -> Database:
    database = Database(Secret(address), folder)
    schema.upgrade(database)
    return database

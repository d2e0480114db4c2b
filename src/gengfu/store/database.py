"""Connections and transactions: one engine per process, writes that outlive a database that is briefly away."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from gengfu.errors import ConfigError, StoreError
from gengfu.retry import Patience
from gengfu.settings import Secret
from gengfu.store.address import sqlite_path

T = TypeVar("T")

Transaction = Connection
"""A connection within a transaction that was opened by `Database.write`."""

PATIENCE = 30.0
"""Seconds for which a transaction is tried again while the database is away or locked."""

SLEEPER_AFTER = 10
"""Seconds for which a transaction that writes may stand idle before the server ends it: a process that was frozen, or
whose machine is gone without a word, must not keep the rows that it locked from the one that takes over its work."""

# Comments that only the one or the other server reads; MySQL knows such a limit for connections alone.
_MARIADB_SLEEPERS = f"/*M!100300 , idle_write_transaction_timeout = {SLEEPER_AFTER} */"
_MYSQL_SLEEPERS = f"/*!50700 , wait_timeout = {2 * SLEEPER_AFTER} */"

_MYSQL_TRANSIENT = {1040, 1053, 1203, 1205, 1213, 2002, 2003, 2006, 2013, 2055}
_POSTGRES_TRANSIENT = ("08", "40", "53", "55P03", "57P")
_SQLITE_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Database:
    """Owns the engine. Reads see one snapshot; a write is one transaction that happens whole or not at all."""

    def __init__(self, url: Secret, home: Path) -> None:
        self.path = sqlite_path(url, home)
        self.url = _driver_url(url, self.path)
        self.kind = {"mariadb": "mysql"}.get(self.url.get_backend_name(), self.url.get_backend_name())
        """`sqlite`, `postgresql` or `mysql` (MariaDB too)."""
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The file or the address, without the password, as a person reads it."""
        return str(self.path) if self.path is not None else self.url.render_as_string(hide_password=True)

    @property
    def engine(self) -> Engine:
        """The engine, made when first used.

        Raises:
            StoreError: the folder of an SQLite file cannot be made.
        """
        with self._lock:
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    def _make_engine(self) -> Engine:
        # Whoever used a connection that was lost tells of it; the pool would add a stack trace.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"the folder {self.path.parent} cannot be made: {error.strerror}") from error
            engine = create_engine(self.url, connect_args={"timeout": 10.0, "check_same_thread": False})
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        if self.kind == "mysql":
            options: dict[str, Any] = {
                "connect_timeout": 10,
                "charset": "utf8mb4",
                "init_command": f"SET time_zone = '+00:00' {_MARIADB_SLEEPERS} {_MYSQL_SLEEPERS}",
            }
            return create_engine(
                self.url, connect_args=options, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_recycle=1800
            )
        options = {"connect_timeout": 10, "options": "-c timezone=UTC"}
        engine = create_engine(self.url, connect_args=options, pool_pre_ping=True)
        event.listen(engine, "begin", _begin_postgresql)
        return engine

    @contextmanager
    def read(self, patience: float = 0.0) -> Iterator[Connection]:
        """A connection for reading; a database that is away is asked again for `patience` seconds.

        Raises:
            StoreError: the database is not there or refuses.
        """
        try:
            with self._connect(patience) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self.explain(error) from error

    def _connect(self, seconds: float) -> Connection:
        patience = Patience(seconds)
        while True:
            try:
                return self.engine.connect()
            except SQLAlchemyError as error:
                if not is_transient(error) or not patience.lasts():
                    raise

    def write(self, work: Callable[[Connection], T], patience: float = PATIENCE) -> T:
        """Runs `work` in one transaction and commits. While the database is away, locked or broke a deadlock, it is
        run again from the start for `patience` seconds, so `work` must change nothing but the database, and must bear
        that an earlier run of it was committed although its answer was lost.

        Raises:
            StoreError: the database cannot do it.
        """
        return self._run(work, patience, writes=True)

    def look(self, work: Callable[[Connection], T], patience: float = 0.0) -> T:
        """Runs `work`, which only reads, on one snapshot; while the database is away, again for `patience` seconds.

        Raises:
            StoreError: the database is not there or refuses.
        """
        return self._run(work, patience, writes=False)

    def _run(self, work: Callable[[Connection], T], patience: float, *, writes: bool) -> T:
        bearing = Patience(patience)
        while True:
            try:
                with self.engine.connect().execution_options(gengfu_write=writes) as connection, connection.begin():
                    return work(connection)
            except self._errors() as error:
                # The bulk path uses the driver below the toolkit, which raises its errors as they are.
                told = error if isinstance(error, SQLAlchemyError) else DBAPIError(None, None, error)
                if not is_transient(told) or not bearing.lasts():
                    raise self.explain(told) from error

    def _errors(self) -> tuple[type[Exception], ...]:
        dbapi = self._engine.dialect.dbapi if self._engine is not None else None
        return (SQLAlchemyError,) if dbapi is None else (SQLAlchemyError, dbapi.Error)

    def explain(self, error: SQLAlchemyError) -> StoreError:
        """The error as one sentence that names the database but never its password."""
        cause = getattr(error, "orig", None) or error
        text = " ".join(str(cause).split())
        if self.url.password:
            text = text.replace(str(self.url.password), "******")
        if "no such table" in text or getattr(cause, "sqlstate", "") == "42P01" or _mysql_code(cause) == 1146:
            return StoreError(f"the database {self.where} has no tables yet; run: gengfu db:upgrade")
        return StoreError(f"the database {self.where} failed: {text[:500]}")

    def changes(self) -> Changes | None:
        """What tells whether an SQLite file was written; None of a server."""
        return Changes(self.path) if self.path is not None else None

    def dispose(self) -> None:
        """Closes every connection."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None


class Changes:
    """Tells, in microseconds, whether an SQLite file was written. To be used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None

    def seen(self) -> bool:
        """Whether anybody has written since the last call; False where that cannot be told."""
        before = self._version
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, timeout=0.0, isolation_level=None)
            self._version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            self.close()
        return self._version is not None and self._version != before

    def close(self) -> None:
        """Closes the file."""
        self._version = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _driver_url(url: Secret, path: Path | None) -> URL:
    if path is not None:
        return URL.create("sqlite", database=str(path))
    try:
        parsed = make_url(url.reveal())
    except ArgumentError:
        raise ConfigError(
            "DATABASE_URL cannot be read; for example: DATABASE_URL=postgresql://user:secret@127.0.0.1:5432/gengfu"
        ) from None
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed.set(drivername=f"{parsed.get_backend_name()}+pymysql")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)


SQLITE_PRAGMAS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA temp_store = MEMORY")
"""WAL lets readers go on while a run writes. With NORMAL, a power cut may undo the latest transactions, all of them
together, which is work that is then done once more; what `enqueue` records is on the disk before anyone is told."""


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("gengfu_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("gengfu_write"):
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{SLEEPER_AFTER}s'")


def _mysql_code(cause: BaseException) -> int | None:
    code = cause.args[0] if cause.args else None
    return code if isinstance(code, int) else None


def is_transient(error: SQLAlchemyError) -> bool:
    """Whether the same transaction may well succeed in a moment: connection lost or refused, lock, deadlock."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        return (code & 0xFF) in _SQLITE_TRANSIENT
    if error.connection_invalidated:
        return True
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_POSTGRES_TRANSIENT)
    code = _mysql_code(cause)
    if code is not None:
        return code in _MYSQL_TRANSIENT
    return isinstance(error, (OperationalError, InterfaceError))

"""Connections and transactions: one engine per process, writes that outlive a database that is briefly away."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from gengfu.addresses import passwords, shown
from gengfu.errors import StoreError
from gengfu.language import tr
from gengfu.retry import Patience
from gengfu.settings import Secret
from gengfu.store.address import sqlite_path
from gengfu.store.engines import Begin, make_engine, parse_address
from gengfu.store.failures import explained, is_transient

T = TypeVar("T")

Transaction = Connection
"""A connection within a transaction that was opened by `Database.write`."""

PATIENCE = 30.0
"""Seconds for which a transaction is tried again while the database is away or locked."""


class Database:
    """Owns the engine. Reads see one snapshot; a write is one transaction that happens whole or not at all."""

    def __init__(self, url: Secret, home: Path) -> None:
        self.path = sqlite_path(url, home)
        self.url = parse_address(url, home, self.path)
        self._url = url
        self.kind = self.url.get_backend_name()
        """`sqlite`, `postgresql` or `mysql` (MariaDB too)."""
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The file or the address, without the password, as a person reads it."""
        return str(self.path) if self.path is not None else shown(self._url.reveal())

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
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    tr("the folder {parent} cannot be made: {error.strerror}", parent=self.path.parent, error=error)
                ) from error
        return make_engine(self.url)

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
        trying = _Trying(seconds)
        while True:
            connection = None
            try:
                connection = self.engine.connect()
                connection.begin()
                return connection
            except SQLAlchemyError as error:
                if connection is not None:
                    connection.close()
                if not trying.again(error):
                    raise

    def write(self, work: Callable[[Connection], T], patience: float = PATIENCE) -> T:
        """Runs `work` in one transaction and commits. While the database is away, locked or broke a deadlock, it is
        run again from the start for `patience` seconds, so `work` must change nothing but the database, and must bear
        that an earlier run of it was committed although its answer was lost.

        Raises:
            StoreError: the database cannot do it.
        """
        return self._run(work, patience, Begin.WRITE)

    def look(self, work: Callable[[Connection], T], patience: float = 0.0) -> T:
        """Runs `work`, which only reads; on a server each of its statements sees what is committed by then, and costs
        no more than itself. While the database is away, it is run again for `patience` seconds.

        Raises:
            StoreError: the database is not there or refuses.
        """
        return self._run(work, patience, Begin.LOOK)

    def _run(self, work: Callable[[Connection], T], patience: float, begin: Begin) -> T:
        trying = _Trying(patience)
        while True:
            try:
                with self.engine.connect().execution_options(gengfu_begin=begin) as connection, connection.begin():
                    return work(connection)
            except Exception as error:
                told = self._told(error)
                if told is None:
                    raise
                if not trying.again(told):
                    raise self.explain(told) from error

    def _told(self, error: Exception) -> SQLAlchemyError | None:
        """The error as the toolkit tells it; None where it is no error of the database. The bulk path uses the driver
        below the toolkit, which raises its errors as they are."""
        if isinstance(error, SQLAlchemyError) or self._engine is None:
            return error if isinstance(error, SQLAlchemyError) else None
        dialect = self._engine.dialect
        dbapi: Any = dialect.dbapi
        if not isinstance(error, dbapi.Error):
            return None
        told = DBAPIError.instance(None, None, error, dbapi.Error, dialect=dialect)
        return told if isinstance(told, SQLAlchemyError) else None

    def explain(self, error: SQLAlchemyError) -> StoreError:
        """The error as one sentence that names the database but never its password."""
        return explained(self.where, getattr(error, "orig", None) or error, passwords(self._url.reveal()))

    def file_changes(self) -> FileChanges | None:
        """What tells whether an SQLite file was written; None of a server."""
        return FileChanges(self.path) if self.path is not None else None

    def dispose(self) -> None:
        """Closes every connection."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None


class FileChanges:
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


class _Trying:
    """Whether a transaction that failed is tried again: while the database is away, for so many seconds; and once at
    once where its connection was lost, since one out of the pool may have been dead for long. The pool then makes all
    of them anew, so nothing has to be asked before each transaction."""

    def __init__(self, patience: float) -> None:
        self._patience = Patience(patience)
        self._was_lost = False

    def again(self, error: SQLAlchemyError) -> bool:
        """Says so, after the pause that there is to be."""
        if not self._was_lost and isinstance(error, DBAPIError) and error.connection_invalidated:
            self._was_lost = True
            return True
        return _is_transient(error) and self._patience.lasts()


def _is_transient(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    operational = isinstance(error, (OperationalError, InterfaceError))
    return is_transient(error.orig, lost=error.connection_invalidated, operational=operational)

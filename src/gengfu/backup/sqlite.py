"""SQLite: copied with its online backup, page by page, out of one snapshot; put back likewise in one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.backup.contents import LEFT_OUT, VERSION_TABLE, Contents, Copied, difference
from gengfu.backup.streams import CHUNK, Progress, Unpacked, packed
from gengfu.clock import monotonic
from gengfu.errors import BackupError, StoreError

if TYPE_CHECKING:
    from gengfu.store.database import Database

STEP = 512
"""Pages at a time."""
PATIENCE = 60.0
"""Seconds for which another process may keep a database locked."""


class SqliteCopier:
    """An SQLite file. What is copied is the state of one moment, however much is written meanwhile; what is put back is
    there whole or not at all, also for processes that have the file open."""

    def __init__(self, db: Database) -> None:
        assert db.path is not None
        self._path = db.path

    def size(self) -> int:
        paths = (self._path, Path(f"{self._path}-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def room(self, size: int) -> int:
        # The copy and its packed form, then the packed form and what is unpacked from it.
        return 2 * size

    def tables(self) -> Mapping[str, int]:
        if not self._path.exists() or not self._path.stat().st_size:
            return {}
        with self._opened() as connection:
            return _count(connection)

    def copy(self, target: Path, scratch: Path, progress: Progress) -> Copied:
        if not self._path.exists():
            raise BackupError(f"there is no database {self._path} yet, so there is nothing to back up")
        with self._opened() as source, _explained(f"{self._path} cannot be copied"):
            # As long as this transaction reads, the copy is of its snapshot, and no writer makes it begin anew.
            source.execute("BEGIN")
            tables = _count(source)
            with closing(_new(scratch)) as copy:
                _transfer(source, copy, progress, "copying")
        cleaned = scratch.with_name(f"{scratch.name}-cleaned")
        with closing(sqlite3.connect(scratch)) as copy, _explained(f"{self._path} cannot be copied"):
            _clean(copy, cleaned, progress)
        scratch.unlink()
        with packed(target) as packer, cleaned.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            while chunk := file.read(CHUNK):
                packer.write(chunk)
                progress.step("packing", file.tell(), total)
        cleaned.unlink()
        return Copied(packer.sha256, tables)

    def restore(self, backup: Path, contents: Contents, scratch: Path, progress: Progress) -> None:
        if _unpack(backup, scratch, progress, "unpacking") != contents.sha256:
            raise BackupError(f"{backup} has been changed since it was checked")
        if not self._path.exists() or not self._path.stat().st_size:
            _put(scratch, self._path)
        else:
            with (
                closing(_immutable(scratch)) as source,
                self._opened() as live,
                _explained(f"{self._path} stays as it was"),
            ):
                _transfer(source, live, progress, "restoring")
                live.execute("PRAGMA wal_checkpoint(PASSIVE)")
            scratch.unlink()
        if problem := difference(contents.tables, self.tables()):
            raise BackupError(f"{self._path} does not hold the backup: {problem}")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database as it is in use."""
        try:
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=30.0)
        except sqlite3.Error as error:
            raise StoreError(f"the database {self._path} cannot be read: {error}") from error
        with closing(connection), _explained(f"{self._path} cannot be used"):
            connection.isolation_level = None
            connection.execute("PRAGMA synchronous = FULL")
            yield connection


def read_sqlite(backup: Path, scratch: Path, progress: Progress) -> Contents:
    """Unpacks the copy, has SQLite check it, and counts.

    Raises:
        BackupError: it is damaged.
        OSError: there is no room to unpack it.
    """
    try:
        sha256 = _unpack(backup, scratch, progress, "reading back")
        with closing(_immutable(scratch)) as copy, _explained(f"the backup {backup} is damaged"):
            found = _check(copy, progress)
            if found != ["ok"]:
                raise BackupError(f"the backup {backup} is damaged: {'; '.join(found)}")
            tables = _count(copy)
            row = (
                copy.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone() if VERSION_TABLE in tables else None
            )
        return Contents(tables, str(row[0]) if row else None, sha256)
    finally:
        scratch.unlink(missing_ok=True)


def _check(copy: sqlite3.Connection, progress: Progress) -> list[str]:
    """What SQLite says of the whole file: `["ok"]`, or what is wrong with it."""
    with _interruptible(copy, progress, "checking"):
        return [str(row[0]) for row in copy.execute("PRAGMA integrity_check(5)")]


def _clean(copy: sqlite3.Connection, target: Path, progress: Progress) -> None:
    """Writes the copy without the rows that backups leave out, and without what free pages still hold of them."""
    copy.execute("PRAGMA journal_mode = OFF")
    copy.execute("PRAGMA synchronous = OFF")
    for table in sorted(LEFT_OUT & set(_names(copy))):
        copy.execute(f'DELETE FROM "{table}"')
    copy.commit()
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with _interruptible(copy, progress, "copying"):
        copy.execute("VACUUM INTO ?", (str(target),))


@contextmanager
def _interruptible(connection: sqlite3.Connection, progress: Progress, what: str) -> Iterator[None]:
    """One long statement that ends with Stopped when it is told to."""
    reasons: list[BaseException] = []

    def look_up() -> int:
        # What is raised in here SQLite would take for its own failure.
        try:
            progress.step(what, 0)
        except BaseException as reason:
            reasons.append(reason)
        return len(reasons)

    connection.set_progress_handler(look_up, 1_000_000)
    try:
        yield
    except sqlite3.OperationalError:
        if reasons:
            raise reasons[0] from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _names(connection: sqlite3.Connection) -> list[str]:
    known = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [str(row[0]) for row in connection.execute(known)]


def _count(connection: sqlite3.Connection) -> dict[str, int]:
    quoted = {name: name.replace('"', '""') for name in _names(connection)}
    counted = {name: connection.execute(f'SELECT count(*) FROM "{quoted[name]}"').fetchone() for name in quoted}
    return {name: int(row[0]) for name, row in counted.items()}


def _transfer(source: sqlite3.Connection, target: sqlite3.Connection, progress: Progress, what: str) -> None:
    size = int(source.execute("PRAGMA page_size").fetchone()[0])
    moved = monotonic()

    def stepped(status: int, left: int, total: int) -> None:
        nonlocal moved
        progress.step(what, (total - left) * size, total * size)
        if status & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            moved = monotonic()
        elif monotonic() - moved > PATIENCE:
            raise BackupError(f"another process has kept the database locked for {PATIENCE:g} s; try again later")

    source.backup(target, pages=STEP, progress=stepped, sleep=0.05)


def _new(path: Path) -> sqlite3.Connection:
    """An empty database whose loss would not matter."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _immutable(path: Path) -> sqlite3.Connection:
    """A database that nobody changes; nothing is written beside it."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)


def _unpack(backup: Path, target: Path, progress: Progress, what: str) -> str:
    reader = Unpacked(backup, progress, what)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.writelines(reader.chunks())
        file.flush()
        os.fsync(file.fileno())
    return reader.sha256


def _put(copy: Path, path: Path) -> None:
    """Where there was no database, nobody has one open; what may lie beside it belonged to another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in ("-wal", "-shm"):
        Path(f"{path}{stale}").unlink(missing_ok=True)
    if path.parent.stat().st_dev == copy.stat().st_dev:
        copy.replace(path)
        return
    with (
        closing(_immutable(copy)) as source,
        closing(_new(beside := path.with_name(f"{path.name}.restored"))) as target,
    ):
        source.backup(target)
    beside.replace(path)
    copy.unlink()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BackupError(f"{what}: {error}") from error

"""A lock file that names its holder and is free as soon as the holder is gone, however it ended."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gengfu.errors import FileError, GengfuError
from gengfu.language import tr
from gengfu.ownership import open_own, why_refused
from gengfu.retry import Patience

UP_LOCK = "up.lock"
"""In `var/`: held by the one `gengfu up` of a working folder."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as the file says; its process may not have come to write it yet."""

    pid: int | None
    note: str
    """What it holds it for."""

    def __str__(self) -> str:
        return tr("process {pid}", pid=self.pid) if self.pid else "another process"


class Held(GengfuError):
    """Another process holds the lock."""

    def __init__(self, path: Path, holder: Holder) -> None:
        super().__init__(tr("{path} is held by {holder}", path=path, holder=holder))
        self.holder = holder


@contextmanager
def held(path: Path, note: str = "", patience: float = 0.0) -> Iterator[None]:
    """Holds the lock while the block lasts; the file is gone afterwards. Children do not share it.

    Args:
        note: what it is held for, for others to tell.
        patience: seconds to wait for another process.

    Raises:
        Held: another process holds it.
        FileError: the file cannot be made.
    """
    waiting = Patience(patience)
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _locked(path)
            break
        except OSError as error:
            raise _unwritable(path, error) from error
        except Held:
            if not waiting.lasts():
                raise
    try:
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n{note}".encode(), 0)
        except OSError as error:
            raise _unwritable(path, error) from error
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


@contextmanager
def alone(file: int) -> Iterator[bool]:
    """Whether this process has the open file for itself while the block lasts. It waits for nobody: who holds it may be
    frozen."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def holder(path: Path) -> Holder | None:
    """Who holds the lock now; None where nobody does."""
    try:
        file = open_own(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _holder(file)
    finally:
        os.close(file)
    return None


def remove_if_stale(path: Path) -> bool:
    """Removes the file where nobody holds it; says whether it did."""
    try:
        file = open_own(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def is_stale(path: Path) -> bool:
    """Whether the file is there and nobody holds it."""
    return path.exists() and holder(path) is None


def _holder(file: int) -> Holder:
    pid, _, note = os.pread(file, 500, 0).decode("utf-8", "replace").partition("\n")
    return Holder(int(pid) if pid.isdigit() else None, note.strip())


def _unwritable(path: Path, error: OSError) -> FileError:
    return FileError(
        tr("{path} cannot be written: {reason}; see: gengfu doctor", path=path, reason=why_refused(error, path))
    )


def _locked(path: Path) -> int:
    while True:
        file = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return file
        except BlockingIOError:
            found = _holder(file)
            os.close(file)
            raise Held(path, found) from None
        except BaseException:
            os.close(file)
            raise
        # Its last holder removed it after it was opened here: the next one is another file.
        os.close(file)

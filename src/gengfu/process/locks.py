"""A lock file that names its holder and is free as soon as the holder is gone, however it ended."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gengfu.errors import FileError, GengfuError

UP_LOCK = "up.lock"
"""In `var/`: held by the one `gengfu up` of a working folder."""


class Held(GengfuError):
    """Another process holds the lock."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(f"{path} is held by {f'process {pid}' if pid else 'another process'}")
        self.pid = pid
        """Its process id; None where that is not told."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock while the block lasts; the file is gone afterwards. Children do not share it.

    Raises:
        Held: another process holds it.
        FileError: the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}; see: gengfu doctor") from error
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def remove_if_stale(path: Path) -> bool:
    """Removes the file where nobody holds it; says whether it did."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
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
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def _locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return file
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            os.close(file)
            raise Held(path, int(holder) if holder.isdigit() else None) from None
        except BaseException:
            os.close(file)
            raise
        # Its last holder removed it after it was opened here: the next one is another file.
        os.close(file)

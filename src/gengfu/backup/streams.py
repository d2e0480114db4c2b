"""Packed files, written and read in chunks, with the SHA-256 of what passes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gengfu.errors import BackupError, Stopped

CHUNK = 1 << 20
"""Bytes that are handled at a time."""


class Progress:
    """What long work tells of itself, and by what it learns that it is to stop."""

    def __init__(
        self,
        show: Callable[[str, int, int | None], None] = lambda what, done, total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`show(what, done, total)`: what is being done, and how many bytes of how many are behind it."""
        self._show = show
        self._stopped = stopped

    def step(self, what: str, done: int, total: int | None = None) -> None:
        """Between two pieces of work.

        Raises:
            Stopped: there is to be no further one.
        """
        if self._stopped():
            raise Stopped("the backup was told to stop")
        self._show(what, done, total)


class _Hashing(io.RawIOBase):
    """A file that hashes what is read from it or written to it, from its beginning."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.passed = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._through(self._file.read(size))

    def write(self, data: Any) -> int:
        self._file.write(self._through(bytes(data)))
        return len(data)

    def _through(self, data: bytes) -> bytes:
        self._hash.update(data)
        self.passed += len(data)
        return data

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class Packer:
    """Packs what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._through = _Hashing(file)
        self._gzip = gzip.GzipFile("", "wb", 6, self._through)

    def write(self, data: bytes) -> None:
        self._gzip.write(data)

    def close(self) -> None:
        self._gzip.close()

    @property
    def sha256(self) -> str:
        """Of the packed file, once it is closed."""
        return self._through.sha256


@contextmanager
def packed(path: Path) -> Iterator[Packer]:
    """A new packed file, readable by its owner alone; on the disk when the block has ended."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        packer = Packer(file)
        yield packer
        packer.close()
        file.flush()
        os.fsync(file.fileno())


class Unpacked:
    """A packed file as it is read: its chunks or its lines, once, from the beginning to the end.

    Reading raises BackupError where it is damaged or cut off.
    """

    def __init__(self, path: Path, progress: Progress, what: str) -> None:
        self._path = path
        self._progress = progress
        self._what = what
        self.sha256 = ""
        """Of the packed file, after its end."""

    def chunks(self) -> Iterator[bytes]:
        """What is in it, about a megabyte at a time."""
        with self._opened() as (unpacked, tell):
            while chunk := unpacked.read(CHUNK):
                tell()
                yield chunk

    def lines(self) -> Iterator[bytes]:
        """What is in it, line by line."""
        with self._opened() as (unpacked, tell):
            told = 0
            for line in unpacked:
                told += len(line)
                if told > CHUNK:
                    tell()
                    told = 0
                yield line

    @contextmanager
    def _opened(self) -> Iterator[tuple[gzip.GzipFile, Callable[[], None]]]:
        try:
            with self._path.open("rb") as file:
                total = os.fstat(file.fileno()).st_size
                through = _Hashing(file)
                with gzip.GzipFile("", "rb", fileobj=through) as unpacked:
                    yield unpacked, lambda: self._progress.step(self._what, through.passed, total)
                self.sha256 = through.sha256
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BackupError(f"the backup {self._path} is damaged: {error}") from error
        except OSError as error:
            raise BackupError(f"the backup {self._path} cannot be read: {error.strerror or error}") from error

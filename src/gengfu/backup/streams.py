"""Packed files of lines, written and read in order, and how long work tells of itself."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gengfu.errors import BackupError, Stopped
from gengfu.language import tr

LONGEST_LINE = 64 << 20
"""Bytes of the longest row that a backup may hold: twice what one answer of the vendor may take."""


class Progress:
    """What long work tells of itself, and by what it learns that it is to stop."""

    def __init__(
        self,
        show: Callable[[str, int, int], None] = lambda what, done, total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`show(what, done, total)`: what is being done, and how many rows of how many are behind it."""
        self._show = show
        self._stopped = stopped

    def step(self, what: str, done: int, total: int) -> None:
        """Between two pieces of work.

        Raises:
            Stopped: there is to be no further one.
        """
        if self._stopped():
            raise Stopped("the backup was told to stop")
        self._show(what, done, total)


@contextmanager
def packed(path: Path) -> Iterator[gzip.GzipFile]:
    """A new packed file, readable by its owner alone; on the disk when the block has ended."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        with gzip.GzipFile("", "wb", 4, file) as packer:
            yield packer
        file.flush()
        os.fsync(file.fileno())


def unpacked(file: IO[bytes], most: int) -> Iterator[bytes]:
    """The lines of a packed file, one by one.

    Args:
        most: bytes that they may take together.

    Raises:
        BackupError: it is damaged or cut off, or holds more.
    """
    taken = 0
    try:
        with gzip.GzipFile("", "rb", fileobj=file) as reader:
            while line := reader.readline(min(LONGEST_LINE, most - taken) + 1):
                taken += len(line)
                if taken > most or len(line) > LONGEST_LINE:
                    raise BackupError(
                        tr("the backup {file.name} holds more than its manifest says; do not use it", file=file)
                    )
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BackupError(tr("the backup {file.name} is damaged: {error}", file=file, error=error)) from error
    except OSError as error:
        raise BackupError(
            tr("the backup {file.name} cannot be read: {strerror}", file=file, strerror=error.strerror or error)
        ) from error

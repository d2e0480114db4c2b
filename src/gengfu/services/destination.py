"""Where a file goes that a person names: whole or not at all, or written through where that is what stands there."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gengfu.errors import FileError, UsageError
from gengfu.language import tr
from gengfu.ownership import demand_ours, is_ours, others_may_write

MODE = 0o600
"""Of a new file."""

_LINKS = 40
"""Links in a row, as many as Linux follows."""


@contextmanager
def destination(path: Path, *, force: bool, mode: int | None) -> Iterator[Path | IO[bytes]]:
    """Where to write what is to go to `path`.

    1. Links are followed, unless another account may have placed them.
    2. A pipe or a device is given as an open stream.
    3. Otherwise a new path is given, in a folder of its own beside the file. If the block ends well, what is there
       takes the place of the file; if there is one, it keeps its owner, its group and its mode.

    Args:
        force: whether a file that is there may be replaced.
        mode: of the file; `MODE`, or that of the file that is there, where it is None.

    Raises:
        UsageError: there is a file, and `force` is not given.
        FileError: it cannot be written.
    """
    try:
        target, found = _followed(path)
        if found is not None and stat.S_ISREG(found.st_mode) and not force:
            raise UsageError(tr("{path} is there already; give --force to overwrite it", path=path))
        if _is_stream(target, found):
            with open(os.open(target, os.O_WRONLY | os.O_APPEND), "wb") as stream:
                yield stream
            return
        if found is not None and not is_ours(found) and others_may_write(target.parent):
            raise PermissionError(errno.EPERM, tr("it belongs to another account"), str(target))
        folder = Path(tempfile.mkdtemp(prefix=".gengfu-", dir=target.parent))
        try:
            yield folder / "part"
            _put(folder / "part", target, found, mode)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileError(tr("{path} cannot be written: {why}", path=path, why=error.strerror or error)) from error


def _followed(path: Path) -> tuple[Path, os.stat_result | None]:
    """What stands at the end of the links, if anything does."""
    for _ in range(_LINKS):
        if _is_open_file(path):
            return path, None
        try:
            found = path.lstat()
        except FileNotFoundError:
            return path, None
        if not stat.S_ISREG(found.st_mode):
            demand_ours(path)
        if not stat.S_ISLNK(found.st_mode):
            return path, found
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_open_file(path: Path) -> bool:
    """Whether it is a file that a process has open, as behind /dev/stdout."""
    return path.parent.resolve().is_relative_to("/proc")


def _is_stream(path: Path, found: os.stat_result | None) -> bool:
    if found is None:
        return _is_open_file(path)
    return not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode)


def _put(part: Path, target: Path, found: os.stat_result | None, mode: int | None) -> None:
    with part.open("rb+") as file:
        if found is not None:
            try:
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            except PermissionError:
                # Only root can give a new file to the owner of the old one.
                shutil.copyfile(part, target)
                return
        os.fchmod(file.fileno(), mode if mode is not None else MODE if found is None else stat.S_IMODE(found.st_mode))
        os.fsync(file.fileno())
    part.replace(target)

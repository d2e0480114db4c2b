"""Reads a backup as something that anybody may have made: held against its manifest, bounded, line by line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gengfu.backup.folder import Backup
from gengfu.backup.rows import Batch, Reader, Versions
from gengfu.backup.streams import Progress, unpacked
from gengfu.errors import BackupError
from gengfu.language import tr


class Opened:
    """A backup whose packed file has the SHA-256 that its manifest says, while it is read once."""

    def __init__(self, reader: Reader, progress: Progress, what: str, rows: int) -> None:
        self.versions: Versions = reader.versions
        self._reader = reader
        self._progress = progress
        self._what = what
        self._rows = rows

    def batches(self) -> Iterator[Batch]:
        """The rows, in order; raises BackupError where they are damaged."""
        done = 0
        for head, rows in self._reader:
            done += len(rows)
            self._progress.step(self._what, done, self._rows)
            yield head, rows


@contextmanager
def opened(backup: Backup, progress: Progress, what: str) -> Iterator[Opened]:
    """Opens it for one reading.

    Raises:
        BackupError: it has no manifest, is not what that says, or cannot be read.
    """
    told = backup.manifest
    if told is None:
        raise BackupError(
            tr(
                "{backup.path} has no manifest beside it that can be read, so nothing tells whether it is whole; "
                "copy {backup.path.name}.json there from where the backup was made",
                backup=backup,
            )
        )
    try:
        with backup.path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != told.sha256:
                raise BackupError(
                    tr(
                        "the backup {backup.path} is damaged or was changed: its SHA-256 is not that of its manifest",
                        backup=backup,
                    )
                )
            file.seek(0)
            yield Opened(Reader(unpacked(file, told.unpacked), str(backup.path)), progress, what, told.rows)
    except OSError as error:
        raise BackupError(
            tr("the backup {backup.path} cannot be read: {strerror}", backup=backup, strerror=error.strerror or error)
        ) from error


def check(backup: Backup, progress: Progress) -> Versions:
    """Reads a backup from its beginning to its end and holds it against its manifest.

    Raises:
        BackupError: it is damaged, or not what its manifest says.
    """
    found: dict[str, int] = {}
    with opened(backup, progress, "reading back") as reading:
        for head, rows in reading.batches():
            found[head.name] = found.get(head.name, 0) + len(rows)
    demand_rows(backup, found)
    return reading.versions


def demand_rows(backup: Backup, found: Mapping[str, int]) -> None:
    """Raises BackupError unless each table has as many rows as the manifest says."""
    told = backup.manifest.tables if backup.manifest is not None else {}
    for table in sorted({*told, *found}):
        if told.get(table) != found.get(table):
            raise BackupError(
                tr(
                    "the backup {backup.path} is not what its manifest says: the table {table} has {found} rows, not "
                    "{told}",
                    backup=backup,
                    table=table,
                    found=found.get(table),
                    told=told.get(table),
                )
            )

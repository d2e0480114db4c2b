"""The folder where backups lie: what is in it, who may write there now, and what a killed process left."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gengfu import locks
from gengfu.backup.manifest import BackupName, Manifest, manifest_path, parse_name, read_manifest
from gengfu.errors import BackupError, FileError, NotFound
from gengfu.language import tr

LATEST = "latest"
BAD = ".bad"
"""What is added to the name of a backup that was not as it should be when it was read back."""

MARGIN = 16_000_000
"""Bytes of the disk that are left for others."""

_PARTIAL = ".partial-"


class Busy(BackupError):
    """Another process is making or restoring a backup in this folder. The text says which, and since when."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup in the folder."""

    path: Path
    name: BackupName
    size: int
    manifest: Manifest | None

    @property
    def problem(self) -> str | None:
        """What can be told to be wrong without reading it; None where nothing can."""
        if self.manifest is None:
            return "no manifest"
        if self.manifest.size != self.size:
            return tr("damaged: {size} bytes, not {expected}", size=self.size, expected=self.manifest.size)
        return None


class BackupFolder:
    """A folder of backups. Whatever a process does in it while it has it `alone` leaves nothing half done under a name
    that counts; files with other names than those of backups are never touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def backups(self) -> list[Backup]:
        """All of them, the newest first.

        Raises:
            BackupError: the folder cannot be read.
        """
        found = []
        try:
            for path in self.folder.iterdir():
                name = parse_name(path.name)
                if name is not None and path.is_file():
                    found.append(Backup(path, name, path.stat().st_size, read_manifest(path)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BackupError(
                tr("the folder {folder} cannot be read: {error.strerror}", folder=self.folder, error=error)
            ) from error
        return sorted(found, key=lambda backup: (backup.name.moment, backup.path.name), reverse=True)

    def find(self, wanted: str, kind: str, near: Path) -> Backup:
        """The backup that a person names: by its name, by a path (a relative one begins at `near`), or as `latest`,
        the newest good one of that kind of database that is no safety copy.

        Raises:
            NotFound: there is none.
        """
        if wanted == LATEST:
            for backup in self.backups():
                if backup.name.kind == kind and not backup.name.label and backup.problem is None:
                    return backup
            raise NotFound(
                tr(
                    "there is no backup of a {kind} database in {folder}; see: gengfu backup:list",
                    kind=kind,
                    folder=self.folder,
                )
            )
        path = next((path for path in (self.folder / wanted, near / wanted) if path.is_file()), None)
        if path is None:
            raise NotFound(
                tr(
                    "there is no backup {wanted}, neither in {folder} nor as a path; see: gengfu backup:list",
                    wanted=wanted,
                    folder=self.folder,
                )
            )
        name = parse_name(path.name)
        if name is None:
            raise NotFound(
                tr(
                    "{path.name} is not named as a backup is; for example: gengfu-sqlite-20261122T020000Z.jsonl.gz",
                    path=path,
                )
            )
        return Backup(path, name, path.stat().st_size, read_manifest(path))

    @contextmanager
    def alone(self, what: str, now: datetime) -> Iterator[None]:
        """Keeps other processes from making or restoring backups here, and clears up what earlier ones left, before and
        after.

        Raises:
            Busy: one is at it.
            BackupError: the folder cannot be made or written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locks.held(
                self._lock,
                tr(
                    "{what} is under way since {since} UTC",
                    what=what,
                    since=f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
                ),
            ):
                self._clear()
                try:
                    yield
                finally:
                    self._clear()
        except locks.Held as error:
            raise Busy(_words(error.holder)) from None
        except BrokenPipeError:
            raise
        except (OSError, FileError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            raise BackupError(
                tr(
                    "the folder {folder} cannot be written: {reason}; make room there, or name another one: BACKUP_DIR",
                    folder=self.folder,
                    reason=getattr(cause, "strerror", None) or cause,
                )
            ) from error

    def scratch(self) -> Path:
        """A new name for a file that is in the way of nobody, to be cleared up if it stays."""
        return self.folder / f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(4)}"

    def free_name(self, kind: str, moment: datetime, label: str) -> BackupName:
        """A name that no backup has: of that moment, or of a later second."""
        name = BackupName(kind, moment.astimezone(UTC).replace(microsecond=0), label)
        while any((self.folder / f"{name.file}{more}").exists() for more in ("", BAD)):
            name = BackupName(kind, name.moment + timedelta(seconds=1), label)
        return name

    def demand_room(self, needed: int, what: str) -> None:
        """Raises BackupError where the disk has less than so many bytes left, so that it is not filled in vain."""
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise BackupError(
                tr(
                    "{what} may need {needed} in {folder}, where {free} are free; make room there, or name "
                    "another folder: BACKUP_DIR",
                    what=what,
                    needed=megabytes(needed),
                    folder=self.folder,
                    free=megabytes(free),
                )
            )

    def put(self, partial: Path, manifest: Path, name: BackupName) -> Path:
        """Gives a finished backup and its manifest their names: from now on, and after a power cut, it is there."""
        path = self.folder / name.file
        # A manifest alone is cleared up; a backup never stands without the word that it is good.
        manifest.replace(manifest_path(path))
        partial.replace(path)
        self._sync()
        return path

    def set_aside(self, partial: Path, name: BackupName) -> Path:
        """Keeps what turned out bad for a person to look at, in place of what was kept so before."""
        for older in self.folder.glob(f"gengfu-*{BAD}"):
            if parse_name(older.name.removesuffix(BAD)) is not None:
                older.unlink(missing_ok=True)
        path = self.folder / f"{name.file}{BAD}"
        partial.replace(path)
        return path

    def remove(self, file: str) -> None:
        """Removes a backup and its manifest."""
        (self.folder / file).unlink(missing_ok=True)
        manifest_path(self.folder / file).unlink(missing_ok=True)

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def _clear(self) -> None:
        for path in list(self.folder.iterdir()):
            backup = path.with_name(path.name.removesuffix(".json"))
            is_orphan = backup != path and parse_name(backup.name) is not None and not backup.exists()
            if is_orphan or (path.name.startswith(_PARTIAL) and not _is_anothers(path)):
                path.unlink(missing_ok=True)

    def _sync(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def megabytes(number: int) -> str:
    """Bytes as people read them."""
    return f"{number / 1e6:.1f} MB" if number >= 100_000 else f"{number / 1e3:.1f} kB"


def _is_anothers(partial: Path) -> bool:
    """Whether another process that is still there has made it, such as one that reads backups back."""
    pid = partial.name.removeprefix(_PARTIAL).partition("-")[0]
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _words(holder: locks.Holder) -> str:
    return tr("{holder.note}, by {holder}", holder=holder) if holder.note else tr("{holder} is at it", holder=holder)

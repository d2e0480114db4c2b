"""Puts files in their places and takes them away again, and tells the service managers; every step is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from pwd import getpwnam

from gengfu.deploy.plan import DeployFile, folder_of
from gengfu.errors import FileError, UsageError
from gengfu.language import tr

Tell = Callable[[str], None]
"""Takes a sentence on a step that was done, or is left to be done."""


class Folder:
    """A folder with deployment files in it. A file is ours when its first line is the mark; no other is ever touched
    unless a person agreed.

    Raises:
        FileError: a file cannot be read or written; from every method.
    """

    def __init__(self, path: Path, tell: Tell) -> None:
        self.path = path
        self._tell = tell

    def demand_free(self, files: Iterable[DeployFile]) -> None:
        """Raises UsageError where another working folder has a file in the place of one of these."""
        for file in files:
            there = _first_line(self._read(file.name) or "")
            other = folder_of(there)
            if other is not None and there != _first_line(file.text):
                raise UsageError(
                    tr(
                        "{path} is of the working folder {other}; give this one another name, for example: --name "
                        "gengfu-2, or take that away in its own folder first, with --remove",
                        path=self.path / file.name,
                        other=other,
                    )
                )

    def foreign_files(self, files: Iterable[DeployFile]) -> list[Path]:
        """The files in the places of these that are not ours."""
        found = []
        for file in files:
            text = self._read(file.name)
            if text is not None and _first_line(text) != _first_line(file.text):
                found.append(self.path / file.name)
        return found

    def ours(self, names: Iterable[str], mark: str) -> list[str]:
        """Those of these names whose files carry the mark."""
        texts = ((name, self._read(name)) for name in names)
        return [name for name, text in texts if text is not None and _first_line(text) == mark]

    def put(self, files: Iterable[DeployFile]) -> bool:
        """Writes these; returns whether anything was changed by that."""
        changed = False
        for file in files:
            path = self.path / file.name
            if self._read(file.name) == file.text:
                self._tell(tr("unchanged: {path}", path=path))
                continue
            changed = True
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                fresh = path.with_name(f".{path.name}.{os.getpid()}")
                fresh.write_text(file.text, "utf-8")
                fresh.chmod(0o644)
                fresh.replace(path)
            except OSError as error:
                raise _unwritable(path, error) from error
            self._tell(tr("written: {path}", path=path))
        return changed

    def take_away(self, names: Iterable[str], mark: str) -> bool:
        """Removes the files of these names that carry the mark; returns whether there were any."""
        changed = False
        for name in names:
            text, path = self._read(name), self.path / name
            if text is None:
                continue
            if _first_line(text) != mark:
                self._tell(tr("left alone, since it is not of this folder: {path}", path=path))
                continue
            try:
                path.unlink()
            except OSError as error:
                raise _unwritable(path, error) from error
            changed = True
            self._tell(tr("removed: {path}", path=path))
        return changed

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileError(
                tr("{path} cannot be read: {error.strerror}", path=self.path / name, error=error)
            ) from error


def make_log_folder(path: Path, user: str, tell: Tell) -> None:
    """Makes the folder of the logs, which cron's shell needs before the program could make it. As that account: the
    folder's settings say where, and root makes nothing because another account says so.

    Raises:
        FileError: it cannot be made.
    """
    if path.is_dir():
        return
    account = getpwnam(user) if os.geteuid() == 0 else None
    done = subprocess.run(
        ["mkdir", "-p", "-m", "700", "--", path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and [],
    )
    if done.returncode != 0:
        raise FileError(
            tr(
                "{path} cannot be made by {user}: {error}; make it: install -d -m 700 -o {user} {path}",
                path=path,
                user=user,
                error=done.stderr.strip(),
            )
        )
    tell(tr("made: {path}", path=path))


class Manager:
    """A service manager that is told by commands. One that does not run here, or is not to be told, is told nothing; a
    person is, instead."""

    def __init__(
        self, name: str, asked: Sequence[str], runs: Callable[[str], bool], tell: Tell, *, tells: bool
    ) -> None:
        """
        Args:
            asked: a command whose exit code or answer tells whether it runs; `runs` reads that answer.
            tells: whether it is to be told at all.
        """
        self._present = tells and runs(_answer(asked))
        self._tell = tell
        if tells and not self._present:
            tell(tr("{name} does not run here, so files are all that is changed", name=name))

    def told(self, *commands: Sequence[str]) -> bool:
        """Gives these commands in order; returns whether all went well, or there was nobody to tell."""
        if not self._present:
            for command in commands:
                self._tell(tr("to do where it runs: {command}", command=" ".join(command)))
            return True
        for command in commands:
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
            said = (done.stdout + done.stderr).decode("utf-8", "replace").strip().replace("\n", "; ")
            how = tr("done") if done.returncode == 0 else tr("failed")
            self._tell(tr("{how}: {command}{said}", how=how, command=" ".join(command), said=said and f" ({said})"))
            if done.returncode != 0:
                return False
        return True


def systemd(switches: Sequence[str], tell: Tell, *, tells: bool) -> Manager:
    """The service manager of the system, or the user's own, by the switches of systemctl."""
    running = ("running", "degraded", "starting", "initializing", "maintenance")
    asked = ["systemctl", *switches, "is-system-running"]
    return Manager("systemd", asked, lambda said: said in running, tell, tells=tells)


def supervisor(tell: Tell, *, tells: bool) -> Manager:
    """The supervisord to which supervisorctl speaks by its own configuration."""
    return Manager("supervisor", ["supervisorctl", "pid"], str.isdigit, tell, tells=tells)


def _answer(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _unwritable(path: Path, error: OSError) -> FileError:
    return FileError(
        tr(
            "{path} cannot be changed: {error.strerror}; run this as root, or name another folder with --to",
            path=path,
            error=error,
        )
    )

"""The block of a working folder in a user's crontab: its lines, and its place among other lines."""

from __future__ import annotations

import os
import shlex
import subprocess
from io import BytesIO
from pathlib import Path

from gengfu import locks
from gengfu.deploy.plan import DeployFile, Plan
from gengfu.errors import FileError
from gengfu.language import tr
from gengfu.templates import render

FILE = "crontab"

_NOTHING_YET = (b"no crontab for", b"can't open")
"""What the program crontab says of a user who has none: those of Debian and Red Hat, and that of BusyBox."""


def files_of(plan: Plan) -> list[DeployFile]:
    """The block, as a file."""
    return [DeployFile(FILE, block(plan).decode())]


def block(plan: Plan) -> bytes:
    """The marked lines: one look at the schedule a minute, the workers' supervisor, the watchdog.

    What goes well stands in the program's own logs, which it rotates; cron's holds what went wrong before they were
    open, and what the watchdog found.
    """
    return render(
        "gengfu.deploy",
        "crontab",
        begin=_begin(plan.folder).decode(),
        folder=_escaped(_quoted(plan.folder)),
        schedule=_escaped(shlex.join(plan.schedule_pass)),
        supervisor=_escaped(shlex.join(plan.supervisor)),
        watchdog=_escaped(shlex.join(plan.watchdog)),
        log=_escaped(_quoted(plan.logs / "cron.log")),
        end=_end(plan.folder).decode(),
    ).encode()


def _escaped(words: str) -> str:
    """To cron a bare % ends the command."""
    return words.replace("%", "\\%")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def with_block(before: bytes, folder: Path, lines: bytes) -> bytes:
    """The crontab with the folder's block: in the place of an older one, else at the end. Other lines stay as they are.

    Raises:
        FileError: a block has no end.
    """
    parts = _parts(before, folder)
    if len(parts) > 1:
        return parts[0] + lines + b"".join(parts[1:])
    newline = b"" if not before or before.endswith(b"\n") else b"\n"
    return before + newline + lines


def without_block(before: bytes, folder: Path) -> bytes:
    """The crontab without the folder's block; other lines stay as they are.

    Raises:
        FileError: a block has no end.
    """
    return b"".join(_parts(before, folder))


def _parts(text: bytes, folder: Path) -> list[bytes]:
    """What stands before, between and after the folder's blocks; there is one part more than there are blocks."""
    parts, inside = [b""], False
    for line in BytesIO(text):
        bare = line.rstrip()
        if bare == _begin(folder):
            inside = True
        elif inside and bare == _end(folder):
            inside = False
            parts.append(b"")
        elif not inside:
            parts[-1] += line
    if inside:
        begin, end = _begin(folder).decode(), _end(folder).decode()
        raise FileError(
            tr(
                "the crontab has the line {begin!r} without {end!r} after it; correct it by hand: crontab -e",
                begin=begin,
                end=end,
            )
        )
    return parts


def foreign_lines(text: bytes, plan: Plan) -> list[str]:
    """Lines outside of the block that start a job of this program as well, or that of the system before it."""
    lines = without_block(text, plan.folder).decode("utf-8", "replace").splitlines()
    telling = ("device:list", "queue:work", f"{plan.program[0]} ")
    inside, found = False, []
    for line in lines:
        if line.startswith(("# BEGIN gengfu ", "# END gengfu ")):
            inside = line.startswith("# BEGIN")
        elif not inside and not line.lstrip().startswith("#") and any(word in line for word in telling):
            found.append(line)
    return found


def running(folder: Path) -> int | None:
    """The process id of the `gengfu up` that the block keeps running, where it runs."""
    holder = locks.holder(folder / "var" / locks.UP_LOCK)
    return holder.pid if holder is not None else None


def _begin(folder: Path) -> bytes:
    return os.fsencode(f"# BEGIN gengfu {folder}")


def _end(folder: Path) -> bytes:
    return os.fsencode(f"# END gengfu {folder}")


class Crontab:
    """The crontab of one user, through the program `crontab`, which checks what it is given.

    Raises:
        FileError: that program is missing or refuses; from every method.
    """

    def __init__(self, user: str | None) -> None:
        """`user`: None for the user of this process; only root may name another."""
        self._whose = () if user is None else ("-u", user)

    def read(self) -> bytes:
        """Its text; empty where the user has none."""
        done = self._run("-l")
        if done.returncode == 0:
            return done.stdout
        if any(words in done.stderr for words in _NOTHING_YET):
            return b""
        raise _refused("read", done)

    def write(self, text: bytes) -> None:
        """Puts this in its place; removes it where nothing is left."""
        done = self._run("-", given=text) if text else self._run("-r")
        if done.returncode != 0:
            raise _refused("written", done)

    def _run(self, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = ["crontab", *self._whose, *arguments]
        try:
            return subprocess.run(command, input=given, capture_output=True, env={**os.environ, "LC_ALL": "C"})
        except OSError as error:
            raise FileError(
                tr(
                    "the program crontab cannot be run ({error.strerror}); install cron, for example: apt-get "
                    "install cron, or: yum install cronie; without cron there are: gengfu deploy systemd, gengfu "
                    "deploy supervisor",
                    error=error,
                )
            ) from None


def _refused(what: str, done: subprocess.CompletedProcess[bytes]) -> FileError:
    said = " ".join(done.stderr.decode("utf-8", "replace").split())
    return FileError(
        tr(
            "the crontab cannot be {what}: {said}",
            what=what,
            said=said or tr("crontab ended with exit code {done.returncode}", done=done),
        )
    )

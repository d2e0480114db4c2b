"""Checks of the ground on which the program stands: interpreter, settings, folders, disk, files."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.logs import MAX_BYTES
from gengfu.process.child import program
from gengfu.services.disks import LOW, disks_of
from gengfu.services.doctor.findings import DoctorContext, Finding, error, ok, warning
from gengfu.settings import Settings, load_settings

CRON_PATH = "/usr/bin:/bin"
"""All of `PATH` that cron gives to a command, see crontab(5)."""
LARGE_FOLDER = 2_000_000_000
"""Bytes of a folder of log files that nobody rotates as it should."""
REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph")
"""What the types of file systems begin with on which SQLite cannot lock files reliably."""


def interpreter(_: DoctorContext) -> Iterator[Finding]:
    """Whether a line of a crontab that names the program by its full path would start it."""
    line = shlex.join(program())
    home = os.path.expanduser("~")
    environment = {"PATH": CRON_PATH, "HOME": home, "SHELL": "/bin/sh", "LANG": "C.UTF-8"}
    reinstall = "make install, with a Python that this user may run"
    try:
        tried = subprocess.run(
            [*program(), "--version"],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        yield error(
            tr("{line} does not start as cron would start it: {problem}", line=line, problem=problem), reinstall
        )
        return
    if tried.returncode == 0:
        yield ok(
            tr(
                "{line} ({stdout}, Python {split}) starts as cron would start it",
                line=line,
                stdout=tried.stdout.strip(),
                split=sys.version.split()[0],
            )
        )
    else:
        last = (tried.stderr.strip().splitlines() or [tr("exit code {tried.returncode}", tried=tried)])[-1]
        yield error(tr("{line} does not start as cron would start it: {last}", line=line, last=last), reinstall)


def settings(context: DoctorContext) -> Iterator[Finding]:
    """Whether the vendor's address and credentials are set, where cron finds them and where nobody else reads them."""
    home = context.settings.home
    file = home / ".env"
    for remark in context.settings.remarks:
        yield warning(remark, "gengfu config shows what counts")
    try:
        context.settings.api()
    except ConfigError as problem:
        yield error(str(problem), tr("write it into {file}", file=file))
        return
    missing = _only_here(home, context.settings)
    if missing:
        names = ", ".join(missing)
        yield warning(
            tr("set in this shell only, where cron does not find it: {names}", names=names),
            tr("write it into {file}", file=file),
        )
    if file.exists() and file.stat().st_mode & 0o077:
        yield warning(
            tr(
                "{file} holds the password and can be read by others (mode {mode:o})",
                file=file,
                mode=file.stat().st_mode & 0o777,
            ),
            f"chmod 600 {shlex.quote(str(file))}",
            # Where the owners differ, somebody may read it by the rights of a group.
            (lambda: _chmod(file)) if file.stat().st_uid == home.stat().st_uid else None,
        )
    elif not missing:
        yield ok(tr("all that must be set is set in {home}", home=home))


def _only_here(home: Path, here: Settings) -> list[str]:
    """The settings that differ from what a process without this shell's environment reads."""
    bare = load_settings({"GENGFU_HOME": str(home)})
    names = [each.name for each in fields(Settings) if each.metadata]
    return [name.upper() for name in names if getattr(bare, name) != getattr(here, name)]


def _chmod(file: Path) -> str:
    file.chmod(0o600)
    return tr("{file} can be read by its owner only", file=file)


def folders(context: DoctorContext) -> Iterator[Finding]:
    """Whether the folders are there, can be written, and belong to one user."""
    settings = context.settings
    owner = settings.home.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        name = _user(owner)
        yield warning(
            tr(
                "{settings.home} belongs to {name} and this is root, whose files {name} cannot write",
                settings=settings,
                name=name,
            ),
            tr("run all commands as {name}: su -s /bin/sh {name}", name=name),
        )
    fine = True
    for folder in (settings.home, settings.var, settings.logs):
        for finding in _folder(folder, owner):
            fine = False
            yield finding
    kind = _file_system(settings.var if settings.var.exists() else settings.home)
    if kind.startswith(REMOTE):
        yield warning(
            tr("{settings.var} lies on a network file system ({kind})", settings=settings, kind=kind),
            "move the folder to a local disk",
        )
    elif fine:
        yield ok(tr("{settings.home}, {settings.var} and {settings.logs} can be written", settings=settings))


def _folder(folder: Path, owner: int) -> Iterator[Finding]:
    quoted = shlex.quote(str(folder))
    if not folder.exists():
        yield warning(tr("{folder} is not there yet", folder=folder), f"mkdir -p {quoted}", lambda: _make(folder))
        return
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield warning(
            tr("others may write into {folder}, and so replace what is in it", folder=folder),
            f"chmod go-w {quoted}",
            lambda: _close(folder),
        )
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
    except OSError as problem:
        yield error(
            tr("{folder} cannot be written: {strerror}", folder=folder, strerror=problem.strerror or problem),
            f"chown -R {_user(os.geteuid())} {quoted}",
        )
        return
    foreign = [file for file in folder.iterdir() if file.lstat().st_uid != owner]
    if foreign:
        yield warning(
            tr(
                "{foreign}{others} belongs to another user ({user}) than the working folder ({owner})",
                foreign=foreign[0],
                others=tr(" and {number} more", number=len(foreign) - 1) if foreign[1:] else "",
                user=_user(foreign[0].lstat().st_uid),
                owner=_user(owner),
            ),
            f"chown -R {_user(owner)} {quoted}",
        )


def _close(folder: Path) -> str:
    folder.chmod(folder.stat().st_mode & ~(stat.S_IWGRP | stat.S_IWOTH))
    return tr("{folder} can be written by its owner alone now", folder=folder)


def _make(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return tr("{folder} was made", folder=folder)


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _file_system(folder: Path) -> str:
    """The type of the file system there; empty where the system does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    place = os.path.realpath(folder)
    mounts = [(words[1], words[2]) for line in lines if len(words := line.split()) > 2]
    holding = [(point, kind) for point, kind in mounts if f"{place}/".startswith(point.rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]), default=("", ""))[1]


def disk(context: DoctorContext) -> Iterator[Finding]:
    """Whether there is room left for the database and for logs."""
    settings = context.settings
    for found in disks_of((settings.home, settings.var, settings.logs)):
        if found.is_full:
            yield error(found.told, tr("make room"))
        elif found.free < LOW:
            yield warning(found.told, tr("make room"))
        else:
            yield ok(found.told)


def logs(context: DoctorContext) -> Iterator[Finding]:
    """Whether the log files are rotated; those that the program writes rotate themselves."""
    folder = context.settings.logs
    files = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
    sizes = {file: file.stat().st_size for file in files}
    for file, size in sizes.items():
        if size > 2 * MAX_BYTES:
            yield warning(
                tr("{file} has {size:.0f} MB: whoever writes it does not rotate it", file=file, size=size / 1e6),
                tr("add it to logrotate, or: truncate -s 0 {file}", file=shlex.quote(str(file))),
            )
    total = sum(sizes.values())
    told = tr("{number} log files in {folder}, {total:.1f} MB", number=len(files), folder=folder, total=total / 1e6)
    if total > LARGE_FOLDER:
        yield warning(told, tr("remove old ones: ls -lS {folder}", folder=shlex.quote(str(folder))))
    else:
        yield ok(told)


def leftovers(context: DoctorContext) -> Iterator[Finding]:
    """Whether a killed process left its lock file behind, which does no harm."""
    from gengfu.locks import UP_LOCK, is_stale, remove_if_stale

    lock = context.settings.var / UP_LOCK
    if is_stale(lock):
        yield warning(
            tr("{lock} was left by a `gengfu up` that was killed", lock=lock),
            "gengfu doctor --fix",
            lambda: (
                tr("{lock} was removed", lock=lock)
                if remove_if_stale(lock)
                else tr("{lock} is in use again", lock=lock)
            ),
        )
    else:
        yield ok("nothing was left behind by killed processes")

"""Whose files are used: no code, setting or link of another account is, unless a person agreed."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from gengfu.errors import ConfigError
from gengfu.language import tr

SAFE = "GENGFU_SAFE_DIRECTORY"
"""The environment variable by which a person agrees: folders, separated by colons, whose owner is trusted."""

ROOT = 0

_DECIDING = (".env", "gengfu.toml", "app")


def settle(home: Path, *, stays_root: bool = False, environ: Mapping[str, str] | None = None) -> str | None:
    """Sees to it that nothing in the working folder is used in the name of an account that does not own it; to be
    called before anything in there is imported or read.

    Root becomes the owner of the folder, for good. Another account may use what is its own or root's.

    Args:
        stays_root: for what needs root's rights, and imports nothing from the folder.

    Returns:
        What was done, in words, where this process has become another account's.

    Raises:
        ConfigError: the folder, its settings or its code belong to another account.
    """
    me = os.geteuid()
    named = (os.environ if environ is None else environ).get(SAFE, "").split(":")
    agreed = {os.path.realpath(folder) for folder in named if folder}
    others = {}
    if str(home) not in agreed and home.is_dir():
        others = {owner: path for path, owner in _owners(home) if owner not in (me, ROOT)}
    if not others or (me == ROOT and stays_root):
        return None
    owner = home.stat().st_uid
    if me != ROOT or set(others) != {owner}:
        path, whose = next((path, name_of(other)) for other, path in others.items() if me != ROOT or other != owner)
        raise ConfigError(
            tr(
                "{path} belongs to {whose}, and this process runs as {account}, so it does not use it; run it as "
                "the owner (sudo -u {whose} gengfu ...), or, if you trust {whose}, set {safe}={home}",
                path=path,
                whose=whose,
                account=name_of(me),
                safe=SAFE,
                home=home,
            )
        )
    _become(owner, home)
    return tr(
        "{home} belongs to {account}, so this goes on as {account} and not as root", home=home, account=name_of(owner)
    )


def go_home() -> None:
    """Lets `HOME` be the home folder of this account, where it is another's: a manager of root that starts this process
    as somebody else leaves its own there, and sudo that of whoever called it."""
    from pwd import getpwuid

    try:
        is_own = os.stat(os.environ.get("HOME", "")).st_uid == os.geteuid()
    except OSError:
        is_own = False
    if not is_own:
        try:
            os.environ["HOME"] = getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return


def name_of(user: int) -> str:
    """The name of an account, or its number where it has none."""
    from pwd import getpwuid

    try:
        return getpwuid(user).pw_name
    except KeyError:
        return str(user)


def why_refused(error: OSError, path: Path) -> str:
    """Why the file or folder cannot be used, with what to do where that is a matter of accounts."""
    part = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
    if not isinstance(error, PermissionError) or not os.path.lexists(part):
        return error.strerror or str(error)
    owner, me = name_of(part.lstat().st_uid), name_of(os.geteuid())
    values = {"reason": error.strerror, "part": part, "owner": owner, "me": me}
    if owner == me:
        return tr("{reason}; run: chmod u+rwX {part}", **values)
    return tr("{reason}: {part} belongs to {owner}, and this is {me}; run: chown -R {me} {part}", **values)


def _owners(home: Path) -> Iterator[tuple[Path, int]]:
    """What decides what the program does in that folder, with the owner of each; of links both ends count. Nothing does
    in a folder that is no working folder."""
    if not any(os.path.lexists(home / name) for name in (*_DECIDING, "var")):
        return
    yield home, home.stat().st_uid
    for name in _DECIDING:
        yield from _owner(home / name)
    for folder, folders, files in os.walk(home / "app"):
        for name in (*folders, *files):
            yield from _owner(Path(folder, name))


def _owner(path: Path) -> Iterator[tuple[Path, int]]:
    for look in (path.lstat, path.stat):
        try:
            yield path, look().st_uid
        except OSError:
            return


def _become(user: int, home: Path) -> None:
    from pwd import getpwuid

    try:
        try:
            account = getpwuid(user)
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
        except KeyError:
            os.setgroups([])
            os.setgid(home.stat().st_gid)
        os.setuid(user)
    except OSError as error:
        raise ConfigError(
            tr(
                "{home} belongs to {account}, and root cannot become that account here ({error.strerror}); run "
                "this as {account}, or, if you trust that account, set {safe}={home}",
                home=home,
                account=name_of(user),
                error=error,
                safe=SAFE,
            )
        ) from None
    if not all(os.access(file, os.R_OK) for file in (__file__, os.__file__)):
        raise ConfigError(
            tr(
                "{home} belongs to {account}, and that account cannot read this program ({parent}, "
                "{sys.executable}); install it where it can, for example in /opt",
                home=home,
                account=name_of(user),
                parent=Path(__file__).parent,
                sys=sys,
            )
        )


def is_ours(found: os.stat_result) -> bool:
    """Whether it is this account's, or root's."""
    return found.st_uid in (os.geteuid(), ROOT)


def others_may_write(folder: Path) -> bool:
    """Whether another account may put something into that folder."""
    found = folder.stat()
    return not is_ours(found) or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def demand_ours(path: Path) -> None:
    """Raises PermissionError unless it is certain that no other account placed what stands under that name. In a sticky
    folder, such as /tmp, its owner is."""
    folder = path.parent.stat()
    is_safe = not others_may_write(path.parent) or (is_ours(folder) and folder.st_mode & stat.S_ISVTX)
    if not is_ours(path.lstat()) or not is_safe:
        raise PermissionError(errno.EPERM, tr("another account may have placed it"), str(path))


def open_own(path: Path, flags: int, mode: int = 0o600) -> int:
    """Opens a file of this account's or of root's, and returns its number. A symbolic link is followed only where no
    other account could have placed it.

    Raises:
        OSError: it cannot be opened, or is another account's.
    """
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        demand_ours(path)
        return os.open(path, flags | os.O_CLOEXEC, mode)
    if not is_ours(found := os.fstat(file)):
        os.close(file)
        raise PermissionError(errno.EPERM, tr("it belongs to {account}", account=name_of(found.st_uid)), str(path))
    return file

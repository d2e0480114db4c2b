"""Tells whoever started this process how it fares, by systemd's protocol, sd_notify(3); `gengfu up` speaks it, too."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, MutableMapping

from gengfu.clock import monotonic

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"

PARENT = "GENGFU_PARENT"
"""The environment variable that tells a child the process id of its parent: it ends when that process is gone."""


def is_child(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a supervisor of ours started this process, and its parent was not taken from the environment yet."""
    return PARENT in environ


class NotifyClient:
    """Sends words to the socket that the environment names. Where it names none, or nobody listens there any more,
    nothing happens: no word is worth an error or a wait."""

    def __init__(self, address: str | None, watchdog: float | None) -> None:
        """`watchdog`: seconds without `ALIVE` after which the listener acts; None where it does not watch."""
        self._address = address
        self.watchdog = watchdog if address else None
        self.is_ready = False
        """Whether `READY` was said."""
        self._next = 0.0

    @classmethod
    def take(cls, environ: MutableMapping[str, str] | None = None) -> NotifyClient:
        """The one that the environment names, which is then taken from it: the processes that this one starts are not
        those that are waited for."""
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", None)
        microseconds = environ.pop("WATCHDOG_USEC", "")
        meant = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = meant and microseconds.isascii() and microseconds.isdigit()
        return cls(address, int(microseconds) / 1e6 if watched else None)

    def due(self) -> bool:
        """Whether it is time for a further `ALIVE`: every second, and four times in the listener's patience."""
        if self.watchdog is None or monotonic() < self._next:
            return False
        self._next = monotonic() + min(1.0, self.watchdog / 4)
        return True

    def say(self, word: str) -> None:
        """Sends a word such as `READY`."""
        self.is_ready |= word == READY
        if not self._address:
            return
        # An abstract name is written with @ for the byte 0.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.setblocking(False)
                link.sendto(word.encode(), address)
        except OSError:
            pass


class NotifySocket:
    """The other end: a socket on which one child after the other is heard. It is open for as long as its owner lives,
    so that one on which nobody listens was left by an owner that is dead."""

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


class Parent:
    """The process that started this one and asks it to end together with it; or nobody."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        """0 where there is none."""
        self._told = False

    @classmethod
    def take(cls, environ: MutableMapping[str, str] | None = None) -> Parent:
        """The one that the environment names, which is then taken from it."""
        environ = os.environ if environ is None else environ
        return cls(int(environ.pop(PARENT, "0")))

    def is_gone(self) -> bool:
        """Whether there was one and it has ended; True once."""
        if not self.pid or self._told or os.getppid() == self.pid:
            return False
        self._told = True
        return True

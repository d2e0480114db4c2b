"""Tells whoever started this process how it fares, by systemd's protocol, sd_notify(3), which supervisors speak too."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

from gengfu.clock import monotonic

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"

NOTIFY_FD = "GENGFU_NOTIFY_FD"
"""The environment variable that names an open socket to the parent, in place of systemd's `NOTIFY_SOCKET`."""
PARENT = "GENGFU_PARENT"
"""The environment variable that tells a child the process id of its parent: it ends when that process is gone."""


def is_child(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a supervisor of ours started this process, and its parent was not taken from the environment yet."""
    return PARENT in environ


class NotifyClient:
    """Sends words to the socket that the environment names. Where it names none, or nobody listens there any more,
    nothing happens: no word is worth an error or a wait."""

    def __init__(self, address: str | int | None, watchdog: float | None) -> None:
        """
        Args:
            address: the name of a socket, or the number of an open one.
            watchdog: seconds without `ALIVE` after which the listener acts; None where it does not watch.
        """
        self._address = address
        self.watchdog = watchdog if address is not None else None
        self.is_ready = False
        """Whether `READY` was said."""
        self._next = 0.0

    @classmethod
    def take(cls, environ: MutableMapping[str, str] | None = None) -> NotifyClient:
        """The one that the environment names, which is then taken from it: the processes that this one starts are not
        those that are waited for."""
        environ = os.environ if environ is None else environ
        address: str | int | None = environ.pop("NOTIFY_SOCKET", None)
        if (number := environ.pop(NOTIFY_FD, None)) is not None:
            address = int(number)
            os.set_inheritable(address, False)
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
        if self._address is None:
            return
        try:
            if isinstance(self._address, int):
                os.write(self._address, word.encode())
                return
            # An abstract name is written with @ for the byte 0.
            address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.setblocking(False)
                link.sendto(word.encode(), address)
        except OSError:
            pass


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

"""A door before a TCP server of this machine, which a test can shut."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK = 0.02
"""Seconds between two looks at what the test wants."""


class Proxy:
    """Passes connections through until `close`; while it is shut it has cut them all and refuses new ones."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wants_shut = threading.Event()
        self._is_shut = threading.Event()
        self._is_stalled = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Nobody gets through while the block lasts."""
        self._wants_shut.set()
        assert self._is_shut.wait(10)
        try:
            yield
        finally:
            self._wants_shut.clear()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Connections stand, and nothing gets through while the block lasts."""
        self._is_stalled.set()
        try:
            yield
        finally:
            self._is_stalled.clear()

    def close(self) -> None:
        """Ends it and all connections."""
        self._ended.set()
        self._thread.join()
        self._cut()

    def _run(self) -> None:
        while not self._ended.is_set():
            if self._wants_shut.is_set() and self._listener is not None:
                self._cut()
                self._is_shut.set()
            elif not self._wants_shut.is_set() and self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port))
                self._selector.register(self._listener, selectors.EVENT_READ)
                self._is_shut.clear()
            ready = self._selector.select(LOOK)
            if self._is_stalled.is_set():
                time.sleep(LOOK)
                continue
            for key, _ in ready:
                if key.fileobj is self._listener:
                    self._admit(self._listener.accept()[0])
                elif isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:
                    self._pass_on(key.fileobj, key.data)

    def _admit(self, guest: socket.socket) -> None:
        host = socket.create_connection(("127.0.0.1", self._target))
        self._selector.register(guest, selectors.EVENT_READ, host)
        self._selector.register(host, selectors.EVENT_READ, guest)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            data = source.recv(1 << 16)
            if data:
                sink.sendall(data)
                return
        except OSError:
            pass
        for end in (source, sink):
            self._selector.unregister(end)
            end.close()

    def _cut(self) -> None:
        for key in list((self._selector.get_map() or {}).values()):
            self._selector.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._listener = None

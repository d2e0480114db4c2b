"""The floor: the same pages over raw sockets, nothing decoded, and one bulk write of the same rows by the driver."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import uvloop

from gengfu.mirror.device import DEVICE
from gengfu.store.engines import SQLITE_PRAGMAS
from gengfu_simulator.testing import Simulator

PAGE_SIZE = 100
END_OF_HEAD = b"\r\n\r\n"
TABLE = DEVICE.table


def log_in(sim: Simulator) -> str:
    """A token of the simulator."""
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=10)
    body = urlencode({"grant_type": "password", "username": sim.username, "password": sim.password})
    headers = {"client": "system", "Content-Type": "application/x-www-form-urlencoded"}
    with closing(connection):
        connection.request("POST", "/token", body, headers)
        return str(json.loads(connection.getresponse().read())["access_token"])


def requests(token: str, pages: int) -> list[bytes]:
    """The requests for that many pages and the one past the end, as the client sends them."""
    before, after = DEVICE.listing_of(DEVICE.scope("0")).target(PAGE_SIZE)
    head = f" HTTP/1.1\r\nHost: vendor\r\nclient: system\r\nauthorization: bearer {token}\r\n\r\n"
    return [f"GET /{before}{page}{after}{head}".encode() for page in range(pages + 1)]


def fetch(port: int, asked: Sequence[bytes], concurrency: int) -> float:
    """Seconds that the requests take over that many open connections: the faster of two ways."""
    return min(fetch_by_loop(port, asked, concurrency), fetch_by_threads(port, asked, concurrency))


def fetch_by_loop(port: int, asked: Sequence[bytes], concurrency: int) -> float:
    """By one thread with an event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_fetch(port, asked, concurrency))


async def _fetch(port: int, asked: Sequence[bytes], concurrency: int) -> float:
    loop = asyncio.get_running_loop()
    left = iter(asked)
    lanes = [_Lane(left, loop.create_future()) for _ in range(concurrency)]
    for lane in lanes:
        await loop.create_connection(lambda lane=lane: lane, "127.0.0.1", port)
    started = perf_counter()
    for lane in lanes:
        lane.ask()
    await asyncio.gather(*(lane.done for lane in lanes))
    took = perf_counter() - started
    for lane in lanes:
        lane.transport.close()
    return took


class _Lane(asyncio.BufferedProtocol):
    """One connection that asks for one page after the other and throws the answers away."""

    transport: asyncio.Transport

    def __init__(self, left: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._left = left
        self.done = done
        self._buffer = memoryview(bytearray(1 << 18))
        self._filled = 0
        self._missing = -1

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self) -> None:
        """Sends the next request."""
        self._filled, self._missing = 0, -1
        request = next(self._left, None)
        if request is None:
            self.done.set_result(None)
        else:
            self.transport.write(request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._filled if self._missing < 0 else 0 :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing >= 0:
            self._missing -= nbytes
        else:
            self._filled += nbytes
            head, end, _ = bytes(self._buffer[: min(self._filled, 2048)]).partition(END_OF_HEAD)
            if not end:
                return
            self._missing = _length(head) - (self._filled - len(head) - len(end))
        if self._missing == 0:
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the simulator closed the connection"))


def fetch_by_threads(port: int, asked: Sequence[bytes], concurrency: int) -> float:
    """By blocking sockets in threads."""
    places = count()
    go = threading.Barrier(concurrency + 1)

    def work() -> None:
        with socket.create_connection(("127.0.0.1", port)) as line:
            buffer = memoryview(bytearray(1 << 18))
            go.wait()
            while (place := next(places)) < len(asked):
                line.sendall(asked[place])
                filled = line.recv_into(buffer)
                head, _, _ = bytes(buffer[: min(filled, 2048)]).partition(END_OF_HEAD)
                missing = _length(head) - (filled - len(head) - len(END_OF_HEAD))
                while missing > 0:
                    missing -= line.recv_into(buffer)

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    go.wait()
    started = perf_counter()
    for thread in threads:
        thread.join()
    return perf_counter() - started


def _length(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"the simulator answered {head[:40]!r}")
    return int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])


def stored_rows(database: Path) -> list[tuple[Any, ...]]:
    """The rows of a mirror as the driver takes them."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"SELECT {','.join(TABLE.c.keys())} FROM {TABLE.name} ORDER BY id").fetchall()


def write(database: Path, rows: Sequence[tuple[Any, ...]]) -> float:
    """Seconds of one transaction that puts prepared rows into the empty table of a migrated SQLite file."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma)
        sql = f"INSERT INTO {TABLE.name} ({','.join(TABLE.c.keys())}) VALUES ({','.join('?' * len(TABLE.c))})"
        started = perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(sql, rows)
        connection.execute("COMMIT")
        return perf_counter() - started

"""Redis servers of a test's own, with options of its own."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import free_port, redis_binary
from stage import wait_for


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """`start(port, *arguments)`: a server, up when this returns."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("Redis: not reachable (no server is installed)")
    started: list[subprocess.Popen[bytes]] = []

    def run(port: int, *arguments: str) -> None:
        process = subprocess.Popen([str(binary), *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL)
        started.append(process)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_for(answers)

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def serve(start: Callable[..., None]) -> Callable[..., int]:
    """`serve(*arguments)`: a server that keeps nothing; its port."""

    def run(*arguments: str) -> int:
        port = free_port()
        start(port, "--port", str(port), "--save", "", *arguments)
        return port

    return run

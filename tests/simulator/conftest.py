"""A simulator that the tests of one file share, and simulators of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gengfu_simulator.testing import Simulator
from simulated import Client


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    """A simulator with devices on every list, which must not complain until its end."""
    with Simulator(devices=250, deleted=12, stopped=3) as sim:
        yield sim
    assert sim.complaints() == ""


@pytest.fixture
def client(shared: Simulator) -> Client:
    """A client that is logged in, with no fault set and nothing counted; the lists are as earlier tests left them."""
    made = Client(shared)
    shared.control(clear=True, unlock=True, username="demo", password="demo")
    made.login()
    shared.control(reset=True)
    return made


@pytest.fixture
def fresh() -> Iterator[Callable[..., tuple[Simulator, Client]]]:
    """Starts a simulator that no other test has touched."""
    started: list[Simulator] = []

    def start(**options: Any) -> tuple[Simulator, Client]:
        started.append(Simulator(**options))
        client = Client(started[-1])
        client.login()
        return started[-1], client

    yield start
    for sim in started:
        sim.close()
        assert sim.complaints() == ""

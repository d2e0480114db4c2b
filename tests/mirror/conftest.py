"""Worlds in which a test is the worker: of the devices, and of any other list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gengfu.mirror.resource import Resource
from gengfu_simulator.testing import Simulator
from mirrors import World


@pytest.fixture
def open_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """`open_world(database_url, settings={...}, **simulator)`: the devices of a vendor of the test's own."""
    opened: list[World] = []

    def make(database_url: str, settings: dict[str, Any] | None = None, **simulator: Any) -> World:
        sim = Simulator(**{"devices": 1_000, "deleted": 30, "stopped": 10} | simulator)
        opened.append(World(tmp_path, database_url, sim, **settings or {}))
        return opened[-1]

    yield make
    for world in opened:
        world.app.close()
        world.sim.close()


@pytest.fixture
def world(open_world: Callable[..., World], sqlite_database_url: str) -> World:
    return open_world(sqlite_database_url)


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    """One vendor for all tests of a file."""
    with Simulator(devices=1) as sim:
        yield sim
        assert sim.complaints() == ""


@pytest.fixture
def open_list(tmp_path: Path, vendor: Simulator, sqlite_database_url: str) -> Iterator[Callable[..., World]]:
    """`open_list(resource, database_url=..., **settings)`: any list of a vendor without faults."""
    vendor.control(clear=True)
    vendor.control(reset=True)
    opened: list[World] = []

    def make(resource: Resource, database_url: str = sqlite_database_url, **settings: Any) -> World:
        opened.append(World(tmp_path, database_url, vendor, resource, **settings))
        return opened[-1]

    yield make
    for world in opened:
        world.app.close()

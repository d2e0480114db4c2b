"""What the tests of the vendor floor stand on: a vendor, and as many processes as they like that call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caller import DEVICES, Caller, Processes, settings_for
from gengfu.settings import Settings
from gengfu.store.database import Database
from gengfu_simulator.testing import Simulator


@pytest.fixture(scope="session")
def _vendor() -> Iterator[Simulator]:
    with Simulator(devices=DEVICES, deleted=25) as simulator:
        yield simulator


@pytest.fixture
def vendor(_vendor: Simulator) -> Simulator:
    """A vendor without faults, with nothing counted and the credentials demo / demo."""
    _vendor.control(clear=True, unlock=True, revoke=True, username="demo", password="demo")
    _vendor.control(reset=True)
    return _vendor


@pytest.fixture
def start(vendor: Simulator, sqlite_database: Database, tmp_path: Path) -> Iterator[Callable[..., Caller]]:
    """`start(password="demo", url=..., database=..., reread=..., **settings)`: one more process, as far as the vendor
    and the login can tell."""
    started: list[Caller] = []

    def make(
        password: str = "demo",
        *,
        url: str | None = None,
        database: Database | None = None,
        reread: Callable[[], Settings] | None = None,
        **more: Any,
    ) -> Caller:
        settings = settings_for(tmp_path, url or vendor.url, password=password, **more)
        started.append(Caller(settings, database or sqlite_database, reread))
        return started[-1]

    yield make
    for caller in started:
        caller.close()


@pytest.fixture
def caller(start: Callable[..., Caller]) -> Caller:
    return start()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Four of them."""
    opened = Processes(4)
    yield opened
    opened.close()

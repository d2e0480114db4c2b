"""How well the client finds what a server bears, and what it spends on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch

from benchmarks.figures import Figure, Size, middle
from gengfu.app import App
from gengfu.mirror.device import DEVICE
from gengfu.settings import Secret, Settings
from gengfu.vendor.limits import AdaptiveLimit
from gengfu.vendor.paging import Page
from gengfu_simulator.testing import Simulator

LISTING = DEVICE.listing_of(DEVICE.scope("0"))
ROWS = 5
CEILING = 64
FIXED = (8, 16, 32, 48, 64)
LATENCY = 0.1


class FixedLimit(AdaptiveLimit):
    """Stays at its ceiling, whatever the server says."""

    def __init__(self, ceiling: int) -> None:
        super().__init__(ceiling)
        self.value = ceiling

    def good(self, ticket: int, in_use: int, now: float) -> None:
        """Changes nothing."""

    def overload(
        self, ticket: int, next_ticket: int, now: float, in_use: int, *, throttled: bool = False, wait: float = 0.0
    ) -> bool:
        """Changes nothing."""
        return False


@dataclass(frozen=True)
class Fetched:
    """What fetching some pages came to."""

    pages: int
    seconds: float
    calls: int
    throttled: int

    @property
    def speed(self) -> float:
        """Good pages a second."""
        return self.pages / self.seconds


def measure(size: Size) -> Iterator[Figure]:
    """The limit, the pace, the retries and the logins."""
    for capacity in (16, 48):
        yield from _capacity(capacity, size)
    yield from _pace(size)
    yield from _retries(size)
    yield from _logins(size)


def _capacity(capacity: int, size: Size) -> Iterator[Figure]:
    pages = int(capacity / LATENCY * size.seconds)
    with Simulator(devices=pages * ROWS, latency=LATENCY, capacity=capacity) as sim:
        scouted = {limit: _fetch(sim, limit, max(pages // 2, 1), fixed=True).speed for limit in FIXED}
        best = max(scouted, key=lambda limit: scouted[limit])
        adaptive, rivals = [], []
        for _ in range(max(1, size.repetitions // 2)):
            rivals.append(_fetch(sim, best, pages, fixed=True).speed)
            adaptive.append(_fetch(sim, CEILING, pages).speed)
    at = f"a server that bears {capacity}"
    for limit, speed in scouted.items():
        yield Figure(f"{at}: fixed at {limit}", speed, " pages/s")
    yield middle(f"{at}: best fixed ({best})", rivals, " pages/s")
    yield middle(f"{at}: adaptive up to {CEILING}", adaptive, " pages/s")
    yield Figure(f"{at}: adaptive / best fixed", median(adaptive) / median(rivals), "×", 0.9, at_least=True)


def _pace(size: Size) -> Iterator[Figure]:
    pages = int(200 * size.seconds * 3)
    with Simulator(devices=pages * ROWS, latency="20ms", rate=200) as sim:
        fetched = _fetch(sim, CEILING, pages)
    yield Figure("200 requests/s allowed: pages", fetched.speed, " pages/s")
    yield Figure("200 requests/s allowed: answers with 429", fetched.throttled / fetched.calls * 100, " %", 5.0)
    yield Figure("200 requests/s allowed: calls beyond one per page", (fetched.calls / pages - 1) * 100, " %", 20.0)


def _retries(size: Size) -> Iterator[Figure]:
    pages = int(500 * size.seconds)
    with Simulator(devices=pages * ROWS, latency="5ms", fail=["500:0.1"]) as sim:
        fetched = _fetch(sim, 16, pages)
        yield Figure(
            "a tenth of the calls fails: calls beyond one per page", (fetched.calls / pages - 1) * 100, " %", 20.0
        )
        yield Figure(
            "a tenth of the calls fails: pages that came", fetched.pages / pages * 100, " %", 100.0, at_least=True
        )
        sim.control(fail=["500:0.5"])
        fetched = _fetch(sim, 16, pages)
        yield Figure("half of the calls fail: calls beyond one per page", (fetched.calls / pages - 1) * 100, " %", 20.0)


def _logins(size: Size) -> Iterator[Figure]:
    expiries = 3
    for concurrency in (1, 16, CEILING):
        pages = max(40, int(min(concurrency / 0.02, 800) * size.seconds / 2))
        with Simulator(devices=pages * ROWS, latency="20ms") as sim:
            fetched = _fetch(
                sim, concurrency, pages, revoke_at=[pages * i // (expiries + 1) for i in range(1, expiries + 1)]
            )
            state = sim.state()
        assert fetched.pages == pages
        yield Figure(f"logins per expiry, {concurrency} requests at once", (state["logins"] - 1) / expiries, "", 1.0)


def _fetch(
    sim: Simulator, ceiling: int, pages: int, *, fixed: bool = False, revoke_at: list[int] | None = None
) -> Fetched:
    """Fetches that many pages with a client of its own; the login and the first connection are made before."""
    with (
        _app(sim, ceiling) as app,
        patch("gengfu.vendor.rate_limiter.AdaptiveLimit", FixedLimit if fixed else AdaptiveLimit),
    ):
        client = app.vendor
        client.page(LISTING, 0, ROWS)
        before = client.counters()
        good, due = 0, list(revoke_at or ())
        started = perf_counter()
        for batch in client.pages(LISTING, range(pages), ROWS, threading.Event()):
            good += sum(isinstance(answer, Page) for answer in batch)
            if due and good >= due[0]:
                due.pop(0)
                sim.control(revoke=True)
        took = perf_counter() - started
        after = client.counters()
    return Fetched(good, took, after.calls - before.calls, after.throttled - before.throttled)


@contextmanager
def _app(sim: Simulator, ceiling: int) -> Iterator[App]:
    with TemporaryDirectory(prefix="gengfu-bench-") as folder:
        app = App(
            Settings(
                home=Path(folder),
                api_wechat_url=sim.url,
                api_username=sim.username,
                api_password=Secret(sim.password),
                api_concurrency=ceiling,
            )
        )
        try:
            yield app
        finally:
            app.close()

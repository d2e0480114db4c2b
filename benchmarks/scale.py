"""Time and memory of real workers as the fleet grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean

from benchmarks.figures import Figure, Size
from benchmarks.installation import Installation
from gengfu_simulator.testing import Simulator

MORE_MEMORY = 25.0
"""MB."""

REPEATS = 2
"""A worker needs most after a few runs, when each of its threads has had one."""


@dataclass(frozen=True)
class _Grown:
    cold: float
    repeat: float
    peak: float
    windows: int


def measure(size: Size) -> Iterator[Figure]:
    """A cold run and a repeat for each fleet, by fresh workers; peak memory is that of the worker that needed most.

    The small fleet is measured before and after each of the others, since the machine may be faster at one time.
    """
    small = _grow(size.devices, 1)
    yield from _told(size.devices, 1, small)
    for devices, workers in ((size.big, 1), (size.huge, 2)):
        if not devices:
            continue
        grown = _grow(devices, workers)
        before, small = small, _grow(size.devices, 1)
        cold, peak = mean((before.cold, small.cold)), mean((before.peak, small.peak))
        times = devices / size.devices
        yield from _told(devices, workers, grown)
        yield Figure(
            f"{devices} devices: cold run per device, against {size.devices}", grown.cold / cold / times, "×", 1.0
        )
        yield Figure(f"{devices} devices: more memory than for {size.devices}", grown.peak - peak, " MB", MORE_MEMORY)


def _grow(devices: int, workers: int) -> _Grown:
    with Simulator(devices=devices, start_timeout=60) as sim, Installation(sim) as installation:
        for _ in range(workers):
            installation.start()
        spent = []
        for _ in range(1 + REPEATS):
            installation.command("device:list")
            run = installation.last_run()
            spent.append(run["work"])
        return _Grown(spent[0], min(spent[1:]), max(worker.peak for worker in installation.workers), run["windows"])


def _told(devices: int, workers: int, grown: _Grown) -> Iterator[Figure]:
    by = "1 worker" if workers == 1 else f"{workers} workers"
    yield Figure(f"{devices} devices, {by}, {grown.windows} windows: cold run", grown.cold, " s")
    yield Figure(f"{devices} devices, {by}, {grown.windows} windows: repeat without a change", grown.repeat, " s")
    yield Figure(f"{devices} devices: peak memory of a worker", grown.peak, " MB")

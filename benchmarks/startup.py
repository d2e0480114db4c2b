"""How long the program takes to start, as whole processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from time import perf_counter

from benchmarks.figures import Figure, Size, interleaved, middle
from benchmarks.installation import Installation
from gengfu_simulator.testing import Simulator

REFERENCE = 0.02
"""Seconds that `python -c pass` takes on the machine for which the limits are meant."""


def measure(size: Size) -> Iterator[Figure]:
    """Medians, by turns; the limits grow with the time that Python itself takes."""
    with Simulator(devices=100) as sim, Installation(sim) as installation:
        installation.start()

        def queue_only() -> float:
            took = installation.command("device:list")
            installation.last_run()
            return took

        ways = {
            "bare": _bare,
            "help": lambda: installation.command("--help"),
            "device_list": queue_only,
            "schedule": lambda: installation.command("schedule:run"),
        }
        installation.command("schedule:pause", "all")
        interleaved(1, **ways)
        found = interleaved(size.repetitions * 2 + 1, **ways)
    slower = max(1.0, median(found["bare"]) / REFERENCE)
    yield middle("python -c pass", found["bare"])
    yield middle("gengfu --help", found["help"], asked=0.25 * slower)
    yield middle("gengfu device:list", found["device_list"], asked=0.35 * slower)
    yield middle("gengfu schedule:run, nothing to start", found["schedule"], asked=0.35 * slower)


def _bare() -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return perf_counter() - started

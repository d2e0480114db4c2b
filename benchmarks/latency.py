"""What the queue adds to a run, and how fast an idle worker picks up a job."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.figures import Figure, Size, middle
from benchmarks.house import House
from benchmarks.warm import WarmWorker
from gengfu.app import App
from gengfu.settings import load_settings
from gengfu_simulator.testing import Simulator

CHANGED = 0.02


def measure(size: Size) -> Iterator[Figure]:
    """From `device:list` accepted to run closed by a waiting worker, beside the same run without a queue."""
    yield from _queue(size)
    yield from _pick_up(size)


def _queue(size: Size) -> Iterator[Figure]:
    total, alone = [], []
    with Simulator(devices=size.devices, latency="20ms") as sim, WarmWorker(sim) as warm, House(sim) as house:
        house.start()
        mirror = warm.sqlite("mirror")
        house.command("device:list")
        house.last_run()
        warm.run(mirror)
        for _ in range(size.repetitions):
            sim.fleet("change", share=CHANGED, pick="random")
            house.command("device:list")
            run = house.last_run()
            total.append(run["total"] * 1000)
            alone.append(warm.run(mirror)["seconds"] * 1000)
    yield middle("from device:list accepted to run closed", total, " ms")
    yield middle("the run itself", alone, " ms")
    yield Figure("what the queue adds", median(total) - median(alone), " ms", 150.0)


def _pick_up(size: Size) -> Iterator[Figure]:
    """By a producer that is up already, so that nothing but the queue is in it."""
    spent = []
    with Simulator(devices=100) as sim, House(sim) as house:
        house.start()
        app = App(load_settings(house.environment))
        try:
            for _ in range(size.repetitions * 4):
                app.runs.notify("device", app.runs.start("device", "0"))
                spent.append(house.last_run()["pick_up"] * 1000)
        finally:
            app.close()
    yield middle("from accepted to taken by an idle worker", spent, " ms", 50.0)

"""Under a real supervisord: workers that are killed come back, a stop is clean, and no run is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gengfu.store.jobs import JobState
from supervised import Supervised
from system import SMALL_PAGES, System

WORKERS = ("gengfu:gengfu_worker_00", "gengfu:gengfu_worker_01")
NOTHING_BY_ITSELF = "[schedule.device_list]\nenabled = false\n"


@pytest.fixture
def supervised(open_system: Callable[..., System]) -> Iterator[Callable[..., Supervised]]:
    """`supervised(schedule, sim={...})`: a system, with that `gengfu.toml`, under a supervisord of its own."""
    with ExitStack() as opened:

        def make(schedule: str, sim: dict[str, object]) -> Supervised:
            system = open_system(sim, **SMALL_PAGES, API_CONCURRENCY="2")
            (system.home.folder / "gengfu.toml").write_text(schedule)
            made = Supervised(system)
            opened.callback(made.close)
            return made

        yield make


def ready_times(supervised: Supervised) -> int:
    return sum(supervised.log(f"worker_0{number}").count("worker ready") for number in (0, 1))


def test_under_supervisor_a_killed_worker_comes_back_and_a_stop_loses_nothing(
    supervised: Callable[..., Supervised], wait_until: Callable[..., None]
) -> None:
    place = supervised(NOTHING_BY_ITSELF, {"latency": "150ms"})
    system = place.system
    said = place.deploy("--install")
    assert f"written: {place.places}/gengfu.conf\ndone: supervisorctl reread (gengfu: available)" in said
    wait_until(lambda: ready_times(place) == 2, 30)

    run = system.accept()
    wait_until(lambda: system.run(run).pages_done > 5, 30)
    before = {name: place.pid(name) for name in WORKERS}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: ready_times(place) == 4, 30)
    assert all(place.pid(name) not in (0, pid) for name, pid in before.items())
    system.sim.control(latency=0)
    system.assert_complete(run)

    system.sim.control(latency="150ms")
    run = system.accept()
    wait_until(lambda: JobState.RUNNING in {record.state for record in system.jobs(run)}, 30)
    place.ctl("stop", *WORKERS)
    assert {place.states()[name] for name in WORKERS} == {"STOPPED"}
    # What was in flight ended within the grace of the workers.
    system.assert_complete(run)
    assert {len(outcomes) for outcomes in system.outcomes(run)} == {1}

    system.sim.control(latency=0)
    run = system.accept()
    place.ctl("start", *WORKERS)
    system.assert_complete(run)
    assert "unchanged: " in place.deploy("--install")
    assert "removed process group" in place.deploy("--remove")
    assert place.states() == {}
    wait_until(lambda: system.processes() == {})
    assert "nothing to remove" in place.deploy("--remove")

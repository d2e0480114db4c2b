"""Under a real supervisord: workers that are killed come back, a stop is clean, and no run is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import cycle, product

import pytest
from sqlalchemy import select

from gengfu.cli.catalogue import Catalogue
from gengfu.store.jobs import JobState
from gengfu.store.run_rows import Verdict
from gengfu.store.tables import schedule_tick
from gengfu.store.ticks import TickState
from system import SMALL_PAGES, System
from truth import assert_true_copy
from under_supervisor import Supervised

SECONDS = float(os.environ.get("GENGFU_TEST_SECONDS", "60"))
"""How long schedulers and workers are killed in turn."""

EVERY = timedelta(seconds=10)
SCHEDULER = "gengfu:gengfu_scheduler"

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


def test_a_program_that_ends_at_once_again_and_again_is_never_given_up(
    supervised: Callable[..., Supervised], wait_until: Callable[..., None]
) -> None:
    place = supervised(NOTHING_BY_ITSELF, {})
    place.deploy("--write", "--name", "mine", "--to", str(place.places))
    (place.system.home.folder / "logs").mkdir()
    path = place.places / "mine.conf"
    ours = re.sub(r"(?m)^command=.*", f"command={shutil.which('false')}", path.read_text())
    usual = ours.replace("startretries=100000\n", "startretries=3\n").replace("mine", "usual")
    path.write_text(ours)
    (place.places / "usual.conf").write_text(usual)
    place.ctl("update")
    wait_until(lambda: place.states()["usual:usual_scheduler"] == "FATAL", 40, 0.5)
    assert place.states()["mine:mine_scheduler"] in ("BACKOFF", "STARTING")


def assert_every_tick_is_accounted_for(system: System) -> int:
    """Each due moment from the first to the last has one row, or lies in one that covers several; their number."""
    columns = (schedule_tick.c.due_at, schedule_tick.c.covers, schedule_tick.c.until_at, schedule_tick.c.state)
    with system.db.read() as connection:
        rows = connection.execute(select(*columns).order_by(schedule_tick.c.due_at)).all()
    told: list[datetime] = []
    for due_at, covers, until_at, state in rows:
        moments = [due_at + EVERY * number for number in range(covers)]
        assert moments[-1] == (until_at or due_at), rows
        # Lost is one whose scheduler was killed in the moment in which its command ran.
        assert state in (TickState.DONE, TickState.SKIPPED, TickState.LOST), rows
        told += moments
    first, last = told[0], told[-1]
    assert told == [first + EVERY * number for number in range(int((last - first) / EVERY) + 1)], rows
    return len(told)


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(Catalogue().command("schedule:work") is None, reason="there is no scheduler that stays yet")
def test_under_supervisor_killed_schedulers_and_workers_lose_no_tick_and_no_run(
    supervised: Callable[..., Supervised], wait_until: Callable[..., None]
) -> None:
    place = supervised('[schedule.device_list]\ncron = "*/10 * * * * *"\n', {"latency": "20ms"})
    system = place.system
    place.deploy("--install")
    wait_until(lambda: ready_times(place) == 2, 30)
    # In the middle of a run at one time, between two runs at the next.
    strikes = cycle(product((SCHEDULER, *WORKERS), (True, False)))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        victim, under_way = next(strikes)
        wait_until(lambda: any(run.active for run in system.runs.latest(1)) is under_way, 60, 0.1)  # noqa: B023
        place.kill(victim)
    wait_until(lambda: not any(run.active for run in system.runs.latest(1000)), 60, 0.2)
    place.ctl("stop", SCHEDULER)
    wait_until(lambda: not any(run.active for run in system.runs.latest(1000)), 60, 0.2)
    place.ctl("stop", *WORKERS)
    runs = system.runs.latest(1000)
    assert {run.verdict for run in runs} == {Verdict.COMPLETE}
    assert assert_every_tick_is_accounted_for(system) >= SECONDS / EVERY.total_seconds() - 1
    assert_true_copy(system.sim, system.db)
    place.deploy("--remove")

"""Scheduler processes that are killed, frozen, cut off and set to work together on one database."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from proxy import Proxy
from schedulers import Rig, SchedulerProcess, process_is_alive

Wait = Callable[..., None]
Start = Callable[..., SchedulerProcess]

SECONDS = timedelta(seconds=float(os.environ.get("GENGFU_TEST_SECONDS", "8")))
"""For how long four schedulers share one database."""
NEVER = datetime.min.replace(tzinfo=UTC)

EACH_SECOND = "* * * * * *"
JOURNAL = "import os\nwith open('journal', 'a') as file: file.write(os.environ['GENGFU_TICK'] + '\\n')"
LONG = "import os, time\nprint(os.getpid(), flush=True)\nwhile not os.path.exists('go-on'): time.sleep(0.05)"


@pytest.fixture
def start(tmp_path: Path, database_url: str) -> Iterator[Start]:
    """Starts scheduler processes; all are ended after the test."""
    begun: list[SchedulerProcess] = []

    def make(*entries: dict[str, Any], url: str = database_url, **told: Any) -> SchedulerProcess:
        begun.append(SchedulerProcess(url, tmp_path, list(entries), **told))
        return begun[-1]

    yield make
    for process in begun:
        if process.process.poll() is None:
            process.process.send_signal(signal.SIGCONT)
            process.stop()


def first_due(rig: Rig) -> datetime:
    return min((row.due_at for row in rig.rows()), default=NEVER)


def test_four_schedulers_fire_each_tick_of_each_second_once(rig: Rig, start: Start, wait_until: Wait) -> None:
    entries = [{"name": name, "program": JOURNAL, "cron": EACH_SECOND} for name in ("tick", "tock")]
    four = [start(*entries) for _ in range(4)]
    wait_until(lambda: max((row.due_at for row in rig.rows()), default=NEVER) - first_due(rig) > SECONDS, 60, 0.2)
    assert [process.stop() for process in four] == [0] * 4, [process.log.read_text() for process in four]
    rows = rig.rows()
    fired = Counter((rig.home / "journal").read_text().split())
    assert fired == Counter(str(row.id) for row in rows if row.state == "done")
    # One that was claimed when all were told to stop is left to the next scheduler.
    assert {(row.state, row.scheduler is None) for row in rows} <= {
        *((state, False) for state in ("done", "skipped", "missed")),
        ("claimed", True),
    }
    for name in ("tick", "tock"):
        of_entry = [row for row in rows if row.entry == name]
        seconds = [row.due_at + timedelta(seconds=n) for row in of_entry for n in range(row.covers)]
        first, last = min(seconds), max(seconds)
        assert sorted(seconds) == [first + timedelta(seconds=n) for n in range(int((last - first).total_seconds()) + 1)]
        assert len(seconds) >= SECONDS.total_seconds() - 1
        assert sum(row.state == "done" for row in of_entry) > len(seconds) / 2


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
def test_when_a_scheduler_is_killed_its_command_ends_its_tick_is_lost_and_later_ones_run(
    rig: Rig, start: Start, wait_until: Wait
) -> None:
    tock = {"name": "tock", "program": LONG, "cron": EACH_SECOND}
    first = start(tock)
    log = rig.home / "logs" / "tock.log"
    wait_until(lambda: log.exists() and log.read_text().count("INFO"), 30)
    pid = int(log.read_text().split()[2])
    second = start(tock)
    first.kill()
    wait_until(lambda: not process_is_alive(pid), 15)
    (rig.home / "go-on").touch()
    wait_until(lambda: any(row.state == "done" for row in rig.rows()), 40)
    assert second.stop() == 0
    lost, *later = rig.rows()
    assert lost.state == "lost"
    assert "died while it ran" in lost.reason
    assert {row.state for row in later} <= {"skipped", "done"}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_scheduler_that_was_frozen_and_wakes_runs_nothing_twice(rig: Rig, start: Start, wait_until: Wait) -> None:
    both = [start({"name": "tock", "program": JOURNAL, "cron": EACH_SECOND, "grace": 1.0}) for _ in range(2)]
    wait_until(lambda: len(rig.rows()) > 1, 30)
    for process in both:
        process.process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    for process in both:
        process.process.send_signal(signal.SIGCONT)
    frozen_until = len(rig.rows())
    wait_until(lambda: len([row for row in rig.rows()[frozen_until:] if row.state == "done"]) > 1, 30)
    assert [process.stop() for process in both] == [0, 0]
    rows = rig.rows()
    assert Counter((rig.home / "journal").read_text().split()) == Counter(
        str(row.id) for row in rows if row.state == "done"
    )
    assert [row.covers for row in rows if row.state == "missed"] != []


@pytest.mark.parametrize("database_kind", ["postgresql", "mysql"], indirect=True)
def test_a_command_outlives_a_database_that_goes_away(
    rig: Rig, start: Start, wait_until: Wait, database_url: str, database_kind: str
) -> None:
    real = make_url(database_url)
    proxy = Proxy(real.port or {"postgresql": 5432, "mysql": 3306}[database_kind])
    try:
        through = real.set(port=proxy.port).render_as_string(hide_password=False)
        process = start({"name": "tock", "program": LONG, "cron": EACH_SECOND}, url=through)
        wait_until(lambda: any(row.pid for row in rig.rows()), 30)
        with proxy.shut():
            (rig.home / "go-on").touch()
            wait_until(lambda: "cannot be read or written" in process.log.read_text(), 30)
            assert rig.rows()[0].state == "running"
        wait_until(lambda: rig.rows()[0].state == "done", 30)
        wait_until(lambda: rig.rows()[-1].state == "done", 30)
        assert process.stop() == 0
    finally:
        proxy.close()

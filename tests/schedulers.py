"""Schedulers for tests, here or as processes of their own: their entries run small programs in place of commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from gengfu.clock import Clock, utcnow
from gengfu.schedule.enqueue import Enqueuer
from gengfu.schedule.open_ticks import ScheduleContext
from gengfu.schedule.policy import CatchUp, Entry, Overlap, Schedule
from gengfu.schedule.running import Running
from gengfu.schedule.scheduler import Scheduler
from gengfu.schedule.server_clock import ServerClock
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from gengfu.store.tables import schedule_entry, schedule_tick
from gengfu.store.ticks import Tick, TickStore

PROGRAM = (sys.executable, "-I", "-S", "-c", "import sys; exec(sys.argv[1])")
"""Runs the text that an entry has as its command."""
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def entry(name: str, program: str, cron: str = "* * * * *", **schedule: Any) -> Entry:
    return Entry(name, (program,), Schedule(cron, **{"timezone": "UTC"} | schedule), "test")


def show(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S")


class Rig:
    """A database, a clock to set, and schedulers that share both."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.home = home
        api = {
            "api_wechat_url": "http://127.0.0.1:9/",
            "api_username": "operator",
            "api_password": Secret("Kiefer4711"),
        }
        self.settings = Settings(home=home, gengfu_timezone="UTC", **api)
        self.now = NOON
        self.program: tuple[str, ...] = PROGRAM
        self.entries: dict[str, Entry] = {}
        self.over: list[Tick] = []
        self.notified: list[tuple[str, int]] = []

    def add(self, *entries: Entry) -> None:
        self.entries |= {found.name: found for found in entries}

    def scheduler(self, clock: Clock | None = None) -> Scheduler:
        clock = clock or (lambda: self.now)
        enqueuer = Enqueuer(lambda: self.settings, show, clock)
        context = ScheduleContext(enqueuer, clock, show, self.notify, self.over.append)
        running = Running(self.settings, self.program)
        return Scheduler(self.database.path or self.database, lambda: self.entries, running, context)

    def notify(self, queue: str, job_id: int) -> str | None:
        self.notified.append((queue, job_id))
        return None

    def run_at(self, time: str) -> list[str]:
        """A pass at that time (`12:05`); the ticks of all times, in brief."""
        hours, minutes = time.split(":")
        self.now = NOON.replace(hour=int(hours), minute=int(minutes), second=1)
        self.scheduler().run_once(5)
        return self.brief()

    def rows(self) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(select(schedule_tick).order_by(schedule_tick.c.id)).all())

    def entry_row(self, name: str) -> Any:
        with self.database.read() as connection:
            return connection.execute(select(schedule_entry).where(schedule_entry.c.name == name)).one()

    def brief(self) -> list[str]:
        return [
            f"{row.due_at:%H:%M} {row.state}" + (f" x{row.covers}" if row.covers > 1 else "") for row in self.rows()
        ]

    def write(self, **row: Any) -> int:
        """A tick as another scheduler left it, which is dead unless its lease is there."""
        fresh = {"clock_epoch": 0, "covers": 1, "command": ["pass"], "scheduler": "other:1:a", "fence": 0}
        fresh |= {"cancel": False, "claimed_at": NOON} | row
        statement = schedule_tick.insert().values(**fresh)
        key = self.database.write(lambda connection: connection.execute(statement).inserted_primary_key)
        assert key is not None
        return int(key[0])


class SchedulerProcess:
    """A scheduler in a process of its own, at the clock of the database."""

    def __init__(self, database_url: str, home: Path, entries: list[dict[str, Any]], **told: Any) -> None:
        told |= {"database": database_url, "home": str(home), "entries": entries}
        self.log = home / f"scheduler-{id(self)}.log"
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, __file__, json.dumps(told)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)


def main(told: dict[str, Any]) -> None:
    home = Path(told["home"])
    database = Database(Secret(told["database"]), home)
    entries = {}
    for found in told["entries"]:
        found = found | {
            "overlap": Overlap(found.get("overlap", "skip")),
            "catch_up": CatchUp(found.get("catch_up", "none")),
        }
        entries[found["name"]] = entry(**found)
    db = database.path or database
    settings = Settings(home=home, gengfu_timezone="UTC")
    clock = ServerClock(TickStore(db), utcnow)
    running = Running(settings, PROGRAM)
    enqueuer = Enqueuer(lambda: settings, str, utcnow)
    context = ScheduleContext(enqueuer, clock, str, lambda *_: None)
    scheduler = Scheduler(db, lambda: entries, running, context)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: scheduler.stop())
    scheduler.work(float(told.get("grace", 5.0)))


def process_is_alive(pid: int) -> bool:
    """Whether there is a process of that number that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

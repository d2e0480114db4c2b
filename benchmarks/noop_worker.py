"""A worker process whose jobs do nothing, seen from outside and from inside.

`python -m benchmarks.noop_worker JSON` works: `database`, `redis`, `concurrency`, `until_empty`, and `counter`, a file
to which the number of statements so far is written each second.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from sqlalchemy import event

from gengfu.queue.job import Job, JobContext
from gengfu.queue.notify import Notifier
from gengfu.queue.options import WorkerOptions
from gengfu.queue.worker import run_worker
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from gengfu_simulator.testing import end

JOB = "noop"


class Noop(Job):
    """Does nothing."""

    def fire(self, context: JobContext, *_: Any, **args: Any) -> str | None:
        return None


class NoopWorker:
    """The process, from its making, when it is ready for jobs, to the end of the block."""

    def __init__(self, database: Database, redis: str | None = None, **more: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gengfu-bench-")
        self._counter = Path(self._folder.name) / "statements"
        log = Path(self._folder.name) / "log"
        address = database.url.render_as_string(hide_password=False)
        told = {"database": address, "redis": redis, "counter": str(self._counter), **more}
        with log.open("wb") as sink:
            command = [sys.executable, "-m", __spec__.name, json.dumps(told)]
            self._process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=sink)
        deadline = time.monotonic() + 60
        while "worker ready" not in log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start: {log.read_text()}")
            time.sleep(0.01)

    def statements(self) -> int:
        """How many statements it has sent so far."""
        return int(self._counter.read_text() or 0) if self._counter.exists() else 0

    def cpu(self) -> float:
        """Seconds of processor time that it has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait(self) -> None:
        """Waits for its end."""
        if self._process.wait(600):
            raise RuntimeError(f"the worker ended with {self._process.returncode}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, 40)
        self._folder.cleanup()


def _work(told: dict[str, Any]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("gengfu.queue.worker").addFilter(lambda record: not record.getMessage().startswith("job "))
    home = Path(tempfile.gettempdir())
    database = Database(Secret(told["database"]), home)
    sent = [0]
    event.listen(database.engine, "before_cursor_execute", lambda *_: sent.__setitem__(0, sent[0] + 1))

    def count() -> None:
        path = Path(told["counter"])
        while True:
            fresh = path.with_suffix(".new")
            fresh.write_text(str(sent[0]))
            fresh.replace(path)
            time.sleep(1.0)

    threading.Thread(target=count, daemon=True).start()
    options = WorkerOptions(concurrency=told.get("concurrency", 2), stop_when_empty=told.get("until_empty", False))
    notifier = Notifier(Settings(home, redis_url=Secret(told["redis"]) if told["redis"] else None))
    return run_worker(options, db=database, jobs={JOB: Noop}, notifier=notifier)


if __name__ == "__main__":
    sys.exit(_work(json.loads(sys.argv[1])))

"""A working folder of its own, with the real program in it: commands, workers and all."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from gengfu_simulator.testing import Simulator, end

PROGRAM = Path(sys.executable).with_name("gengfu")
COMMAND = [str(PROGRAM)] if PROGRAM.exists() else [sys.executable, "-m", "gengfu"]
"""The program as a person starts it, where it is installed."""

PATIENCE = 600.0
"""Seconds for the longest run."""


class Worker:
    """A running `queue:work`."""

    def __init__(self, installation: Installation, number: int) -> None:
        self._log = installation.home / f"worker-{number}.txt"
        with self._log.open("wb") as sink:
            command = [*COMMAND, "queue:work"]
            self._process = subprocess.Popen(command, env=installation.environment, stdout=sink, stderr=sink)
        deadline = time.monotonic() + 30
        while "worker ready" not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start: {self._log.read_text()}")
            time.sleep(0.02)

    @property
    def peak(self) -> float:
        """The most memory that it ever held, in MB."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the system does not tell")

    def end(self) -> None:
        """Ends it and waits."""
        end(self._process, 40)


class Installation:
    """The folder, from its making until `close`, which ends all in it. Times come from the rows of its database."""

    def __init__(self, sim: Simulator) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gengfu-bench-")
        self.home = Path(self._folder.name)
        self.environment = dict(os.environ)
        for name in ("REDIS_URL", "DATABASE_URL"):
            self.environment.pop(name, None)
        self.environment |= {
            "GENGFU_HOME": str(self.home),
            "API_WECHAT_URL": sim.url,
            "API_USERNAME": sim.username,
            "API_PASSWORD": sim.password,
        }
        self.workers: list[Worker] = []

    def start(self) -> Worker:
        """Starts a worker and waits until it is ready."""
        self.workers.append(Worker(self, len(self.workers)))
        return self.workers[-1]

    def command(self, *arguments: str) -> float:
        """Seconds that a command takes, as a whole process."""
        started = time.perf_counter()
        done = subprocess.run([*COMMAND, *arguments], env=self.environment, capture_output=True, check=False)
        took = time.perf_counter() - started
        if done.returncode != 0:
            raise RuntimeError(f"{arguments} failed: {done.stderr.decode()}")
        return took

    def last_run(self) -> dict[str, Any]:
        """The newest run, once it and its jobs have ended, with three spans in seconds: `total` from acceptance to end,
        `pick_up` until a worker took it, `work` from then on."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with closing(sqlite3.connect(self.home / "var" / "gengfu.db", timeout=30)) as connection:
                connection.row_factory = sqlite3.Row
                run = connection.execute("SELECT * FROM sync_run ORDER BY id DESC LIMIT 1").fetchone()
                open_jobs = "SELECT count(*) FROM job WHERE state IN ('queued', 'running')"
                if run is not None and run["finished_at"] and not connection.execute(open_jobs).fetchone()[0]:
                    subject = f"run:{run['id']}"
                    taken = "SELECT min(started_at) FROM job WHERE subject = ?"
                    return _timed(dict(run), connection.execute(taken, (subject,)).fetchone()[0])
            if time.monotonic() > deadline:
                raise RuntimeError(f"the run does not end: {dict(run) if run else None}")
            time.sleep(0.02)

    def close(self) -> None:
        """Ends the workers and removes the folder."""
        for worker in self.workers:
            worker.end()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _timed(run: dict[str, Any], taken: str) -> dict[str, Any]:
    if run["verdict"] != "complete":
        raise RuntimeError(f"the run ended as {run['verdict']}: {run['reason']}")
    accepted, started, ended = (datetime.fromisoformat(text) for text in (run["created_at"], taken, run["finished_at"]))
    seconds = {"total": ended - accepted, "pick_up": started - accepted, "work": ended - started}
    return run | {name: span.total_seconds() for name, span in seconds.items()}

"""A worker process that is warm, as after hours of work: it takes runs over its standard input and times them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Self

from gengfu_simulator.testing import Simulator

COUNTS = ("verdict", "seen", "new", "changed", "heartbeat", "unchanged", "gone", "calls")


class WarmWorker:
    """The process, seen from outside. Its first run, on a database of its own, is over when it has been made."""

    def __init__(self, sim: Simulator, concurrency: int = 16) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gengfu-bench-")
        self.home = Path(self._folder.name)
        told = {"home": str(self.home), "url": sim.url, "user": sim.username, "word": sim.password, "at": concurrency}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._tell(json.dumps(told))
        self.run(self.sqlite("warm-up"))

    def sqlite(self, name: str) -> str:
        """The address of an SQLite file in the worker's folder."""
        return f"sqlite:///{self.home / name}.db"

    def run(self, database: str) -> dict[str, Any]:
        """Brings that database up to date; what the run counted, with three figures.

        `seconds` from taking the job to the run closed, `cpu` of the worker meanwhile, its `peak` memory in MB so far.
        """
        self._tell(database)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the warm worker ended")
        told: dict[str, Any] = json.loads(line)
        if told["verdict"] != "complete":
            raise RuntimeError(f"the run ended as {told}")
        return told

    def empty(self, database: str) -> None:
        """Empties that SQLite file of the worker's folder, behind the back of a worker that goes on being warm."""
        self._tell(f"empty {database}")
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=30)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class _Hold:
    job_id: int
    stop: threading.Event = field(default_factory=threading.Event)


class _Inside:
    """The process, seen from inside: one vendor client with its connections and its login for all databases."""

    def __init__(self, told: dict[str, Any]) -> None:
        from gengfu.settings import Secret, Settings

        self._settings = Settings(
            home=Path(told["home"]),
            api_wechat_url=told["url"],
            api_username=told["user"],
            api_password=Secret(told["word"]),
            api_concurrency=told["at"],
        )
        self._first: Any = None
        self._apps: dict[str, Any] = {}

    def app(self, database: str) -> Any:
        from dataclasses import replace

        from gengfu.app import App
        from gengfu.settings import Secret
        from gengfu.store import schema

        if database not in self._apps:
            app = App(replace(self._settings, database_url=Secret(database)))
            schema.upgrade(app.bare_db)
            self._first = self._first or app
            app.__dict__["vendor"] = self._first.vendor
            self._apps[database] = app
        return self._apps[database]

    def empty(self, database: str) -> dict[str, Any]:
        """Gives the database back its tables alone; the statements that its engine knows stay."""
        from gengfu.store import schema

        app = self.app(database)
        app.bare_db.engine.dispose()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{app.bare_db.path}{suffix}").unlink(missing_ok=True)
        schema.upgrade(app.bare_db)
        app.bare_db.engine.dispose()
        return {}

    def run(self, database: str) -> dict[str, Any]:
        from sqlalchemy import update

        from gengfu.store.tables import job

        app = self.app(database)
        app.mirror.runs.latest(1)
        start = app.runs.start("device", "0")
        assert start.job is not None
        started, busy = perf_counter(), process_time()
        app.mirror.work(start.run, _Hold(start.job))
        seconds, busy = perf_counter() - started, process_time() - busy
        app.db.write(lambda connection: connection.execute(update(job).values(state="done")))
        run = asdict(app.mirror.runs.get(start.run))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"seconds": seconds, "cpu": busy, "peak": peak, **{name: run[name] for name in COUNTS}}

    def close(self) -> None:
        for app in self._apps.values():
            app.close()


def main() -> None:
    """Serves databases line by line until the input ends; its first line holds the settings."""
    from gengfu.queue.worker import settle_memory

    inside = _Inside(json.loads(sys.stdin.readline()))
    for number, line in enumerate(sys.stdin):
        verb, _, database = line.strip().rpartition(" ")
        print(json.dumps(inside.empty(database) if verb else inside.run(database)), flush=True)
        if number == 0:
            settle_memory()
    inside.close()


if __name__ == "__main__":
    main()

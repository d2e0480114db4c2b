"""A database, a Redis and worker processes of one test's own, with all that it takes to watch and to kill them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from gengfu.queue.ledger import Ledger
from gengfu.queue.notify import Notifier
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from gengfu.store.jobs import JobRecord, JobState, Outcome
from gengfu.store.statements import is_locked
from servers import SocketRedis
from worker_program import Journal

PROGRAM = Path(__file__).with_name("worker_program.py")


def wait_for(what: Callable[[], Any], timeout: float = 15.0, every: float = 0.01) -> Any:
    """Polls, `every` so many seconds, until it holds, and returns its value.

    Raises:
        TimeoutError: it did not hold within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {timeout:g} s: {what}")
        time.sleep(every)
    return value


def state_of(pid: int) -> str:
    """The letter for the state of a process: `T` for one that sleeps until it is woken."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def freeze(pid: int, db: Database) -> None:
    """Puts a process to sleep, not in the middle of a write to an SQLite file, which would put all others to sleep."""

    def is_harmless() -> bool:
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: state_of(pid) == "T")
        if db.path is None or not is_locked(db.path):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    wait_for(is_harmless)


class Nursery:
    """Starts workers in a tenth of the time that their imports would take; ends when `close` is called."""

    def __init__(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, str(PROGRAM)], text=True, **pipes)

    def ask(self, line: str) -> str:
        """Its answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate()


class WorkerProcess:
    """A worker in a process of its own."""

    def __init__(self, nursery: Nursery, told: dict[str, Any]) -> None:
        self._nursery = nursery
        self._log = Path(told["log"])
        self._log.touch()
        self._code: int | None = None
        self.pid = int(nursery.ask("start " + json.dumps(told)))

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def ready(self) -> WorkerProcess:
        """Waits until it takes jobs."""
        wait_for(lambda: "worker ready" in self.log or not self.alive)
        assert "worker ready" in self.log, self.log
        return self

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def exit_code(self) -> int:
        """Waits for its end."""
        wait_for(lambda: not self.alive)
        assert self._code is not None
        return self._code

    @property
    def alive(self) -> bool:
        if self._code is None:
            answer = self._nursery.ask(f"code {self.pid}")
            self._code = None if answer == "none" else int(answer)
        return self._code is None

    def end(self) -> None:
        """Ends it, whatever it does."""
        if self.alive:
            self.signal(signal.SIGKILL)
        self.exit_code()


class Stage:
    """Where workers play; everything on it is gone after `clear`."""

    def __init__(self, home: Path, database_url: str, nursery: Nursery, binary: Path | None = None) -> None:
        """`binary`: the Redis server, where workers are to have one."""
        self.home = home
        self.journal = Journal(home)
        self.database = Database(Secret(database_url), home)
        self._database_url = database_url
        self._nursery = nursery
        # Not under pytest's folder: the path of a socket has at most about 100 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="gengfu-test-")
        self._server = SocketRedis(binary, Path(self._folder.name)) if binary is not None else None
        self.url = self._server.fresh() if self._server is not None else None
        self.notifier = Notifier(Settings(home, redis_url=Secret(self.url) if self.url is not None else None))
        self.ledger = Ledger(self.database)
        self._workers: list[WorkerProcess] = []

    def clear(self) -> None:
        for worker in self._workers:
            worker.end()
        self.notifier.close()
        if self._server is not None:
            self._server.close()
        self.database.dispose()
        self._folder.cleanup()

    def start(self, *, more: dict[str, Any] | None = None, **options: Any) -> WorkerProcess:
        """Starts a worker with these `WorkerOptions`; `more` goes to the program."""
        log = str(self.home / f"worker-{len(self._workers)}.log")
        told = {"database": self._database_url, "redis": self.url, "home": str(self.home), "log": log}
        self._workers.append(WorkerProcess(self._nursery, told | {"options": options} | (more or {})))
        return self._workers[-1]

    def add(
        self, name: str, *, queue: str = "default", tries: int = 3, delay: float = 0.0, notify: bool = True, **args: Any
    ) -> int:
        """Records a job and tells workers of it, unless `notify` is off: as if the hint were lost."""
        job_id = self.database.write(
            lambda connection: self.ledger.add(connection, name, args, queue=queue, tries=tries, delay=delay)
        )
        if notify and not delay:
            assert self.notifier.notify(queue, [job_id]) is None
        return job_id

    def record(self, job_id: int) -> JobRecord:
        shown = self.ledger.show(job_id)
        assert shown is not None
        return shown[0]

    def outcomes(self, job_id: int) -> list[Outcome | None]:
        shown = self.ledger.show(job_id)
        assert shown is not None
        return [attempt.outcome for attempt in shown[1]]

    def await_state(self, job_id: int, state: JobState, timeout: float = 15.0) -> JobRecord:
        wait_for(lambda: self.record(job_id).state is state, timeout)
        return self.record(job_id)

    def await_done(self, *job_ids: int, timeout: float = 15.0) -> None:
        for job_id in job_ids:
            self.await_state(job_id, JobState.DONE, timeout)

    def await_started(self, job_id: int, *, attempt: int = 1, timeout: float = 15.0) -> dict[str, Any]:
        """Waits until that attempt at the job has started; returns its entry in the journal."""

        def entry() -> dict[str, Any] | None:
            started = self.journal.read("started")
            return next((e for e in started if (e["job"], e["attempt"]) == (job_id, attempt)), None)

        return dict(wait_for(entry, timeout))

    def go_on(self, attempt: int | None = None) -> None:
        """Lets the jobs that wait for it go on: all, or only those at that attempt."""
        (self.home / (f"go-on-{attempt}" if attempt else "go-on")).touch()

    @property
    def server(self) -> SocketRedis:
        """The Redis server."""
        assert self._server is not None
        return self._server

    @property
    def redis(self) -> redis.Redis:
        """A client of it."""
        return redis.Redis.from_url(self.server.url)

    @contextmanager
    def hanging_redis(self) -> Iterator[None]:
        """Redis keeps its connections and answers nothing."""
        pid = int(self.redis.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def move_clocks(self, hours: float) -> None:
        """Moves the wall clock of all workers."""
        fresh = self.home / "clock.new"
        fresh.write_text(str(hours))
        os.replace(fresh, self.home / "clock")


@contextmanager
def refusing_postgres(url: str) -> Iterator[None]:
    """The PostgreSQL database ends all its connections and lets nobody in."""
    name = make_url(url).database
    server = make_url(url).set(drivername="postgresql+psycopg", database="postgres")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    ended = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            connection.execute(ended, {"name": name})
            try:
                yield
            finally:
                connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    finally:
        engine.dispose()

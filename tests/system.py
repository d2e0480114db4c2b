"""The whole system as people run it: a working folder, a vendor, processes of the program, a view of its database."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import select

from gengfu.clock import utcnow
from gengfu.queue.ledger import Ledger
from gengfu.settings import Secret
from gengfu.store.database import Database
from gengfu.store.jobs import JobRecord, JobState, Outcome
from gengfu.store.run_rows import Run, Verdict
from gengfu.store.runs import RunStore
from gengfu.store.tables import change, job, metadata
from gengfu_simulator.testing import Simulator
from servers import sqlite_url
from stage import state_of, wait_for
from terminal import Ended, Home
from truth import assert_true_copy

PASSWORD = "Kiefer4711 /+%"
"""Its first word is so unlikely that it can be searched for in everything that the program writes."""

SMALL_PAGES = {"API_PAGE_SIZE": "10"}
"""So that a small fleet has many pages: 128 of them are one window."""

SEARCHED = PASSWORD.split()[0].encode()

RESCUED = 20.0
"""Seconds within which a second worker must have finished what a killed one left."""


class Worker:
    """A process `gengfu queue:work`, and what it printed."""

    def __init__(self, home: Home, log: Path, *arguments: str) -> None:
        self._log = log
        with log.open("wb") as sink:
            self.process = home.start("queue:work", *arguments, stdout=sink, stderr=sink)

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ready(self) -> Worker:
        """Waits until it takes jobs."""
        wait_for(lambda: "worker ready" in self.log or not self.alive, 60, every=0.03)
        assert self.alive, self.log
        return self

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Puts it to sleep, and returns when it sleeps."""
        self.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: state_of(self.process.pid) == "T")

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def told_to_stop(self) -> int:
        """Sends SIGTERM and waits for the end; the exit code."""
        self.process.terminate()
        return self.process.wait(40)


class System:
    """A working folder with all that belongs to it, from its making until `close`, which lets nothing be left behind.

    `view` is the address at which the test looks into the database, where that is not the program's own.
    """

    def __init__(
        self, folder: Path, sim: Simulator, database_url: str | None = None, view: str | None = None, **settings: str
    ) -> None:
        self.sim = sim
        vendor = {"API_WECHAT_URL": sim.url, "API_USERNAME": sim.username, "API_PASSWORD": sim.password}
        address = {} if database_url is None else {"DATABASE_URL": database_url}
        self._settings = vendor | address | settings
        self.home = Home(folder, **self._settings)
        self.db = Database(Secret(view or database_url or sqlite_url(folder / "var" / "gengfu.db")), folder)
        self.runs = RunStore(self.db, utcnow)
        self.ledger = Ledger(self.db)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers: list[Worker] = []

    def set(self, **settings: str) -> None:
        """Changes `.env`."""
        self._settings |= settings
        self.home.set(**self._settings)

    # The program's processes.

    def tell(self, *arguments: str, code: int = 0, **environment: str) -> Ended:
        """Runs a command, which must end with that exit code."""
        ended = self.home.run(*arguments, **environment)
        assert ended.code == code, (arguments, ended)
        assert SEARCHED not in (ended.out + ended.err).encode()
        return ended

    def ask(self, *arguments: str, code: int = 0) -> Any:
        """The JSON object that a command answers with."""
        return self.tell(*arguments, "--json", code=code).json

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a command, its output in pipes."""
        self._processes.append(self.home.start(*arguments))
        return self._processes[-1]

    def worker(self, *arguments: str) -> Worker:
        """Starts a worker; `ready` waits for it."""
        log = self.home.folder / f"worker-{len(self._workers)}.out"
        self._workers.append(Worker(self.home, log, *arguments))
        return self._workers[-1]

    def accept(self) -> int:
        """Starts a run with `device:list`; its id, as soon as it is accepted."""
        before = max((run.id for run in self.runs.latest(1)), default=0)
        self.start("device:list")
        return int(wait_for(lambda: [run.id for run in self.runs.latest(1) if run.id > before], 30)[0])

    def close(self) -> None:
        """Ends all processes, and checks that none is left and that none wrote the password down, or a stack trace."""
        self.db.dispose()
        for process in [*self._processes, *(worker.process for worker in self._workers)]:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.sim.close()
        try:
            wait_for(lambda: not self.processes(), every=0.1)
        except TimeoutError:
            left = self.processes()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left behind: {left}") from None
        self._read_what_was_written()
        assert self.sim.complaints() == ""

    def _read_what_was_written(self) -> None:
        for path in self.home.folder.rglob("*"):
            if path.is_file() and path.name != ".env":
                written = path.read_bytes()
                assert SEARCHED not in written, path
                if path.suffix in (".out", ".log"):
                    assert b"Traceback" not in written, written.decode("utf-8", "replace")

    def processes(self) -> dict[int, str]:
        """The processes of this working folder, by process id."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                place = (folder / "cwd").readlink()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if place.is_relative_to(self.home.folder):
                found[int(folder.name)] = command
        return found

    # What the database holds.

    def run(self, run_id: int) -> Run:
        found = self.runs.get(run_id)
        assert found is not None
        return found

    def await_end(self, run_id: int, timeout: float = 60) -> Run:
        """The run, as soon as nobody works on it any more."""
        try:
            wait_for(lambda: not self.run(run_id).active, timeout, every=0.05)
        except TimeoutError:
            raise AssertionError(f"{self.run(run_id)}\n{self.jobs(run_id)}\n{self.logs()}") from None
        return self.run(run_id)

    def jobs(self, run_id: int) -> list[JobRecord]:
        """All jobs that work or worked for the run."""
        with self.db.read() as connection:
            ids = list(connection.scalars(select(job.c.id).where(job.c.subject == f"run:{run_id}").order_by(job.c.id)))
        return [shown[0] for job_id in ids if (shown := self.ledger.show(job_id))]

    def outcomes(self, run_id: int) -> list[list[Outcome | None]]:
        """How the attempts at the run's jobs ended, job by job."""
        shown = [self.ledger.show(record.id) for record in self.jobs(run_id)]
        return [[attempt.outcome for attempt in found[1]] for found in shown if found is not None]

    def rows(self) -> dict[str, list[Any]]:
        """Everything but signs of life, by table."""
        tables = [table for table in metadata.sorted_tables if table.name != "lease"]
        with self.db.read() as connection:
            return {t.name: sorted(map(tuple, connection.execute(select(t))), key=str) for t in tables}

    def is_locked(self) -> bool:
        """Whether somebody's transaction keeps all others from writing, as only SQLite's do."""
        if self.db.path is None:
            return False
        with closing(sqlite3.connect(self.db.path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    def logs(self) -> str:
        """What the workers printed."""
        return "\n".join(f"worker {number}:\n{worker.log}" for number, worker in enumerate(self._workers))

    # What must hold.

    def assert_complete(self, run_id: int, **counts: int) -> Run:
        """The run is complete, the mirror is the vendor's list, and nothing was done twice or is left to do."""
        run = self.await_end(run_id)
        assert run.verdict == Verdict.COMPLETE, (run, self.logs())
        assert {name: getattr(run, name) for name in counts} == counts, run
        assert_true_copy(self.sim, self.db)
        wait_for(lambda: {record.state for record in self.jobs(run_id)} == {JobState.DONE})
        for outcomes in self.outcomes(run_id):
            assert Counter(outcomes)[Outcome.DONE] == 1, outcomes
            assert None not in outcomes, outcomes
        self.assert_no_change_twice()
        return run

    def assert_no_change_twice(self) -> None:
        """No change of a field was recorded twice by one run."""
        columns = (change.c.run_id, change.c.resource, change.c.row_id, change.c.field)
        with self.db.read() as connection:
            changes = Counter(tuple(row) for row in connection.execute(select(*columns)))
        assert [change for change, times in changes.items() if times > 1] == []


def stop_at(worker: Worker, moment: Callable[[], bool], timeout: float = 30) -> None:
    """Puts the worker to sleep at a moment that still lasts when it sleeps."""
    deadline = time.monotonic() + timeout
    while True:
        if moment():
            worker.stop()
            if moment():
                return
            worker.wake()
        assert time.monotonic() < deadline, f"the moment never came\n{worker.log}"
        time.sleep(0.001)

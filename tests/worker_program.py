"""A worker process with jobs that show what they do; the tests start it, stop it and kill it.

Its one argument is JSON: `database`, `redis` (an address, or nothing), `home`, `log`, `options` of `WorkerOptions`,
`hang` for a dispatcher that is stuck, and what spares the tests mere waiting: `dead_after` (seconds of silence that are
death), `last_words`, `slow_after`, `longest`, `renew_every`.

Without an argument it is a nursery, which has everything loaded: for each line `start JSON` it forks such a worker and
answers with its process id, for each line `code PID` it answers with the exit code, or `none`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gengfu.clock import utcnow
from gengfu.errors import ConfigError, GengfuError, LoginRefused, Postpone, Stopped, StoreError
from gengfu.process import monitor
from gengfu.queue import dispatcher, executor, worker
from gengfu.queue.job import Job, JobContext
from gengfu.queue.notify import Notifier
from gengfu.queue.options import WorkerOptions
from gengfu.queue.worker import run_worker
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database


class Journal:
    """A file to which every process appends what happens, with the time of the machine's monotonic clock."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._path = home / "journal"

    def write(self, what: str, **more: Any) -> None:
        """Appends an entry."""
        line = json.dumps({"what": what, "pid": os.getpid(), "at": time.monotonic(), **more}) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def read(self, what: str | None = None) -> list[dict[str, Any]]:
        """The entries of that kind, or all."""
        text = self._path.read_text() if self._path.exists() else ""
        entries = [json.loads(line) for line in text.splitlines()]
        return [entry for entry in entries if what is None or entry["what"] == what]


class Shown(Job):
    """A job that writes down when it starts and when it is given up."""

    backoff = (0.3,)

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def fire(self, context: JobContext, *_: Any, **args: Any) -> str | None:
        self.journal.write("started", job=context.job_id, attempt=context.attempt, fence=context.fence, **args)
        note = self.act(context, **args)
        self.journal.write("ended", job=context.job_id, attempt=context.attempt)
        return note

    def act(self, context: JobContext, **args: Any) -> str | None:
        return "shown"

    def failed(self, job_id: int, cause: str, *_: Any, goodbye: str = "", **args: Any) -> None:
        self.journal.write("failed", cause=cause, **args)
        if goodbye == "broken":
            raise RuntimeError("no goodbye")
        if goodbye == "away" and len(self.journal.read("failed")) == 1:
            raise StoreError("the database is away")

    def may_go_on(self, context: JobContext) -> bool:
        return any((self.journal.home / name).exists() for name in ("go-on", f"go-on-{context.attempt}"))


class Urgent(Shown):
    queue = "urgent"


class Patient(Shown):
    """Waits until the test lets it go on; ends when told to stop."""

    def act(self, context: JobContext, **args: Any) -> str | None:
        while not self.may_go_on(context):
            if context.stop.wait(0.02):
                self.journal.write("told to stop", job=context.job_id)
                raise Stopped("told to stop")
        return "went on"


class Heedless(Shown):
    """Waits until the test lets it go on, whatever it is told."""

    timeout = 0.5

    def act(self, context: JobContext, **args: Any) -> str | None:
        while not self.may_go_on(context):
            time.sleep(0.02)
        return "heard nothing"


class Stubborn(Heedless):
    timeout = 600.0


class Slow(Patient):
    timeout = 0.5


class Killer(Shown):
    def act(self, context: JobContext, **args: Any) -> str | None:
        os.kill(os.getpid(), signal.SIGKILL)
        return None


class Raising(Shown):
    def act(self, context: JobContext, *, error: str = "plain", **args: Any) -> str | None:
        raise {
            "plain": RuntimeError("broken"),
            "known": GengfuError("the vendor is closed today"),
            "refused": LoginRefused("wrong password"),
            "unset": ConfigError("API_USERNAME is not set"),
            "exit": SystemExit(3),
        }[error]


class Postponing(Shown):
    def act(self, context: JobContext, **args: Any) -> str | None:
        if len(self.journal.read("started")) < 5:
            raise Postpone("the vendor asks for patience", 0.05)
        return None


class Hungry(Shown):
    kept: list[bytearray] = []  # noqa: RUF012

    def act(self, context: JobContext, **args: Any) -> str | None:
        self.kept.append(bytearray(os.urandom(1 << 20) * 100))
        return None


JOBS = {
    "shown": Shown,
    "urgent": Urgent,
    "patient": Patient,
    "heedless": Heedless,
    "stubborn": Stubborn,
    "slow": Slow,
    "killer": Killer,
    "raising": Raising,
    "postponing": Postponing,
    "hungry": Hungry,
}


def main(text: str) -> int:
    """Runs the worker; returns its exit code."""
    told = json.loads(text)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s %(told)s")
    logging.getLogger().handlers[0].addFilter(_tell)
    worker.STOP_GRACE = executor.STOP_GRACE = told.get("last_words", 1.0)
    worker.SLOW_AFTER = told.get("slow_after", worker.SLOW_AFTER)
    worker.LONGEST = told.get("longest", worker.LONGEST)
    monitor.RENEW_EVERY = told.get("renew_every", monitor.RENEW_EVERY)
    if told.get("hang"):
        dispatcher.Dispatcher._round = lambda self: time.sleep(600)  # type: ignore[method-assign, assignment]
    if "dead_after" in told:
        monitor.DEAD_AFTER = told["dead_after"]
        monitor.RENEW_EVERY = told["dead_after"] / 5
    journal = Journal(Path(told["home"]))
    options = {**told["options"], "queues": tuple(told["options"].get("queues", ()))}
    child = {**told, "options": {**told["options"], "processes": 1}}
    return run_worker(
        WorkerOptions(**options),
        db=Database(Secret(told["database"]), journal.home),
        jobs={name: lambda kind=kind: kind(journal) for name, kind in JOBS.items()},
        notifier=Notifier(Settings(journal.home, redis_url=Secret(told["redis"]) if told["redis"] else None)),
        clock=lambda: _shifted(journal.home),
        child_argv=[sys.executable, __file__, json.dumps(child)],
    )


def _shifted(home: Path) -> datetime:
    """The time of a clock that the test moved by the hours in the file `clock`."""
    path = home / "clock"
    return utcnow() + timedelta(hours=float(path.read_text()) if path.exists() else 0.0)


def _tell(record: logging.LogRecord) -> bool:
    plain = logging.makeLogRecord({}).__dict__
    more = {key: value for key, value in record.__dict__.items() if key not in plain and key != "message"}
    record.told = " ".join(f"{key}={value}" for key, value in more.items())
    return True


def nursery() -> None:
    """Forks workers until its input ends."""
    while line := sys.stdin.readline():
        word, _, text = line.partition(" ")
        if word == "code":
            pid, status = os.waitpid(int(text), os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "none", flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            os.setpgid(0, 0)
            log = os.open(json.loads(text)["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.exit(main(text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) > 1 else nursery())

"""For tests of user code: a working folder of a test's own in which commands and jobs are tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from gengfu.app import App
from gengfu.cli.catalogue import Catalogue
from gengfu.errors import NotFound
from gengfu.queue.job import JobContext
from gengfu.settings import Settings, load_settings

if TYPE_CHECKING:
    from gengfu.queue.job import Job


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command came to."""

    code: int
    """Its exit code: 0 done or accepted, 1 failed, 2 wrong usage or configuration."""
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The object that it answered with, where `--json` was given."""
        return json.loads(self.out)


class Trial:
    """A working folder of a test's own with the user's `app` in it, and a fresh database.

    Neither the settings, nor the database, nor the logs of the real working folder are seen or touched. What a command
    queues is recorded and waits; no worker takes it.
    """

    def __init__(self, folder: Path, app: Path, **settings: str) -> None:
        """
        Args:
            folder: an empty folder, such as pytest's `tmp_path`.
            app: the user's folder `app`.
            settings: such as `API_WECHAT_URL="http://127.0.0.1:8000/"`.
        """
        self._folder = folder.resolve()
        self._home = app.resolve().parent
        if not (self._folder / app.name).is_symlink():
            (self._folder / app.name).symlink_to(app.resolve(), target_is_directory=True)
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (self._folder / ".env").write_text("".join(lines), "utf-8")

    def run(self, *arguments: str, timeout: float = 60.0) -> Ended:
        """Runs the program with these arguments, for at most `timeout` seconds."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gengfu", *arguments],
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def perform(self, job: str | type[Job], **args: Any) -> str | None:
        """Does one attempt at a job, found by its name as a worker finds it, and returns its note.

        Raises:
            NotFound: there is no such job.
            Exception: whatever the job raises.
        """
        name = job if isinstance(job, str) else job.__name__
        with self.app() as app:
            found = app.catalogue.jobs.get(name)
            if found is None:
                why = app.catalogue.broken_jobs.get(name)
                raise NotFound(f"there is no job {name!r}" + (f", since this cannot be used: {why}" if why else ""))
            return found(app).fire(JobContext(1, 1, 1, Event()), **json.loads(json.dumps(args)))

    @contextmanager
    def app(self) -> Iterator[App]:
        """What commands and jobs know as `self.app`, as long as the `with` block lasts."""
        settings = load_settings(self._environment())
        app = App(settings, Catalogue(self._home))
        try:
            yield app
        finally:
            app.close()

    def queued(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and arguments of the jobs that wait, the oldest first."""
        from gengfu.store.overview import waiting_jobs

        with self.app() as app:
            return waiting_jobs(app.light_db)

    def _environment(self) -> dict[str, str]:
        ours = {field.name.upper() for field in fields(Settings)}
        clean = {name: text for name, text in os.environ.items() if name not in ours}
        return clean | {"GENGFU_HOME": str(self._folder)}

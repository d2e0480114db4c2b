"""What `make:command` and `make:job` write: files that run as they are, and their tests."""

from __future__ import annotations

from string import Template

COMMAND = Template('''\
"""The command `$name`."""

from __future__ import annotations

from gengfu import BaseCommand


class $command(BaseCommand):
    """Say hello

    Example:
      gengfu $name
    """

    name = "$name"
$schedule    log_file = "$stem.log"

    def handle(self) -> int:
        self.out.say("Hello from $name.")
        self.out.answer({"status": "done"})
        return 0
''')

QUEUEING_COMMAND = Template('''\
"""The command `$name`."""

from __future__ import annotations

from gengfu import BaseCommand


class $command(BaseCommand):
    """Queue the job $job

    Example:
      gengfu $name
    """

    name = "$name"
$schedule    log_file = "$stem.log"

    def handle(self) -> int:
        from $job_module import $job

        day = self.out.local(self.app.clock()).date().isoformat()
        job_id = self.app.dispatch($job, day=day)
        self.out.say(f"Job {job_id} is queued for {day}.")
        self.out.answer({"status": "accepted", "job": job_id, "day": day})
        return 0
''')

JOB = Template('''\
"""The job `$job`."""

from __future__ import annotations

import logging

from gengfu import App, Job, JobContext, Stopped

log = logging.getLogger(__name__)


class $job(Job):
    """Does the work of one day; done again, it does no harm."""

    app: App
    queue = "$queue"
    tries = 3
    timeout = 600.0

    def fire(self, context: JobContext, day: str) -> str:
        """Works for `day`, such as 2026-01-31; returns a note for the ledger."""
        if context.stop.is_set():
            raise Stopped("told to stop")
        log.info("working", extra={"day": day})
        return f"done for {day}"
''')

COMMAND_TEST = Template('''\
"""What `$name` does."""

from __future__ import annotations

from pathlib import Path

from gengfu.testing import Trial


def test_${stem}_ends_well(tmp_path: Path) -> None:
    trial = Trial(tmp_path, app=Path(__file__).parents[1])
    ended = trial.run("$name", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["status"] == "done"
''')

QUEUEING_COMMAND_TEST = Template('''\
"""What `$name` does."""

from __future__ import annotations

from pathlib import Path

from gengfu.testing import Trial


def test_${stem}_queues_its_job(tmp_path: Path) -> None:
    trial = Trial(tmp_path, app=Path(__file__).parents[1])
    ended = trial.run("$name", "--json")
    assert ended.code == 0, ended.err
    assert trial.queued() == [("$job", {"day": ended.json["day"]})]
''')

JOB_TEST = Template('''\
"""What `$job` does."""

from __future__ import annotations

from pathlib import Path

from gengfu.testing import Trial


def test_${job_stem}_job_says_what_it_did(tmp_path: Path) -> None:
    trial = Trial(tmp_path, app=Path(__file__).parents[1])
    assert trial.perform("$job", day="2026-01-31")
''')

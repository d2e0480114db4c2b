"""The commands that write new commands and jobs into the working folder."""

from __future__ import annotations

import keyword
import re

import click

from gengfu.cli.base import COMMAND_NAME
from gengfu.cli.parts.writing import Making
from gengfu.errors import FileError, UsageError
from gengfu.queue.options import QUEUE_NAME
from gengfu.services.user_code import own_jobs

_FORCE = click.Option(["--force"], is_flag=True, help="Overwrite files that are there.")
_LONGEST = 40
_JOB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([_:-][A-Za-z0-9]+)*")


class _Make(Making):
    """Knows the names and the files of a job."""

    def job_names(self, job: str) -> tuple[str, str]:
        """The class of a job and its file without the suffix, however it is typed."""
        job_class, stem = _job_names(job)
        if job_class in self.app.jobs and job_class not in self.app.catalogue.jobs:
            raise _taken(job, stem)
        return job_class, stem

    def job_files(self, job: str, stem: str, queue: str) -> dict[str, str]:
        """The files of a new job."""
        from gengfu.cli.parts import templates

        values = {"job": job, "job_stem": stem, "queue": queue}
        return {
            f"app/jobs/{stem}.py": templates.JOB.substitute(values),
            f"app/tests/test_{stem}_job.py": templates.JOB_TEST.substitute(values),
        }


class MakeCommand(_Make):
    """Write a new command with its test, ready to run

    Writes `app/commands/<family>_<verb>.py` and its test in `app/tests`. With
    --job the command queues that job, which is written too unless it is there.

    Examples:
      gengfu make:command report:daily
      gengfu make:command report:daily --schedule "0 2 * * *" --job report_daily
    """

    name = "make:command"
    options = (
        click.Argument(["command"], metavar="NAME"),
        click.Option(["--schedule"], metavar="CRON", help="When it runs, as five fields of a crontab or @daily."),
        click.Option(["--job"], metavar="NAME", help="The job that it queues."),
        _FORCE,
    )

    def handle(self, command: str, schedule: str | None, job: str | None, force: bool) -> int:
        from gengfu.cli.parts import templates

        stem = _command_stem(command)
        if schedule is not None:
            schedule = _checked_cron(schedule)
        self._refuse_taken(command, f"app/commands/{stem}.py")
        values = {
            "name": command,
            "stem": stem,
            "command": _class_name(stem),
            "schedule": f'    schedule = "{schedule}"\n' if schedule is not None else "",
        }
        files: dict[str, str] = {}
        if job is None:
            files[f"app/commands/{stem}.py"] = templates.COMMAND.substitute(values)
            files[f"app/tests/{_test_name(stem)}.py"] = templates.COMMAND_TEST.substitute(values)
        else:
            job_class, job_stem = self.job_names(job)
            known = self.app.catalogue.jobs.get(job_class)
            if known is None:
                files |= self.job_files(job_class, job_stem, "default")
            values |= {"job": job_class, "job_module": known.__module__ if known else f"app.jobs.{job_stem}"}
            files[f"app/commands/{stem}.py"] = templates.QUEUEING_COMMAND.substitute(values)
            files[f"app/tests/{_test_name(stem)}.py"] = templates.QUEUEING_COMMAND_TEST.substitute(values)
        steps = [f"gengfu {command}", "pytest app/tests"]
        if job is not None:
            steps.insert(1, "gengfu queue:work --stop-when-empty")
        if schedule is not None:
            steps.append("gengfu schedule:list")
        told = {"command": command, "class": values["command"], "schedule": schedule, "job": values.get("job")}
        return self.write(files, told, steps, force=force)

    def _refuse_taken(self, command: str, file: str) -> None:
        found = self.app.catalogue.command(command)
        if found is None:
            return
        if not found.__module__.startswith("app."):
            raise UsageError(f"the command {command} is there already ({found.__module__}); choose another name")
        there = found.__module__.replace(".", "/") + ".py"
        if there != file:
            raise FileError(f"the command {command} is there already, in {there}; change it there")


class MakeJob(_Make):
    """Write a new job with its test, ready to be queued

    Writes `app/jobs/<name>.py` and its test in `app/tests`. A command queues it
    with one line: self.app.dispatch(ReportDailyJob, day="2026-01-31").

    Examples:
      gengfu make:job report_daily
      gengfu make:job report_daily --queue reports
    """

    name = "make:job"
    options = (
        click.Argument(["job"], metavar="NAME"),
        click.Option(["--queue"], default="default", show_default=True, metavar="NAME", help="The queue it waits in."),
        _FORCE,
    )

    def handle(self, job: str, queue: str, force: bool) -> int:
        if not QUEUE_NAME.fullmatch(queue):
            raise UsageError(f"--queue names {queue!r}; a queue's name is a letter, then letters, digits, _ and -")
        job_class, stem = self.job_names(job)
        known = self.app.catalogue.jobs.get(job_class)
        if known is not None and known.__module__ != f"app.jobs.{stem}":
            raise FileError(f"the job {job_class} is there already, in {known.__module__}; change it there")
        command = stem.replace("_", ":", 1)
        steps = [f"gengfu make:command {command} --job {stem}", "pytest app/tests"]
        told = {"job": job_class, "queue": queue}
        return self.write(self.job_files(job_class, stem, queue), told, steps, force=force)


def _command_stem(command: str) -> str:
    """The file of a command, without its suffix."""
    if not COMMAND_NAME.fullmatch(command) or len(command) > _LONGEST:
        wrong = f"{command!r} is no name for a command"
        raise UsageError(f"{wrong}; a name is like report:daily, in small letters, with at most {_LONGEST} of them")
    stem = re.sub(r"\W+", "_", command)
    if keyword.iskeyword(stem):
        raise UsageError(f"{command!r} is a word of Python's own; for example: {command}:daily")
    return stem


def _taken(job: str, stem: str) -> UsageError:
    return UsageError(f"{job!r} is a name that Python or Gengfu has for itself; for example: {stem}_daily")


def _job_names(job: str) -> tuple[str, str]:
    """`ReportDailyJob` and `report_daily`."""
    if not _JOB_NAME.fullmatch(job) or len(job) > _LONGEST:
        raise UsageError(f"{job!r} is no name for a job; a name is like report_daily, with at most {_LONGEST} letters")
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", job)
    stem = re.sub(r"[:-]", "_", words).lower()
    stem = stem.removesuffix("_job") or stem
    if keyword.iskeyword(stem) or f"{_camel(stem)}Job" in {own.__name__ for own in own_jobs()}:
        raise _taken(job, stem)
    return f"{_camel(stem)}Job", stem


def _class_name(stem: str) -> str:
    """The class of a command; one that the file imports under that name stays what it is."""
    name = _camel(stem)
    return f"{name}Command" if name == "BaseCommand" or name.endswith("Job") else name


def _test_name(stem: str) -> str:
    """The test of a command; `test_<name>_job` are those of jobs."""
    return f"test_{stem}_command" if stem.endswith("_job") else f"test_{stem}"


def _camel(stem: str) -> str:
    return "".join(word.capitalize() for word in stem.split("_"))


def _checked_cron(expression: str) -> str:
    """The expression as it is written into a file.

    Raises:
        ConfigError: the schedule would not take it.
    """
    from gengfu.schedule.cron import Cron

    return " ".join(Cron(expression, "UTC").expression.split())

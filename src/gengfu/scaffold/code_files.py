"""The files of a new command or job, which run as they are, each with its test."""

from __future__ import annotations

from gengfu.scaffold.names import class_name, test_name
from gengfu.templates import render


def job_files(job: str, stem: str, queue: str) -> dict[str, str]:
    """Every file by its place in the working folder."""
    values = {"job": job, "job_stem": stem, "queue": queue}
    return {
        f"app/jobs/{stem}.py": render("gengfu.scaffold", "job.py.txt", **values),
        f"app/tests/test_{stem}_job.py": render("gengfu.scaffold", "job_test.py.txt", **values),
    }


def command_files(
    name: str, stem: str, schedule: str | None, job: str | None = None, job_module: str = ""
) -> dict[str, str]:
    """Every file by its place in the working folder.

    Args:
        job: the class of the job that the command queues, in the module `job_module`.
    """
    kind = "command" if job is None else "queueing_command"
    values = {
        "name": name,
        "stem": stem,
        "command": class_name(stem),
        "schedule": f'    schedule = "{schedule}"' if schedule is not None else "",
        "job": job,
        "job_module": job_module,
    }
    return {
        f"app/commands/{stem}.py": render("gengfu.scaffold", f"{kind}.py.txt", **values),
        f"app/tests/{test_name(stem)}.py": render("gengfu.scaffold", f"{kind}_test.py.txt", **values),
    }

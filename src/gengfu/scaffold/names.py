"""How the names of commands and jobs become files and classes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection

from gengfu.discovery import COMMAND_NAME
from gengfu.errors import UsageError
from gengfu.language import tr

_LONGEST = 40
_JOB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([_:-][A-Za-z0-9]+)*")


def command_stem(command: str) -> str:
    """The file of a command, without its suffix.

    Raises:
        UsageError: it cannot be called so.
    """
    if not COMMAND_NAME.fullmatch(command) or len(command) > _LONGEST:
        wrong = tr("{command!r} is no name for a command", command=command)
        raise UsageError(
            tr(
                "{wrong}; a name is like report:daily, in small letters, with at most {longest} of them",
                wrong=wrong,
                longest=_LONGEST,
            )
        )
    stem = re.sub(r"\W+", "_", command)
    if keyword.iskeyword(stem):
        raise UsageError(tr("{command!r} is a word of Python's own; for example: {command}:daily", command=command))
    return stem


def taken(job: str, stem: str) -> UsageError:
    """The error for a name that another job has."""
    return UsageError(
        tr("{job!r} is a name that Python or Gengfu has for itself; for example: {stem}_daily", job=job, stem=stem)
    )


def job_names(job: str, own: Collection[str]) -> tuple[str, str]:
    """The class of a job and its file without the suffix, however it is typed: `ReportDailyJob` and `report_daily`.

    Args:
        own: the classes of the program's own jobs, whose names are taken.

    Raises:
        UsageError: it cannot be called so.
    """
    if not _JOB_NAME.fullmatch(job) or len(job) > _LONGEST:
        raise UsageError(
            tr(
                "{job!r} is no name for a job; a name is like report_daily, with at most {longest} letters",
                job=job,
                longest=_LONGEST,
            )
        )
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", job)
    stem = re.sub(r"[:-]", "_", words).lower()
    stem = stem.removesuffix("_job") or stem
    if keyword.iskeyword(stem) or f"{_camel(stem)}Job" in own:
        raise taken(job, stem)
    return f"{_camel(stem)}Job", stem


def class_name(stem: str) -> str:
    """The class of a command; one that the file imports under that name stays what it is."""
    name = _camel(stem)
    return f"{name}Command" if name == "BaseCommand" or name.endswith("Job") else name


def test_name(stem: str) -> str:
    """The test of a command; `test_<name>_job` are those of jobs."""
    return f"test_{stem}_command" if stem.endswith("_job") else f"test_{stem}"


def _camel(stem: str) -> str:
    return "".join(word.capitalize() for word in stem.split("_"))

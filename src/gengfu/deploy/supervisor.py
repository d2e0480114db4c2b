"""The configuration for supervisor: a group with the scheduler and the workers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from gengfu.deploy.plan import DeployFile, Plan
from gengfu.errors import UsageError
from gengfu.language import tr
from gengfu.templates import render

PLACES = (
    (Path("/etc/supervisor/conf.d"), ".conf"),
    (Path("/etc/supervisord.d"), ".ini"),
    (Path("/www/server/panel/plugin/supervisor/profile"), ".ini"),
)
"""Where configurations are looked for, with the ending that is looked for there: Debian, Red Hat, the BT panel."""

RETRIES = 100_000
"""Quick exits in a row after which supervisor gives a program up. The pause before a start grows by a second with each,
so this is never reached; the 30 tries of a usual configuration are used up after eight minutes without a database."""


def place() -> tuple[Path, str]:
    """The folder for configurations on this host, with the ending of their names; Debian's where there is none."""
    return next(((folder, ending) for folder, ending in PLACES if folder.is_dir()), PLACES[0])


def files_of(plan: Plan, ending: str = ".conf") -> list[DeployFile]:
    """The configuration file.

    Raises:
        UsageError: a path holds what supervisor takes for the start of a comment.
    """
    text = render(
        "gengfu.deploy",
        "supervisor.conf",
        mark=plan.mark,
        name=plan.name,
        worker=_program(plan, "worker", plan.worker, plan.workers),
        scheduler=_program(plan, "scheduler", plan.scheduler, 1),
        watchdog=_program(plan, "watchdog", ("/bin/sh", "-c", _each_minute(plan.watchdog)), 1),
    )
    return [DeployFile(f"{plan.name}{ending}", text)]


def _each_minute(command: Sequence[str]) -> str:
    return f"while sleep 60; do {shlex.join(command)}; done"


def _program(plan: Plan, kind: str, command: Sequence[str], count: int) -> str:
    """A section. What its processes print goes where supervisor keeps such things: a supervisord of root that wrote
    into the folder of another account would follow the links that lie there."""
    return render(
        "gengfu.deploy",
        "supervisor-program.conf",
        name=plan.name,
        kind=kind,
        process_name="%(program_name)s_%(process_num)02d" if count > 1 else "%(program_name)s",
        command=_plain(shlex.join(command)),
        folder=_plain(str(plan.folder)),
        user=plan.user,
        count=count,
        retries=RETRIES,
        stop_wait=plan.stop_wait,
    )


def _plain(text: str) -> str:
    if " ;" in text or " #" in text:
        raise UsageError(
            tr("supervisor takes what follows ' ;' or ' #' for a comment, so it cannot be given {text!r}", text=text)
        )
    return text.replace("%", "%%")

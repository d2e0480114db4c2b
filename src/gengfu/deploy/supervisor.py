"""The configuration for supervisor: a group with the scheduler and the workers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from gengfu.deploy.plan import Piece, Plan, options
from gengfu.errors import UsageError

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


def pieces(plan: Plan, ending: str = ".conf") -> list[Piece]:
    """The configuration file.

    Raises:
        UsageError: a path holds what supervisor takes for the start of a comment.
    """
    parts = [
        plan.mark,
        _program(plan, "worker", plan.worker, plan.workers),
        _program(plan, "scheduler", plan.scheduler, 1),
        options(f"group:{plan.name}", {"programs": f"{plan.name}_worker,{plan.name}_scheduler"}),
    ]
    return [Piece(f"{plan.name}{ending}", "\n".join(parts))]


def _program(plan: Plan, kind: str, command: Sequence[str], count: int) -> str:
    number = "%(process_num)02d"
    log = _plain(str(plan.logs / f"supervisor_{kind}_"))
    return options(
        f"program:{plan.name}_{kind}",
        {
            "process_name": f"%(program_name)s_{number}" if count > 1 else "%(program_name)s",
            "command": _plain(shlex.join(command)),
            "directory": _plain(str(plan.folder)),
            "environment": f'GENGFU_HOME="{_plain(str(plan.folder))}",PYTHONUNBUFFERED="1"',
            "user": plan.user,
            "numprocs": count,
            "autostart": "true",
            "autorestart": "true",
            "startsecs": 5,
            "startretries": RETRIES,
            "stopsignal": "TERM",
            "stopwaitsecs": plan.stop_wait,
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            # Supervisor rotates the file, so each process has its own. Percent signs are read twice here.
            "stdout_logfile": f"{log.replace('%', '%%')}{number}.log",
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 3,
        },
    )


def _plain(text: str) -> str:
    if " ;" in text or " #" in text:
        raise UsageError(f"supervisor takes what follows ' ;' or ' #' for a comment, so it cannot be given {text!r}")
    return text.replace("%", "%%")

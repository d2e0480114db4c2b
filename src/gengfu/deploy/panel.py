"""What to enter in the BT panel (宝塔面板): scripts for its scheduled tasks, fields for its process manager."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gengfu.deploy.plan import DeployFile, Plan
from gengfu.deploy.supervisor import RETRIES
from gengfu.templates import render


def files_of(plan: Plan) -> list[DeployFile]:
    """The page to read, and both scripts as files."""
    schedule, watchdog = _script(plan, plan.schedule_pass), _script(plan, plan.watchdog)
    return [
        DeployFile(f"{plan.name}-bt.txt", _page(plan, schedule, watchdog)),
        DeployFile(f"{plan.name}-bt-schedule.sh", schedule),
        DeployFile(f"{plan.name}-bt-watchdog.sh", watchdog),
    ]


def _page(plan: Plan, schedule: str, watchdog: str) -> str:
    """All that is to be entered, in the panel's own words, in Chinese and English."""
    return render(
        "gengfu.deploy",
        "bt.txt",
        mark=plan.mark,
        folder=plan.folder,
        name=plan.name,
        user=plan.user,
        workers=plan.workers,
        command=shlex.join(plan.worker).replace("%", "%%"),
        schedule=schedule,
        watchdog=watchdog,
        retries=RETRIES,
        stop_wait=plan.stop_wait,
    )


def _script(plan: Plan, command: Sequence[str]) -> str:
    """A script that ends with the command's exit code, and with a line that says it. The panel starts it as root."""
    return render(
        "gengfu.deploy",
        "bt.sh",
        mark=plan.mark,
        shell="/bin/sh" if plan.user == "root" else f"su -s /bin/sh {plan.user}",
        command=shlex.quote(f"cd {shlex.quote(str(plan.folder))} && {shlex.join(command)}"),
    )

"""Units for systemd: a worker template, the scheduler or a timer, and the target that holds them together."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from gengfu.deploy.plan import DeployFile, Plan
from gengfu.templates import render

SYSTEM = Path("/etc/systemd/system")
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What `ProtectHome` closes."""

WATCHDOG = 30
"""Seconds without progress after which systemd restarts a process; each tells of its progress more often than that."""


def family(name: str) -> tuple[str, ...]:
    """The names of all files that a deployment of this name may have."""
    return tuple(f"{name}{end}" for end in (".target", "-worker@.service", "-scheduler.service")) + tuple(
        f"{name}-schedule.{kind}" for kind in ("service", "timer")
    )


def files_of(plan: Plan, *, timers: bool = False, for_user: bool = False) -> list[DeployFile]:
    """The unit files.

    Args:
        timers: a timer that looks at the schedule each minute, in place of a scheduler that stays.
        for_user: for the user's own service manager, which needs no root and cannot fence processes in.
    """
    beside = f"{plan.name}-schedule.timer" if timers else f"{plan.name}-scheduler.service"
    target = render(
        "gengfu.deploy",
        "systemd.target",
        mark=plan.mark,
        wants=" ".join([beside, *(f"{plan.name}-worker@{number}.service" for number in range(1, plan.workers + 1))]),
        boot="default.target" if for_user else "multi-user.target",
    )
    found = [
        DeployFile(f"{plan.name}.target", target),
        _lasting(plan, "worker@", "Gengfu worker %i", plan.worker, for_user),
    ]
    if not timers:
        return [*found, _lasting(plan, "scheduler", "Gengfu scheduler", plan.scheduler, for_user)]
    look = _service(plan, "systemd-schedule.service", plan.schedule_pass, for_user)
    timer = render("gengfu.deploy", "systemd-schedule.timer", mark=plan.mark, target=f"{plan.name}.target")
    return [
        *found,
        DeployFile(f"{plan.name}-schedule.service", look),
        DeployFile(f"{plan.name}-schedule.timer", timer),
    ]


def _lasting(plan: Plan, kind: str, description: str, command: Sequence[str], for_user: bool) -> DeployFile:
    """The unit of a process that stays. No number of quick ends makes systemd give up."""
    text = _service(plan, "systemd-lasting.service", command, for_user, description=description)
    return DeployFile(f"{plan.name}-{kind}.service", text)


def _service(plan: Plan, template: str, command: Sequence[str], for_user: bool, description: str = "") -> str:
    return render(
        "gengfu.deploy",
        template,
        mark=plan.mark,
        description=description,
        target=f"{plan.name}.target",
        network="" if for_user else render("gengfu.deploy", "systemd-network"),
        watchdog=WATCHDOG,
        folder=_text(str(plan.folder)),
        command=" ".join(map(_word, command)),
        stop_wait=plan.stop_wait,
        fence="NoNewPrivileges=true" if for_user else _fence(plan),
    )


def _fence(plan: Plan) -> str:
    """What the processes may not do: write outside of their folders, gain rights, touch the kernel."""
    folders = dict.fromkeys([plan.folder, plan.logs, *plan.writable])
    inner = [path for path in folders if not any(path != other and path.is_relative_to(other) for other in folders)]
    own_tmp = plan.own_tmp and not any(path.is_relative_to("/tmp") for path in inner)
    return render(
        "gengfu.deploy",
        "systemd-fence",
        user=plan.user,
        # A folder that is not there yet must not keep the service from starting.
        writable="\n".join("ReadWritePaths=" + _word(f"-{path}") for path in inner),
        home=_home_protection(inner),
        own_tmp="true" if own_tmp else "false",
    )


def _home_protection(folders: Iterable[Path]) -> str:
    """Homes are closed, or, where the program or its folder lies in one, at least not written outside of the folder."""
    needed = [*folders, Path(sys.prefix), Path(sys.base_prefix).resolve()]
    return "read-only" if any(path.is_relative_to(home) for path in needed for home in HOMES) else "true"


def _text(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    quoted = f'"{_text(text)}"'
    return quoted if shlex.quote(text) != text else _text(text)

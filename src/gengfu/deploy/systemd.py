"""Units for systemd: a worker template, the scheduler or a timer, and the target that holds them together."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from gengfu.deploy.plan import Piece, Plan, options

_Options = Sequence[tuple[str, object]]

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


def pieces(plan: Plan, *, timers: bool = False, for_user: bool = False) -> list[Piece]:
    """The unit files.

    Args:
        timers: a timer that looks at the schedule each minute, in place of a scheduler that stays.
        for_user: for the user's own service manager, which needs no root and cannot fence processes in.
    """
    boot = "default.target" if for_user else "multi-user.target"
    target = f"{plan.name}.target"
    beside = f"{plan.name}-schedule.timer" if timers else f"{plan.name}-scheduler.service"
    wants = " ".join([beside, *(f"{plan.name}-worker@{number}.service" for number in range(1, plan.workers + 1))])
    unit = [("Description", "Gengfu: the schedule and the workers"), ("Wants", wants)]
    found = [
        _file(plan, target, ("Unit", unit), ("Install", [("WantedBy", boot)])),
        _lasting(plan, "worker@", "Gengfu worker %i", plan.worker, for_user),
    ]
    if timers:
        return found + _timer(plan, for_user)
    return [*found, _lasting(plan, "scheduler", "Gengfu scheduler", plan.scheduler, for_user)]


def _lasting(plan: Plan, kind: str, description: str, command: Sequence[str], for_user: bool) -> Piece:
    """The unit of a process that stays."""
    unit = [
        ("Description", description),
        ("PartOf", f"{plan.name}.target"),
        # No number of quick ends makes systemd give up.
        ("StartLimitIntervalSec", 0),
        *_network(for_user),
    ]
    service = [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("WatchdogSec", WATCHDOG),
        *_process(plan, command),
        ("Restart", "always"),
        ("RestartSec", 5),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", plan.stop_wait),
        *_fence(plan, for_user),
    ]
    return _file(plan, f"{plan.name}-{kind}.service", ("Unit", unit), ("Service", service))


def _timer(plan: Plan, for_user: bool) -> list[Piece]:
    """The units that look at the schedule each minute."""
    about = [("Description", "Gengfu: one look at the schedule"), *_network(for_user)]
    look = [
        ("Type", "oneshot"),
        *_process(plan, plan.schedule_pass),
        *_fence(plan, for_user),
    ]
    part = [("Description", "Gengfu: a look at the schedule each minute"), ("PartOf", f"{plan.name}.target")]
    each_minute = [("OnCalendar", "*-*-* *:*:00"), ("AccuracySec", "1s"), ("Persistent", "true")]
    return [
        _file(plan, f"{plan.name}-schedule.service", ("Unit", about), ("Service", look)),
        _file(plan, f"{plan.name}-schedule.timer", ("Unit", part), ("Timer", each_minute)),
    ]


def _file(plan: Plan, name: str, *sections: tuple[str, _Options]) -> Piece:
    return Piece(name, "\n".join([plan.mark, *(options(title, pairs) for title, pairs in sections)]))


def _network(for_user: bool) -> _Options:
    return [] if for_user else [("After", "network-online.target"), ("Wants", "network-online.target")]


def _process(plan: Plan, command: Sequence[str]) -> _Options:
    folder = _text(str(plan.folder))
    return [
        ("WorkingDirectory", folder),
        ("Environment", f'"GENGFU_HOME={folder}" PYTHONUNBUFFERED=1'),
        ("ExecStart", " ".join(map(_word, command))),
    ]


def _fence(plan: Plan, for_user: bool) -> _Options:
    """What the processes may not do: write outside of their folders, gain rights, touch the kernel."""
    if for_user:
        return [("NoNewPrivileges", "true")]
    folders = dict.fromkeys([plan.folder, plan.logs, *plan.writable])
    inner = [path for path in folders if not any(path != other and path.is_relative_to(other) for other in folders)]
    closed = (
        "NoNewPrivileges PrivateDevices ProtectControlGroups ProtectKernelLogs ProtectKernelModules "
        "ProtectKernelTunables LockPersonality RestrictNamespaces RestrictRealtime RestrictSUIDSGID"
    )
    return [
        ("User", plan.user),
        ("UMask", "0027"),
        ("ProtectSystem", "strict"),
        # A folder that is not there yet must not keep the service from starting.
        *(("ReadWritePaths", _word(f"-{path}")) for path in inner),
        ("ProtectHome", _home_protection(inner)),
        ("PrivateTmp", "true" if plan.own_tmp and not any(path.is_relative_to("/tmp") for path in inner) else "false"),
        *((name, "true") for name in closed.split()),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
        ("SystemCallArchitectures", "native"),
    ]


def _home_protection(folders: Iterable[Path]) -> str:
    """Homes are closed, or, where the program or its folder lies in one, at least not written outside of the folder."""
    needed = [*folders, Path(sys.prefix), Path(sys.base_prefix).resolve()]
    return "read-only" if any(path.is_relative_to(home) for path in needed for home in HOMES) else "true"


def _text(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    quoted = f'"{_text(text)}"'
    return quoted if shlex.quote(text) != text else _text(text)

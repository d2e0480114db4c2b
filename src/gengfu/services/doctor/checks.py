"""All checks of the doctor, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gengfu.services.doctor import checks_ground, checks_running, checks_services
from gengfu.services.doctor.findings import Check, Finding, Level, Patient

CHECKS = (
    Check("interpreter", checks_ground.interpreter),
    Check("settings", checks_ground.settings),
    Check("folders", checks_ground.folders),
    Check("disk", checks_ground.disk),
    Check("logs", checks_ground.logs),
    Check("leftovers", checks_ground.leftovers),
    Check("database", checks_services.database),
    Check("redis", checks_services.redis),
    Check("clock", checks_services.clock),
    Check("vendor", checks_services.vendor),
    Check("login", checks_services.login),
    Check("cron", checks_running.cron),
    Check("autostart", checks_running.autostart),
    Check("processes", checks_running.processes),
    Check("schedule", checks_running.schedule),
    Check("user code", checks_running.user_code),
)


@dataclass(frozen=True, slots=True)
class Told:
    """A finding, with the check that made it."""

    check: str
    finding: Finding
    fixed: str = ""
    """What was done about it."""


def examine(patient: Patient, *, fix: bool = False, checks: Sequence[Check] = CHECKS) -> Iterator[Told]:
    """Makes the checks one by one; one that fails itself is an error line like any other.

    Args:
        fix: mend what is safe to mend.
    """
    for check in checks:
        try:
            for finding in check.examine(patient):
                yield _fixed(check, finding) if fix and finding.fix is not None else Told(check.name, finding)
        except Exception as problem:
            yield Told(check.name, Finding(Level.ERROR, f"this cannot be checked: {_told(problem)}"))


def _fixed(check: Check, finding: Finding) -> Told:
    assert finding.fix is not None
    try:
        done = finding.fix()
    except Exception as problem:
        return Told(check.name, replace(finding, text=f"{finding.text}; it could not be mended: {_told(problem)}"))
    return Told(check.name, replace(finding, level=Level.OK), done)


def _told(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return text or type(problem).__name__

"""All checks of the doctor, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.services.doctor import checks_ground, checks_running, checks_services
from gengfu.services.doctor.findings import Check, DoctorContext, Finding, Level
from gengfu.services.json import to_json
from gengfu.services.within import telling

DATABASE = "database"

CHECKS = (
    Check("interpreter", checks_ground.interpreter),
    Check("settings", checks_ground.settings),
    Check("folders", checks_ground.folders),
    Check("disk", checks_ground.disk),
    Check("logs", checks_ground.logs),
    Check("leftovers", checks_ground.leftovers),
    Check(DATABASE, checks_services.database),
    Check("redis", checks_services.redis),
    Check("clock", checks_services.clock, asks_database=True),
    Check("vendor", checks_services.vendor),
    Check("login", checks_services.login, asks_database=True),
    Check("cron", checks_running.cron),
    Check("autostart", checks_running.autostart),
    Check("processes", checks_running.processes, asks_database=True),
    Check("schedule", checks_running.schedule),
    Check("user code", checks_running.user_code),
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A finding, with the check that made it."""

    check: str
    finding: Finding
    fixed: str = ""
    """What was done about it."""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All findings, in the order of the checks."""

    checks: Sequence[CheckResult]

    @property
    def ok(self) -> bool:
        """Whether none of them is an error."""
        return all(result.finding.level is not Level.ERROR for result in self.checks)


def unreadable_settings(problem: ConfigError) -> DoctorReport:
    """The only finding where the settings cannot be read, on which everything else depends."""
    remedy = "correct it in the environment, .env or gengfu.toml"
    return DoctorReport([CheckResult("settings", Finding(Level.ERROR, str(problem), remedy))])


def examine(context: DoctorContext, *, fix: bool = False, checks: Sequence[Check] = CHECKS) -> Iterator[CheckResult]:
    """Makes the checks one by one; one that fails itself is an error line like any other.

    Args:
        fix: fix what is safe to fix.
    """
    has_database = True
    for check in checks:
        if check.asks_database and not has_database:
            yield CheckResult(check.name, Finding(Level.WARNING, tr("not checked, since the database cannot be used")))
            continue
        findings: list[Finding] = []
        try:
            with telling(tr("the check of {subject}", subject=check.name), context.tell):
                findings.extend(check.examine(context))
        except Exception as problem:
            findings.append(Finding(Level.ERROR, tr("this cannot be checked: {told}", told=_told(problem))))
        if check.name == DATABASE and any(finding.level is Level.ERROR for finding in findings):
            has_database = False
        for finding in findings:
            yield _fixed(check, finding) if fix and finding.fix is not None else CheckResult(check.name, finding)


def _fixed(check: Check, finding: Finding) -> CheckResult:
    assert finding.fix is not None
    try:
        done = finding.fix()
    except Exception as problem:
        return CheckResult(
            check.name,
            replace(
                finding, text=tr("{finding.text}; it could not be fixed: {told}", finding=finding, told=_told(problem))
            ),
        )
    return CheckResult(check.name, replace(finding, level=Level.OK), done)


def _told(problem: Exception) -> str:
    text = str(problem) or type(problem).__name__
    return text if "\n" not in text else " ".join(text.split())


@to_json.register(CheckResult)
def _result(result: CheckResult) -> dict[str, Any]:
    finding = result.finding
    told = {"check": result.check, "state": finding.level, "text": finding.text, "remedy": finding.remedy or None}
    return {**to_json(told), "fixed": result.fixed or None}


@to_json.register(DoctorReport)
def _report(report: DoctorReport) -> dict[str, Any]:
    return {"ok": report.ok, "checks": to_json(report.checks)}

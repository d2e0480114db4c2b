"""The command that finds what is wrong with an installation, and says how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import ConfigError

if TYPE_CHECKING:
    from gengfu.services.doctor.checks import DoctorReport


class Doctor(BaseCommand):
    """Find what is wrong with this installation, and how to fix it

    Interpreter, settings, folders, disk, logs, database, Redis, clock, vendor,
    cron, service managers, processes: each line is ok, warning or error. Exits 1
    if there is an error. With --fix what is safe to fix is fixed: folders are
    made, the rights of .env are closed, SQLite is upgraded, leftovers of killed
    processes are removed. No login is made unless --login asks for one, and none
    where one was refused.

    Examples:
      gengfu doctor
      gengfu doctor --fix
      gengfu doctor --login --json
    """

    name = "doctor"
    begins = True
    options = (
        click.Option(["--fix"], is_flag=True, help="Fix what is safe to fix."),
        click.Option(["--login"], is_flag=True, help="Try the login, unless it was refused before."),
    )

    def handle(self, fix: bool, login: bool) -> int:
        report = self._examine(fix, login)
        columns = [Column("state", words=True), Column("check", words=True), Column("what", wraps=True, words=True)]
        columns.append(Column("remedy", wraps=True, words=True))
        rows = [
            [str(result.finding.level), result.check, result.finding.text, result.fixed or result.finding.remedy]
            for result in report.checks
        ]
        self.out.table(columns, rows)
        self.out.answer(report)
        return 0 if report.ok else 1

    def _examine(self, fix: bool, login: bool) -> DoctorReport:
        from gengfu.services.doctor.checks import unreadable_settings

        try:
            app = self.app
        except ConfigError as problem:
            return unreadable_settings(problem)
        return app.examine(self.out.note, fix=fix, log_in=login)

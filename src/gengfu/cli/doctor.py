"""The command that finds what is wrong with an installation, and says what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import ConfigError

if TYPE_CHECKING:
    from gengfu.services.doctor.checks import Told


class Doctor(BaseCommand):
    """Find what is wrong with this installation, and what mends it

    Interpreter, settings, folders, disk, logs, database, Redis, clock, vendor,
    cron, service managers, processes: each line is ok, warning or error. Exits 1
    if there is an error. With --fix what is safe to mend is mended: folders are
    made, the rights of .env are closed, SQLite is upgraded, leftovers of killed
    processes are removed. No login is made unless --login asks for one, and none
    where one was refused.

    Examples:
      gengfu doctor
      gengfu doctor --fix
      gengfu doctor --login --json
    """

    name = "doctor"
    options = (
        click.Option(["--fix"], is_flag=True, help="Mend what is safe to mend."),
        click.Option(["--login"], is_flag=True, help="Try the login, unless it was refused before."),
    )

    def handle(self, fix: bool, login: bool) -> int:
        from gengfu.services.doctor.findings import Level

        told = self._examine(fix, login)
        failed = any(line.finding.level is Level.ERROR for line in told)
        columns = [Column("state"), Column("check"), Column("what", wraps=True), Column("mend", wraps=True)]
        rows = [
            [str(line.finding.level), line.check, line.finding.text, line.fixed or line.finding.mend] for line in told
        ]
        self.out.table(columns, rows)
        self.out.answer(
            {
                "ok": not failed,
                "checks": [
                    {
                        "check": line.check,
                        "state": line.finding.level,
                        "text": line.finding.text,
                        "mend": line.finding.mend or None,
                        "fixed": line.fixed or None,
                    }
                    for line in told
                ],
            }
        )
        return int(failed)

    def _examine(self, fix: bool, login: bool) -> list[Told]:
        from gengfu.services.doctor.checks import Told, examine
        from gengfu.services.doctor.findings import Patient, error

        try:
            app = self.app
        except ConfigError as problem:
            # Everything else depends on the settings.
            return [Told("settings", error(str(problem), "correct it in the environment, .env or gengfu.toml"))]
        patient = Patient(
            app.settings,
            app.clock,
            lambda: app.bare_db,
            app.notifier.server,
            lambda: app.auth,
            app.schedule.entries,
            lambda: app.catalogue.broken,
            login,
        )
        return list(examine(patient, fix=fix))

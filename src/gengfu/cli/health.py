"""The command by which probes and watchdogs learn whether all is well."""

from __future__ import annotations

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.language import tr


class Health(BaseCommand):
    """Tell whether all is well: exit 0, or 1

    One line for each component: disk, redis, database, login, schedule, every
    worker and scheduler, queues with due jobs or that the schedule uses, runs.
    What seems silent is watched for up to 12 s before it counts as wrong; that
    is said at once on stderr.
    With --restart, what hangs on this host is ended, so that whoever supervises
    it starts it anew.

    Examples:
      gengfu health
      gengfu health --json
      gengfu health --quiet --restart
    """

    name = "health"
    options = (
        click.Option(["--quiet"], is_flag=True, help="Print only what is wrong."),
        click.Option(["--restart"], is_flag=True, help="End the processes of this host that hang."),
    )

    def handle(self, quiet: bool, restart: bool) -> int:
        from gengfu.services.health import name_of

        report = self.app.health.check(self.out.note, restart=restart)
        shown = [component for component in report.components if not (quiet and component.ok)]
        if shown:
            columns = [
                Column("state", words=True),
                Column("component", words=True),
                Column("what", wraps=True, words=True),
            ]
            self.out.table(columns, [[part.condition, part.name, part.text] for part in shown])
        for done in report.ended:
            self.out.say(tr("{name}: {text}", name=name_of(done.process), text=tr(done.text)))
        self.out.answer(report)
        return 0 if report.ok else 1

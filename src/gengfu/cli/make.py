"""The commands that write new commands and jobs into the working folder."""

from __future__ import annotations

import click

from gengfu.cli.making import FORCE, Making


class MakeCommand(Making):
    """Write a new command with its test, ready to run

    Writes `app/commands/<family>_<verb>.py` and its test in `app/tests`. With
    --job the command queues that job, which is written too unless it is there.

    Examples:
      gengfu make:command report:daily
      gengfu make:command report:daily --schedule "0 2 * * *" --job report_daily
    """

    name = "make:command"
    options = (
        click.Argument(["command"], metavar="NAME"),
        click.Option(["--schedule"], metavar="CRON", help="When it runs, as five fields of a crontab or @daily."),
        click.Option(["--job"], metavar="NAME", help="The job that it queues."),
        FORCE,
    )

    def handle(self, command: str, schedule: str | None, job: str | None, force: bool) -> int:
        return self.tell(self.app.scaffold.command(command, schedule, job, force=force))


class MakeJob(Making):
    """Write a new job with its test, ready to be queued

    Writes `app/jobs/<name>.py` and its test in `app/tests`. A command queues it
    with one line: self.app.dispatch(ReportDailyJob, day="2026-01-31").

    Examples:
      gengfu make:job report_daily
      gengfu make:job report_daily --queue reports
    """

    name = "make:job"
    options = (
        click.Argument(["job"], metavar="NAME"),
        click.Option(["--queue"], default="default", show_default=True, metavar="NAME", help="The queue it waits in."),
        FORCE,
    )

    def handle(self, job: str, queue: str, force: bool) -> int:
        return self.tell(self.app.scaffold.job(job, queue, force=force))

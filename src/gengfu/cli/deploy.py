"""The command that keeps the program running: for cron, systemd, supervisor or the BT panel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.errors import UsageError
from gengfu.language import tr

if TYPE_CHECKING:
    from gengfu.services.deployment import Deployed

TARGETS = ("crontab", "systemd", "supervisor", "bt")


class Deploy(BaseCommand):
    """Keep the schedule and the workers running, by cron or a service manager

    Prints what belongs into the chosen place. --install puts it there and says
    each step; --remove takes away what --install put there; both may be
    repeated. No setting is copied: the processes read the folder's own .env.

    Examples:
      gengfu deploy crontab
      gengfu deploy crontab --install
      gengfu deploy supervisor --workers 4 --user www --install
      gengfu deploy systemd --write
      gengfu deploy bt
    """

    name = "deploy"
    begins = True
    options = (
        click.Argument(["target"], type=click.Choice(TARGETS)),
        click.Option(["--write"], is_flag=True, help="Write files into the folder deploy, or the one --to names."),
        click.Option(["--install"], is_flag=True, help="Put it in place, and start it."),
        click.Option(["--remove"], is_flag=True, help="Take away what was put in place; services are stopped."),
        click.Option(["--to"], type=click.Path(path_type=Path), metavar="DIR", help="In place of the usual folder."),
        click.Option(["--workers"], type=click.IntRange(1, 99), default=2, show_default=True, help="How many."),
        click.Option(["--queue"], metavar="A,B", help="Queues for the workers, in order of priority."),
        click.Option(["--user"], metavar="NAME", help="Account to run as; by default the owner of the folder."),
        click.Option(
            ["--folder"], type=click.Path(path_type=Path), metavar="DIR", help="Working folder, if not this one."
        ),
        click.Option(
            ["--name"], default="gengfu", show_default=True, help="What units, programs and files are called."
        ),
        click.Option(["--timers"], is_flag=True, help="systemd: a timer each minute in place of the scheduler."),
        click.Option(["--user-units"], is_flag=True, help="systemd: units of your own account, without root."),
        click.Option(["--yes"], is_flag=True, help="Do not ask."),
    )

    def handle(self, target: str, yes: bool, **given: Any) -> int:
        from gengfu.services.deployment import (
            Deployment,
            DeployStatus,
            Options,
            Processes,
            Target,
            plan_for,
            settings_for,
        )
        from gengfu.services.json import to_json

        if sum(given[name] for name in ("write", "install", "remove")) > 1:
            raise UsageError("--write, --install and --remove exclude each other")
        if target != "systemd" and (given["timers"] or given["user_units"]):
            raise UsageError("--timers and --user-units are for systemd only")
        if target == "bt" and (given["install"] or given["remove"]):
            raise UsageError("the BT panel has forms of its own; see what to enter there: gengfu deploy bt")
        settings, notes = settings_for(given["folder"])
        for note in notes:
            self.out.note(note)
        wanted = Processes(**{name: given[name] for name in ("workers", "queue", "user", "name")})
        plan = plan_for(settings, wanted, given["folder"])
        options = Options(**{name: given[name] for name in ("to", "timers", "user_units")})
        may_replace = (lambda _: True) if yes else self._may_replace
        deployment = Deployment(Target(target), plan, options, self.out.say, may_replace)
        action = next((name for name in ("write", "install", "remove") if given[name]), "show")
        done: Deployed = getattr(deployment, action)()
        if done.status is DeployStatus.SHOWN:
            self._show(done)
        for note in done.notes:
            self.out.note(note)
        self.out.answer(to_json(done))
        return 1 if done.status is DeployStatus.FAILED else 0

    def _show(self, done: Deployed) -> None:
        """Prints the files, so that they can be read or redirected."""
        for file in done.files:
            if file is not done.files[0]:
                self.out.say()
            if len(done.files) > 1:
                self.out.say(f"# {done.place}/{file.name}")
            self.out.say(file.text.removesuffix("\n"))
        if done.target != "bt":
            self.out.note(
                tr("nothing was changed; to put it in place: gengfu deploy {done.target} --install", done=done)
            )

    def _may_replace(self, path: Path) -> bool:
        answer = self.out.confirm(tr("{path} was not written for this folder. Replace it?", path=path))
        if answer is None:
            raise UsageError(
                tr("{path} was not written for this folder; to replace it without being asked: --yes", path=path)
            )
        return answer

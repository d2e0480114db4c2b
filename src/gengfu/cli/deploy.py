"""The command that keeps the program running: for cron, systemd, supervisor or the BT panel."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.errors import UsageError
from gengfu.settings import Settings, load_settings

if TYPE_CHECKING:
    from gengfu.deploy.plan import Plan
    from gengfu.queue.job import Job

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

    def handle(self, target: str, **given: Any) -> int:
        from gengfu.cli.parts.deploying import Deployment, Wanted

        if sum(given[name] for name in ("write", "install", "remove")) > 1:
            raise UsageError("--write, --install and --remove exclude each other")
        if target != "systemd" and (given["timers"] or given["user_units"]):
            raise UsageError("--timers and --user-units are for systemd only")
        if target == "bt" and (given["install"] or given["remove"]):
            raise UsageError("the BT panel has forms of its own; see what to enter there: gengfu deploy bt")
        names = ("to", "timers", "user_units", "yes")
        deployment = Deployment(target, self._plan(given), Wanted(**{name: given[name] for name in names}), self.out)
        for action in ("write", "install", "remove"):
            if given[action]:
                return int(getattr(deployment, action)())
        return deployment.show()

    def _plan(self, given: dict[str, Any]) -> Plan:
        from gengfu.deploy.plan import Plan
        from gengfu.process.child import program

        settings = self._settings(given["folder"])
        return Plan(
            folder=settings.home,
            logs=Path(os.path.normpath(settings.logs)),
            program=program(),
            user=given["user"] if given["user"] is not None else _owner(settings.home),
            workers=given["workers"],
            queue=given["queue"],
            name=given["name"],
            longest_job=_longest_job(self.app.catalogue.jobs.values()),
            writable=_database_folders(settings),
            own_tmp=_bears_its_own_tmp(settings),
        )

    def _settings(self, folder: Path | None) -> Settings:
        """What the processes will find: the files of the folder, and nothing of this shell."""
        if folder is not None and not folder.is_dir():
            raise UsageError(f"--folder names {folder}, which is not a folder; for example: --folder /srv/gengfu")
        here = str(folder) if folder is not None else os.environ.get("GENGFU_HOME", ".")
        settings = load_settings({"GENGFU_HOME": here})
        if not any((settings.home / name).exists() for name in (".env", "gengfu.toml")):
            self.out.note(f"{settings.home} has neither .env nor gengfu.toml; is it the working folder? Else: --folder")
        known = {field.name.upper() for field in fields(Settings) if field.metadata}
        seen = load_settings({**os.environ, "GENGFU_HOME": here})
        for name in sorted(known & set(os.environ)):
            if getattr(seen, name.lower()) != getattr(settings, name.lower()):
                self.out.note(
                    f"{name} of this shell is not what the processes will find; write it into {settings.home / '.env'}"
                )
        return settings


def _owner(folder: Path) -> str:
    from pwd import getpwuid

    number = folder.stat().st_uid
    try:
        return getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _longest_job(users: Iterable[type[Job]]) -> float:
    """The time limit in seconds of the longest job, among the program's own and those of user code."""
    from gengfu.services.user_code import own_jobs

    return max(job.timeout for job in (*own_jobs(), *users))


def _database_folders(settings: Settings) -> tuple[Path, ...]:
    """The folder of an SQLite file that lies outside of the working folder."""
    from gengfu.store.address import sqlite_path

    path = sqlite_path(settings.database_url, settings.home)
    if path is None:
        return ()
    folder = Path(os.path.normpath(path.parent))
    return () if folder.is_relative_to(settings.home) else (folder,)


def _bears_its_own_tmp(settings: Settings) -> bool:
    """Whether no socket that the processes share lies under /tmp, as an address may say."""
    urls = [url.reveal() for url in (settings.database_url, settings.redis_url) if url is not None]
    return not any("/tmp/" in url for url in urls)

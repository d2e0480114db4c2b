"""Deployment: what keeps the program running, shown, written aside, put in place and taken away again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from gengfu.deploy import crontab, panel, placing, supervisor, systemd
from gengfu.deploy.plan import DeployFile, Plan
from gengfu.errors import GengfuError, UsageError
from gengfu.language import tr
from gengfu.ownership import name_of
from gengfu.process.child import program
from gengfu.services.doctor.checks_running import CRONS, runs
from gengfu.services.json import object_of, to_json
from gengfu.settings import Settings, load_settings
from gengfu.store.address import sqlite_path

WRITTEN = "deploy"
"""The folder, in the working folder, for files that are written and not put in place."""


class Target(StrEnum):
    """What keeps the processes running."""

    CRONTAB = "crontab"
    SYSTEMD = "systemd"
    SUPERVISOR = "supervisor"
    BT = "bt"


class DeployStatus(StrEnum):
    """What became of a deployment."""

    SHOWN = "shown"
    WRITTEN = "written"
    INSTALLED = "installed"
    REMOVED = "removed"
    FAILED = "failed"
    """The files are in their places or gone, but a service manager did not do as it was told."""


class Refused(GengfuError):
    """A person did not agree that a file is replaced; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Which processes are to be kept running."""

    workers: int
    queue: str | None
    user: str | None
    """The account; None for the owner of the working folder."""
    name: str


@dataclass(frozen=True, slots=True)
class Options:
    """How it is to be done."""

    to: Path | None = None
    """A folder in place of the usual one."""
    timers: bool = False
    user_units: bool = False


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was done. As JSON it has no notes and no place."""

    status: DeployStatus
    target: Target
    folder: Path
    """The working folder."""
    user: str
    files: Sequence[DeployFile]
    steps: Sequence[str]
    notes: Sequence[str] = ()
    """What a person should know besides."""
    place: Path | None = None
    """Where the files belong."""


@to_json.register
def _deployed(done: Deployed) -> dict[str, Any]:
    return object_of(done, without=("notes", "place"))


def settings_for(folder: Path | None) -> tuple[Settings, list[str]]:
    """What the processes will find: the settings in the files of the folder, and nothing of this shell; with what a
    person should know of that.

    Raises:
        UsageError: there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise UsageError(
            tr("--folder names {folder}, which is not a folder; for example: --folder /srv/gengfu", folder=folder)
        )
    here = str(folder) if folder is not None else os.environ.get("GENGFU_HOME") or "."
    settings = load_settings({"GENGFU_HOME": here})
    notes: list[str] = []
    if not any((settings.home / name).exists() for name in (".env", "gengfu.toml")):
        notes.append(
            tr(
                "{settings.home} has neither .env nor gengfu.toml; is it the working folder? Else: --folder",
                settings=settings,
            )
        )
    known = {each.name.upper() for each in fields(Settings) if each.metadata}
    seen = load_settings({**os.environ, "GENGFU_HOME": here})
    notes += [
        tr(
            "{name} of this shell is not what the processes will find; write it into {home}",
            name=name,
            home=settings.home / ".env",
        )
        for name in sorted(known & set(os.environ))
        if getattr(seen, name.lower()) != getattr(settings, name.lower())
    ]
    return settings, notes


def plan_for(settings: Settings, wanted: Processes, went: Path | None) -> Plan:
    """The plan for these processes. It names the working folder as the person went there, such as through a link
    `current` that leads to one release after the other, and so what lies in the folder.

    Args:
        went: the folder as a person named it; None for the current one.

    Raises:
        UsageError: a value cannot be used.
    """
    folder, home = _as_gone(went, settings.home), settings.home

    def named(path: Path) -> Path:
        return folder / path.relative_to(home) if path.is_relative_to(home) else path

    script, *rest = program()
    return Plan(
        folder=folder,
        logs=named(Path(os.path.normpath(settings.logs))),
        program=(str(named(Path(script))), *rest),
        user=wanted.user if wanted.user is not None else name_of(home.stat().st_uid),
        workers=wanted.workers,
        queue=wanted.queue,
        name=wanted.name,
        writable=_folders_elsewhere(settings),
        own_tmp=_bears_its_own_tmp(settings),
    )


def _as_gone(went: Path | None, home: Path) -> Path:
    """The folder with the links in its path, as a person or a shell went through them."""
    named = went or os.environ.get("GENGFU_HOME") or os.environ.get("PWD") or "."
    path = Path(os.path.abspath(os.path.join(os.environ.get("PWD", ""), os.path.expanduser(named))))
    return path if path.is_dir() and path.resolve() == home else home


class Deployment:
    """One plan on its way to one target. Each way may be gone again without harm."""

    def __init__(
        self,
        target: Target,
        plan: Plan,
        options: Options,
        tell: Callable[[str], None],
        may_replace: Callable[[Path], bool],
    ) -> None:
        """`tell` takes each step as it is done; `may_replace` decides on a file that is not of this folder."""
        self._target = target
        self._plan = plan
        self._options = options
        self._told = tell
        self._may_replace = may_replace
        self._steps: list[str] = []

    def show(self) -> Deployed:
        """What belongs into the place; nothing is changed."""
        if self._options.to is not None:
            raise UsageError("--to goes with --write, --install or --remove")
        files = self._files()
        return self._done(DeployStatus.SHOWN, files[:1] if self._target is Target.BT else files, place=self._place())

    def write(self) -> Deployed:
        """Writes the files aside, for a person or another tool to put in place.

        Raises:
            Refused: a file must not be replaced.
            FileError: a file cannot be written.
        """
        folder = placing.Folder(self._options.to or self._plan.folder / WRITTEN, self._tell)
        files = self._files()
        self._ask(folder, files)
        folder.put(files)
        return self._done(DeployStatus.WRITTEN, files)

    def install(self) -> Deployed:
        """Puts it in place and has it started.

        Raises:
            Refused: a file must not be replaced.
            FileError: a file cannot be written.
        """
        self._check_user()
        if self._target is Target.CRONTAB:
            return self._change_crontab()
        folder, files = placing.Folder(self._place(), self._tell), self._files()
        self._ask(folder, files)
        manager = self._manager
        if self._options.to is None:
            placing.make_log_folder(self._plan.logs, self._plan.user, self._tell)
        changed = folder.put(files)
        if self._target is Target.SYSTEMD:
            others = set(systemd.family(self._plan.name)) - {file.name for file in files}
            # A scheduler where there is to be a timer now, or the other way round.
            gone = folder.ours(sorted(others), self._plan.mark)
            well = not gone or manager.told([*self._systemctl, "stop", *gone])
            changed |= folder.take_away(gone, self._plan.mark)
            target = f"{self._plan.name}.target"
            start = ["restart" if changed else "start", target]
            steps = (["daemon-reload"], ["enable", target], start)
            well = well and manager.told(*([*self._systemctl, *step] for step in steps))
        else:
            well = manager.told(*self._supervisorctl)
        return self._done(DeployStatus.INSTALLED if well else DeployStatus.FAILED, files)

    def remove(self) -> Deployed:
        """Stops it and takes away what `install` put in place.

        Raises:
            FileError: a file cannot be removed.
        """
        if self._target is Target.CRONTAB:
            return self._change_crontab(remove=True)
        folder = placing.Folder(self._place(), self._tell)
        names = [file.name for file in self._files()]
        well = True
        if self._target is Target.SYSTEMD:
            names = list(systemd.family(self._plan.name))
            target = f"{self._plan.name}.target"
            if folder.ours([target], self._plan.mark):
                well = self._manager.told([*self._systemctl, "disable", "--now", target])
        if folder.take_away(names, self._plan.mark):
            reload = [[*self._systemctl, "daemon-reload"]] if self._target is Target.SYSTEMD else self._supervisorctl
            well = self._manager.told(*reload) and well
        else:
            self._tell("nothing to remove")
        return self._done(DeployStatus.REMOVED if well else DeployStatus.FAILED, [])

    def _files(self) -> list[DeployFile]:
        if self._target is Target.CRONTAB:
            return crontab.files_of(self._plan)
        if self._target is Target.SUPERVISOR:
            return supervisor.files_of(self._plan, ".conf" if self._options.to is not None else supervisor.place()[1])
        if self._target is Target.SYSTEMD:
            return systemd.files_of(self._plan, timers=self._options.timers, for_user=self._options.user_units)
        return panel.files_of(self._plan)

    def _place(self) -> Path:
        """Where `install` puts files."""
        if self._options.to is not None:
            return self._options.to
        if self._target is Target.SUPERVISOR:
            return supervisor.place()[0]
        if self._options.user_units:
            home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
            return Path(home, "systemd", "user")
        return systemd.SYSTEM

    def _change_crontab(self, *, remove: bool = False) -> Deployed:
        if self._options.to is not None:
            raise UsageError("--to does not go with a crontab, which has one place only; write it aside: --write")
        plan = self._plan
        notes: list[str] = []
        table = crontab.Crontab(None if plan.user == name_of(os.geteuid()) else plan.user)
        before = table.read()
        if remove:
            after = crontab.without_block(before, plan.folder)
        else:
            if runs(CRONS) is False:
                self._tell(tr("{name} does not run here, so files are all that is changed", name="cron"))
            placing.make_log_folder(plan.logs, plan.user, self._tell)
            after = crontab.with_block(before, plan.folder, crontab.block(plan))
        whose = tr("the crontab of {plan.user}", plan=plan)
        if after == before:
            self._tell(
                tr("nothing to remove: {whose}", whose=whose) if remove else tr("unchanged: {whose}", whose=whose)
            )
        else:
            table.write(after)
            self._tell(tr("removed from: {whose}", whose=whose) if remove else tr("written into: {whose}", whose=whose))
        if remove:
            if (running := crontab.running(plan.folder)) is not None:
                notes.append(tr("the workers that it started go on; to end them: kill {running}", running=running))
            return self._done(DeployStatus.REMOVED, [], notes)
        notes += [
            tr("{whose} also has this line, which may do the same work twice: {line}", whose=whose, line=line)
            for line in crontab.foreign_lines(after, plan)
        ]
        return self._done(DeployStatus.INSTALLED, self._files(), notes)

    @cached_property
    def _manager(self) -> placing.Manager:
        """The service manager; one that is told nothing where the files go into another folder than its own."""
        tells = self._options.to is None
        if self._target is Target.SYSTEMD:
            return placing.systemd(self._systemctl[1:], self._tell, tells=tells)
        return placing.supervisor(self._tell, tells=tells)

    @property
    def _systemctl(self) -> list[str]:
        return ["systemctl", *(["--user"] if self._options.user_units else [])]

    @property
    def _supervisorctl(self) -> list[list[str]]:
        return [["supervisorctl", "reread"], ["supervisorctl", "update", self._plan.name]]

    def _ask(self, folder: placing.Folder, files: list[DeployFile]) -> None:
        folder.demand_free(files)
        if not all(self._may_replace(path) for path in folder.foreign_files(files)):
            raise Refused("nothing was changed")

    def _check_user(self) -> None:
        from pwd import getpwnam

        try:
            getpwnam(self._plan.user)
        except KeyError:
            raise UsageError(
                tr(
                    "there is no account {user!r} here; name the one that is to own the processes: --user www",
                    user=self._plan.user,
                )
            ) from None

    def _tell(self, step: str) -> None:
        self._steps.append(step)
        self._told(step)

    def _done(
        self, status: DeployStatus, files: Sequence[DeployFile], notes: Sequence[str] = (), place: Path | None = None
    ) -> Deployed:
        plan = self._plan
        return Deployed(status, self._target, plan.folder, plan.user, files, self._steps, notes, place)


def _folders_elsewhere(settings: Settings) -> tuple[Path, ...]:
    """The folders outside of the working folder that the processes write, also behind links in it."""
    database = sqlite_path(settings.database_url, settings.home)
    folders = [settings.var, settings.logs, settings.backups, *([database.parent] if database is not None else [])]
    real = dict.fromkeys(folder.resolve() for folder in folders)
    return tuple(folder for folder in real if not folder.is_relative_to(settings.home))


def _bears_its_own_tmp(settings: Settings) -> bool:
    """Whether no socket that the processes share lies under /tmp, as an address may say."""
    urls = [url.reveal() for url in (settings.database_url, settings.redis_url) if url is not None]
    return not any("/tmp/" in url for url in urls)

"""How `deploy` shows, writes, installs and removes what belongs to one target."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.deploy import crontab, panel, placing, supervisor, systemd
from gengfu.deploy.plan import Piece, Plan
from gengfu.errors import UsageError

if TYPE_CHECKING:
    from gengfu.cli.output import Output

WRITTEN = "deploy"
"""The folder, in the working folder, for files that are written and not put in place."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How it is to be done."""

    to: Path | None
    timers: bool
    user_units: bool
    yes: bool


class Deployment:
    """One plan on its way to one target. Each way returns the exit code, and may be gone again without harm."""

    def __init__(self, target: str, plan: Plan, wanted: Wanted, out: Output) -> None:
        self._target = target
        self._plan = plan
        self._wanted = wanted
        self._out = out
        self._steps: list[str] = []

    def show(self) -> int:
        """Prints it, so that it can be read or redirected."""
        if self._wanted.to is not None:
            raise UsageError("--to goes with --write, --install or --remove")
        pieces = self._pieces()
        if self._target == "bt":
            pieces = pieces[:1]
        for piece in pieces:
            if piece is not pieces[0]:
                self._out.say()
            if len(pieces) > 1:
                self._out.say(f"# {self._place() / piece.name}")
            self._out.say(piece.text.removesuffix("\n"))
        if self._target != "bt":
            self._out.note(f"nothing was changed; to put it in place: gengfu deploy {self._target} --install")
        self._answer("shown", pieces)
        return 0

    def write(self) -> int:
        """Writes the files aside, for a person or another tool to put in place."""
        folder = placing.Folder(self._wanted.to or self._plan.folder / WRITTEN, self._tell)
        pieces = self._pieces()
        if not self._may_replace(folder, pieces):
            return self._refused()
        folder.put(pieces)
        self._answer("written", pieces)
        return 0

    def install(self) -> int:
        """Puts it in place and has it started."""
        self._check_user()
        if self._target == "crontab":
            self._change_crontab()
            return 0
        folder, pieces = placing.Folder(self._place(), self._tell), self._pieces()
        if not self._may_replace(folder, pieces):
            return self._refused()
        placing.make_log_folder(self._plan.logs, self._plan.user, self._tell)
        changed = folder.put(pieces)
        if self._target == "systemd":
            others = set(systemd.family(self._plan.name)) - {piece.name for piece in pieces}
            # A scheduler where there is to be a timer now, or the other way round.
            gone = folder.ours(sorted(others), self._plan.mark)
            well = self._systemctl(*([["stop", *gone]] if gone else []))
            changed |= folder.take_away(gone, self._plan.mark)
            target = f"{self._plan.name}.target"
            start = ["restart" if changed else "start", target]
            well = well and self._systemctl(["daemon-reload"], ["enable", target], start)
        else:
            well = self._supervisorctl()
        self._answer("installed" if well else "failed", pieces)
        return 0 if well else 1

    def remove(self) -> int:
        """Stops it and takes away what `install` put in place."""
        if self._target == "crontab":
            self._change_crontab(remove=True)
            return 0
        folder = placing.Folder(self._place(), self._tell)
        names = [piece.name for piece in self._pieces()]
        well = True
        if self._target == "systemd":
            names = list(systemd.family(self._plan.name))
            target = f"{self._plan.name}.target"
            if folder.ours([target], self._plan.mark):
                well = self._systemctl(["disable", "--now", target])
        if folder.take_away(names, self._plan.mark):
            well = (self._systemctl(["daemon-reload"]) if self._target == "systemd" else self._supervisorctl()) and well
        else:
            self._tell("nothing to remove")
        self._answer("removed" if well else "failed", [])
        return 0 if well else 1

    def _pieces(self) -> list[Piece]:
        if self._target == "crontab":
            return crontab.pieces(self._plan)
        if self._target == "supervisor":
            return supervisor.pieces(self._plan, ".conf" if self._wanted.to is not None else supervisor.place()[1])
        if self._target == "systemd":
            return systemd.pieces(self._plan, timers=self._wanted.timers, for_user=self._wanted.user_units)
        return panel.pieces(self._plan)

    def _place(self) -> Path:
        """Where `install` puts files."""
        if self._wanted.to is not None:
            return self._wanted.to
        if self._target == "supervisor":
            return supervisor.place()[0]
        if self._wanted.user_units:
            home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
            return Path(home, "systemd", "user")
        return systemd.SYSTEM

    def _change_crontab(self, *, remove: bool = False) -> None:
        if self._wanted.to is not None:
            raise UsageError("--to does not go with a crontab, which has one place only; write it aside: --write")
        plan, mine = self._plan, self._plan.user == _current_user()
        table = crontab.Crontab(None if mine else plan.user)
        before = table.read()
        if remove:
            after = crontab.without_block(before, plan.folder)
        else:
            placing.make_log_folder(plan.logs, plan.user, self._tell)
            after = crontab.with_block(before, plan.folder, crontab.block(plan))
        whose = f"the crontab of {plan.user}"
        if after == before:
            self._tell(f"nothing to remove: {whose}" if remove else f"unchanged: {whose}")
        else:
            table.write(after)
            self._tell(f"{'removed from' if remove else 'written into'}: {whose}")
        if remove and (running := crontab.running(plan.folder)) is not None:
            self._out.note(f"the workers that it started go on; to end them: kill {running}")
        for line in [] if remove else crontab.strangers(after, plan):
            self._out.note(f"{whose} also has this line, which may do the same work twice: {line}")
        self._answer("removed" if remove else "installed", [] if remove else self._pieces())

    def _systemctl(self, *commands: list[str]) -> bool:
        if self._wanted.to is not None or not commands:
            return True
        switches = ["--user"] if self._wanted.user_units else []
        manager = placing.systemd(switches, self._tell)
        return manager.told(*(["systemctl", *switches, *command] for command in commands))

    def _supervisorctl(self) -> bool:
        manager = placing.supervisor(self._tell)
        return manager.told(["supervisorctl", "reread"], ["supervisorctl", "update", self._plan.name])

    def _may_replace(self, folder: placing.Folder, pieces: list[Piece]) -> bool:
        """Whether files that are not ours may be replaced: asks a person."""
        for path in [] if self._wanted.yes else folder.strangers(pieces):
            answer = self._out.confirm(f"{path} was not written for this folder. Replace it?")
            if answer is None:
                raise UsageError(f"{path} was not written for this folder; to replace it without being asked: --yes")
            if not answer:
                return False
        return True

    def _refused(self) -> int:
        return self._out.fail("Refused", "nothing was changed", 1)

    def _check_user(self) -> None:
        from pwd import getpwnam

        try:
            getpwnam(self._plan.user)
        except KeyError:
            raise UsageError(
                f"there is no account {self._plan.user!r} here; name the one that is to own the processes: --user www"
            ) from None

    def _tell(self, step: str) -> None:
        self._steps.append(step)
        self._out.say(step)

    def _answer(self, status: str, pieces: list[Piece]) -> None:
        self._out.answer(
            {
                "status": status,
                "target": self._target,
                "folder": str(self._plan.folder),
                "user": self._plan.user,
                "files": [{"name": piece.name, "text": piece.text} for piece in pieces],
                "steps": self._steps,
            }
        )


def _current_user() -> str:
    from pwd import getpwuid

    try:
        return getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())

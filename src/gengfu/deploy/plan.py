"""What is to be kept running, where and as whom; every deployment text is written from one such plan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gengfu.errors import UsageError
from gengfu.language import tr
from gengfu.process.supervisor import KILL_AFTER
from gengfu.queue.options import GRACE, QUEUE_NAME

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_AWKWARD = frozenset("\\\"'`$")
"""What cron, systemd and supervisor each read in a way of their own."""


_MARK = ": written by gengfu deploy, which replaces it and removes it"


def folder_of(mark: str) -> str | None:
    """The working folder that the first line of a file names; None where it is not one of a deployment."""
    found = re.fullmatch(f"# gengfu (.+){_MARK}", mark)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes of one working folder. Its paths are absolute and can be written faithfully in every format.

    Raises:
        UsageError: a value cannot be used; the text names it.
    """

    folder: Path
    logs: Path
    program: tuple[str, ...]
    """How the program is started: full paths, since cron, systemd and supervisor know no PATH of people's."""
    user: str
    """The account that the processes run as."""
    workers: int = 2
    queue: str | None = None
    """Queues in order of priority, `a,b`; None for all."""
    name: str = "gengfu"
    """What files, units and programs are called, so that several folders fit on one host."""
    writable: tuple[Path, ...] = ()
    """Folders besides the working folder that the processes write."""
    own_tmp: bool = True
    """Whether each process may have a /tmp of its own."""

    def __post_init__(self) -> None:
        for what in (str(self.folder), str(self.logs), *self.program, *map(str, self.writable)):
            _refuse_awkward(what)
        if self.folder == Path("/"):
            raise UsageError("the working folder is /, which cannot be meant; for example: --folder /srv/gengfu")
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                tr("--name is {name!r}; a name is a small letter, then small letters, digits, _ and -", name=self.name)
            )
        if not _USER.fullmatch(self.user):
            raise UsageError(
                tr("--user is {user!r}, which is not the name of an account; for example: --user www", user=self.user)
            )
        for queue in self.queue.split(",") if self.queue is not None else ():
            if not QUEUE_NAME.fullmatch(queue):
                raise UsageError(tr("--queue names {queue!r}; for example: --queue urgent,device_list", queue=queue))

    @property
    def stop_wait(self) -> int:
        """Seconds after which a process that was told to stop may be killed: the grace that its jobs have, and what a
        worker itself allows its children beyond that."""
        return int(GRACE + KILL_AFTER)

    @property
    def worker(self) -> tuple[str, ...]:
        """The command line of a worker."""
        return (*self.program, "queue:work", *self.queues)

    @property
    def scheduler(self) -> tuple[str, ...]:
        """The command line of the scheduler that stays."""
        return (*self.program, "schedule:work")

    @property
    def schedule_pass(self) -> tuple[str, ...]:
        """The command line of one look at the schedule, for each minute."""
        return (*self.program, "schedule:run")

    @property
    def supervisor(self) -> tuple[str, ...]:
        """The command line that brings up the workers unless they are up."""
        return (
            *self.program,
            "up",
            "--if-absent",
            "--without",
            "scheduler",
            "--workers",
            f"{self.workers}",
            *self.queues,
        )

    @property
    def watchdog(self) -> tuple[str, ...]:
        """The command line that restarts what hangs."""
        return (*self.program, "health", "--restart", "--quiet")

    @property
    def queues(self) -> tuple[str, ...]:
        """The switch that names the queues, where some are named."""
        return ("--queue", self.queue) if self.queue is not None else ()

    @property
    def mark(self) -> str:
        """The first line of a file of this folder, by which it is known again."""
        return f"# gengfu {self.folder}{_MARK}"


@dataclass(frozen=True, slots=True)
class DeployFile:
    """A file of a deployment: its name and its text, which begins with the plan's mark and ends with a newline."""

    name: str
    text: str


def _refuse_awkward(path: str) -> None:
    if path.isprintable() and not _AWKWARD & set(path):
        return
    raise UsageError(
        tr(
            "the path {path!r} holds a character that crontab, systemd or supervisor may read otherwise (a "
            "quote, a backslash, $, a control character); move the folder to a plainer path, for example: "
            "/srv/gengfu",
            path=path,
        )
    )

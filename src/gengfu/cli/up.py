"""The command that runs everything that one machine needs, in one process tree."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.errors import GengfuError, UsageError
from gengfu.language import tr
from gengfu.services.workers import GRACE
from gengfu.text import visible

if TYPE_CHECKING:
    from gengfu.process.supervisor import Role

LOG = "up.log"


@dataclass(frozen=True, slots=True)
class Part:
    """What `up` runs: so many processes of one command."""

    word: str
    """What `--without` calls it."""
    name: str
    """What one of its processes is called."""
    command: str
    passes: tuple[str, ...] = ()
    """The options of `up` that its command is given."""


PARTS = (
    Part("scheduler", "scheduler", "schedule:work"),
    Part("workers", "worker", "queue:work", ("queue", "concurrency", "memory", "grace")),
)
"""In the order in which they are told to end: first what begins new work."""


class Up(BaseCommand):
    """Run the schedule and the workers, in the foreground

    All that one machine needs, in one process tree. A process that dies is
    replaced after 1 s, 2 s, 4 s, up to 60 s; one that is stuck is ended and
    replaced. SIGTERM or Ctrl-C ends all in order: the schedule, then the workers
    with their running jobs. Twice: at once. What happens here stands in
    logs/up.log.

    Examples:
      gengfu up
      gengfu up --workers 2 --queue urgent,device_list
      gengfu up --if-absent
      gengfu up --without scheduler
    """

    name = "up"
    creates = True
    options = (
        click.Option(
            ["--workers"], type=click.IntRange(1, 99), default=1, show_default=True, help="How many worker processes."
        ),
        click.Option(["--queue"], metavar="A,B", help="Which queues workers serve, in order of priority."),
        click.Option(["--concurrency"], type=int, default=2, show_default=True, help="Jobs at once in a worker."),
        click.Option(["--memory"], type=int, metavar="MB", help="Replace a worker that has grown beyond this."),
        click.Option(["--grace"], type=float, default=GRACE, show_default=True, help="Seconds to end what runs."),
        click.Option(
            ["--without"],
            multiple=True,
            type=click.Choice([part.word for part in PARTS]),
            help="Leave this out; may be given more than once.",
        ),
        click.Option(["--if-absent"], is_flag=True, help="Exit 0 at once where `up` runs for this folder."),
    )
    log_file = LOG

    def handle(self, workers: int, without: tuple[str, ...], if_absent: bool, **passed: Any) -> int:
        from gengfu.locks import UP_LOCK, Held, held
        from gengfu.services.workers import WorkerOptions

        queues = tuple(name.strip() for name in (passed["queue"] or "").split(",") if passed["queue"])
        given = {"concurrency": passed["concurrency"], "memory": passed["memory"], "grace": passed["grace"]}
        WorkerOptions(queues=queues, **given)
        self.app.settings.api()
        self.app.notifier.check()
        roles = self._roles({"workers": workers}, without, passed)
        try:
            with held(self.app.settings.var / UP_LOCK):
                code = self._run(roles)
        except Held as error:
            return self._is_up(error.holder.pid, if_absent)
        self.out.answer({"status": "ended", "exit_code": code})
        return code

    def _is_up(self, pid: int | None, if_absent: bool) -> int:
        home = self.app.settings.home
        process = tr(", as process {pid}", pid=pid) if pid else ""
        if not if_absent:
            text = "`gengfu up` runs for {home} already{process}; end that one first, or use --if-absent to accept that"
            raise GengfuError(tr(text, home=home, process=process))
        self.out.say(tr("`gengfu up` runs for {home} already{process}.", home=home, process=process))
        self.out.answer({"status": "running", "pid": pid})
        return 0

    def _roles(self, counts: Mapping[str, int], without: Sequence[str], passed: Mapping[str, Any]) -> list[Role]:
        from gengfu.process.supervisor import Role, lasting

        # As this process was started: by its script, or by -m with whatever else Python was told.
        program = (sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1])
        roles = []
        for part in PARTS:
            if part.word not in without and self.app.catalogue.command(part.command) is not None:
                switches = [word for name in part.passes for word in _switch(name, passed[name])]
                argv = (*program, part.command, *switches)
                roles.append(Role(part.name, argv, counts.get(part.word, 1), lasting, passed["grace"]))
        if not roles:
            raise UsageError("--without leaves nothing to run; see: gengfu up --help")
        return roles

    def _run(self, roles: list[Role]) -> int:
        from gengfu.process.supervisor import Supervisor

        width = max(len(role.name) + len(f" {role.count}") * (role.count > 1) for role in roles)
        return Supervisor(roles, line_writer(self.out.say, width)).run()


def _switch(name: str, value: Any) -> list[str]:
    return [] if value is None else [f"--{name}", str(value)]


def line_writer(say: Callable[[str], None], width: int) -> Callable[[str, str], None]:
    """What writes the lines of children and supervisor, each with its origin before it. Threads take turns; where
    nobody reads any more, the work goes on."""
    turn = threading.Lock()

    def tell(name: str, line: str) -> None:
        with turn:
            try:
                say(f"{name or 'up':<{width}} | {visible(line)}")
            except (OSError, GengfuError):
                pass

    return tell

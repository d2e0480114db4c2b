"""The commands that run the schedule: one pass, a daemon, a try in the foreground, and pausing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.person import person
from gengfu.clock import monotonic
from gengfu.language import tr
from gengfu.services.workers import GRACE

if TYPE_CHECKING:
    from types import FrameType

    from gengfu.services.schedule import Tick
    from gengfu.settings import Settings

LOG = "scheduler.log"
PATIENCE = click.Option(
    ["--grace"],
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=GRACE,
    show_default=True,
    help="Seconds for running commands to end after SIGTERM.",
)
NAME = click.Argument(["name"], metavar="NAME|all")


class ScheduleRun(BaseCommand):
    """Run what is due now, for a crontab line each minute

    Waits until the commands that it started are over. Exits 0 unless it could
    not do its own work; how a command ended stands in its tick. Any number of
    hosts may do this, with or without schedule:work: each tick fires once.

    Examples:
      gengfu schedule:run
      gengfu schedule:run --json
    """

    name = "schedule:run"
    creates = True
    options = (PATIENCE,)
    log_file = LOG

    def handle(self, grace: float) -> int:
        told: list[dict[str, Any]] = []

        def on_over(tick: Tick) -> None:
            from gengfu.services.schedule import brief_json

            told.append(brief_json(tick))
            reason = tr(" ({reason})", reason=tr(tick.reason)) if tick.reason else ""
            self.out.say(
                tr(
                    "{tick.entry} of {due_at}: {tick.state}{reason}",
                    tick=tick,
                    due_at=self.out.moment(tick.due_at),
                    reason=reason,
                )
            )

        scheduler = self.app.scheduler(self.out.moment, on_over)
        with _stopped_by_signals(scheduler.stop):
            scheduler.run_once(grace)
        self.out.answer({"ticks": told, "count": len(told)})
        return 0

    @classmethod
    def logs_to_stderr(cls, settings: Settings) -> bool:  # noqa: ARG003 (for those that depend on it)
        """Never: cron would send a mail each minute."""
        return False


class ScheduleWork(BaseCommand):
    """Run the schedule until told to stop

    SIGTERM or Ctrl-C: starts nothing new, lets running commands end within the
    grace period, ends the rest, exits 0. Twice: at once. Entries that change in
    gengfu.toml are read again by themselves.

    Examples:
      gengfu schedule:work
      gengfu schedule:work --grace 120
    """

    name = "schedule:work"
    creates = True
    options = (PATIENCE,)
    log_file = LOG

    def handle(self, grace: float) -> int:
        scheduler = self.app.scheduler(self.out.moment, lambda _: None)
        with _stopped_by_signals(scheduler.stop):
            self.out.note(tr("scheduler ready ({scheduler.name})", scheduler=scheduler))
            scheduler.work(grace)
        self.out.answer({"status": "ended"})
        return 0

    @classmethod
    def logs_to_stderr(cls, settings: Settings) -> bool:
        return not cls.stderr_is_its_log(settings)


class ScheduleTest(BaseCommand):
    """Run an entry's command now, in the foreground

    Its output goes to the terminal, and its exit code is that of the command.
    It counts as no tick: nothing is recorded, and no policy applies.

    Example:
      gengfu schedule:test device_list
    """

    name = "schedule:test"
    options = (click.Argument(["name"], metavar="NAME"),)

    def handle(self, name: str) -> int:
        from gengfu.process.child import program

        entry = self.app.schedule.named(name)[0]
        sys.stdout.flush()
        started = monotonic()
        process = subprocess.Popen(
            [*program(), *entry.argv],
            cwd=self.app.settings.home,
            env={**os.environ, "GENGFU_HOME": str(self.app.settings.home)},
            stdout=sys.stderr if self.out.as_json else None,
        )
        code = _wait(process)
        self.out.answer(
            {"entry": name, "command": list(entry.argv), "exit_code": code, "seconds": round(monotonic() - started, 3)}
        )
        return code


class SchedulePause(BaseCommand):
    """Pause an entry of the schedule, or all

    Ticks that come due meanwhile are skipped, and are not made up for. What
    runs already goes on. The pause outlives restarts.

    Examples:
      gengfu schedule:pause device_list --reason "the vendor upgrades"
      gengfu schedule:pause all
    """

    name = "schedule:pause"
    options = (NAME, click.Option(["--reason"], metavar="TEXT", help="Why, for those who wonder later."))

    def handle(self, name: str, reason: str | None) -> int:
        from gengfu.services.schedule import paused_because

        entries = self.app.schedule.pause(name, person(), reason)
        for entry in entries:
            because = paused_because(entry.row, self.out.moment)
            text = "{entry.row.name} is {because}" if entry.changed else "{entry.row.name} is already {because}"
            self.out.say(tr(text, entry=entry, because=because))
        self.out.answer({"entries": entries, "count": len(entries)})
        return 0


class ScheduleResume(BaseCommand):
    """Let a paused entry of the schedule go on, or all

    Examples:
      gengfu schedule:resume device_list
      gengfu schedule:resume all
    """

    name = "schedule:resume"
    options = (NAME,)

    def handle(self, name: str) -> int:
        from gengfu.services.schedule import paused_because

        entries = self.app.schedule.resume(name, person(), self.out.moment)
        for entry in entries:
            if entry.changed and entry.row is not None:
                self.out.say(
                    tr(
                        "{entry.entry} goes on; it was {paused_because}",
                        entry=entry,
                        paused_because=paused_because(entry.row, self.out.moment),
                    )
                )
            else:
                self.out.say(tr("{entry.entry} was not paused", entry=entry))
        self.out.answer({"entries": entries, "count": len(entries)})
        return 0


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` while the block lasts."""
    import signal

    def told(_number: int, _frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a command in the foreground, as shells report it; what ends this process ends the command."""
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            process.terminate()

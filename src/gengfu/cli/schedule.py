"""The commands that run the schedule: one pass, a daemon, a try in the foreground, and pausing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.parts import scheduling
from gengfu.clock import monotonic

if TYPE_CHECKING:
    from gengfu.settings import Settings
    from gengfu.store.light import Executor
    from gengfu.store.tick_rows import EntryRow, Tick

T = TypeVar("T")

LOG = "scheduler.log"
GRACE = click.Option(
    ["--grace"],
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=30.0,
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
    options = (GRACE,)
    log_file = LOG

    def handle(self, grace: float) -> int:
        told: list[dict[str, Any]] = []

        def on_over(tick: Tick) -> None:
            from gengfu.cli.parts.ticks import tick_json

            told.append(tick_json(tick))
            self.out.say(f"{tick.entry} of {self.out.moment(tick.due_at)}: {_words(tick)}")

        scheduler = scheduling.open_scheduler(self.app, self.out, on_over)
        with scheduling.stopped_by_signals(scheduler.stop):
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
    options = (GRACE,)
    log_file = LOG

    def handle(self, grace: float) -> int:
        scheduler = scheduling.open_scheduler(self.app, self.out, lambda _: None)
        with scheduling.stopped_by_signals(scheduler.stop):
            self.out.note(f"scheduler ready ({scheduler.name})")
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

        entry = scheduling.named(scheduling.load(self.app).entries, name)[0]
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
        from gengfu.store import ticks

        entries = scheduling.named(scheduling.load(self.app).entries, name)
        by = _who()

        def work(execute: Executor, now: datetime) -> tuple[dict[str, bool], dict[str, EntryRow]]:
            changed = {entry.name: ticks.pause(execute, entry.name, by, reason, now) for entry in entries}
            return changed, ticks.entry_rows(execute)

        changed, rows = _in_database(self, work)
        for entry in entries:
            row = rows[entry.name]
            self.out.say(f"{entry.name} is {'' if changed[entry.name] else 'already '}{self._because(row)}")
        told = [_pause_json(rows[entry.name], changed[entry.name]) for entry in entries]
        self.out.answer({"entries": told, "count": len(told)})
        return 0

    def _because(self, row: EntryRow) -> str:
        from gengfu.schedule.plan import paused_because

        return paused_because(row, self.out.moment)


class ScheduleResume(BaseCommand):
    """Let a paused entry of the schedule go on, or all

    Examples:
      gengfu schedule:resume device_list
      gengfu schedule:resume all
    """

    name = "schedule:resume"
    options = (NAME,)

    def handle(self, name: str) -> int:
        from gengfu.schedule.cron import cron_of
        from gengfu.schedule.plan import paused_because, plan
        from gengfu.store import ticks

        entries = scheduling.named(scheduling.load(self.app).entries, name)

        def work(execute: Executor, now: datetime) -> dict[str, EntryRow]:
            before = ticks.entry_rows(execute)
            for entry in entries:
                row = before.get(entry.name)
                if row is None or row.paused_at is None:
                    continue
                # What came due until now came due in the pause, though no scheduler may have looked.
                found = plan(entry, cron_of(entry), row, now, self.out.moment)
                if found is not None and ticks.advance(execute, entry.name, row, found.row):
                    for new in found.ticks:
                        ticks.record(execute, entry.name, found.row.clock_epoch, entry.argv, new, _who(), now)
                ticks.resume(execute, entry.name)
            return before

        before = _in_database(self, work)
        told = []
        for entry in entries:
            row = before.get(entry.name)
            paused = row is not None and row.paused_at is not None
            if paused and row is not None:
                self.out.say(f"{entry.name} goes on; it was {paused_because(row, self.out.moment)}")
            else:
                self.out.say(f"{entry.name} was not paused")
            told.append({"entry": entry.name, "paused": False, "changed": paused})
        self.out.answer({"entries": told, "count": len(told)})
        return 0


def _in_database(command: BaseCommand, work: Callable[[Executor, datetime], T]) -> T:
    """Does the work in one transaction, by the clock of the schedule."""
    from gengfu.schedule.server_clock import clock_of
    from gengfu.store.light import transact

    db = command.app.light_db
    now = clock_of(db, command.app.clock)()
    return transact(db, lambda execute: work(execute, now))


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a command in the foreground, as shells report it; what ends this process ends the command."""
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            process.terminate()


def _who() -> str:
    """Who gives the order, for those who wonder later."""
    import getpass

    from gengfu.process.pids import host_name

    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{host_name()}"


def _words(tick: Tick) -> str:
    """What became of a tick, for people."""
    return f"{tick.state} ({tick.reason})" if tick.reason else str(tick.state)


def _pause_json(row: EntryRow, changed: bool) -> dict[str, Any]:
    return {
        "entry": row.name,
        "paused": True,
        "changed": changed,
        "paused_at": row.paused_at,
        "paused_by": row.paused_by,
        "reason": row.pause_reason,
    }

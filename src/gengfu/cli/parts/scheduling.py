"""What the schedule's commands share: the entries, a scheduler put together, and what commands have under way."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.errors import ConfigError, NotFound
from gengfu.schedule.policy import Entry

if TYPE_CHECKING:
    from types import FrameType

    from gengfu.app import App
    from gengfu.cli.output import Output
    from gengfu.schedule.entries import Entries
    from gengfu.schedule.scheduler import Scheduler
    from gengfu.store.tick_rows import Tick

log = logging.getLogger("gengfu.cli.schedule")


class EntryReader:
    """Gives the entries, read again when `gengfu.toml` changes. A file that cannot be read then changes nothing; what
    is wrong with an entry is logged once."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._entries: Mapping[str, Entry] | None = None
        self._seen: tuple[int, int, int] | None = None

    def __call__(self) -> Mapping[str, Entry]:
        """All of them, by name.

        Raises:
            ConfigError: the file cannot be read at the first call.
        """
        seen = self._stamp()
        if self._entries is None or seen != self._seen:
            try:
                found = load(self._app)
            except ConfigError as error:
                if self._entries is None:
                    raise
                log.warning("the entries cannot be read again; the old ones stand", extra={"error": str(error)})
            else:
                self._entries = found.entries
                for problem in found.problems:
                    log.warning("an entry cannot be used: %s", problem)
            self._seen = seen
        return self._entries

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = (self._app.settings.home / "gengfu.toml").stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


class CommandEarlierWork:
    """Asks commands what they have under way. One that fails to say is taken to have nothing."""

    def __init__(self, app: App, out: Output) -> None:
        self._app = app
        self._out = out

    def under_way(self, argv: Sequence[str]) -> str | None:
        """In words for people; None where a start would begin something new."""
        told: str | None = self._ask(argv, "under_way")
        return told

    def cancel(self, argv: Sequence[str]) -> None:
        """Ends that."""
        self._ask(argv, "cancel")

    def _ask(self, argv: Sequence[str], what: str) -> Any:
        command = self._app.catalogue.command(argv[0])
        if command is None or getattr(command, what) is getattr(BaseCommand, what):
            return None
        try:
            options = command.options_of(argv[1:])
            return getattr(command(lambda: self._app, self._out), what)(**options)
        except (click.exceptions.Exit, click.ClickException):
            return None  # its start says what is wrong with it
        except Exception as error:
            log.warning("%s failed", what, extra={"command": argv[0], "error": str(error)}, exc_info=error)
            return None


def load(app: App) -> Entries:
    """The entries as the commands and `gengfu.toml` have them now."""
    from gengfu.schedule.entries import load_entries

    return load_entries(app.settings, app.catalogue)


def open_scheduler(app: App, out: Output, on_over: Callable[[Tick], None]) -> Scheduler:
    """A scheduler on the program's database."""
    from gengfu.schedule.enqueue import Enqueuer
    from gengfu.schedule.entry_logs import EntryLogs
    from gengfu.schedule.running import Running
    from gengfu.schedule.scheduler import Scheduler
    from gengfu.schedule.server_clock import clock_of
    from gengfu.settings import load_settings

    db = app.light_db
    return Scheduler(
        db,
        EntryReader(app),
        Running(app.settings, EntryLogs(app.settings)),
        Enqueuer(load_settings, out.moment, app.clock),
        CommandEarlierWork(app, out),
        clock=clock_of(db, app.clock),
        show=out.moment,
        notify=app.nudge,
        on_over=on_over,
    )


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
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


def known(name: str, names: Iterable[str]) -> str:
    """The entry's name, which may be written as its command: `device:list`.

    Raises:
        NotFound: there is no such entry that can be used; the text names those with near names.
    """
    there = sorted(names)
    for spelling in (name, re.sub(r"[^A-Za-z0-9_]", "_", name)):
        if spelling in there:
            return spelling
    from difflib import get_close_matches

    near = get_close_matches(name.replace(":", "_"), there, 3, 0.5)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(there)}" if there else "there is none"
    )
    raise NotFound(f"there is no schedule entry {name!r} that can be used; {hint}")


def named(entries: Mapping[str, Entry], name: str) -> list[Entry]:
    """The entry of that name, or with the name `all` every one of them.

    Raises:
        NotFound: as `known`.
    """
    return list(entries.values()) if name == "all" else [entries[known(name, entries)]]

"""The commands that a scheduler has under way, each as a child process with a log per entry, and how they ended."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from gengfu import logs
from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.process.child import Child, program
from gengfu.process.pids import birth_of, leader_started_with
from gengfu.setting_names import TICK
from gengfu.settings import Settings
from gengfu.store.ticks import Tick, TickEnd, TickState

log = logging.getLogger("gengfu.schedule.running")

KEPT = 16 * 1024
"""Bytes of output that a tick's row keeps: the last ones."""
KILL_AFTER = 10.0
"""Seconds after SIGTERM until SIGKILL."""

ASKED = "ended for a later tick, or by a person"
GIVEN_UP = "its tick was given up while its scheduler was silent"
STOPPED = "its scheduler was told to stop"


class Running:
    """Holds the commands under way by their ticks. An ending is kept in `unwritten` until it was written down.

    A command that is told to end gets SIGTERM, and `KILL_AFTER` seconds later SIGKILL, as do all in its process group.
    What it prints goes to its entry's log, and the end of it to the tick's row.
    """

    def __init__(self, settings: Settings, argv: Sequence[str] | None = None) -> None:
        """`argv`: what comes before the words of a command; by default it is this program."""
        self._settings = settings
        self.logs = EntryLogs(settings)
        self._argv = tuple(argv or program())
        self._commands: dict[int, _Command] = {}
        self.unwritten: list[tuple[Tick, TickEnd]] = []

    def __contains__(self, tick: Tick) -> bool:
        return tick.id in self._commands

    def __len__(self) -> int:
        return len(self._commands)

    @property
    def is_busy(self) -> bool:
        """Whether any command is under way, or an ending is still to be written down."""
        return bool(self._commands or self.unwritten)

    def launch(self, tick: Tick, timeout: float, on_end: Callable[[], None]) -> tuple[int, str | None]:
        """Starts the tick's command; its process id and birth. `on_end` is called from a thread when it has ended.

        Raises:
            OSError: it cannot be started.
        """
        self.logs.open(tick.entry)
        command = _Command(tick, timeout, lambda line: self.logs.write(tick, line))
        environment = {"GENGFU_HOME": str(self._settings.home), "PYTHONUNBUFFERED": "1", TICK: str(tick.id)}
        command.child = Child(
            [*self._argv, *tick.command],
            output=command.take,
            on_end=on_end,
            whole_group=True,
            environment=environment,
            folder=self._settings.home,
        )
        self._commands[tick.id] = command
        log.info("tick started", extra={"tick": tick.id, "entry": tick.entry, "pid": command.child.pid})
        return command.child.pid, birth_of(command.child.pid)

    def found(self, tick: Tick) -> Tick:
        """The tick of another scheduler, which may have died before it wrote down what it had started: with the process
        that runs its command on this machine, if there is one."""
        home = str(self._settings.home)
        pid = leader_started_with(**{TICK: str(tick.id), "GENGFU_HOME": home}) if tick.pid is None else None
        return tick if pid is None else replace(tick, pid=pid, birth=birth_of(pid))

    def gather(self) -> None:
        """Sees to time limits, and sets aside the endings of the commands that have ended."""
        for key, command in list(self._commands.items()):
            ending = command.look()
            if ending is not None:
                del self._commands[key]
                self.unwritten.append((command.tick, ending))

    def obey(self, seen: Mapping[int, Tick], held: Collection[int | None]) -> None:
        """Ends the commands that others want ended, and those whose ticks are not this scheduler's any more.

        Args:
            seen: the ticks that are not over, as they stand in the database.
            held: the leases that count.
        """
        for key, command in self._commands.items():
            row, tick = seen.get(key), command.tick
            if row is None or row.fence != tick.fence or row.lease_id not in held:
                command.end(TickState.CANCELLED, GIVEN_UP, KILL_AFTER)
            elif row.cancel:
                command.end(TickState.CANCELLED, ASKED, KILL_AFTER)

    def end(self, tick: Tick, reason: str) -> None:
        """Ends the tick's command."""
        self._commands[tick.id].end(TickState.CANCELLED, reason, KILL_AFTER)

    def end_all(self, patience: float) -> None:
        """Ends all commands; `patience`: seconds between SIGTERM and SIGKILL."""
        for command in self._commands.values():
            command.end(TickState.CANCELLED, STOPPED, patience)

    def close(self) -> None:
        """Kills what is still under way, and closes the log files."""
        for command in self._commands.values():
            command.child.kill()
        self.logs.close()


class _Command:
    """The command of a tick."""

    child: Child

    def __init__(self, tick: Tick, timeout: float, write: Callable[[str], None]) -> None:
        self.tick = tick
        self._timeout = timeout
        self._write = write
        self._asked: tuple[TickState, str] | None = None
        self._patience = float("inf")
        self._tail = b""

    def take(self, line: str) -> None:
        """A line that it printed."""
        text = logs.redact(line.replace("\0", "\ufffd"))
        self._tail = (self._tail + text.encode("utf-8", "replace") + b"\n")[-KEPT:]
        if text:
            self._write(text)

    def end(self, state: TickState, reason: str, patience: float) -> None:
        """Ends it; the first reason is the one that the tick's row tells of."""
        self._asked = self._asked or (state, reason)
        if patience < self._patience:
            self._patience = patience
            self.child.end(patience)

    def look(self) -> TickEnd | None:
        """How it ended; None while it is under way."""
        code = self.child.code()
        if code is None:
            if self.child.age() >= self._timeout:
                self.end(
                    TickState.FAILED, tr("ran into its time limit of {timeout:g} s", timeout=self._timeout), KILL_AFTER
                )
            self.child.enforce()
            return None
        self.child.close()
        output = self._tail.decode("utf-8", "ignore") or None
        if self._asked is not None:
            return TickEnd(self._asked[0], self._asked[1], code, output)
        if code == 0:
            return TickEnd(TickState.DONE, None, code, output)
        how = tr("exit code {code}", code=code) if code > 0 else tr("ended by {name}", name=_name(-code))
        last = output.rstrip().rpartition("\n")[2].strip() if output else ""
        return TickEnd(TickState.FAILED, f"{how}: {last[:300]}" if last else how, code, output)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return tr("signal {number}", number=number)


class EntryLogs:
    """Writes lines of ticks to `<log folder>/<entry>.log`. One that cannot be written keeps nothing from running."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files: dict[str, logging.Handler | None] = {}

    def write(self, tick: Tick, line: str) -> None:
        """Adds a line of that tick; may be called from any thread once the entry's file was opened."""
        handler = self.open(tick.entry)
        if handler is not None:
            record = logging.LogRecord("gengfu.tick", logging.INFO, "", 0, line, None, None)
            record.tick = tick.id
            handler.handle(record)

    def open(self, entry: str) -> logging.Handler | None:
        """The entry's file; None where it cannot be written, which is logged."""
        if self._files.get(entry) is None:
            try:
                self._files[entry] = logs.open_file(self._settings, f"{entry}.log")
            except ConfigError as error:
                if entry not in self._files:
                    log.warning("the log of an entry cannot be written", extra={"entry": entry, "error": str(error)})
                self._files[entry] = None
        return self._files[entry]

    def close(self) -> None:
        """Closes the files."""
        for handler in self._files.values():
            if handler is not None:
                handler.close()
        self._files.clear()

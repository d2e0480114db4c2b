"""Runs the commands of ticks as child processes: captures what they print, and ends them in time."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gengfu import logs
from gengfu.clock import monotonic
from gengfu.errors import ConfigError
from gengfu.process import guarded
from gengfu.store.tick_rows import Tick, TickState
from gengfu.store.ticks import Ending

if TYPE_CHECKING:
    from gengfu.settings import Settings

log = logging.getLogger("gengfu.schedule.runner")

PROGRAM = (sys.executable, "-P", "-m", "gengfu")
"""This program, by its own interpreter. `-P` keeps modules of the working folder from standing in for others."""
TICK = "GENGFU_TICK"
"""The environment variable that tells a command the number of its tick."""
KEPT = 16 * 1024
"""Bytes of output that a tick's row keeps: the last ones."""
KILL_AFTER = 10.0
"""Seconds after SIGTERM until SIGKILL."""
LONGEST_LINE = 64 * 1024
"""A line longer than this is logged in parts."""
_LOOK = 0.25
"""Seconds between two looks at a command that is silent."""
_SHORTEST_LOOK = 0.005
_LINGER = 1.0
"""Seconds for which the output of a command that has ended is still read, where something it left holds it open."""


class Child(threading.Thread):
    """One command under way. `ending` is None until it has ended; `on_end` is called once it is there, on this thread.

    A command that is told to end gets SIGTERM, and `KILL_AFTER` seconds later SIGKILL, as do all in its process group.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], timeout: float, sink: Callable[[str], None], on_end: Callable[[], None]
    ) -> None:
        super().__init__(name=f"gengfu-tick-{process.pid}", daemon=True)
        self.ending: Ending | None = None
        self.pid = process.pid
        self._process = process
        self._timeout = timeout
        self._sink = sink
        self._on_end = on_end
        self._wish: tuple[TickState, str] | None = None
        self._kill_at: float | None = None
        self._lock = threading.Lock()
        self._rest = b""
        self._tail = b""

    def end(self, state: TickState, reason: str, patience: float = KILL_AFTER) -> None:
        """Ends the command; the first wish is the one that the tick's row tells of."""
        with self._lock:
            self._wish = self._wish or (state, reason)
            kill_at = monotonic() + patience
            if self._kill_at is None or kill_at < self._kill_at:
                self._kill_at = kill_at
                self._signal(signal.SIGTERM)

    def run(self) -> None:
        """Reads until the command has ended."""
        try:
            self._follow()
        except Exception:
            log.exception("the output of a command was lost", extra={"pid": self.pid})
            self._signal(signal.SIGKILL)
        code = self._process.wait()
        if code == -signal.SIGKILL:
            self._signal(signal.SIGKILL, even_if_ended=True)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self.ending = self._ended(code)
        self._on_end()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        pipe = [self._process.stdout.fileno()]
        deadline = monotonic() + self._timeout
        over_at, pause = float("inf"), _SHORTEST_LOOK
        while monotonic() < over_at:
            if select.select(pipe, [], [], _LOOK if pipe else pause)[0]:
                data = os.read(pipe[0], 65536)
                self._take(data)
                if not data:
                    # It has ended, as a rule; but a command may close its output and go on.
                    pipe.clear()
            elif not pipe:
                pause = min(2 * pause, _LOOK)
            if over_at == float("inf") and self._has_ended():
                over_at = monotonic() + _LINGER if pipe else 0.0
            if monotonic() >= deadline:
                deadline = float("inf")
                self.end(TickState.FAILED, f"ran into its time limit of {self._timeout:g} s")
            if self._kill_at is not None and monotonic() >= self._kill_at:
                self._signal(signal.SIGKILL)
        if self._rest:
            self._take(b"\n")

    def _has_ended(self) -> bool:
        with self._lock:
            return self._process.poll() is not None

    def _signal(self, number: int, *, even_if_ended: bool = False) -> None:
        """To the whole group; not once it has ended, since its number may be another's by then."""
        if self._process.returncode is None or even_if_ended:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LONGEST_LINE:
            lines.append(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]
        for line in lines:
            text = logs.redact(line.decode("utf-8", "replace").replace("\0", "\ufffd").rstrip("\r"))
            self._tail = (self._tail + text.encode("utf-8", "replace") + b"\n")[-KEPT:]
            if text:
                self._sink(text)

    def _ended(self, code: int) -> Ending:
        output = self._tail.decode("utf-8", "ignore") or None
        if self._wish is not None:
            return Ending(self._wish[0], self._wish[1], code, output)
        if code == 0:
            return Ending(TickState.DONE, None, code, output)
        how = f"exit code {code}" if code > 0 else f"ended by {_name(-code)}"
        last = output.rstrip().rpartition("\n")[2].strip() if output else ""
        return Ending(TickState.FAILED, f"{how}: {last[:300]}" if last else how, code, output)


class Launcher:
    """Starts the commands of ticks. What they print goes to `logs/<entry>.log` too; they end when this process does."""

    def __init__(self, settings: Settings, program: Sequence[str] = PROGRAM) -> None:
        self._settings = settings
        self._program = tuple(program)
        self._lifeline: tuple[int, int] | None = None
        self._files: dict[str, logging.Handler] = {}

    def start(self, tick: Tick, timeout: float, on_end: Callable[[], None]) -> Child:
        """Starts the tick's command.

        Raises:
            OSError: it cannot be started.
        """
        if self._lifeline is None:
            self._lifeline = os.pipe()
        command = [sys.executable, "-I", "-S", guarded.__file__, str(self._lifeline[0]), *self._program, *tick.command]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._settings.home,
            env=environment(self._settings) | {TICK: str(tick.id)},
            process_group=0,
            pass_fds=(self._lifeline[0],),
        )
        child = Child(process, timeout, self._sink(tick), on_end)
        child.start()
        return child

    def close(self) -> None:
        """Closes the log files, and ends what is still under way."""
        for handler in self._files.values():
            handler.close()
        self._files.clear()
        for end in self._lifeline or ():
            os.close(end)
        self._lifeline = None

    def _sink(self, tick: Tick) -> Callable[[str], None]:
        handler = self._file(tick.entry)

        def write(line: str) -> None:
            if handler is not None:
                record = logging.LogRecord("gengfu.tick", logging.INFO, "", 0, line, None, None)
                record.tick = tick.id
                handler.handle(record)

        return write

    def _file(self, entry: str) -> logging.Handler | None:
        """The entry's log; None where it cannot be written, which must not keep the command from running."""
        if entry not in self._files:
            try:
                self._files[entry] = logs.open_file(self._settings, f"{entry}.log")
            except ConfigError as error:
                log.warning("the log of an entry cannot be written", extra={"entry": entry, "error": str(error)})
                return None
        return self._files[entry]


def environment(settings: Settings) -> dict[str, str]:
    """What a command's process is given: the same working folder, and lines that come as they are printed."""
    return {**os.environ, "GENGFU_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

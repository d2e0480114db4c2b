"""The parent of several worker processes: starts them, passes signals on, replaces those that died."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType

from gengfu.clock import monotonic
from gengfu.queue.options import WorkerOptions

log = logging.getLogger("gengfu.queue.supervisor")

PARENT = "GENGFU_WORKER_PARENT"
"""The environment variable that tells a child the process id of its parent: it ends when that process is gone."""
LONGEST_PAUSE = 60.0
KILL_AFTER = 30.0
"""Seconds beyond the grace period after which a child that was told to stop is killed."""
MISUSE = 2
AT_ONCE = signal.SIGUSR1
"""What children get in place of a second SIGTERM or SIGINT: those may reach them twice, from here and from whoever told
the whole group of processes to end."""


class Next(StrEnum):
    """What follows the end of a child."""

    REST = "rest"
    """Nothing: it ended as it was asked to."""
    REPLACE = "replace"
    """A new child: the old one had grown beyond its memory limit."""
    REPLACE_LATER = "replace later"
    """A new child after a pause that grows: the old one died."""
    GIVE_UP = "give up"
    """All end: no child can work with this command line or configuration."""


def after(code: int, options: WorkerOptions, stopping: bool) -> Next:
    """What follows a child's end.

    Args:
        code: its exit code, negative for a signal.
        stopping: whether all were told to stop.
    """
    if stopping:
        return Next.REST
    if code == MISUSE:
        return Next.GIVE_UP
    if code != 0:
        return Next.REPLACE_LATER
    ends_by_itself = options.stop_when_empty or options.jobs_limit is not None or options.max_time is not None
    return Next.REPLACE if options.memory is not None and not ends_by_itself else Next.REST


def pause_before(deaths: int) -> float:
    """Seconds before a child is replaced, after so many deaths in a row."""
    return float(min(LONGEST_PAUSE, 2.0 ** (deaths - 1)))


@dataclass
class _Place:
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    start_at: float | None = 0.0
    """When the next child is to start; None when none is."""


class Supervisor:
    """Keeps `options.processes` workers alive until they ended as asked, or a signal comes.

    Children are in process groups of their own, so that Ctrl-C reaches them once, through here. A child whose parent
    was killed ends by itself.
    """

    def __init__(self, child_argv: Sequence[str], options: WorkerOptions) -> None:
        self._argv = list(child_argv)
        self._options = options
        self._places = [_Place() for _ in range(options.processes)]
        self._inbox: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._told = 0
        self._kill_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Returns when all children have ended: 0, or 2 if their command line or configuration was refused."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._signalled) for number in numbers}
        try:
            while any(place.process is not None or place.start_at is not None for place in self._places):
                for place in self._places:
                    self._tend(place)
                self._listen()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for place in self._places:
                if place.process is not None:
                    place.process.kill()
                    place.process.wait()
        return self._code

    @property
    def _stopping(self) -> bool:
        return self._kill_at is not None

    def _tend(self, place: _Place) -> None:
        if place.process is not None:
            code = place.process.poll()
            if code is not None:
                self._ended(place, place.process.pid, code)
            elif self._kill_at is not None and monotonic() >= self._kill_at:
                log.error("worker process did not end; killed", extra={"pid": place.process.pid})
                place.process.kill()
        elif place.start_at is not None and monotonic() >= place.start_at:
            environment = {**os.environ, PARENT: str(os.getpid())}
            place.process = subprocess.Popen(self._argv, env=environment, process_group=0)
            place.started, place.start_at = monotonic(), None
            log.info("worker process started", extra={"pid": place.process.pid})

    def _ended(self, place: _Place, pid: int, code: int) -> None:
        place.process = None
        what = after(code, self._options, self._stopping)
        log.log(
            logging.INFO if code == 0 else logging.WARNING,
            "worker process ended",
            extra={"pid": pid, "code": code, "next": what},
        )
        if what is Next.GIVE_UP:
            self._code = MISUSE
            self._pass_on(signal.SIGTERM)
        elif what is Next.REPLACE:
            place.start_at = monotonic()
        elif what is Next.REPLACE_LATER:
            lived_long = monotonic() - place.started > LONGEST_PAUSE
            place.deaths = 1 if lived_long else place.deaths + 1
            place.start_at = monotonic() + pause_before(place.deaths)

    def _listen(self) -> None:
        try:
            self._pass_on(self._inbox.get(timeout=0.1))
        except queue.Empty:
            pass

    def _pass_on(self, number: int) -> None:
        self._told += 1
        if self._kill_at is None:
            self._kill_at = monotonic() + self._options.grace + KILL_AFTER
        for place in self._places:
            place.start_at = None
            if place.process is not None and place.process.poll() is None:
                place.process.send_signal(number if self._told == 1 else AT_ONCE)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._inbox.put(number)

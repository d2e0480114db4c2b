"""The way in for messages, and the desk of the jobs that this process holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum

from gengfu.clock import monotonic
from gengfu.queue.claim import Claimed
from gengfu.queue.job import Hold


class Door:
    """Lets in no more messages than there are free threads, no more than are allowed in all, none once it is shut."""

    def __init__(self, threads: int, limit: int | None = None) -> None:
        self._threads = threads
        self._limit = limit
        self._inside = 0
        self._entered = 0
        self._shut = False
        self._changed = threading.Condition()

    def wait_room(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until somebody may enter."""
        with self._changed:
            return self._changed.wait_for(self._has_room, timeout)

    def _has_room(self) -> bool:
        return not self._shut and self._inside < self._threads and (self._limit is None or self._entered < self._limit)

    def enter(self) -> bool:
        """Takes a place; False where there is none."""
        with self._changed:
            if not self._has_room():
                return False
            self._inside += 1
            self._entered += 1
            return True

    def leave(self, *, counted: bool) -> None:
        """Frees a place; `counted` where a job was done there, whatever its end."""
        with self._changed:
            self._inside -= 1
            self._entered -= not counted
            self._changed.notify_all()

    def shut(self) -> None:
        """Lets nobody in any more."""
        with self._changed:
            self._shut = True

    @property
    def inside(self) -> int:
        """How many places are taken."""
        with self._changed:
            return self._inside

    @property
    def has_served(self) -> bool:
        """Whether nobody is inside, and somebody was."""
        with self._changed:
            return self._inside == 0 and self._entered > 0

    @property
    def used_up(self) -> bool:
        """Whether the last job that was allowed has left."""
        with self._changed:
            return self._limit is not None and self._entered >= self._limit and self._inside == 0


class Stopping(StrEnum):
    """Why a running job was told to stop."""

    SHUTDOWN = "shutdown"
    """The worker ends, and the grace period is over."""
    TIMEOUT = "timeout"
    """The job ran into its time limit."""
    LOST = "lost"
    """Another worker holds the job now."""


class Running:
    """A job in the hands of this process, as the threads around it share it."""

    def __init__(self, claimed: Claimed, limit: float | None) -> None:
        self.claimed = claimed
        self.limit = limit
        """Seconds that it may take."""
        self.deadline = monotonic() + limit if limit is not None else None
        """The moment of its time limit on the monotonic clock."""
        self.hold = Hold(claimed.job_id, claimed.attempt, claimed.claim, threading.Event())
        self.stopping: Stopping | None = None
        self.returned = claimed.spent is not None
        """Whether there is nothing left to stop: only the end is still to be written."""

    def stop(self, why: Stopping) -> None:
        """Tells the job to stop; the first reason counts."""
        if self.stopping is None:
            self.stopping = why
            self.hold.stop.set()


class Desk:
    """The jobs that this process holds, each from its claim until its end is written."""

    def __init__(self) -> None:
        self._running: dict[Claimed, Running] = {}
        self._lock = threading.Lock()

    def take(self, claimed: Claimed, limit: float | None) -> Running:
        """Puts a job on the desk; `limit` is its time limit in seconds."""
        running = Running(claimed, limit)
        with self._lock:
            self._running[claimed] = running
        return running

    def put_down(self, running: Running, then: Callable[[], None] | None = None) -> None:
        """Takes the job off the desk; the first one to do so does `then`."""
        with self._lock:
            first = self._running.pop(running.claimed, None) is not None
        if first and then is not None:
            then()

    def held(self) -> list[Running]:
        """All jobs on the desk."""
        with self._lock:
            return list(self._running.values())

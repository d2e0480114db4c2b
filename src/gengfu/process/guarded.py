"""The small process between a scheduler and a command: it sees to it that the command does not outlive the scheduler.

It leads the command's process group, so a signal to the group meets all that the command started. It is run by its
path, isolated and without site-packages, so that it starts in milliseconds: only the standard library here.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

KILL_AFTER = 10.0
"""Seconds between SIGTERM and SIGKILL for a command whose scheduler is gone."""
NOT_STARTED = 127
"""The exit code where the command could not be started, as shells report it."""

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(lifeline: int, command: list[str]) -> None:
    """Runs the command and ends as it ends. `lifeline`: the end of a pipe that closes when the scheduler is gone."""
    bell, clapper = os.pipe()
    os.set_blocking(clapper, False)
    signal.set_wakeup_fd(clapper, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in _IGNORED:
        signal.signal(ignored, lambda *_: None)
    os.set_inheritable(lifeline, False)
    child = os.fork()
    if child == 0:
        _become(command)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    _end_as(_watch(child, lifeline, bell))


def _become(command: list[str]) -> None:
    signal.set_wakeup_fd(-1)
    for ignored in (signal.SIGCHLD, *_IGNORED):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    os._exit(NOT_STARTED)


def _watch(child: int, lifeline: int, bell: int) -> int:
    """The command's wait status, once it has ended."""
    watched = [lifeline, bell]
    kill_at: float | None = None
    while True:
        left = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        ready, _, _ = select.select(watched, [], [], left)
        if bell in ready:
            os.read(bell, 512)
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            return status
        if lifeline in ready:
            watched.remove(lifeline)
            kill_at = time.monotonic() + KILL_AFTER
            os.killpg(0, signal.SIGTERM)
        if kill_at is not None and time.monotonic() >= kill_at:
            os.killpg(0, signal.SIGKILL)


def _end_as(status: int) -> None:
    """Ends this process as the command ended: with its exit code, or by its signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

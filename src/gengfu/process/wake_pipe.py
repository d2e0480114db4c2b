"""Wakes a loop: from another thread, or from the handler of a signal."""

from __future__ import annotations

import os
import select


class WakePipe:
    """A pipe that a loop waits on. Waking takes no lock, so a signal's handler may do it at any moment."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = os.pipe()
        for end in self._ends:
            os.set_blocking(end, False)

    def wake(self) -> None:
        """Ends the wait that is under way, or else the next one."""
        ends = self._ends
        if ends is not None:
            try:
                os.write(ends[1], b"!")
            except BlockingIOError:
                pass  # it was woken often enough

    def wait(self, seconds: float) -> None:
        """Waits until it is woken, for at most so many seconds."""
        if self._ends is not None and select.select([self._ends[0]], [], [], seconds)[0]:
            os.read(self._ends[0], 4096)

    def close(self) -> None:
        """Gives the pipe back; waking has no effect from now on."""
        ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)

"""Wakes a loop: from another thread, or from the handler of a signal."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Wakeup:
    """What a loop waits on. Waking takes no lock that the loop may hold, so the handler of a signal may do it, too."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        """Ends the wait that is under way, or else the next one."""
        self._calls.put(None)

    def wait(self, seconds: float) -> None:
        """Waits until it is woken, for at most so many seconds."""
        try:
            self._calls.get(timeout=seconds)
        except Empty:
            pass

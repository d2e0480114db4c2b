"""How long something is tried again, and with what pauses."""

from __future__ import annotations

import time
from collections.abc import Callable

from gengfu.clock import monotonic


class Patience:
    """So many seconds for which something is tried again. The pause before each further try grows, and a random part of
    it is left out, so that many who wait for one thing do not come at once."""

    def __init__(
        self, seconds: float, first: float = 0.05, longest: float = 1.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`first` and `longest`: the shortest and the longest pause, in seconds."""
        self._deadline = monotonic() + seconds
        self._pause = first
        self._longest = longest
        self._sleep = sleep

    def lasts(self) -> bool:
        """Whether to try again, now that the pause is over; at once False where the time would be over then."""
        pause = self._next()
        if pause is None:
            return False
        self._sleep(pause)
        return True

    async def lasts_async(self) -> bool:
        """The same in an event loop, which does other things meanwhile."""
        pause = self._next()
        if pause is None:
            return False
        import asyncio

        await asyncio.sleep(pause)
        return True

    def _next(self) -> float | None:
        if monotonic() + self._pause > self._deadline:
            return None
        import random  # takes some milliseconds, which no start of the program needs

        pause = self._pause * random.uniform(0.5, 1.0)
        self._pause = min(self._pause * 2, self._longest)
        return pause

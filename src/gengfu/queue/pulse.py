"""Signs of life of the threads of a worker, and when their absence means that the process must end."""

from __future__ import annotations

from gengfu.clock import monotonic

SLOW_AFTER = 20.0
"""Seconds without a turn after which others are told that a loop is stuck, long before the process ends over it."""
DEAF_AFTER = 30.0
"""Seconds without a successful poll, while Redis answers others, after which a worker ends itself."""


class Pulse:
    """Says when a loop last came round."""

    def __init__(self, name: str, longest: float) -> None:
        self.name = name
        self.longest = longest
        """Seconds that one turn may take."""
        self._turned = monotonic()

    def turn(self) -> None:
        """The loop came round."""
        self._turned = monotonic()

    def seconds(self) -> float:
        """Seconds since the loop last came round."""
        return monotonic() - self._turned

    @property
    def stuck(self) -> bool:
        """Whether a turn has taken too long."""
        return self.seconds() > self.longest


def is_deaf(since_poll: float, answered_for: float) -> bool:
    """Whether a worker hears nothing although there is something to hear.

    A Redis that is down is no reason to end: the worker goes on asking, and so would its successor. But when a
    connection made for the occasion is answered and the worker's own is not, only a new process helps.

    Args:
        since_poll: seconds since the worker last asked Redis for messages and was answered.
        answered_for: seconds for which Redis has answered every new connection.
    """
    return min(since_poll, answered_for) > DEAF_AFTER

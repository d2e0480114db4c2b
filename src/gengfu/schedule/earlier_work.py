"""How the scheduler learns what an earlier start of a command has left under way beyond its own process."""

from __future__ import annotations

from typing import Protocol


class EarlierWork(Protocol):
    """Asks the command of a tick what an earlier start of it has left under way."""

    def under_way(self, argv: tuple[str, ...]) -> str | None:
        """In words for people; None where a start would begin something new."""

    def cancel(self, argv: tuple[str, ...]) -> None:
        """Ends that."""

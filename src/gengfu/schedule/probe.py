"""How the scheduler learns what a command has under way beyond its own process."""

from __future__ import annotations

from typing import Protocol


class Probe(Protocol):
    """Asks a tick's command what it has under way beyond its own process."""

    def under_way(self, argv: tuple[str, ...]) -> str | None:
        """In words for people; None where a start would begin something new."""

    def cancel(self, argv: tuple[str, ...]) -> None:
        """Ends that."""

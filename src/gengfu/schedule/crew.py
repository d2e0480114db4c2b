"""The commands that a scheduler has under way, and the ends that it has not written down yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gengfu.store.tick_rows import Tick, TickState
from gengfu.store.ticks import Ending

if TYPE_CHECKING:
    from gengfu.schedule.runner import Child, Launcher

log = logging.getLogger("gengfu.schedule.crew")

ASKED = "ended for a later tick, or by a person"
GIVEN_UP = "its tick was given up while its scheduler was silent"
STOPPED = "its scheduler was told to stop"


class Crew:
    """Holds the commands under way by their ticks. An ending is kept until it was written down."""

    def __init__(self, launcher: Launcher, on_end: Callable[[], None]) -> None:
        self._launcher = launcher
        self._on_end = on_end
        self._children: dict[int, tuple[Tick, Child]] = {}
        self.unwritten: list[tuple[Tick, Ending]] = []

    def __contains__(self, tick: Tick) -> bool:
        return tick.id in self._children

    @property
    def runs(self) -> bool:
        """Whether any command is under way."""
        return bool(self._children)

    @property
    def is_busy(self) -> bool:
        """Whether any is, or an ending is still to be written down."""
        return self.runs or bool(self.unwritten)

    def launch(self, tick: Tick, timeout: float) -> int:
        """Starts the tick's command; its process id.

        Raises:
            OSError: it cannot be started.
        """
        child = self._launcher.start(tick, timeout, self._on_end)
        self._children[tick.id] = (tick, child)
        log.info("tick started", extra={"tick": tick.id, "entry": tick.entry, "pid": child.pid})
        return child.pid

    def gather(self) -> None:
        """Sets aside the endings of the commands that have ended."""
        for key, (tick, child) in list(self._children.items()):
            if child.ending is not None:
                child.join()
                del self._children[key]
                self.unwritten.append((tick, child.ending))

    def obey(self, seen: Mapping[int, Tick], scheduler: str) -> None:
        """Ends the commands that others want ended, and those whose ticks are another's by now."""
        for key, (tick, child) in self._children.items():
            row = seen.get(key)
            if row is None or (row.claim, row.scheduler) != (tick.claim, scheduler):
                child.end(TickState.CANCELLED, GIVEN_UP)
            elif row.cancel:
                child.end(TickState.CANCELLED, ASKED)

    def end(self, tick: Tick, reason: str) -> None:
        """Ends the tick's command."""
        self._children[tick.id][1].end(TickState.CANCELLED, reason)

    def end_all(self, patience: float) -> None:
        """Ends all commands; `patience`: seconds between SIGTERM and SIGKILL."""
        for _, child in self._children.values():
            child.end(TickState.CANCELLED, STOPPED, patience)

    def close(self) -> None:
        """Gives back what the launcher holds."""
        self._launcher.close()

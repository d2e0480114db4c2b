"""The parent of several processes: starts them, replaces those that died or are stuck, and ends them in order."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType

from gengfu.clock import monotonic
from gengfu.language import tr
from gengfu.process.child import AT_ONCE, STUCK_AFTER, Child
from gengfu.process.notify_socket import ALIVE, READY, STOPPING, NotifyClient, Parent
from gengfu.process.wakeup import Wakeup

log = logging.getLogger("gengfu.process.supervisor")

Tell = Callable[[str, str], None]
"""Takes the name of a child and a line."""

LONGEST_PAUSE = 60.0
KILL_AFTER = 30.0
"""Seconds beyond the grace period after which a child that was told to stop is killed."""
STUCK_GRACE = 10.0
"""Seconds that a child has to end when it is stuck."""
MISUSE = 2


class Next(StrEnum):
    """What follows the end of a child."""

    REST = "rest"
    """Nothing: it ended as it was asked to."""
    REPLACE = "replace"
    """A new child: the old one ended by itself, though well."""
    REPLACE_LATER = "replace later"
    """A new child after a pause that grows: the old one died."""
    GIVE_UP = "give up"
    """All end: no child can work with this command line or configuration."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a supervisor keeps running: so many children with one command line."""

    name: str
    argv: tuple[str, ...]
    count: int
    follow: Callable[[int, bool], Next]
    """What follows a child's end, by its exit code, negative for a signal, and whether it had ever been ready."""
    grace: float
    """Seconds that a child may take to end when told to."""
    watched: bool = True
    """Whether children speak the protocol of `notify`, so that one that falls silent is stuck."""


def lasting(code: int, was_ready: bool) -> Next:
    """What follows the end of a child that is meant to run for good. One that refuses its command line or its
    configuration before it was ever ready will not do better the next time."""
    if code == MISUSE and not was_ready:
        return Next.GIVE_UP
    return Next.REPLACE if code == 0 else Next.REPLACE_LATER


def pause_before(deaths: int) -> float:
    """Seconds before a child is replaced, after so many deaths in a row."""
    return float(min(LONGEST_PAUSE, 2.0 ** (deaths - 1)))


@dataclass
class _Place:
    name: str
    role: Role
    child: Child | None = None
    deaths: int = 0
    was_ready: bool = False
    start_at: float | None = 0.0
    """When the next child is to start; None when none is."""
    told: bool = False
    """Whether its child was told to end for good."""
    was_stuck: bool = False
    """Whether its child was told to end for being stuck, so that its end is no good one, whatever it says."""


class Supervisor:
    """Keeps the children of all roles alive until they ended as asked, or a signal comes.

    Told to stop, it tells the first role's children, waits until they are gone, goes on with the next role; told again,
    it tells all that are left to end at once. Children are in process groups of their own, so that Ctrl-C reaches them
    once, through here. A child whose parent was killed ends by itself. One that shows no progress is told to end, then
    killed, then replaced like one that died. To systemd it speaks for all of them.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        tell: Tell | None = None,
        *,
        pause: Callable[[int], float] = pause_before,
        stuck_after: float = STUCK_AFTER,
    ) -> None:
        """
        Args:
            tell: is given the lines that children write, with the child's name, from threads; and what happens here,
                with an empty name. Without it children write where this process does.
            pause: gives the seconds before a replacement, by the number of deaths in a row.
            stuck_after: seconds without progress after which a child is replaced.
        """
        self._tell = tell
        self._pause = pause
        self._stuck_after = stuck_after
        self._places = [
            _Place(f"{role.name} {number}" if role.count > 1 else role.name, role)
            for role in roles
            for number in range(1, role.count + 1)
        ]
        self._wakeup = Wakeup()
        self._signals = 0
        self._heard = 0
        self._code = 0
        self._notifier = NotifyClient.take()
        self._parent = Parent.take()

    def run(self) -> int:
        """Returns when all children have ended: 0, or 2 if their command line or configuration was refused."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._signalled) for number in numbers}
        try:
            while any(place.child is not None or place.start_at is not None for place in self._places):
                self._cycle()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for place in self._places:
                if place.child is not None:
                    place.child.kill()
        return self._code

    def _cycle(self) -> None:
        for place in self._places:
            self._tend(place)
        if self._parent.is_gone():
            self._say(logging.WARNING, "the parent of this process is gone; all end")
            self._signals += 1
        self._heed_signals()
        self._notify()
        self._wakeup.wait(0.1)

    def _tend(self, place: _Place) -> None:
        child = place.child
        if child is None:
            if place.start_at is not None and monotonic() >= place.start_at:
                self._start(place)
            return
        for word in child.heard():
            place.was_ready |= word == READY
        code = child.code()
        if code is not None:
            self._ended(place, child, code)
        elif child.is_told:
            if child.enforce():
                self._say(
                    logging.ERROR,
                    tr("{place.name} (process {child.pid}) did not end when told to; killed", place=place, child=child),
                )
        elif place.role.watched and child.silence() > self._stuck_after:
            self._say(
                logging.ERROR,
                tr("{place.name} (process {child.pid}) is stuck; it is replaced", place=place, child=child),
            )
            place.was_stuck = True
            child.end(STUCK_GRACE)

    def _start(self, place: _Place) -> None:
        place.start_at, place.was_stuck = None, False
        output = None if self._tell is None else (lambda line, name=place.name: self._write(name, line))
        try:
            place.child = Child(place.role.argv, output=output, speaks=True, stuck_after=self._stuck_after)
        except OSError as error:
            self._say(logging.ERROR, tr("{place.name} cannot be started: {error}", place=place, error=error))
            self._start_later(place)
        else:
            self._say(logging.INFO, tr("{place.name} started (process {place.child.pid})", place=place))

    def _ended(self, place: _Place, child: Child, code: int) -> None:
        place.child = None
        child.close()
        ended = tr("{place.name} (process {child.pid}) {how}", place=place, child=child, how=_how(code))
        if place.told or self._heard:
            self._say(logging.INFO, ended)
            return
        what = Next.REPLACE_LATER if place.was_stuck else place.role.follow(code, place.was_ready)
        if what is Next.GIVE_UP:
            self._say(
                logging.ERROR, tr("{ended}: its command line or its configuration is refused, so all end", ended=ended)
            )
            self._code = MISUSE
            self._signals += 1
        elif what is Next.REPLACE:
            self._say(logging.INFO, tr("{ended}; the next one starts at once", ended=ended))
            place.start_at = monotonic()
        elif what is Next.REPLACE_LATER:
            place.deaths = 0 if child.age() > LONGEST_PAUSE else place.deaths
            last = tr("; its last line: {child.last_line}", child=child) if child.last_line else ""
            self._say(
                logging.WARNING,
                tr(
                    "{ended}; the next one starts in {seconds:g} s{last}",
                    ended=ended,
                    seconds=self._start_later(place),
                    last=last,
                ),
            )
        else:
            self._say(logging.INFO, ended)

    def _start_later(self, place: _Place) -> float:
        place.deaths += 1
        pause = self._pause(place.deaths)
        place.start_at = monotonic() + pause
        return pause

    def _heed_signals(self) -> None:
        if not self._signals:
            return
        if not self._heard:
            self._notifier.say(STOPPING)
            for place in self._places:
                place.start_at = None
        left = [place for place in self._places if place.child is not None]
        if self._signals > 1 >= self._heard:
            for place in left:
                self._stop(place, AT_ONCE)
        elif left and self._signals == 1:
            for place in left:
                if place.role is left[0].role and not place.told:
                    self._stop(place, signal.SIGTERM)
        self._heard = self._signals

    def _stop(self, place: _Place, number: signal.Signals) -> None:
        assert place.child is not None
        place.told = True
        place.child.end(place.role.grace + KILL_AFTER, number)

    def _notify(self) -> None:
        """To systemd: ready when all have started, alive while this loop makes progress."""
        if self._notifier.due():
            self._notifier.say(ALIVE)
        if not self._notifier.is_ready and all(place.was_ready for place in self._places if place.role.watched):
            self._notifier.say(READY)

    def _say(self, level: int, text: str) -> None:
        log.log(level, text)
        self._write("", text)

    def _write(self, name: str, line: str) -> None:
        if self._tell is not None:
            self._tell(name, line)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._wakeup.wake()


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return tr("ended with exit code {code}", code=code)
    try:
        return tr("was killed by {signal}", signal=signal.Signals(-code).name)
    except ValueError:
        return tr("was killed by signal {code}", code=-code)

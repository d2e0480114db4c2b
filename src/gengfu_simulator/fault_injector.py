"""Decides, call by call, which of the present faults shows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from gengfu_simulator.faults import Faults
from gengfu_simulator.fleet import Fleet, ListName, Pick
from gengfu_simulator.values import FOR_EVER, FaultKind


class FaultInjector:
    """Holds the present faults and what is left of those that come a number of times.

    The same seed and the same order of calls give the same failures.
    """

    def __init__(self, faults: Faults, seed: int, clock: Callable[[], float]) -> None:
        self._dice = random.Random(seed)
        self._clock = clock
        self._left: list[int] = []
        self._bucket = 0.0
        self._filled_at = 0.0
        self._pages = 0
        self._drifts = 0
        self.faults = faults
        self.set(faults, Faults().describe())

    @property
    def drifts(self) -> int:
        """How often the list shrank, grew or moved by itself since that was last set."""
        return self._drifts

    def set(self, faults: Faults, named: Iterable[str]) -> None:
        """These faults from now on; what is named among them starts from the beginning."""
        self.faults = faults
        for name in named:
            if name == "pin":
                self._left = [pin.times for pin in faults.pin]
            elif name in ("rate", "burst"):
                self._bucket = self._depth()
                self._filled_at = self._clock()
            elif name == "drift_limit" or name.endswith("_every"):
                self._pages = self._drifts = 0

    def wait(self) -> float:
        """Seconds until the present call may be answered."""
        faults = self.faults
        return faults.latency + (self._dice.random() * faults.jitter if faults.jitter else 0.0)

    def over_rate(self) -> float | None:
        """Takes one request from the rate's bucket; when it is empty, the seconds until the next may come."""
        rate = self.faults.rate
        if not rate:
            return None
        now = self._clock()
        self._bucket = min(self._depth(), self._bucket + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._bucket < 1.0:
            return (1.0 - self._bucket) / rate
        self._bucket -= 1.0
        return None

    def fault_for(self, *targets: str) -> FaultKind | None:
        """The failure pinned to one of these targets, else one by chance, unless it is a login."""
        for place, pin in enumerate(self.faults.pin):
            if pin.target in targets and self._left[place]:
                if pin.times != FOR_EVER:
                    self._left[place] -= 1
                return pin.kind
        if self.faults.fail and "login" not in targets:
            chance = self._dice.random()
            for failing in self.faults.fail:
                chance -= failing.share
                if chance < 0:
                    return failing.kind
        return None

    def heartbeats(self, ids: Iterable[int]) -> list[int]:
        """Those of the devices read whose times move."""
        share = self.faults.heartbeat
        return [device_id for device_id in ids if self._dice.random() < share]

    def drift(self, fleet: Fleet, now: str) -> None:
        """After one good page of the live list: lets the list shrink, grow or move if it is time."""
        faults = self.faults
        self._pages += 1
        front, end = (Pick.FRONT, Pick.END) if faults.order == "asc" else (Pick.END, Pick.FRONT)
        if self._due(faults.shrink_every):
            fleet.send(
                fleet.choose(ids=None, count=1, share=None, pick=front),
                None if faults.shrink_purges else ListName.DELETED,
                now,
            )
        if self._due(faults.grow_front_every):
            fleet.add(1, front)
        if self._due(faults.grow_end_every):
            fleet.add(1, end)
        if self._due(faults.move_every):
            fleet.move(fleet.choose(ids=None, count=1, share=None, pick=front))

    def _due(self, every: int) -> bool:
        limit = self.faults.drift_limit
        if not every or self._pages % every or 0 < limit <= self._drifts:
            return False
        self._drifts += 1
        return True

    def _depth(self) -> float:
        return self.faults.burst or max(1.0, self.faults.rate / 10)

"""The way out to the vendor: who may send a request now, by the limit, the pace and the gate that processes share."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from functools import partial

from gengfu.clock import monotonic
from gengfu.errors import Postpone, StoreError
from gengfu.settings import Settings
from gengfu.vendor.answers import AnswerKind
from gengfu.vendor.http_loop import HttpLoop
from gengfu.vendor.limits import (
    LONGEST_WAIT,
    AdaptiveLimit,
    Pace,
    RetryBudget,
    Streak,
    backoff,
    full_jitter,
    wait_reason,
)
from gengfu.vendor.shared_login import SharedLogin

log = logging.getLogger(__name__)

STARVED = 60.0
"""Seconds of nothing but 429s after which jobs are sent back to the queue."""
GIVE_UP = 20.0
"""Seconds of nothing but faults, round after round, after which nothing more is asked for now."""
TROUBLED = 4
"""Faults with no good answer between, from which on requests go out one by one."""
LONGEST_PAUSE = 2.0
"""Seconds between two requests while nothing goes well, at most."""
LOOK_EVERY = 0.25
"""Seconds between two looks at the gate that processes share, while pages are fetched; four times as many while the
database does not answer."""
FIRST_LOOK = 0.5
"""Seconds for which the first request waits for such a look."""


@dataclass
class Totals:
    """What this process has asked of the vendor so far."""

    calls: int = 0
    retries: int = 0
    throttled: int = 0


class RateLimiter:
    """Lets requests out, first come first served, and learns from what becomes of them. Lives in the loop.

    `enter` waits for a slot and gives a ticket; whoever has one gives it back with `leave`. A 429 closes the gate here
    at once, and for the other processes through the database; while that is away it is closed here alone. A gate that
    somebody opens there is open here. While nothing goes well, requests go out one by one, after pauses that grow.
    """

    def __init__(self, settings: Settings, totals: Totals, loop: HttpLoop, shared: SharedLogin) -> None:
        self.totals = totals
        self.budget = RetryBudget()
        self.one_at_a_time = False
        """One request at a time, whatever the limit."""
        self._loop = loop
        self._shared = shared
        self._limit = AdaptiveLimit(settings.api_concurrency)
        self._longest_wait = settings.api_longest_wait
        self._pace = Pace()
        self._trouble = Streak()
        self._throttling = Streak()
        self._open = 0
        self._next_ticket = 0
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._gate_opens = 0.0
        self._reason = ""
        self._pause_ends = 0.0
        self._fetches = 0
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._sharing: set[asyncio.Task[None]] = set()
        self._shared_at = 0.0
        self._unshared_until = 0.0

    @property
    def limit(self) -> int:
        """How many requests may be open at once now; while nothing goes well, one is enough to see when it does."""
        return 1 if self.one_at_a_time or self._trouble.length >= TROUBLED else self._limit.value

    def is_hopeless(self) -> bool:
        """Whether nothing good has come for so long that further requests are pointless for now."""
        return self._trouble.rounds >= 3 and self._trouble.lasts(monotonic()) > GIVE_UP

    def begin(self) -> None:
        """Someone is about to send requests: from now until `end`, the shared gate is watched."""
        if not self._fetches:
            self._trouble.good()
        self._fetches += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_on())

    def end(self) -> None:
        """The counterpart of `begin`."""
        self._fetches -= 1

    async def look_first(self) -> None:
        """Looks at the shared gate, unless that was done a moment ago."""
        if monotonic() - self._looked_at > LOOK_EVERY:
            # A database that is slow or away must not hold up the first request for long.
            await asyncio.wait([asyncio.ensure_future(self._look())], timeout=FIRST_LOOK)

    async def enter(self) -> int:
        """Waits until a request may go out.

        Raises:
            Postpone: the gate is closed for longer than 30 s.
        """
        now = monotonic()
        if not self._waiting and self._delay(now) == 0.0:
            return self._admit(now)
        if self._gate_opens - now > LONGEST_WAIT:
            raise self._postpone(now)
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._set_timer(now)
        try:
            ticket: int = await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(place.result(), None)
            raise
        return ticket

    def leave(self, ticket: int, kind: AnswerKind | None, asked: float | None = None) -> None:
        """A request came to its end; `kind` is `None` if it was never answered because nobody waits for it any more.

        `asked` is the number of seconds for which the vendor wants no request.
        """
        now = monotonic()
        in_use = self._open
        self._open -= 1
        if kind is AnswerKind.PAGE:
            self._limit.good(ticket, in_use, now)
            self._pace.accepted(now)
            self._trouble.good()
            self._throttling.good()
        elif kind is AnswerKind.THROTTLED:
            self._throttle(ticket, now, in_use, asked)
        elif kind is AnswerKind.OVERLOADED:
            self._limit.overload(ticket, self._next_ticket, now, in_use)
            self._fault(ticket, now)
        elif kind is AnswerKind.FAULT:
            self._fault(ticket, now)
        self._admit_waiting(now)

    def _throttle(self, ticket: int, now: float, in_use: int, asked: float | None) -> None:
        self.totals.throttled += 1
        opens = self._throttling.bad(ticket, self._next_ticket, now)
        own = backoff(self._throttling.rounds) * random.uniform(0.5, 1.0) if opens else 0.0
        wait = min(max(asked or 0.0, own), self._longest_wait)
        if self._throttling.lasts(now) > STARVED:
            wait = max(wait, LONGEST_WAIT + 1)
        if self._limit.overload(ticket, self._next_ticket, now, in_use, throttled=True, wait=wait):
            self._pace.throttled(now, wait)
        reason = wait_reason(asked, self._longest_wait)
        if self._close_gate(now, wait, reason):
            log.warning("the vendor wants no request for a while", extra={"seconds": round(wait, 2)})
            self._unshared_until = now + wait
            task = asyncio.get_running_loop().create_task(self._share(reason, wait))
            self._sharing.add(task)
            task.add_done_callback(self._sharing.discard)

    def _fault(self, ticket: int, now: float) -> None:
        if self._trouble.bad(ticket, self._next_ticket, now) and self._trouble.rounds > 1:
            self._pause_ends = now + full_jitter(backoff(self._trouble.rounds - 1, cap=LONGEST_PAUSE))

    def _close_gate(self, now: float, seconds: float, reason: str) -> bool:
        """Says whether the gate stays closed for noticeably longer than it would have."""
        if now + seconds < self._gate_opens + LOOK_EVERY / 4:
            return False
        self._gate_opens, self._reason = now + seconds, reason
        self._pace.closed(now, seconds)
        if seconds > LONGEST_WAIT:
            while self._waiting:
                place = self._waiting.popleft()
                if not place.done():
                    place.set_exception(self._postpone(now))
        return True

    def _postpone(self, now: float) -> Postpone:
        return Postpone(self._reason, self._gate_opens - now)

    def _delay(self, now: float) -> float | None:
        """Seconds until the next request may go out; `None` when one that is open must come back first."""
        if self._open >= self.limit:
            return None
        return max(0.0, self._gate_opens - now, self._pause_ends - now, self._pace.delay(now))

    def _admit(self, now: float) -> int:
        self._open += 1
        self._pace.sent(now)
        ticket = self._next_ticket
        self._next_ticket += 1
        return ticket

    def _admit_waiting(self, now: float) -> None:
        while self._waiting and self._delay(now) == 0.0:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(self._admit(now))
        if self._waiting:
            self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        delay = self._delay(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(max(delay, 0.001), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._admit_waiting(monotonic())

    async def _look_on(self) -> None:
        answered = True
        while self._fetches:
            await asyncio.sleep(LOOK_EVERY if answered else 4 * LOOK_EVERY)
            answered = await self._look()

    async def _look(self) -> bool:
        began = monotonic()
        try:
            gate = await self._loop.offload(partial(self._shared.logins.gate, self._shared.account))
        except StoreError:
            return False
        now = self._looked_at = monotonic()
        if gate is not None:
            self._close_gate(now, gate.seconds, gate.reason)
        elif self._gate_opens > now and began > self._shared_at and now >= self._unshared_until:
            log.info("the gate was opened before its time")
            self._gate_opens = now
            self._pace.opened(now)
            self._admit_waiting(now)
        return True

    async def _share(self, reason: str, seconds: float) -> None:
        try:
            await self._loop.offload(partial(self._shared.logins.close_gate, self._shared.account, reason, seconds))
        except StoreError as error:
            log.warning("the other processes could not be told to wait", extra={"error": str(error)})
            return
        if len(self._sharing) == 1:
            self._shared_at, self._unshared_until = monotonic(), 0.0

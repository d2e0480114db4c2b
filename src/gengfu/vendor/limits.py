"""How much is asked of the vendor at once, how fast, how often again: decisions only, told the time and the answers."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from gengfu.language import tr

START = 16
"""Requests at once before anything is known of the server."""
CUT = 0.9
"""What an overload leaves of the limit, at most; every further one of the same round takes one more slot."""
PROBE_COST = 20.0
"""A border that cost a wait is tried again after so many times that wait, so that trying costs at most a twentieth."""

LONGEST_WAIT = 30.0
"""A wait of more seconds than this, asked by the vendor, sends jobs back to the queue: it would keep workers idle."""


def wait_reason(asked: float | None, longest: float) -> str:
    """Why no request is sent, when the vendor asked for a wait of so many seconds, of which `longest` are kept."""
    capped = tr(", of which {longest:.0f} s are kept", longest=longest) if (asked or 0.0) > longest else ""
    return "the vendor asks for a wait" + (tr(" of {asked:.0f} s{capped}", asked=asked, capped=capped) if asked else "")


def full_jitter(most: float) -> float:
    """Any number of seconds from 0 to `most`."""
    return random.uniform(0.0, most)


def backoff(attempt: int, base: float = 0.1, cap: float = 5.0) -> float:
    """The longest pause, in seconds, after the attempt of that number (from 1)."""
    return float(min(cap, base * 2 ** min(attempt - 1, 30)))


class AdaptiveLimit:
    """How many requests may be open at once: always from 1 to the ceiling.

    It doubles in each round until the first overload (slow start), then grows by one in each round and shrinks once in
    each round that met an overload. A round is as many good answers as the limit allows at once. Calls carry ascending
    ticket numbers, and a call launched before the last cut belongs to the round that the cut ended: its good answer
    proves nothing, its overload only counts how far over the border that round was. Answers that failed never raise the
    limit.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.value = min(ceiling, START)
        self._slow_start_below = ceiling
        self._round_starts_at = 0
        self._good = 0
        self._borne = 0
        self._border: int | None = None
        self._cut_at = 0.0
        self._pause = 0.0
        self._before: tuple[int, int | None] = (self.value, None)
        self._refused = 0
        self._by_rate = False

    def good(self, ticket: int, in_use: int, now: float) -> None:
        """A good answer came while `in_use` requests were open. Only a limit that is used to the full can be raised."""
        if ticket < self._round_starts_at or in_use < self.value:
            return
        if self.value < self._slow_start_below:
            self.value += 1
            return
        self._good += 1
        if self._good < self.value:
            return
        self._good = 0
        self._borne = max(self._borne, self.value)
        if self.value < self.ceiling and not self._is_held(now):
            self.value += 1

    def _is_held(self, now: float) -> bool:
        """Whether the next step would cross the border too soon: one slot more is worth little to a high limit."""
        if self._border is None or self.value < self._border:
            return False
        return now < self._cut_at + self._pause * self.value / START

    def overload(
        self, ticket: int, next_ticket: int, now: float, in_use: int, *, throttled: bool = False, wait: float = 0.0
    ) -> bool:
        """The server could not cope with a call while `in_use` were open; `wait` is the number of seconds it asked for.

        Returns whether this call, being `throttled` (429), shows that the vendor limits the rate: no more were open
        than it has borne before, or most of a number that it has borne before were refused.
        """
        opens = ticket >= self._round_starts_at
        if opens:
            self._round_starts_at = next_ticket
            self._before = (self.value, self._border)
            self._slow_start_below = max(1, self.value // 2)
            self._refused = self._good = 0
            self._by_rate = throttled and self._border is not None and in_use <= self._border
            self._cut_at, self._pause = now, 0.0
        self._pause = max(self._pause, PROBE_COST * wait)
        before, border = self._before
        kept = max(1, int(before * CUT))
        if self._by_rate:
            self.value = kept if opens else self.value
            return opens
        self._refused += 1
        if throttled and before <= self._borne and self._refused * 2 > before:
            self._by_rate, self._border, self.value = True, border, kept
            return True
        self._border = max(1, before - self._refused)
        self.value = max(1, min(self.value, self._border, kept))
        return False


class Pace:
    """How many requests a second the vendor bears, learned from its 429s; none until it throttles by rate.

    What it bears lies between what it took while requests went out and what it took in all, closed gates included. The
    two are the same once requests have gone out for a second without a break: then the figure is known, and the pace
    grows slowly from just below it, at first by little and then by ever more. Until then it grows fast.
    """

    BELOW = 0.95
    """The share of the measured rate at which to go on."""
    WINDOW = 1.0
    """Seconds of sending over which the rate is measured."""
    IDLE = 2.0
    """Seconds without an answer after which the measuring begins anew."""
    SLACK = 0.01
    """Seconds of delay of our own that may be caught up with."""
    FORGET = 20_000.0
    """A pace above this many a second holds nothing back."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._taken: deque[tuple[float, float]] = deque(maxlen=4096)
        self._closed = 0.0
        self._opens_at = 0.0
        self._next = 0.0
        self._step = 0.0
        self._step_grows = 1.0
        self._step_every = 0.0
        self._raise_at = 0.0

    def accepted(self, now: float) -> None:
        """The vendor took a request."""
        sending = self._sending(now)
        if self._taken and sending - self._taken[-1][0] > self.IDLE:
            self._taken.clear()
        self._taken.append((sending, now))
        if self.rate is not None and now >= self._raise_at:
            self.rate *= 1 + self._step
            self._step *= self._step_grows
            self._raise_at = now + self._step_every
            if self.rate > self.FORGET:
                self.rate = None

    def closed(self, now: float, seconds: float) -> None:
        """No request goes out for so many seconds from now: they do not count as time of sending."""
        until = max(self._opens_at, now + seconds)
        self._closed += until - max(self._opens_at, now)
        self._opens_at = until
        # What was not sent meanwhile is not caught up with: the vendor may have saved up nothing for us.
        self._next = max(self._next, until + self.SLACK)

    def opened(self, now: float) -> None:
        """Requests may go out from now on, before the time that was told."""
        self._closed -= max(0.0, self._opens_at - now)
        self._opens_at = min(self._opens_at, now)
        self._next = min(self._next, now)

    def _sending(self, now: float) -> float:
        """A clock that stands still while the gate is closed."""
        return max(now, self._opens_at) - self._closed

    def throttled(self, now: float, wait: float) -> None:
        """The vendor refused a request for the rate alone and asks to wait for `wait` seconds."""
        sending = self._sending(now)
        window = [moments for moments in self._taken if moments[0] > sending - self.WINDOW]
        if not window:
            return
        is_whole = self._taken[0][0] <= sending - self.WINDOW * 0.9
        span = self.WINDOW if is_whole else max(sending - window[0][0], 0.001)
        in_all = max(now - window[0][1], self.WINDOW)
        rate = len(window) / (span * in_all) ** 0.5
        self.rate = max(1.0, self.BELOW * min(rate, self.rate or rate))
        if is_whole and in_all < self.WINDOW * 1.1:
            self._step, self._step_grows, self._step_every = 0.005, 2.0, max(0.5, 4 * wait)
        else:
            self._step, self._step_grows, self._step_every = 0.25, 1.0, 0.5
        self._raise_at = now + wait + self._step_every

    def delay(self, now: float) -> float:
        """Seconds until the next request may go out."""
        return max(0.0, self._next - now) if self.rate is not None else 0.0

    def sent(self, now: float) -> None:
        """A request goes out."""
        if self.rate is not None:
            self._next = max(self._next, now - self.SLACK) + 1 / self.rate


class RetryBudget:
    """Keeps repeated calls at about a fifth of the first ones, so that a sick vendor does not get twice the load.

    A small allowance for short lists comes back within a minute.
    """

    SHARE = 0.19
    ALLOWANCE = 10.0
    MOST = 100.0
    REFILL = ALLOWANCE / 60.0

    def __init__(self) -> None:
        self._tokens = self.ALLOWANCE
        self._refilled_at: float | None = None

    def earn(self) -> None:
        """A page is asked for the first time."""
        self._tokens = min(self.MOST, self._tokens + self.SHARE)

    def spend(self, now: float) -> bool:
        """Whether one more repeated call is allowed; if so, it is counted."""
        if self._refilled_at is not None and self._tokens < self.ALLOWANCE:
            self._tokens = min(self.ALLOWANCE, self._tokens + (now - self._refilled_at) * self.REFILL)
        self._refilled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass
class Streak:
    """Bad answers with no good one between, one by one and by rounds: what was open at once counts as one round."""

    length: int = 0
    rounds: int = 0
    since: float | None = None
    _round_starts_at: int = 0

    def good(self) -> None:
        """The streak is over."""
        self.length, self.rounds, self.since = 0, 0, None

    def bad(self, ticket: int, next_ticket: int, now: float) -> bool:
        """Counts a bad answer; says whether it opens a new round."""
        self.length += 1
        if self.since is None:
            self.since = now
        if self.rounds and ticket < self._round_starts_at:
            return False
        self.rounds += 1
        self._round_starts_at = next_ticket
        return True

    def lasts(self, now: float) -> float:
        """Seconds since the first of the streak; 0 when the last answer was good."""
        return now - self.since if self.since is not None else 0.0

"""How much the client asks at once, how fast and how often again: the decisions alone, then against a real vendor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller import DEVICES, Caller
from gengfu.vendor.limits import AdaptiveLimit, Pace, RetryBudget, Streak, backoff, full_jitter
from gengfu_simulator.testing import Simulator


class Server:
    """A vendor on paper: answers a round of requests that are all open at once, in virtual time."""

    def __init__(self, limit: AdaptiveLimit, bears: int, *, throttles: bool = False, asks: float = 0.0) -> None:
        self.limit = limit
        self.bears = bears
        self.throttles = throttles
        self.asks = asks
        self.now = 0.0
        self.ticket = 0
        self.served = self.refused = 0

    def round(self) -> None:
        """Sends as many requests as the limit allows; those beyond what the server bears are refused first."""
        sent = self.limit.value
        tickets = range(self.ticket, self.ticket + sent)
        self.ticket += sent
        refused = max(0, sent - self.bears)
        for ticket in tickets[:refused]:
            self.limit.overload(ticket, self.ticket, self.now, sent, throttled=self.throttles, wait=self.asks)
        for ticket in tickets[refused:]:
            self.limit.good(ticket, self.limit.value, self.now)
        self.served += sent - refused
        self.refused += refused
        self.now += 0.02 + (self.asks if refused else 0.0)


def test_the_limit_starts_low_and_doubles_in_each_round_until_the_ceiling() -> None:
    limit = AdaptiveLimit(100)
    server = Server(limit, 1_000)
    seen = []
    for _ in range(5):
        seen.append(limit.value)
        server.round()
    assert seen == [16, 32, 64, 100, 100]
    assert AdaptiveLimit(3).value == 3


@pytest.mark.parametrize("bears", [1, 3, 16, 23, 48, 90])
def test_the_limit_stays_within_a_tenth_of_what_the_server_bears(bears: int) -> None:
    limit = AdaptiveLimit(100)
    server = Server(limit, bears)
    for _ in range(20):
        server.round()
    server.served = server.refused = 0
    for _ in range(400):
        server.round()
    assert server.served >= 0.9 * 400 * bears
    assert server.refused <= 0.2 * server.served if bears > 3 else server.refused <= server.served


def test_an_overload_costs_a_tenth_once_a_round_and_a_slot_for_each_further_one() -> None:
    limit = AdaptiveLimit(40)
    limit.value = 40
    limit.overload(0, 40, 0.0, 40)
    assert limit.value == 36
    for ticket in range(1, 10):
        limit.overload(ticket, 40, 0.0, 40 - ticket)
    assert limit.value == 30
    limit.overload(40, 70, 0.0, 30)
    assert limit.value == 27


def test_answers_that_failed_never_raise_the_limit() -> None:
    limit = AdaptiveLimit(100)
    for ticket in range(200):
        before = limit.value
        limit.overload(ticket, ticket + 1, 0.0, before)
        assert limit.value <= before
    assert limit.value == 1


def test_a_limit_that_is_not_used_up_is_not_raised() -> None:
    limit = AdaptiveLimit(100)
    for ticket in range(1_000):
        limit.good(ticket, 15, 0.0)
    assert limit.value == 16


def test_good_answers_to_calls_from_before_the_cut_prove_nothing() -> None:
    limit = AdaptiveLimit(100)
    limit.overload(50, 100, 0.0, 16)
    for ticket in range(100):
        limit.good(ticket, 16, 0.0)
    assert limit.value == 14


def test_a_border_that_costs_a_wait_is_seldom_tried() -> None:
    limit = AdaptiveLimit(100)
    server = Server(limit, 16, throttles=True, asks=1.0)
    while server.now < 120:
        server.round()
    assert server.refused - 16 <= 120 / 20 + 1
    assert limit.value >= 15


@given(
    ceiling=st.integers(1, 256),
    events=st.lists(
        st.tuples(st.sampled_from(["good", "overload", "throttled"]), st.integers(0, 40), st.floats(0, 90))
    ),
)
def test_the_limit_is_always_between_one_and_the_ceiling(ceiling: int, events: list[tuple[str, int, float]]) -> None:
    limit = AdaptiveLimit(ceiling)
    now = 0.0
    for ticket, (event, lag, seconds) in enumerate(events):
        now += seconds
        sent = max(0, ticket - lag)
        if event == "good":
            limit.good(sent, limit.value, now)
        else:
            limit.overload(sent, ticket + 1, now, limit.value, throttled=event == "throttled", wait=seconds)
        assert 1 <= limit.value <= ceiling


def paced(per_second: float, burst: float, fastest: float, seconds: float, wait: float = 1.0) -> tuple[Pace, int, int]:
    """A pace against a token bucket, in virtual time, and what was taken and refused in the last half of the time."""
    pace = Pace()
    now, tokens, refilled = 100.0, burst, 100.0
    taken = refused = 0
    while now < 100.0 + seconds:
        now += max(1 / fastest, pace.delay(now))
        pace.sent(now)
        tokens = min(burst, tokens + (now - refilled) * per_second)
        refilled = now
        counts = now > 100.0 + seconds / 2
        if tokens >= 1:
            tokens -= 1
            pace.accepted(now)
            taken += counts
        else:
            pace.throttled(now, wait)
            pace.closed(now, wait)
            refused += counts
            now += wait
    return pace, taken, refused


@pytest.mark.parametrize("burst", [1, 20, 200])
@pytest.mark.parametrize("per_second", [5, 50, 200, 1_000])
def test_the_pace_comes_close_to_what_the_vendor_takes(per_second: int, burst: int) -> None:
    _, taken, refused = paced(per_second, burst, 3_000, 120)
    assert taken >= 0.75 * per_second * 60
    assert refused <= 0.05 * taken


def test_there_is_no_pace_before_the_first_429() -> None:
    pace = Pace()
    for number in range(10_000):
        pace.sent(number / 5_000)
        pace.accepted(number / 5_000)
    assert pace.rate is None
    assert pace.delay(2.0) == 0.0


def test_a_pace_that_was_set_too_low_is_outgrown() -> None:
    pace = Pace()
    pace.accepted(0.0)
    pace.throttled(0.1, 1.0)
    assert pace.rate is not None
    now = 1.1
    while now < 40 and pace.rate is not None:
        now += pace.delay(now) + 0.001
        pace.sent(now)
        pace.accepted(now)
    assert pace.rate is None or pace.rate > 500


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30), st.floats(0, 60)), max_size=60))
def test_the_pace_never_stops_everything(events: list[tuple[bool, float, float]]) -> None:
    pace, now = Pace(), 0.0
    for is_good, passed, wait in events:
        now += max(passed, pace.delay(now))
        pace.sent(now)
        if is_good:
            pace.accepted(now)
        else:
            pace.throttled(now, wait)
            pace.closed(now, wait)
        assert pace.rate is None or pace.rate >= 1.0
        assert 0.0 <= pace.delay(now) <= 60 + 1.1


def test_repeated_calls_stay_within_a_fifth_and_a_small_allowance() -> None:
    budget = RetryBudget()
    spent = 0
    for _ in range(1_000):
        budget.earn()
        spent += budget.spend(0.0)
    assert 190 <= spent <= 200


def test_the_allowance_comes_back_within_a_minute_and_no_more() -> None:
    budget = RetryBudget()
    assert sum(budget.spend(0.0) for _ in range(50)) == 10
    assert not budget.spend(1.0)
    assert sum(budget.spend(61.0) for _ in range(50)) == 10
    assert sum(budget.spend(10_000.0) for _ in range(50)) == 10


def test_what_is_saved_up_in_good_times_has_a_limit() -> None:
    budget = RetryBudget()
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend(0.0) for _ in range(1_000)) == 100


def test_a_streak_counts_what_was_open_at_once_as_one() -> None:
    streak = Streak()
    assert [streak.bad(ticket, 16, 5.0) for ticket in range(16)] == [True] + [False] * 15
    assert streak.bad(16, 20, 9.0)
    assert (streak.length, streak.rounds, streak.lasts(11.0)) == (17, 2, 6.0)
    streak.good()
    assert (streak.length, streak.rounds, streak.lasts(11.0)) == (0, 0, 0.0)


@given(st.integers(1, 10_000))
def test_pauses_double_up_to_a_cap(attempt: int) -> None:
    assert backoff(attempt) == min(5.0, 0.1 * 2 ** min(attempt - 1, 60))
    assert 0 <= full_jitter(backoff(attempt)) <= 5.0


# Against a real vendor.

Read = Callable[..., tuple[Caller, dict[str, Any]]]


@pytest.fixture
def read(start: Callable[..., Caller], vendor: Simulator) -> Iterator[Read]:
    """`read(pages, ceiling, **faults)`: reads so many one-row pages; the caller that did, and what the vendor saw."""

    def run(pages: int, ceiling: int, **faults: Any) -> tuple[Caller, dict[str, Any]]:
        vendor.control(**faults)
        caller = start(api_concurrency=ceiling)
        found, failures = caller.read([index % DEVICES for index in range(pages)], 1)
        assert not failures
        assert len(found) == pages
        return caller, vendor.state()

    yield run
    vendor.control(clear=True)


@pytest.mark.parametrize("bears", [16, 48])
def test_a_server_that_bears_so_many_at_once_is_asked_about_so_many(read: Read, bears: int) -> None:
    caller, state = read(1_000, 64, capacity=bears, latency="20ms")
    assert bears < state["max_concurrent"] <= bears + 1
    assert caller.client.counters().retries <= 0.1 * 1_000
    assert state["device_calls"] == caller.client.counters().calls


def test_a_cap_on_the_rate_is_learned(read: Read) -> None:
    caller, state = read(600, 16, rate=200, latency="5ms")
    throttled = caller.client.counters().throttled
    assert 0 < throttled <= 0.05 * 600
    assert state["span"] < 20
    assert caller.client.counters().retries == 0


@pytest.mark.parametrize("kind", ["500", "503", "reset"])
def test_an_outage_costs_time_but_no_page(vendor: Simulator, read: Read, kind: str) -> None:
    def begin() -> None:
        vendor.control(fail=[f"{kind}:1"])
        ending.start()

    ending = threading.Timer(0.7, lambda: vendor.control(fail=[]))
    beginning = threading.Timer(0.1, begin)
    beginning.start()
    caller, state = read(600, 16, latency="20ms")
    beginning.join()
    ending.join()
    assert state["injected"]
    assert caller.client.counters().retries <= 0.2 * 600
    assert state["device_calls"] == caller.client.counters().calls

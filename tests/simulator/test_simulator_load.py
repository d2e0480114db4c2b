"""The simulator under load: latency, how many requests it bears, what a 429 says."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from gengfu_simulator.answers import retry_after_header
from gengfu_simulator.fault_injector import FaultInjector
from gengfu_simulator.faults import Faults
from gengfu_simulator.values import RetryAfter
from simulated import Client, request_text, until


def test_answers_wait_for_the_latency(client: Client) -> None:
    client.sim.control(latency="60ms", jitter="10ms")
    start = time.monotonic()
    client.page()
    assert time.monotonic() - start >= 0.06
    client.sim.control(latency=0, jitter=0)


@pytest.mark.parametrize("status", ["503", "429"])
def test_more_requests_than_it_bears_are_refused_at_once(client: Client, status: str) -> None:
    client.sim.control(capacity=3, over_capacity=status, pin="all:stall")
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(5):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", client.sim.port), timeout=5))
            connection.sendall(request_text(client, 0))
            selector.register(connection, selectors.EVENT_READ)
        until(lambda: len(selector.select(0)) == 2)
        answered = [key.fileobj for key, _ in selector.select(0)]
        assert [answer.recv(15)[9:12].decode() for answer in answered] == [status] * 2
        state = client.sim.state()
    assert (state["concurrent"], state["injected"]) == (3, {"over-capacity": 2})
    assert state["max_concurrent"] == 4
    until(lambda: client.sim.state()["concurrent"] == 0)


def test_more_requests_a_second_than_allowed_are_throttled(client: Client) -> None:
    client.sim.control(rate=0.5, burst=4)
    answers = [client.raw() for _ in range(6)]
    assert [status for status, _, _ in answers] == [200] * 4 + [429] * 2
    assert answers[-1][1]["Retry-After"] == "2"
    assert client.sim.state()["injected"] == {"over-rate": 2}


def test_the_rate_refills_with_time() -> None:
    now = [0.0]
    injector = FaultInjector(Faults().changed({"rate": 10, "burst": 2}), 1, lambda: now[0])
    injector.set(injector.faults, ["rate"])
    assert [injector.over_rate() for _ in range(3)] == [None, None, pytest.approx(0.1)]
    now[0] += 0.1
    assert [injector.over_rate() for _ in range(2)] == [None, pytest.approx(0.1)]


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "due", "header"),
    [
        ("auto", None, "1"),
        ("auto", 0.3, "1"),
        ("auto", 2.1, "3"),
        ("none", 5, None),
        ("garbage", 5, "soon"),
        ("7", 5, "7"),
        ("0.5", 5, "0.5"),
        ("date", 2.1, "Fri, 02 Jan 2026 03:04:08 GMT"),
        ("date:60", None, "Fri, 02 Jan 2026 03:05:05 GMT"),
    ],
)
def test_retry_after_says_what_it_is_told(word: str, due: float | None, header: str | None) -> None:
    assert retry_after_header(RetryAfter.parse(word), due, NOW) == header


def test_a_throttled_page_carries_a_date(client: Client) -> None:
    client.sim.control(pin="0:429", retry_after="date:90")
    date = parsedate_to_datetime(client.raw()[1]["Retry-After"])
    assert abs(date - datetime.now(UTC) - timedelta(seconds=90)) < timedelta(seconds=10)
    client.sim.control(retry_after="none")
    assert client.raw()[1]["Retry-After"] is None

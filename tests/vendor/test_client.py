"""The vendor client and a vendor that misbehaves: what comes out is a page, a reason or an error, and never a guess."""

from __future__ import annotations

import logging
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import event

from caller import LISTING, PAGES, Caller
from gengfu.errors import AnswerError, ConfigError, LoginRefused, Postpone, Stopped, StoreError, VendorError
from gengfu.store.database import Database
from gengfu.vendor import http_loop, page_fetch, rate_limiter
from gengfu.vendor.answers import DEAD_LOGIN_TEXT, AnswerKind, Expected, excerpt, judge, retry_after
from gengfu.vendor.client import Counters
from gengfu.vendor.paging import Page
from gengfu.vendor.rate_limiter import LOOK_EVERY
from gengfu_simulator.testing import Simulator


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are a tenth of the longest that they may be."""
    for module in (page_fetch, rate_limiter):
        monkeypatch.setattr(module, "full_jitter", lambda most: most / 10)


def ids(pages: list[Page]) -> list[int]:
    found = [msgspec.json.decode(row)["id"] for page in sorted(pages, key=lambda page: page.index) for row in page.rows]
    return [int(key) for key in found]


# What an answer is.

FULL = b'{"results": [{"id": 1}, {"id": 2}], "total": 6}'


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, FULL, AnswerKind.PAGE),
        (200, b"\xef\xbb\xbf" + FULL, AnswerKind.PAGE),
        (200, b' {"total": 3, "page": 1, "results": [1, null]}', AnswerKind.PAGE),
        (200, b'{"results": [], "total": 0}', AnswerKind.PAGE),
        (200, b'{"results": [{"id": 1}], "total": 6}', AnswerKind.FAULT),
        (200, b'{"results": [], "total": 6}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2, 3], "total": 6}', AnswerKind.PAGE),
        (200, b'{"results": [{"id": 1, "x": NaN, "y": -Infinity}, 2], "total": 6}', AnswerKind.PAGE),
        (200, b'{"results": [{"id": 1, "x": "a\x01\x00\n\\x41"}, 2], "total": 6}', AnswerKind.PAGE),
        (200, b'{"results": [{"id": 1, "x": "\xff\\ud83d"}, 2], "total": 6}', AnswerKind.PAGE),
        (200, b'{"results": [{"x": ' + b"[" * 9_000 + b"]" * 9_000 + b'}, 2], "total": 6}', AnswerKind.PAGE),
        (200, b'{"results": [{"x": 1' + b"0" * 9_000 + b', "y": 1e999}, 2], "total": 6}', AnswerKind.PAGE),
        (200, b"[" * 100_000 + b"]" * 100_000, AnswerKind.FAULT),
        (200, b"[" * 100_000, AnswerKind.FAULT),
        (200, b'{"results": [' + b"0," * 1_000_000 + b'0], "total": 1000001}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2], "total": 1000000000000}', AnswerKind.FAULT),
        (200, b"\xef\xbb\xbf <!-- portal --><meta http-equiv=refresh>", AnswerKind.FAULT),
        (200, b'{"results": [1, 2]}', AnswerKind.FAULT),
        (200, b'{"total": 6}', AnswerKind.FAULT),
        (200, b'{"results": null, "total": 6}', AnswerKind.FAULT),
        (200, b'{"results": {"a": 1}, "total": 6}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2], "total": "6"}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2], "total": -6}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2], "total": 6.0}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2], "total": true}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2], "total": null}', AnswerKind.FAULT),
        (200, b'{"results": [1, 2], "total": 1' + b"0" * 30 + b"}", AnswerKind.FAULT),
        (200, FULL[:20], AnswerKind.FAULT),
        (200, FULL + b"x", AnswerKind.FAULT),
        (200, b"[]", AnswerKind.FAULT),
        (200, b"", AnswerKind.FAULT),
        (200, b"<html><body>Bad gateway</body></html>", AnswerKind.FAULT),
        (200, f"<!DOCTYPE html><p>{DEAD_LOGIN_TEXT}".encode(), AnswerKind.FAULT),
        (200, b"OK", AnswerKind.FAULT),
        (200, b"\xff\xfe\x00", AnswerKind.FAULT),
        (200, DEAD_LOGIN_TEXT.encode(), AnswerKind.DEAD_LOGIN),
        (200, f'\ufeff "{DEAD_LOGIN_TEXT}"\n'.encode(), AnswerKind.DEAD_LOGIN),
        (200, DEAD_LOGIN_TEXT.encode("gb18030"), AnswerKind.DEAD_LOGIN),
        (200, f'{{"error": "{DEAD_LOGIN_TEXT}"}}'.encode(), AnswerKind.DEAD_LOGIN),
        (200, f'{{"results": [{{"memo": "{DEAD_LOGIN_TEXT}"}}, 2], "total": 6}}'.encode(), AnswerKind.PAGE),
        (204, b"", AnswerKind.FAULT),
        (302, b"", AnswerKind.REJECTED),
        (400, b"", AnswerKind.REJECTED),
        (401, FULL, AnswerKind.DEAD_LOGIN),
        (403, b"", AnswerKind.REJECTED),
        (404, b"", AnswerKind.REJECTED),
        (429, FULL, AnswerKind.THROTTLED),
        (500, b"", AnswerKind.FAULT),
        (502, b"", AnswerKind.OVERLOADED),
        (503, FULL, AnswerKind.OVERLOADED),
        (504, b"", AnswerKind.OVERLOADED),
    ],
)
def test_nothing_but_the_contract_is_a_page(status: int, body: bytes, kind: AnswerKind) -> None:
    verdict = judge(status, body, Expected(1, 2), partial(excerpt, scrub=str))
    assert verdict.kind is kind
    assert bool(verdict.why) is (kind is not AnswerKind.PAGE)


@pytest.mark.parametrize(
    ("index", "rows", "total", "check_length", "is_page"),
    [
        (0, 10, 25, True, True),
        (2, 5, 25, True, True),
        (2, 4, 25, True, False),
        (2, 4, 25, False, True),
        (2, 7, 25, True, True),
        (2, 12, 25, True, True),
        (3, 0, 25, True, True),
        (3, 2, 25, True, True),
        (0, 0, 25, False, True),
        (0, 11, 25, False, True),
    ],
)
def test_a_page_is_as_long_as_its_own_total_implies(
    index: int, rows: int, total: int, check_length: bool, is_page: bool
) -> None:
    body = msgspec.json.encode({"results": list(range(rows)), "total": total})
    verdict = judge(200, body, Expected(index, 10, check_length), partial(excerpt, scrub=str))
    assert (verdict.kind is AnswerKind.PAGE) is is_page


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("7", None, 7),
        (" 0 ", None, 0),
        ("1.5", None, 1.5),
        ("Mon, 01 Jan 2024 00:01:00 GMT", None, 60),
        ("Mon, 01 Jan 2024 00:01:00 GMT", "Mon, 01 Jan 2024 00:00:50 GMT", 10),
        ("Mon, 01 Jan 2024 00:01:00 GMT", "garbage", 60),
        ("Sun, 31 Dec 2023 23:59:00 GMT", None, 0),
        ("Mon, 01 Jan 2024 08:01:00 +0800", None, 60),
        (None, None, None),
        ("", None, None),
        ("-5", None, None),
        ("soon", None, None),
        ("9" * 40, None, float("9" * 40)),
        ("9" * 400, None, float("inf")),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None, 251698233599),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None, 251698319939),
        ("Mon, 01 Jan 0001 00:00:00 +2359", None, 0),
        ("Mon, 01 Jan 2024 00:01:00 +99999999999999", None, None),
        ("Mon, 01 Jan 2024 00:01:00 GMT", "Mon, 01 Jan 2024 00:00:50 +99999999999999", 60),
        ("Mon, 01 Jan 99999999999999999999 00:01:00 GMT", None, None),
        ("\u0663", None, None),
        ("1e3", None, None),
        ("1;2", None, None),
        ("Mon, 99 Jan 2024 00:01:00 GMT", None, None),
    ],
)
def test_a_wait_is_read_from_seconds_or_a_date(value: str | None, date: str | None, seconds: float | None) -> None:
    assert retry_after(value, date, datetime(2024, 1, 1, tzinfo=UTC)) == seconds


def test_an_excerpt_shows_200_characters_and_nothing_a_terminal_obeys() -> None:
    shown = excerpt(b"\x1b[31m\x00\r\n\xff" + "设".encode() * 500, str)
    assert shown.startswith(r"'\x1b[31m\x00\r\n")
    assert shown.isprintable()
    assert shown.count("设") == 200 - 9


def test_the_address_is_the_contracts_letter_by_letter(caller: Caller, vendor: Simulator) -> None:
    caller.client.page(LISTING.narrowed(keyword="a&b 张", deleteType="deleted"), 2, 10)
    assert vendor.state()["last_query"] == (
        "accountId=&keyword=a%26b%20%E5%BC%A0&imei=&groupId=&brand=&model=&deleteType=deleted&operatingSystem=&"
        "softwareVersion=&phoneAppVersion=&recorderVersion=&contactsVersion=&rooted=&xPosed=&alive=&hasWechat=&"
        "departmentId=&pageIndex=2&pageSize=10"
    )
    assert {name.lower(): value for name, value in vendor.state()["last_headers"].items()}["client"] == "system"


def test_a_list_cannot_be_narrowed_by_what_it_does_not_have() -> None:
    with pytest.raises(LookupError, match="colour"):
        LISTING.narrowed(colour="red")


# Reading.


def test_every_page_comes_once_with_all_its_rows(caller: Caller, vendor: Simulator) -> None:
    pages, failures = caller.read(range(PAGES + 2))
    assert not failures
    assert sorted(page.index for page in pages) == list(range(PAGES + 2))
    assert ids(pages) == sorted(int(key) for key in vendor.snapshot())
    assert {page.total for page in pages} == {PAGES * 10}
    assert {page.attempts for page in pages} == {1}
    assert all(0 < page.took < 10 for page in pages)
    assert caller.client.counters() == Counters(calls=PAGES + 2, retries=0, throttled=0, logins=1)


def test_nothing_is_asked_when_nothing_is_wanted(caller: Caller, vendor: Simulator) -> None:
    assert caller.read([]) == ([], [])
    assert vendor.state()["calls"] == 0


def test_counting_needs_no_settings(sqlite_database: Database, tmp_path: Path) -> None:
    from gengfu.settings import Settings

    bare = Caller(Settings(tmp_path), sqlite_database)
    assert bare.client.counters() == Counters(0, 0, 0, 0)
    with pytest.raises(ConfigError, match="API_WECHAT_URL"):
        bare.client.page(LISTING, 0, 10)
    bare.close()


def test_pages_are_asked_for_in_the_order_given(start: Callable[..., Caller], vendor: Simulator) -> None:
    start(api_concurrency=1).read([5, 3, 9, 0])
    assert [call["page"] for call in vendor.calls() if call["page"] is not None] == [5, 3, 9, 0]


def test_pages_are_fetched_many_at_once_up_to_the_ceiling(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(latency="30ms")
    start(api_concurrency=8).read(range(PAGES))
    assert vendor.state()["max_concurrent"] == 8


def test_threads_share_one_login_and_one_limit(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(latency="20ms")
    caller = start(api_concurrency=6)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.extend(ids(caller.read(range(PAGES))[0]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([int(key) for key in vendor.snapshot()] * 4)
    state = vendor.state()
    assert state["logins"] == 1
    assert state["max_concurrent"] <= 6


def test_a_slow_reader_is_not_flooded(start: Callable[..., Caller], vendor: Simulator) -> None:
    caller = start(api_concurrency=2)
    batches = caller.client.pages(LISTING, range(PAGES), 10)
    taken = next(batches)
    time.sleep(0.5)
    assert vendor.state()["device_calls"] <= len(taken) + 4 * 2
    for batch in batches:
        taken += batch
    assert len(taken) == PAGES


def test_one_page_may_be_as_short_as_the_server_likes(caller: Caller, vendor: Simulator) -> None:
    vendor.control(page_cap=4)
    assert len(caller.client.page(LISTING, 0, 10, check_length=False).rows) == 4
    with pytest.raises(AnswerError, match="4 rows on page 0 where its own total of 300 implies 10"):
        caller.client.page(LISTING, 0, 10)


# Faults.


@pytest.mark.parametrize(
    "fault",
    [
        *("500", "502", "503", "504", "html", "empty-body", "half", "cut", "reset", "close", "stall", "stall-body"),
        *("empty", "short", "no-results", "null-results", "object-results", "no-total", "text-total"),
        *("negative-total", "null-total", "float-total", "bare-array"),
    ],
)
def test_what_may_be_right_the_next_time_is_asked_again(
    start: Callable[..., Caller], vendor: Simulator, fault: str
) -> None:
    caller = start(api_read_timeout=0.3)
    vendor.control(pin=[f"7:{fault}:2"])
    pages, failures = caller.read(range(10))
    assert not failures
    assert len(ids(pages)) == 100
    assert {page.index: page.attempts for page in pages if page.attempts > 1} == {7: 3}
    assert caller.client.counters().retries == 2
    assert vendor.state()["device_calls"] == 12


def test_a_page_that_is_asked_again_without_a_pause_is_not_forgotten(
    caller: Caller, vendor: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_fetch, "full_jitter", lambda most: 0.0)
    vendor.control(pin=["3:500:2"])
    stop = threading.Event()
    alarm = threading.Timer(10, stop.set)
    alarm.start()
    assert caller.client.page(LISTING, 3, 10, stop).attempts == 3
    alarm.cancel()


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("500", 500, r"pageIndex=7&pageSize=10 answered 500: '"),
        ("html", 200, r"answered 200 with HTML in place of JSON: '<"),
        ("half", 200, r"answered 200 with JSON that is cut or broken .*: '\{"),
        ("no-total", 200, r"JSON that is not the contract's \(Object missing required field `total`\): '\{"),
        ("empty", 200, r"0 rows on page 7 where its own total of 300 implies 10"),
        ("reset", None, r"broke the connection|closed the connection"),
        ("stall", None, r"fell silent"),
    ],
)
def test_a_page_that_fails_every_time_fails_alone_and_says_why(
    start: Callable[..., Caller], vendor: Simulator, fault: str, status: int | None, said: str
) -> None:
    caller = start(api_read_timeout=0.15)
    vendor.control(pin=[f"7:{fault}"])
    pages, failures = caller.read(range(10))
    assert sorted(page.index for page in pages) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert [(failure.index, failure.status) for failure in failures] == [(7, status)]
    assert failures[0].cause.startswith("GET api/device/pageResult?accountId=&")
    assert re.search(said, failures[0].cause)
    assert vendor.state()["pages"]["7"] == 5


HOSTILE = {
    "bomb": "more than the 32000000 bytes",
    "members": "more than the 32000000 bytes",
    "endless": "more than the 32000000 bytes",
    "headers": "broken HTTP",
    "packed": "broken HTTP .*content-encoding: brotli",
    "backslashes": "JSON that is cut or broken",
    "nested": "1 rows on page 7 where",
    "numbers": "more than 1000000 values",
    "huge-total": "a total of 1000000000000, which is not believed",
    "portal": "HTML in place of JSON: '<!-- wifi -->.*login page",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_answer_is_a_fault_like_any_other(caller: Caller, vendor: Simulator, kind: str) -> None:
    vendor.control(pin=[f"7:{kind}"])
    pages, failures = caller.read(range(10))
    assert sorted(page.index for page in pages) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert [failure.index for failure in failures] == [7]
    assert re.search(HOSTILE[kind], failures[0].cause)
    assert len(failures[0].cause) < 1_000


@pytest.mark.parametrize("kind", ["bomb", "endless", "headers", "packed", "backslashes", "nested", "portal"])
def test_a_hostile_answer_to_a_login_says_nothing_about_the_credentials(
    caller: Caller, vendor: Simulator, kind: str
) -> None:
    vendor.control(pin=[f"login:{kind}:1"])
    assert caller.token().generation
    assert vendor.state()["logins"] == 2


@pytest.mark.parametrize("status", [403, 404])
def test_what_will_be_the_same_the_next_time_is_not_asked_again(caller: Caller, vendor: Simulator, status: int) -> None:
    vendor.control(pin=[f"3:{status}"])
    failures = caller.read(range(5))[1]
    assert [failure.index for failure in failures] == [3]
    assert vendor.state()["pages"]["3"] == 1
    with pytest.raises(AnswerError, match=rf"GET api/device.* answered {status}"):
        caller.client.page(LISTING, 3, 10)


def test_an_answer_that_drips_on_for_ever_is_given_up_on(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(pin=["0:drip:1"])
    caller = start(api_total_timeout=0.5)
    assert caller.client.page(LISTING, 0, 10).attempts == 2


def test_a_sick_vendor_is_not_given_twice_the_load(caller: Caller, vendor: Simulator) -> None:
    vendor.control(fail=["500:0.5"])
    pages, failures = caller.read(range(PAGES * 4))
    assert len(pages) + len(failures) == PAGES * 4
    assert failures
    assert caller.client.counters().retries <= 10 + 0.2 * PAGES * 4
    assert vendor.state()["device_calls"] == caller.client.counters().calls


def test_a_connection_that_breaks_is_one_call_to_the_vendor(caller: Caller, vendor: Simulator) -> None:
    vendor.control(fail=["close:0.3"])
    caller.read(range(PAGES * 2))
    assert vendor.state()["device_calls"] == caller.client.counters().calls


def test_a_vendor_that_is_not_there_is_named_in_the_error(start: Callable[..., Caller], vendor: Simulator) -> None:
    caller = start()
    caller.token()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    with pytest.raises(VendorError, match=r"POST http://127\.0\.0\.1:\d+/token could not be connected to"):
        start(url=gone).client.page(LISTING, 0, 10)


# The login.


@pytest.mark.parametrize("answer", ["text", "401", "mixed"])
def test_a_token_that_dies_under_way_is_renewed_once_for_all(caller: Caller, vendor: Simulator, answer: str) -> None:
    vendor.control(dead_login=answer, latency="20ms")
    caller.read(range(16))
    vendor.control(revoke=True, reset=True)
    pages, failures = caller.read(range(PAGES))
    assert not failures
    assert len(ids(pages)) == PAGES * 10
    assert vendor.state()["logins"] == 1
    assert caller.client.counters().retries == 0


def test_a_token_that_dies_after_every_request_still_gets_everything(caller: Caller, vendor: Simulator) -> None:
    vendor.control(revoke_every=1, latency="5ms")
    pages, failures = caller.read(range(PAGES))
    assert not failures
    assert len(ids(pages)) == PAGES * 10
    assert vendor.state()["logins"] <= PAGES + 5
    assert vendor.state()["device_calls"] <= 3 * PAGES + 32


def test_many_at_once_come_back_when_tokens_live_again(caller: Caller, vendor: Simulator) -> None:
    vendor.control(revoke_every=1, latency="20ms")
    caller.read(range(4))
    vendor.control(clear=True)
    vendor.control(latency="20ms", reset=True)
    caller.read(range(PAGES))
    assert vendor.state()["max_concurrent"] > 8


def test_fresh_tokens_that_serve_nothing_end_the_attempt(caller: Caller, vendor: Simulator) -> None:
    vendor.control(pin=["all:dead"])
    with pytest.raises(AnswerError, match=r"fresh login.*API_WECHAT_URL") as caught:
        caller.client.page(LISTING, 0, 10)
    assert DEAD_LOGIN_TEXT in str(caught.value)
    assert vendor.state()["logins"] == 4
    vendor.control(reset=True)
    pages, failures = caller.read(range(PAGES))
    assert not pages
    assert len(failures) == PAGES
    assert vendor.state()["logins"] <= 4


def test_a_refused_login_ends_everything_at_once(start: Callable[..., Caller], vendor: Simulator) -> None:
    caller = start()
    caller.read(range(3))
    vendor.control(password="changed", revoke=True, reset=True)
    for _ in range(2):
        with pytest.raises(LoginRefused):
            caller.read(range(PAGES))
    assert vendor.state()["logins"] == 1


# Waiting.


def test_a_429_makes_every_process_wait(
    start: Callable[..., Caller], vendor: Simulator, wait_until: Callable[..., None]
) -> None:
    one, other = start(), start()
    other.read(range(3))
    vendor.control(pin=["0:429:1"], retry_after="1", reset=True)
    reading = threading.Thread(target=one.client.page, args=(LISTING, 0, 10))
    reading.start()
    wait_until(lambda: one.logins.gate(one.account) is not None)
    time.sleep(2 * LOOK_EVERY)
    assert other.client.page(LISTING, 1, 10).attempts == 1
    reading.join()
    calls = [call["at"] for call in vendor.calls() if call["page"] is not None]
    assert len(calls) == 3
    assert min(calls[1:]) - calls[0] >= 1.0
    assert one.client.counters().throttled == 1


def test_waiting_is_no_failed_try(caller: Caller, vendor: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "backoff", lambda attempt: 0.02 * attempt)
    vendor.control(pin=["0:429:8"], retry_after="none")
    assert caller.client.page(LISTING, 0, 10).attempts == 9
    assert caller.client.counters().retries == 0


@pytest.mark.parametrize("asked", ["60", "date:60"])
def test_a_long_wait_sends_the_job_back_to_the_queue(
    start: Callable[..., Caller], vendor: Simulator, asked: str
) -> None:
    vendor.control(pin=["2:429"], retry_after=asked)
    one, other = start(), start()
    with pytest.raises(Postpone) as caught:
        one.read(range(PAGES))
    assert 55 < caught.value.seconds <= 60
    vendor.control(reset=True)
    for caller in (one, other):
        with pytest.raises(Postpone):
            caller.client.page(LISTING, 1, 10)
    assert vendor.state()["device_calls"] == 0


def test_a_wait_needs_no_database(
    start: Callable[..., Caller], vendor: Simulator, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = start()
    caller.read(range(2))
    monkeypatch.setattr(sqlite_database, "_run", fail)
    vendor.control(pin=["5:429:1"], retry_after="1")
    began = time.monotonic()
    pages, failures = caller.read(range(PAGES))
    assert len(pages) == PAGES
    assert not failures
    assert time.monotonic() - began >= 1.0


def fail(*_: object, **__: object) -> None:
    raise StoreError("the database is away")


def test_a_process_under_way_goes_on_when_a_person_lifts_the_wait(
    start: Callable[..., Caller], vendor: Simulator, wait_until: Callable[..., None]
) -> None:
    worker, operator = start(), start()
    worker.read(range(2))
    vendor.control(pin=["5:429:1"], retry_after="25")
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(worker.read, range(PAGES))
        wait_until(lambda: operator.auth.status().gate_until is not None)
        time.sleep(2 * LOOK_EVERY)
        operator.auth.reset()
        assert len(reading.result()[0]) == PAGES
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("wait", ["date:86400", "999999999999999999999999", "99999999.5"])
@pytest.mark.parametrize(("settings", "longest"), [({}, 900), ({"api_longest_wait": 120.0}, 120)])
def test_a_vendor_that_asks_for_ages_is_asked_again_when_the_longest_wait_is_over(
    start: Callable[..., Caller], vendor: Simulator, wait: str, settings: dict[str, float], longest: int
) -> None:
    vendor.control(pin=["0:429:1"], retry_after=wait)
    caller = start(**settings)
    with pytest.raises(Postpone) as caught:
        caller.client.page(LISTING, 0, 10)
    assert longest - 5 < caught.value.seconds <= longest
    assert f"of which {longest} s are kept" in str(caught.value)


def test_looking_at_the_gate_costs_few_statements(
    start: Callable[..., Caller], vendor: Simulator, sqlite_database: Database
) -> None:
    caller = start(api_concurrency=2)
    caller.token()
    vendor.control(latency="150ms")
    statements: list[str] = []
    event.listen(sqlite_database.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    began = time.monotonic()
    caller.read(range(PAGES))
    looks = [statement for statement in statements if "gate_until" in statement]
    assert 1 <= len(looks) <= 1 + 5 * (time.monotonic() - began)


# Stopping.


def test_setting_stop_ends_open_calls_at_once(start: Callable[..., Caller], vendor: Simulator) -> None:
    caller = start()
    caller.token()
    vendor.control(latency="5s")
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        caller.read(range(PAGES), stop=stop)
    assert time.monotonic() - began < 2.0


def test_a_stop_that_was_set_before_lets_nothing_out(caller: Caller, vendor: Simulator) -> None:
    stop = threading.Event()
    stop.set()
    for _ in range(2):
        with pytest.raises(Stopped):
            caller.read(range(PAGES), stop=stop)
    assert vendor.state()["calls"] == 0
    assert len(caller.read(range(PAGES), stop=threading.Event())[0]) == PAGES


def test_open_calls_end_though_the_reader_is_busy(
    start: Callable[..., Caller], vendor: Simulator, wait_until: Callable[..., None]
) -> None:
    caller = start(api_concurrency=2)
    vendor.control(pin=["1:stall", "2:stall"])
    stop = threading.Event()
    batches = caller.client.pages(LISTING, range(PAGES), 10, stop)
    next(batches)
    wait_until(lambda: vendor.state()["concurrent"] == 2)
    stop.set()
    wait_until(lambda: vendor.state()["concurrent"] == 0, timeout=5)
    with pytest.raises(Stopped):
        next(batches)


def test_leaving_the_iteration_ends_open_calls(
    caller: Caller, vendor: Simulator, wait_until: Callable[..., None]
) -> None:
    vendor.control(pin=[f"{index}:stall" for index in range(1, 5)])
    for batch in caller.client.pages(LISTING, range(5), 10):
        assert [page.index for page in batch] == [0]
        break
    wait_until(lambda: vendor.state()["concurrent"] == 0, timeout=5)
    assert caller.client.page(LISTING, 20, 10).index == 20


def test_closing_the_client_tells_whoever_waits(caller: Caller, vendor: Simulator) -> None:
    caller.token()
    vendor.control(pin=["0:stall"])
    threading.Timer(0.2, caller.client.close).start()
    with pytest.raises(Stopped):
        caller.client.page(LISTING, 0, 10)
    vendor.control(clear=True)
    assert caller.client.page(LISTING, 0, 10).index == 0


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ca.pem`, an authority of our own, and with `server.pem` and `server.key`, which it vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("openssl: not reachable (no such program)")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    authority = ("-addext", "keyUsage=critical,keyCertSign", "-subj", "/CN=Test authority")
    openssl("req", "-x509", *curve, *authority, "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("req", *curve[:-2], "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")
    return folder


@pytest.fixture(scope="module")
def secure(certificates: Path) -> Iterator[Simulator]:
    files = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    with Simulator(devices=20, **files) as simulator:
        yield simulator


def test_a_certificate_of_unknown_origin_is_refused(start: Callable[..., Caller], secure: Simulator) -> None:
    with pytest.raises(VendorError, match=r"certificate that is not trusted.*API_CA_FILE"):
        start(url=secure.url).client.page(LISTING, 0, 10)


def test_a_certificate_of_our_own_authority_is_accepted(
    start: Callable[..., Caller], secure: Simulator, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert start(url=secure.url, api_ca_file=certificates / "ca.pem").client.page(LISTING, 0, 10).total == 20
    assert "API_VERIFY_TLS" not in caplog.text


def test_switching_verification_off_warns_on_every_run(
    start: Callable[..., Caller],
    secure: Simulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = start(url=secure.url, api_verify_tls=False)
    for _ in range(3):
        caller.client.page(LISTING, 0, 10)
    assert caplog.text.count("API_VERIFY_TLS is off") == 1
    monkeypatch.setattr(http_loop, "WARN_EVERY", 0.0)
    caller.client.page(LISTING, 0, 10)
    assert caplog.text.count("API_VERIFY_TLS is off") == 2


def test_a_file_without_certificates_is_named(start: Callable[..., Caller], secure: Simulator, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"API_CA_FILE names .*ca\.pem"):
        start(url=secure.url, api_ca_file=tmp_path / "ca.pem").client.page(LISTING, 0, 10)


# Secrets.


def test_neither_token_nor_password_is_ever_shown(
    start: Callable[..., Caller], vendor: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    password = "p&ss wörd/%2F\"'"
    vendor.control(password=password, reset=True)
    caplog.set_level(logging.DEBUG)
    caller = start(password=password, api_read_timeout=0.2)
    token = caller.token().value.reveal()
    shown = [repr(caller.settings), repr(caller.token()), repr(caller.auth.status()), repr(caller.client)]
    for fault in ("500", "html", "half", "reset", "stall", "dead", "403"):
        vendor.control(clear=True)
        vendor.control(pin=[f"0:{fault}"])
        with pytest.raises(VendorError) as caught:
            caller.client.page(LISTING, 0, 10)
        shown.append(str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__))
        token = f"{token}\n{caller.token().value.reveal()}"
    vendor.control(clear=True)
    vendor.control(password="changed", revoke=True)
    with pytest.raises(LoginRefused) as refused:
        caller.client.page(LISTING, 0, 10)
    shown += [str(refused.value), repr(caller.auth.status()), caplog.text, repr(caller.auth.shared.identity)]
    for secret in {password, *token.split("\n")}:
        assert not [text for text in shown if secret in text]


def test_a_secret_that_the_vendor_repeats_is_starred(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(password="Tr0ub4dor&3")
    caller = start(password="Tr0ub4dor&3")
    token = caller.token().value.reveal()
    said = excerpt(f"<p>{token} is not good, Tr0ub4dor&3".encode(), caller.auth.scrub)
    assert said == "'<p>****** is not good, ******'"

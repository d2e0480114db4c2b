"""The shared login: how many are made, how long it is kept, and what stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from caller import Caller, settings_for
from gengfu.errors import BrokerError, LoginRefused, Postpone, VendorError
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from gengfu.store.refusals import RefusalStore
from gengfu.vendor import auth, login_client, shared
from gengfu.vendor.answers import DEAD_LOGIN_TEXT
from gengfu.vendor.auth import AuthState
from gengfu.vendor.login import Login, digest_of, judge_login, matches, seconds_to_keep
from gengfu.vendor.shared import Shared
from gengfu_simulator.testing import Simulator

PROGRAM = Path(__file__).parents[1] / "caller.py"


@pytest.fixture(scope="module")
def _vendor() -> Iterator[Simulator]:
    with Simulator(devices=100) as simulator:
        yield simulator


@pytest.fixture
def vendor(_vendor: Simulator) -> Simulator:
    """A vendor without faults, with nothing counted and the credentials demo / demo."""
    _vendor.control(clear=True, unlock=True, revoke=True, username="demo", password="demo")
    _vendor.control(reset=True)
    return _vendor


@pytest.fixture
def start(vendor: Simulator, sqlite_database: Database, valkey: str, tmp_path: Path) -> Iterator[Callable[..., Caller]]:
    """`start(password="demo", **settings)`: one more process, as far as the login can tell."""
    started: list[Caller] = []

    def make(
        password: str = "demo",
        factory: Callable[[], Any] | None = None,
        reread: Callable[[], Settings] | None = None,
        **more: Any,
    ) -> Caller:
        settings = settings_for(tmp_path, vendor.url, password=password, **more)
        started.append(Caller(settings, sqlite_database, factory or partial(redis.Redis.from_url, valkey), reread))
        return started[-1]

    yield make
    for caller in started:
        caller.close()


class Processes:
    """Four real processes that ask for a token whenever they are told."""

    def __init__(self) -> None:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self._all = [subprocess.Popen([sys.executable, str(PROGRAM)], env=environ, **pipes) for _ in range(4)]

    def together(self, **settings: str) -> list[str]:
        """What their threads get, 8 in each, all asking at the same moment: a token's number, or an error's name."""
        for process in self._all:
            process.stdin.write(json.dumps(settings) + "\n")
        assert [process.stdout.readline() for process in self._all] == ["ready\n"] * len(self._all)
        for process in self._all:
            process.stdin.write("go\n")
        return [word for process in self._all for word in process.stdout.readline().split()]

    def close(self) -> None:
        for process in self._all:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()


def test_thirty_two_threads_share_one_login(start: Callable[..., Caller], vendor: Simulator) -> None:
    assert start().together(32) == ["1"] * 32
    assert vendor.state()["logins"] == 1


def test_processes_that_find_the_token_expired_make_one_login(
    start: Callable[..., Caller],
    vendor: Simulator,
    processes: Processes,
    tmp_path: Path,
    sqlite_database_url: str,
    valkey: str,
    wait_until: Callable[..., None],
) -> None:
    shared = {"home": str(tmp_path), "database_url": sqlite_database_url, "redis_url": valkey, "url": vendor.url}
    vendor.control(expires_in=0.1)
    caller = start()
    assert caller.token().generation == 1
    wait_until(lambda: caller.auth.status().state is AuthState.NONE)
    vendor.control(expires_in="honest", latency="300ms")
    assert processes.together(**shared, password="demo") == ["2"] * 32
    assert vendor.state()["logins"] == 2


def test_processes_with_a_wrong_password_make_one_login(
    vendor: Simulator, processes: Processes, tmp_path: Path, sqlite_database_url: str, valkey: str
) -> None:
    shared = {"home": str(tmp_path), "database_url": sqlite_database_url, "redis_url": valkey, "url": vendor.url}
    vendor.control(latency="300ms")
    assert processes.together(**shared, password="wrong") == ["LoginRefused"] * 32
    assert vendor.state()["logins"] == 1


def test_the_next_process_takes_the_token_that_is_there(start: Callable[..., Caller], vendor: Simulator) -> None:
    token = start().token()
    assert start().token() == token
    assert start().auth.authorization() == f"bearer {token.value.reveal()}"
    assert vendor.state()["logins"] == 1


def test_whoever_holds_an_older_token_takes_the_newer_one(start: Callable[..., Caller], vendor: Simulator) -> None:
    one, other = start(), start()
    dead = one.token()
    assert other.token() == dead
    renewed = one.renew(dead)
    assert renewed.generation == dead.generation + 1
    assert other.renew(dead) == renewed
    assert one.renew(dead) == renewed
    assert vendor.state()["logins"] == 2


def test_numbers_of_tokens_grow_on_after_redis_was_wiped(start: Callable[..., Caller], valkey: str) -> None:
    one, other = start(), start()
    dead = one.token()
    for _ in range(2):
        dead = one.renew(dead)
    redis.Redis.from_url(valkey).flushall()
    assert one.renew(dead).generation == dead.generation + 1
    assert other.token().generation == dead.generation + 1


@pytest.mark.parametrize(
    ("promised", "kept"),
    [
        (7200, 600),
        (650, 585),
        ("7200", 600),
        (60, 54),
        (30, 25),
        (8, 4),
        (2, 1),
        (0.5, 1),
        (0, 1),
        (-5, 1),
        (10**400, 600),
        (None, 600),
        ("soon", 600),
        ("nan", 600),
        ("inf", 600),
        (True, 600),
        ([], 600),
    ],
)
def test_a_token_is_kept_for_what_is_promised_less_a_margin(promised: Any, kept: float) -> None:
    assert seconds_to_keep(promised) == pytest.approx(kept)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, '{"access_token": "t", "token_type": "bearer", "expires_in": 7200}', Login.GRANTED),
        (200, '\ufeff{"access_token": "t"}', Login.GRANTED),
        (200, '{"access_token": ""}', Login.REFUSED),
        (200, '{"error": "invalid_grant"}', Login.REFUSED),
        (200, "{}", Login.REFUSED),
        (400, '{"error": "invalid_grant", "error_description": "wrong"}', Login.REFUSED),
        (400, '{"error": 1}', Login.REFUSED),
        (401, "", Login.REFUSED),
        (403, "<html>", Login.REFUSED),
        (429, "", Login.THROTTLED),
        (200, "<html>maintenance</html>", Login.TROUBLE),
        (200, '{"access_token": "t', Login.TROUBLE),
        (200, "[]", Login.TROUBLE),
        (200, "", Login.TROUBLE),
        (200, '{"access_token": "a\\r\\nb: c"}', Login.TROUBLE),
        (200, '{"access_token": 7}', Login.TROUBLE),
        (500, '{"error": "invalid_grant"}', Login.TROUBLE),
        (503, "", Login.TROUBLE),
        (200, DEAD_LOGIN_TEXT, Login.MISPLACED),
        (302, "", Login.MISPLACED),
        (400, "<html>Bad Request</html>", Login.MISPLACED),
        (404, "no such page", Login.MISPLACED),
    ],
)
def test_only_an_answer_about_the_credentials_refuses_them(status: int, body: str, outcome: Login) -> None:
    assert judge_login(status, body.encode(), repr, str).outcome is outcome


def test_a_short_promise_is_kept_to(
    start: Callable[..., Caller], vendor: Simulator, wait_until: Callable[..., None]
) -> None:
    vendor.control(expires_in=2)
    caller = start()
    first = caller.token()
    assert caller.token() == first
    assert 0 < (caller.auth.status().expires_in or 0) <= 1
    wait_until(lambda: caller.token() != first)
    assert vendor.state()["logins"] == 2


@pytest.mark.parametrize("answer", ["invalid-grant", "no-token"])
def test_a_refused_login_is_not_tried_again_after_a_restart(
    start: Callable[..., Caller], vendor: Simulator, valkey: str, answer: str
) -> None:
    vendor.control(wrong_login=answer)
    caller = start("wrong")
    for _ in range(3):
        with pytest.raises(LoginRefused, match=r"demo at .*auth:reset"):
            caller.token()
    redis.Redis.from_url(valkey).flushall()
    restarted = start("wrong")
    with pytest.raises(LoginRefused):
        restarted.auth.authorization()
    with pytest.raises(LoginRefused):
        restarted.auth.login()
    assert restarted.auth.status().state is AuthState.REFUSED
    assert vendor.state()["logins"] == 1


def test_changed_credentials_are_tried(start: Callable[..., Caller], vendor: Simulator) -> None:
    with pytest.raises(LoginRefused):
        start("wrong").token()
    right = start("demo")
    assert right.auth.status().state is AuthState.NONE
    assert right.token().generation == 1
    assert right.auth.status().state is AuthState.VALID
    assert vendor.state()["logins"] == 2


def test_refused_credentials_are_not_tried_again_after_others_logged_in_with_better_ones(
    start: Callable[..., Caller], vendor: Simulator
) -> None:
    stale, right = start("wrong"), start("demo")
    with pytest.raises(LoginRefused):
        stale.token()
    first = right.token()
    assert stale.token() == first
    vendor.control(revoke=True)
    with pytest.raises(LoginRefused):
        stale.renew(first)
    second = right.renew(first)
    assert stale.renew(first) == second
    assert vendor.state()["logins"] == 3


def test_a_password_that_was_corrected_counts_at_once_in_a_process_that_runs_on(
    start: Callable[..., Caller], vendor: Simulator
) -> None:
    named = {"api_password": Secret("wrong")}
    worker = start("wrong", reread=lambda: replace(worker.settings, **named))
    for _ in range(2):
        with pytest.raises(LoginRefused):
            worker.token()
    named["api_password"] = Secret("demo")
    assert worker.token().generation == 1
    assert vendor.state()["logins"] == 2


def test_settings_that_are_broken_for_a_moment_change_nothing(start: Callable[..., Caller], vendor: Simulator) -> None:
    worker = start(reread=lambda: Settings(worker.settings.home))
    assert worker.token().generation == 1


def test_a_refusal_is_forgotten_on_demand_by_a_process_that_runs_on(
    start: Callable[..., Caller], vendor: Simulator
) -> None:
    vendor.control(password="changed", revoke=True)
    worker, operator = start(), start()
    with pytest.raises(LoginRefused):
        worker.token()
    vendor.control(password="demo")
    with pytest.raises(LoginRefused):
        worker.token()
    assert operator.auth.reset() is True
    assert operator.auth.reset() is False
    assert worker.token().generation == 1
    assert vendor.state()["logins"] == 2


def test_a_reset_forgets_the_shared_token_too(start: Callable[..., Caller]) -> None:
    caller = start()
    caller.token()
    assert caller.auth.reset() is False
    assert caller.auth.status().state is AuthState.NONE
    assert caller.token().generation == 2


def test_a_login_on_demand_is_made_though_there_is_a_token(start: Callable[..., Caller], vendor: Simulator) -> None:
    caller = start()
    caller.token()
    assert caller.auth.login().generation == 2
    assert caller.token().generation == 2
    assert vendor.state()["logins"] == 2


@pytest.mark.parametrize("fault", ["html", "500", "503", "reset", "close", "cut", "half", "empty-body"])
def test_an_answer_that_says_nothing_about_the_credentials_is_no_refusal(
    start: Callable[..., Caller], vendor: Simulator, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_client, "full_jitter", lambda most: most / 100)
    vendor.control(pin=[f"login:{fault}:4"])
    caller = start()
    with pytest.raises(VendorError, match=r"POST http.*token") as caught:
        caller.token()
    assert not isinstance(caught.value, LoginRefused)
    assert vendor.state()["logins"] == 4
    assert caller.token().generation == 1


@pytest.mark.parametrize("fault", ["html", "502", "stall"])
def test_a_login_that_failed_once_is_repeated(start: Callable[..., Caller], vendor: Simulator, fault: str) -> None:
    vendor.control(pin=[f"login:{fault}:1"])
    assert start(api_read_timeout=0.3).token().generation == 1
    assert vendor.state()["logins"] == 2


def test_a_login_at_a_wrong_address_is_not_repeated(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(pin=["login:404"])
    with pytest.raises(VendorError, match="API_WECHAT_URL"):
        start().token()
    assert vendor.state()["logins"] == 1


def test_a_login_waits_as_it_is_asked(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(pin=["login:429:1"], retry_after="1")
    began = time.monotonic()
    assert start().token().generation == 1
    assert time.monotonic() - began >= 1.0
    assert vendor.state()["logins"] == 2


def test_a_login_that_must_wait_for_long_is_postponed(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(pin=["login:429:1"], retry_after="90")
    with pytest.raises(Postpone) as caught:
        start().token()
    assert caught.value.seconds == 90


def test_a_lock_that_a_killed_process_left_ends_by_itself(start: Callable[..., Caller], valkey: str) -> None:
    caller = start()
    account = caller.auth.status().account
    client = redis.Redis.from_url(valkey)
    client.set(f"gengfu:auth:{account}:lock", "of a dead process", px=400)
    assert caller.token().generation == 1
    assert not client.exists(f"gengfu:auth:{account}:lock")


def test_a_login_that_takes_longer_than_the_lock_is_still_the_only_one(
    start: Callable[..., Caller], vendor: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (auth, shared):
        monkeypatch.setattr(module, "LOCK_SECONDS", 0.4)
    vendor.control(latency="1500ms")
    callers = [start(), start()]
    with ThreadPoolExecutor() as pool:
        tokens = list(pool.map(Caller.token, callers))
    assert tokens[0] == tokens[1]
    assert vendor.state()["logins"] == 1


def test_only_its_owner_gives_the_lock_back(valkey: str) -> None:
    corner = Shared(partial(redis.Redis.from_url, valkey), "account")
    assert corner.lock("one")
    assert not corner.lock("other")
    corner.release("other")
    assert not corner.extend("other")
    assert not corner.lock("other")
    assert corner.extend("one")
    corner.release("one")
    assert corner.lock("other")


def test_a_login_waits_for_a_redis_that_is_away(start: Callable[..., Caller], valkey: str) -> None:
    attempts: list[float] = []

    def returning() -> Any:
        attempts.append(time.monotonic())
        if len(attempts) < 3:
            raise BrokerError("Redis is away")
        return redis.Redis.from_url(valkey)

    assert start(factory=returning).token().generation == 1
    assert len(attempts) == 3


def away() -> redis.Redis:
    raise BrokerError("Redis is away")


def test_without_redis_nobody_logs_in(
    start: Callable[..., Caller], vendor: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "BROKER_PATIENCE", 0.3)
    with pytest.raises(BrokerError):
        start(factory=away).token()
    assert vendor.state()["logins"] == 0


def test_a_token_in_memory_needs_no_redis(start: Callable[..., Caller], valkey: str) -> None:
    gone = threading.Event()

    def factory() -> Any:
        return away() if gone.is_set() else redis.Redis.from_url(valkey)

    caller = start(factory=factory)
    token = caller.token()
    gone.set()
    assert caller.token() == token


def test_a_refusal_that_cannot_be_written_down_is_kept_in_memory(
    start: Callable[..., Caller], vendor: Simulator, sqlite_database: Database
) -> None:
    with sqlite_database.engine.begin() as connection:
        connection.execute(
            text("CREATE TRIGGER full BEFORE INSERT ON auth_refusal BEGIN SELECT RAISE(ABORT, 'no room'); END")
        )
    caller = start("wrong")
    for _ in range(2):
        with pytest.raises(LoginRefused):
            caller.token()
    account = caller.auth.status().account
    assert caller.auth.status().state is AuthState.REFUSED
    assert caller.refusals.get(account) is None
    with sqlite_database.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER full"))
    with pytest.raises(LoginRefused):
        caller.token()
    assert caller.refusals.get(account) is not None
    assert vendor.state()["logins"] == 1


def test_what_is_stored_of_a_refusal_tells_nothing_of_the_password() -> None:
    password = Secret("p\u4e2d w\udce4$")
    digest = digest_of("demo", password)
    assert len(digest) <= 255
    assert password.reveal() not in digest
    assert digest != digest_of("demo", password)
    assert matches(digest, "demo", password)
    assert not matches(digest, "demo", Secret("other"))
    assert not matches(digest, "other", password)
    assert not matches("", "demo", password)


def test_the_newest_refusal_stands_until_it_is_forgotten(database: Database) -> None:
    store = RefusalStore(database)
    when = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
    assert store.get("a") is None
    store.remember("a", "digest 1", "为什么 😀", when)
    store.remember("b", "digest b", "other", when)
    store.remember("a", "digest 2", "again", when)
    store.remember("a", "digest 2", "again", when)
    found = store.get("a")
    assert found is not None
    assert (found.digest, found.reason, found.refused_at) == ("digest 2", "again", when)
    assert store.forget("a") is True
    assert store.forget("a") is False
    assert store.get("a") is None
    assert store.get("b") is not None


def test_refusals_written_at_once_do_not_clash(database: Database) -> None:
    store = RefusalStore(database)

    def remember(number: int) -> None:
        store.remember("a", str(number), "refused", datetime.now(UTC))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remember, range(16)))
    assert store.get("a") is not None


def test_the_status_can_be_printed(start: Callable[..., Caller]) -> None:
    caller = start()
    token = caller.token()
    status = caller.auth.status()
    shown = json.dumps(vars_of(status), default=str) + repr(status) + repr(token)
    assert token.value.reveal() not in shown
    assert status.username in shown


def vars_of(status: Any) -> dict[str, Any]:
    return {name: getattr(status, name) for name in type(status).__slots__}

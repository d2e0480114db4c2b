"""The shared login: how many are made, how long it is kept, and what stops it."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, text
from sqlalchemy.exc import OperationalError

from caller import Caller, Processes, settings_for
from gengfu.app import App
from gengfu.errors import LoginRefused, Postpone, StoreError, VendorError
from gengfu.process import monitor
from gengfu.process.monitor import Monitor
from gengfu.settings import Secret, Settings
from gengfu.store import logins
from gengfu.store.database import Database
from gengfu.store.leases import Leases, ProcessInfo
from gengfu.store.logins import LONGEST_GATE, Logins, Refusal
from gengfu.store.tables import login, login_token
from gengfu.vendor import login_client, single_flight
from gengfu.vendor.answers import DEAD_LOGIN_TEXT
from gengfu.vendor.auth import AuthState
from gengfu.vendor.login import LoginAnswerKind, digest_of, judge_login, matches, seconds_to_keep
from gengfu_simulator.testing import Simulator

Wait = Callable[..., None]


def test_thirty_two_threads_share_one_login(start: Callable[..., Caller], vendor: Simulator) -> None:
    assert start().together(32) == ["1"] * 32
    assert vendor.state()["logins"] == 1


def test_processes_that_find_the_token_expired_make_one_login(
    start: Callable[..., Caller], vendor: Simulator, processes: Processes, database: Database, wait_until: Wait
) -> None:
    vendor.control(expires_in=0.1)
    caller = start(database=database)
    assert caller.token().generation == 1
    wait_until(lambda: caller.auth.status().state is AuthState.NONE)
    vendor.control(expires_in="honest", latency="300ms")
    processes.ask(**shared(database, vendor))
    assert processes.answers() == ["2"] * 32
    assert vendor.state()["logins"] == 2


def test_processes_with_a_wrong_password_make_one_login(
    vendor: Simulator, processes: Processes, database: Database
) -> None:
    vendor.control(latency="300ms")
    processes.ask(**shared(database, vendor, "wrong"))
    assert processes.answers() == ["LoginRefused"] * 32
    assert vendor.state()["logins"] == 1


def shared(database: Database, vendor: Simulator, password: str = "demo") -> dict[str, str]:
    """What processes are told that share a login."""
    address = database.url.render_as_string(hide_password=False)
    return {"home": "/", "database_url": address, "url": vendor.url, "password": password}


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


def test_numbers_of_tokens_grow_on_after_the_rows_were_lost(
    start: Callable[..., Caller], sqlite_database: Database
) -> None:
    one, other = start(), start()
    dead = one.token()
    for _ in range(2):
        dead = one.renew(dead)
    for table in (login, login_token):
        sqlite_database.write(lambda connection, table=table: connection.execute(delete(table)))
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
    ("status", "body", "kind"),
    [
        (200, '{"access_token": "t", "token_type": "bearer", "expires_in": 7200}', LoginAnswerKind.GRANTED),
        (200, '\ufeff{"access_token": "t"}', LoginAnswerKind.GRANTED),
        (200, '{"access_token": ""}', LoginAnswerKind.REFUSED),
        (200, '{"error": "invalid_grant"}', LoginAnswerKind.REFUSED),
        (200, "{}", LoginAnswerKind.REFUSED),
        (400, '{"error": "invalid_grant", "error_description": "wrong"}', LoginAnswerKind.REFUSED),
        (400, '{"error": 1}', LoginAnswerKind.REFUSED),
        (401, "", LoginAnswerKind.REFUSED),
        (403, "<html>", LoginAnswerKind.REFUSED),
        (429, "", LoginAnswerKind.THROTTLED),
        (200, "<html>maintenance</html>", LoginAnswerKind.TROUBLE),
        (200, '{"access_token": "t', LoginAnswerKind.TROUBLE),
        (200, "[]", LoginAnswerKind.TROUBLE),
        (200, "", LoginAnswerKind.TROUBLE),
        (200, '{"access_token": "a\\r\\nb: c"}', LoginAnswerKind.TROUBLE),
        (200, '{"access_token": 7}', LoginAnswerKind.TROUBLE),
        (500, '{"error": "invalid_grant"}', LoginAnswerKind.TROUBLE),
        (503, "", LoginAnswerKind.TROUBLE),
        (200, DEAD_LOGIN_TEXT, LoginAnswerKind.MISPLACED),
        (302, "", LoginAnswerKind.MISPLACED),
        (400, "<html>Bad Request</html>", LoginAnswerKind.MISPLACED),
        (404, "no such page", LoginAnswerKind.MISPLACED),
    ],
)
def test_only_an_answer_about_the_credentials_refuses_them(status: int, body: str, kind: LoginAnswerKind) -> None:
    assert judge_login(status, body.encode(), repr, str).kind is kind


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
    start: Callable[..., Caller], vendor: Simulator, answer: str
) -> None:
    vendor.control(wrong_login=answer)
    caller = start("wrong")
    for _ in range(3):
        with pytest.raises(LoginRefused, match=r"demo at .*auth:reset"):
            caller.token()
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


@pytest.fixture
def one_process() -> Iterator[Processes]:
    opened = Processes(1)
    yield opened
    opened.close()


def holds(database: Database, caller: Caller) -> int | None:
    return Logins(database).look(caller.account).holder


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_while_it_logs_in_is_replaced_by_whoever_waits(
    start: Callable[..., Caller],
    vendor: Simulator,
    one_process: Processes,
    database: Database,
    wait_until: Wait,
    monkeypatch: pytest.MonkeyPatch,
    ending: signal.Signals,
) -> None:
    monkeypatch.setattr(monitor, "DEAD_AFTER", 4.0)
    monkeypatch.setattr(monitor, "RENEW_EVERY", 0.2)
    vendor.control(pin=["login:stall:1"])
    one_process.ask(threads=1, **shared(database, vendor))
    caller = start(database=database)
    wait_until(lambda: vendor.state()["logins"] == 1)
    assert holds(database, caller) is not None
    one_process.all[0].send_signal(ending)
    assert caller.token().generation == 1
    assert vendor.state()["logins"] == 2
    assert holds(database, caller) is None


def test_a_process_that_comes_too_late_overwrites_no_newer_token(database: Database) -> None:
    store, leases = Logins(database), Leases(database)
    frozen, living = (leases.open(process(name), NOW) for name in ("frozen", "living"))
    old = store.take("a", frozen)
    assert old is not None
    assert store.take("a", living) is None
    leases.lose(leases.all()[0], NOW)
    assert store.look("a").holder is None
    new = store.take("a", living)
    assert new is not None
    assert store.grant("a", new, Secret("newer"), 60, 0) is not None
    assert store.grant("a", old, Secret("older"), 60, 0) is None
    store.release("a", old)
    found = store.look("a").token
    assert found is not None
    assert (found.value.reveal(), found.generation) == ("newer", 1)


def test_only_one_process_may_log_in_and_only_it_gives_that_back(database: Database) -> None:
    store, leases = Logins(database), Leases(database)
    one, other = (leases.open(process(name), NOW) for name in ("one", "other"))
    first = store.take("a", one)
    assert first is not None
    assert store.take("a", other) is None
    again = store.take("a", one)
    assert again is not None
    store.release("a", first)
    assert store.take("a", other) is None
    store.release("a", again)
    assert store.take("a", other) is not None


def test_of_many_that_ask_at_once_one_may_log_in(database: Database) -> None:
    store, leases = Logins(database), Leases(database)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: leases.open(process(str(number)), NOW), range(8)))
        fences = list(pool.map(lambda lease_id: store.take("a", lease_id), ids))
    assert [fence for fence in fences if fence is not None] == [1]


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def process(name: str) -> ProcessInfo:
    return ProcessInfo("worker", name, "elsewhere", 1, "", {})


def test_a_login_that_takes_long_is_still_the_only_one(start: Callable[..., Caller], vendor: Simulator) -> None:
    vendor.control(latency="1500ms")
    callers = [start(), start()]
    with ThreadPoolExecutor() as pool:
        tokens = list(pool.map(Caller.token, callers))
    assert tokens[0] == tokens[1]
    assert vendor.state()["logins"] == 1


def test_a_right_to_log_in_that_could_not_be_given_back_is_given_back_later(
    start: Callable[..., Caller], vendor: Simulator, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_flight, "RELEASE_AGAIN", 0.05)
    monkeypatch.setattr(login_client, "full_jitter", lambda most: most / 100)
    vendor.control(pin=["login:500:4"])
    caller = start()
    release = caller.logins.release
    failures = iter([StoreError("the database is away")] * 2)

    def failing(account: str, fence: int) -> None:
        for error in failures:
            raise error
        release(account, fence)

    monkeypatch.setattr(caller.logins, "release", failing)
    with pytest.raises(VendorError):
        caller.token()
    assert start().token().generation == 1


class Away(Database):
    """A database that can be away."""

    left = 0
    """So many tries to reach it fail from now on."""

    @property
    def engine(self) -> Engine:
        if self.left:
            self.left -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise OperationalError("", {}, error)
        return super().engine


@pytest.fixture
def away(sqlite_database_url: str, tmp_path: Path) -> Iterator[Away]:
    opened = Away(Secret(sqlite_database_url), tmp_path)
    yield opened
    opened.left = 0
    opened.dispose()


def test_a_token_that_cannot_be_shared_keeps_no_other_process_from_logging_in(
    start: Callable[..., Caller], vendor: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = start()

    def failing(*_: object) -> None:
        raise StoreError("the database is away")

    monkeypatch.setattr(caller.logins, "grant", failing)
    assert caller.token().generation == 1
    assert start().token().generation == 1
    assert vendor.state()["logins"] == 2


def test_a_login_waits_for_a_database_that_is_away(start: Callable[..., Caller], away: Away) -> None:
    caller = start(database=away)
    away.left = 3
    assert caller.token().generation == 1
    assert away.left == 0


def test_without_a_database_nobody_logs_in(
    start: Callable[..., Caller], vendor: Simulator, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "PATIENCE", 0.3)
    caller = start(database=away)
    away.left = 10**9
    with pytest.raises(StoreError):
        caller.token()
    assert vendor.state()["logins"] == 0


def test_a_token_in_memory_needs_no_database(start: Callable[..., Caller], away: Away) -> None:
    caller = start(database=away)
    token = caller.token()
    away.left = 10**9
    assert caller.token() == token


def test_a_refusal_that_cannot_be_written_down_is_kept_in_memory(
    start: Callable[..., Caller], vendor: Simulator, sqlite_database: Database
) -> None:
    with sqlite_database.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE UPDATE OF refused_digest ON login WHEN NEW.refused_digest IS NOT NULL"
                " BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
        )
    caller = start("wrong")
    for _ in range(2):
        with pytest.raises(LoginRefused):
            caller.token()
    assert caller.auth.status().state is AuthState.REFUSED
    assert caller.logins.look(caller.account).refusal is None
    with sqlite_database.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER full"))
    with pytest.raises(LoginRefused):
        caller.token()
    assert caller.logins.look(caller.account).refusal is not None
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
    store = Logins(database)
    when = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
    assert store.look("a").refusal is None
    store.refuse("a", Refusal("digest 1", "为什么 😀", when))
    store.refuse("b", Refusal("digest b", "other", when))
    for _ in range(2):
        store.refuse("a", Refusal("digest 2", "again", when))
    assert store.look("a").refusal == Refusal("digest 2", "again", when)
    assert store.reset("a") is True
    assert store.reset("a") is False
    assert store.look("a").refusal is None
    assert store.look("b").refusal is not None


def test_refusals_written_at_once_do_not_clash(database: Database) -> None:
    store = Logins(database)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.refuse("a", Refusal(str(number), "refused", NOW)), range(16)))
    assert store.look("a").refusal is not None


# The gate.


def test_the_longest_wait_counts_and_a_reset_ends_it(database: Database) -> None:
    store = Logins(database)
    assert store.gate("a") is None
    store.close_gate("a", "long", 60)
    store.close_gate("a", "short", 5)
    found = store.gate("a")
    assert found is not None
    assert found.reason == "long"
    assert 55 < found.seconds <= 60
    assert store.look("a").gate is not None
    assert store.gate("b") is None
    store.reset("a")
    assert store.gate("a") is None


def test_no_gate_stays_closed_for_more_than_a_day(database: Database) -> None:
    store = Logins(database)
    store.close_gate("a", "the year 9999", 1e11)
    found = store.gate("a")
    assert found is not None
    assert LONGEST_GATE - 5 < found.seconds <= LONGEST_GATE


def test_a_gate_opens_when_its_time_is_over(database: Database, wait_until: Wait) -> None:
    store = Logins(database)
    store.close_gate("a", "soon over", 0.3)
    wait_until(lambda: store.gate("a") is None, timeout=5)


def test_a_clock_that_is_set_back_holds_nobody(sqlite_database: Database) -> None:
    now = [NOW]
    store = Logins(sqlite_database, lambda: now[0])
    lease_id = Leases(sqlite_database).open(process("one"), NOW)
    fence = store.take("a", lease_id)
    assert fence is not None
    store.grant("a", fence, Secret("token"), 60, 0)
    store.close_gate("a", "a while", 60)
    for back, is_closed, is_valid in ((0, True, True), (1, True, True), (7200, False, False)):
        now[0] = NOW - timedelta(seconds=back)
        found = store.look("a")
        assert ((found.gate is not None), (found.token is not None)) == (is_closed, is_valid)
        assert (store.gate("a") is not None) is is_closed
    store.close_gate("a", "anew", 30)
    assert store.gate("a") is not None


def test_the_status_tells_of_a_closed_gate(caller: Caller) -> None:
    assert caller.auth.status().gate_until is None
    caller.logins.close_gate(caller.account, "the vendor asks for a wait of 60 s", 60)
    status = caller.auth.status()
    assert status.gate_until is not None
    assert status.gate_reason == "the vendor asks for a wait of 60 s"
    caller.auth.reset()
    assert caller.auth.status().gate_until is None


def test_the_status_can_be_printed(start: Callable[..., Caller]) -> None:
    caller = start()
    token = caller.token()
    status = caller.auth.status()
    shown = json.dumps(vars_of(status), default=str) + repr(status) + repr(token)
    assert token.value.reveal() not in shown
    assert status.username in shown


def vars_of(status: Any) -> dict[str, Any]:
    return {name: getattr(status, name) for name in type(status).__slots__}


def test_a_process_that_nobody_watches_has_a_lease_from_its_first_login_to_its_end(
    vendor: Simulator, sqlite_database: Database, tmp_path: Path
) -> None:
    address = Secret(sqlite_database.url.render_as_string())
    app = App(settings_for(tmp_path, vendor.url, database_url=address))
    leases = Leases(sqlite_database)
    assert app.auth.status().state is AuthState.NONE
    assert leases.all() == []
    app.auth.login()
    assert [(held.kind, held.id) for held in leases.all()] == [("console", app.lease())]
    app.close()
    assert leases.all() == []


def test_a_process_that_is_watched_logs_in_under_its_own_lease(
    vendor: Simulator, sqlite_database: Database, tmp_path: Path
) -> None:
    address = Secret(sqlite_database.url.render_as_string())
    app = App(settings_for(tmp_path, vendor.url, database_url=address))
    with Monitor(sqlite_database, "worker", "here:1", {}) as watching:
        app.attach(watching)
        app.auth.login()
        assert [held.name for held in Leases(sqlite_database).all()] == ["here:1"]
        app.close()
        assert [held.name for held in Leases(sqlite_database).all()] == ["here:1"]

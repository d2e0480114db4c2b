"""Hints by Redis: over TLS, as a named user, by Sentinels, under a prefix; and what becomes of them when it is away."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis

from gengfu.errors import BrokerError, ConfigError
from gengfu.queue import redis_server
from gengfu.queue.notify import Listener, Notifier
from gengfu.queue.redis_server import KEPT, RedisServer
from gengfu.settings import Secret, Settings
from servers import free_port
from stage import wait_for


def notifier(url: str | None, folder: Path, **more: object) -> Notifier:
    return Notifier(Settings(folder, redis_url=Secret(url) if url is not None else None, **more))  # type: ignore[arg-type]


def test_without_redis_only_this_process_is_told(tmp_path: Path) -> None:
    woken: list[int] = []
    with closing(notifier(None, tmp_path)) as told:
        told.also_wake(lambda: woken.append(1))
        assert told.server is None
        assert told.notify("default", [1]) is None
    assert woken == [1]


def test_a_hint_is_the_id_on_the_list_of_its_queue_and_the_list_stays_short(redis_url: str, tmp_path: Path) -> None:
    with closing(notifier(redis_url, tmp_path, redis_prefix="ours")) as told, redis.Redis.from_url(redis_url) as client:
        assert told.notify("a", [1, 2]) is None
        assert client.lrange("ours:queue:a", 0, -1) == [b"1", b"2"]
        client.rpush("ours:queue:a", *range(20_000))
        assert told.notify("a", range(3)) is None
        assert client.llen("ours:queue:a") == KEPT
        assert client.lrange("ours:queue:a", -3, -1) == [b"0", b"1", b"2"]
        assert client.keys() == [b"ours:queue:a"]


def test_a_server_that_is_away_is_told_of_without_its_password_and_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with closing(notifier(f"redis://user:geheim@127.0.0.1:{port}/3", tmp_path)) as told:
        problem = told.notify("default", [1])
        assert problem is not None
        assert f"Redis at redis://127.0.0.1:{port}/3 cannot be used" in problem
        assert "geheim" not in problem
        monkeypatch.setattr(told, "_push", lambda *_: pytest.fail("it was asked again"))
        assert told.notify("default", [2]) == problem


def test_a_server_that_does_not_answer_costs_whoever_queues_a_job_a_few_seconds_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = notifier(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", tmp_path)
        started_at = time.monotonic()
        assert all(told.notify("default", [number]) is not None for number in range(20))
        assert time.monotonic() - started_at < 3.0
        told.close()


def test_a_named_user_a_database_number_and_tls_are_taken_from_the_address(
    start: Callable[..., None], tmp_path: Path
) -> None:
    port = free_port()
    made = ["-keyout", "key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made]
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl: not reachable (not installed)")
    keys = ["--tls-cert-file", "ca.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "ca.pem"]
    user = ["--user", "gengfu", "on", ">p/w", "~night:*", "+@all"]
    start(port, "--port", "0", "--tls-port", str(port), *keys, "--tls-auth-clients", "no", "--save", "", *user)
    url = f"rediss://gengfu:p%2Fw@127.0.0.1:{port}/5"
    with closing(notifier(url, tmp_path, redis_prefix="night", redis_ca_file=tmp_path / "ca.pem")) as told:
        assert told.notify("default", [1]) is None
        assert told.server is not None
        told.server.probe()
        with told.server.connect() as client:
            assert client.llen("night:queue:default") == 1
    with closing(notifier(url, tmp_path, redis_prefix="night")) as told:
        assert "certificate" in str(told.notify("default", [1])).lower()
    with closing(notifier(url, tmp_path, redis_prefix="day", redis_ca_file=tmp_path / "ca.pem")) as told:
        assert told.server is not None
        with pytest.raises(BrokerError, match="may not do what is needed"):
            told.server.probe()


def test_sentinels_say_where_the_master_is(start: Callable[..., None], tmp_path: Path) -> None:
    port, sentinel = free_port(), free_port()
    start(port, "--port", str(port), "--save", "")
    lines = [f"port {sentinel}", f"sentinel monitor night 127.0.0.1 {port} 1"]
    (tmp_path / "sentinel.conf").write_text("\n".join(lines) + "\n")
    start(sentinel, "sentinel.conf", "--sentinel")
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/night/2"
    with closing(notifier(url, tmp_path)) as told:
        wait_for(lambda: told.notify("default", [1]) is None or setattr(told, "_resting_until", 0.0))
    with redis.Redis(port=port, db=2) as client:
        assert client.llen("gengfu:queue:default") == 1


@pytest.mark.parametrize("url", ["redis://127.0.0.1:port/0", "redis+sentinel://127.0.0.1:26379/"])
def test_an_address_that_cannot_be_read_is_not_repeated(url: str) -> None:
    server = RedisServer(Settings(Path()), Secret(url.replace("//", "//user:geheim@")))
    with pytest.raises(ConfigError, match="REDIS_URL cannot be read") as raised:
        server.connect()
    assert "geheim" not in str(raised.value)


def test_a_hint_for_which_there_is_no_room_is_put_back_for_another_worker(redis_url: str) -> None:
    server = RedisServer(Settings(Path()), Secret(redis_url))
    woken = threading.Event()
    listener = Listener(server, lambda: ["a", "b"], woken.set)
    listener.has_room(True)
    listener.start()
    try:
        wait_for(lambda: listener.hears)
        with redis.Redis.from_url(redis_url) as client:
            listener.has_room(False)
            client.rpush("gengfu:queue:b", "7")
            wait_for(lambda: client.lrange("gengfu:queue:b", 0, -1) == [b"7"])
            assert not woken.wait(0.2)
            listener.has_room(True)
            assert woken.wait(10)
            assert client.exists("gengfu:queue:b") == 0
    finally:
        listener.end()
        listener.join()

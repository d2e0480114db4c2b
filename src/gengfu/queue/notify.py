"""Wakes idle workers through Redis or Valkey: who queues a job pushes its id, and workers block on the queues' lists.

What lies in Redis is a hint and nothing more: whatever is lost, doubled, forged or wiped there costs time at most,
since every worker looks into the ledger by itself, too. `PREFIX:queue:NAME` is the list of a queue.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gengfu.clock import monotonic
from gengfu.errors import BrokerError, ConfigError
from gengfu.settings import Secret, Settings

if TYPE_CHECKING:
    import redis

log = logging.getLogger("gengfu.queue.notify")

CONNECT = 2.0
"""Seconds until a connection must stand."""
ANSWER = 3.0
"""Seconds for an answer."""
BLOCK = 2
"""Seconds for which the server is asked to wait for a hint, each time; less than `ANSWER`."""
RESTED = 5.0
"""Seconds for which a server that failed is left alone by those who queue jobs, so that none of them waits for it."""
KEPT = 1000
"""The most hints on a list; older ones are dropped."""
PAUSE = 0.5
"""Seconds between two tries to listen to a server that fails."""


class RedisServer:
    """How to reach the server that `REDIS_URL` names: plain, by TLS, on a unix socket, or by way of Sentinels."""

    def __init__(self, url: Secret, prefix: str, ca_file: Path | None) -> None:
        self._url = url
        self._prefix = prefix
        self._ca_file = ca_file

    @property
    def where(self) -> str:
        """The address for people, without user and password."""
        scheme, _, rest = self._url.reveal().partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"

    def key(self, queue: str) -> str:
        """The list of a queue."""
        return f"{self._prefix}:queue:{queue}"

    def connect(self) -> redis.Redis:
        """A new client, which connects when first used and tries nothing twice.

        Raises:
            ConfigError: the address cannot be read. The text does not repeat it, since it may hold a password.
        """
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        url = self._url.reveal()
        options: dict[str, Any] = {"socket_timeout": ANSWER, "retry": Retry(NoBackoff(), 0)}
        if not url.startswith("unix:"):
            options |= {"socket_connect_timeout": CONNECT, "socket_keepalive": True}
        if url.startswith("rediss:") and self._ca_file is not None:
            options["ssl_ca_certs"] = str(self._ca_file)
        try:
            if url.startswith("redis+sentinel:"):
                return _by_sentinel(url, options)
            return redis.Redis.from_url(url, **options)
        except ValueError:
            raise ConfigError(
                "REDIS_URL cannot be read; special characters in a password must be written as %XX;"
                " for example: REDIS_URL=redis://user:password@127.0.0.1:6379/0"
            ) from None

    def probe(self) -> None:
        """Sees whether it takes a hint and gives it back.

        Raises:
            BrokerError: it does not.
            ConfigError: the address cannot be read.
        """
        import redis

        key = f"{self._prefix}:probe"
        client = self.connect()
        try:
            client.rpush(key, "hint")
            client.expire(key, 60)
            client.lpop(key)
        except (redis.RedisError, OSError) as error:
            raise BrokerError(f"Redis at {self.where} cannot be used: {error}") from error
        finally:
            client.close()


def _by_sentinel(url: str, options: dict[str, Any]) -> redis.Redis:
    """`redis+sentinel://[user:password@]host[:port],host[:port]/master[/db]`; the Sentinels say where the master is."""
    from redis.sentinel import Sentinel

    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", "")
        sentinels.append((name.strip("[]"), int(port or 26379)))
    master, _, number = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError("no master is named")
    known = {"username": unquote(user) or None, "password": unquote(password) or None, "db": int(number or 0)}
    found: redis.Redis = Sentinel(sentinels, sentinel_kwargs=options, **options, **known).master_for(master)  # type: ignore[no-untyped-call]
    return found


class Notifier:
    """Tells workers that jobs are due: those of this process at once, those of others through Redis where it is set."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url
        self.server = RedisServer(url, settings.redis_prefix, settings.redis_ca_file) if url is not None else None
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()
        self._resting_until = 0.0
        self._problem = ""
        self._wakers: list[Callable[[], None]] = []

    def also_wake(self, waker: Callable[[], None]) -> None:
        """Has this function called whenever jobs are queued in this process."""
        self._wakers.append(waker)

    def notify(self, queue: str, job_ids: Iterable[int]) -> str | None:
        """Tells that these jobs wait in that queue, after the commit that recorded them; the reason if workers of other
        processes could not be told, who will find the jobs by themselves then."""
        hints = [str(job_id) for job_id in job_ids][-KEPT:]
        for wake in self._wakers:
            wake()
        if self.server is None or not hints:
            return None
        with self._lock:
            if monotonic() < self._resting_until:
                return self._problem
            return self._push(self.server, self.server.key(queue), hints)

    def _push(self, server: RedisServer, key: str, hints: Sequence[str]) -> str | None:
        import redis

        try:
            client = self._client = self._client or server.connect()
            with client.pipeline(transaction=False) as pipeline:
                pipeline.rpush(key, *hints)
                pipeline.ltrim(key, -KEPT, -1)
                pipeline.execute()
        except (redis.RedisError, OSError) as error:
            self._problem = f"Redis at {server.where} cannot be used: {error}"
            self._resting_until = monotonic() + RESTED
            return self._problem
        return None

    def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


class Listener(threading.Thread):
    """Wakes a dispatcher when a hint comes, as long as it has room for a job: a hint that comes when it has none is put
    back, for a worker that has.

    A server that is away or refuses is asked again and again; one log line says so, and one when it is back.
    """

    def __init__(self, server: RedisServer, queues: Callable[[], Sequence[str]], wake: Callable[[], None]) -> None:
        """
        Args:
            queues: those to listen to, in order of priority; asked again each time.

        Raises:
            ConfigError: the address of the server cannot be read.
        """
        super().__init__(name="gengfu-listener", daemon=True)
        self.hears = False
        """Whether the server answers."""
        self._server = server
        self._queues = queues
        self._wake = wake
        self._room = threading.Event()
        self._ended = False
        self._client: redis.Redis | None = server.connect()
        self._is_away = False

    def has_room(self, room: bool) -> None:
        """Says whether the dispatcher has room for a job."""
        if room:
            self._room.set()
        else:
            self._room.clear()

    def end(self) -> None:
        """Stops listening, within `BLOCK` seconds."""
        self._ended = True
        self._room.set()

    def run(self) -> None:
        """Listens until `end` is called."""
        while not self._ended:
            if not self._room.wait(1.0):
                continue
            try:
                self._listen()
            except Exception as error:
                self._lost(error)
        if self._client is not None:
            self._client.close()

    def _listen(self) -> None:
        client = self._client = self._client or self._server.connect()
        keys = [self._server.key(queue) for queue in self._queues()]
        found: Any = client.blpop(keys, timeout=BLOCK)
        self.hears = True
        if self._is_away:
            self._is_away = False
            log.info("Redis is back")
        if found is None:
            return
        key, hint = found
        if self._room.is_set():
            self._wake()
        else:
            client.lpush(key, hint)
        client.ltrim(key, -KEPT, -1)

    def _lost(self, error: Exception) -> None:
        if not self._is_away:
            log.warning("Redis is away; workers look for jobs by themselves", extra={"error": str(error)})
        self.hears, self._is_away = False, True
        if self._client is not None:
            self._client.close()
            self._client = None
        threading.Event().wait(PAUSE)

"""Wakes idle workers through Redis or Valkey: who queues a job pushes its id, and workers block on the queues' lists.

What lies in Redis is a hint and nothing more: whatever is lost, doubled, forged or wiped there costs time at most,
since every worker looks into the ledger by itself, too. `PREFIX:queue:NAME` is the list of a queue.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gengfu.clock import monotonic
from gengfu.errors import BrokerError, BrokerRefused, ConfigError
from gengfu.queue.redis_server import KEPT, RedisServer
from gengfu.settings import Settings

if TYPE_CHECKING:
    import redis

log = logging.getLogger("gengfu.queue.notify")

BLOCK = 2
"""Seconds for which the server is asked to wait for a hint, each time; less than it has for an answer."""
RESTED = 5.0
"""Seconds for which a server that failed is left alone by those who queue jobs, so that none of them waits for it."""
PAUSE = 0.5
"""Seconds between two tries to listen to a server that fails ..."""
PAUSE_REFUSED = 30.0
"""... and to one that refuses until somebody changes a configuration."""
SPACING = 0.01
"""Seconds between two hints that are heeded: whoever writes into Redis must not keep a worker busy with looking."""
TELL_EVERY = 60.0
"""Seconds between two log lines about what is no hint."""


class Notifier:
    """Tells workers that jobs are due: those of this process at once, those of others through Redis where it is set."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url
        self.server = RedisServer(settings, url) if url is not None else None
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()
        self._resting_until = 0.0
        self._problem = ""
        self._wakers: list[Callable[[], None]] = []

    def also_wake(self, waker: Callable[[], None]) -> None:
        """Has this function called whenever jobs are queued in this process."""
        self._wakers.append(waker)

    def check(self) -> None:
        """Raises `BrokerRefused` where Redis refuses, and goes on to until somebody changes a configuration, and
        `ConfigError` where a setting cannot be used. One that is only away is none of it."""
        if self.server is not None:
            try:
                self.server.probe()
            except BrokerRefused:
                raise
            except BrokerError as error:
                log.warning("Redis is away; workers look for jobs by themselves", extra={"error": str(error)})

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
        except (redis.RedisError, OSError, ConfigError) as error:
            self._problem = str(server.told(error))
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

    A server that is away or refuses is asked again and again; one log line says so, and one when it is back. What lies
    on a list and is no hint is passed over, and counted in the log.
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
        self.ignored = 0
        """How much was taken from the lists that is no hint."""
        self._server = server
        self._queues = queues
        self._wake = wake
        self._room = threading.Event()
        self._ended = threading.Event()
        self._client: redis.Redis | None = server.connect()
        self._problem = ""
        self._tell_at = 0.0

    def has_room(self, room: bool) -> None:
        """Says whether the dispatcher has room for a job."""
        if room:
            self._room.set()
        else:
            self._room.clear()

    def end(self) -> None:
        """Stops listening, within `BLOCK` seconds."""
        self._ended.set()
        self._room.set()

    def run(self) -> None:
        """Listens until `end` is called."""
        while not self._ended.is_set():
            if not self._room.wait(1.0):
                continue
            try:
                self._listen()
            except Exception as error:
                self._lost(self._server.told(error))
        if self._client is not None:
            self._client.close()

    def _listen(self) -> None:
        client = self._client = self._client or self._server.connect()
        keys = [self._server.key(queue) for queue in self._queues()]
        found: Any = client.blpop(keys, timeout=BLOCK)
        self.hears = True
        if self._problem:
            self._problem = ""
            log.info("Redis is back")
        if found is None:
            return
        key, hint = found
        if not hint.isdigit():
            self._ignore(key)
        elif self._room.is_set():
            self._wake()
        else:
            client.rpush(key, hint)
        client.ltrim(key, -KEPT, -1)
        self._ended.wait(SPACING)

    def _ignore(self, key: bytes) -> None:
        self.ignored += 1
        if monotonic() >= self._tell_at:
            self._tell_at = monotonic() + TELL_EVERY
            told = {"list": key.decode("utf-8", "replace"), "ignored": self.ignored}
            log.warning("another program writes on a list in Redis; what is no hint is ignored", extra=told)

    def _lost(self, problem: BrokerError) -> None:
        if str(problem) != self._problem:
            self._problem = str(problem)
            log.warning("Redis is away; workers look for jobs by themselves", extra={"error": self._problem})
        self.hears = False
        if self._client is not None:
            self._client.close()
            self._client = None
        self._ended.wait(PAUSE_REFUSED if isinstance(problem, BrokerRefused) else PAUSE)

"""The worker's side of Redis: dramatiq's broker, read by one pair of eyes that keeps to the order of the queues."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DecodeError
from dramatiq.message import Message
from redis.backoff import NoBackoff
from redis.retry import Retry

from gengfu.clock import monotonic
from gengfu.process.liveness import Pulse
from gengfu.queue.door import Door
from gengfu.queue.wire import ACTOR, NAMESPACE

log = logging.getLogger("gengfu.queue.broker")

ALL_LANES = "lanes"
"""The one queue that dramatiq's worker knows of; what it reads are the lanes."""
POLL = 0.02
"""Seconds between two looks of an idle worker, and so the longest it takes to notice a message."""
SIGN_OF_LIFE = 1.0
"""Seconds between two signs of life to the other workers; each also returns the messages of dead workers."""
DEAD_AFTER_MS = 10_000
PAUSE_AFTER_LOSS = 0.5


def connect(url: str) -> redis.Redis:
    """A client that gives up after five seconds of silence and does not try again by itself: those who call it do."""
    options: dict[str, Any] = {"socket_timeout": 5.0, "retry": Retry(NoBackoff(), 0)}
    if not url.startswith("unix:"):
        options |= {"socket_keepalive": True, "socket_connect_timeout": 5.0}
    return redis.Redis.from_url(url, **options)


class LaneBroker(RedisBroker):
    """dramatiq's Redis broker without its delay queues and its retries: delays and tries are the ledger's."""

    def __init__(self, client: redis.Redis, lanes: Sequence[str], door: Door) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            namespace=NAMESPACE,
            heartbeat_timeout=DEAD_AFTER_MS,
            maintenance_chance=1_000_000,
            middleware=[],
        )
        self.lanes = tuple(lanes)
        """The queues that are read, in order of priority; may be replaced at any time."""
        self.door = door
        self.reading = Pulse("reader", longest=60.0)
        """Comes round whether Redis answers or not."""
        self.answered = Pulse("poll", longest=30.0)
        """Comes round when Redis answered."""

    def declare_queue(self, queue_name: str) -> None:
        """Makes the queue known to the worker."""
        self.queues.add(queue_name)
        self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 0) -> Consumer:
        """The reader of all lanes."""
        return LaneReader(self)

    def run(self, command: str, lane: str, *args: Any) -> Any:
        """Runs a command of dramatiq's script on a lane."""
        return getattr(self, f"do_{command}")(lane, *args)


class LaneReader(Consumer):
    """Takes a message only when a thread is free for it, and never from a later lane while an earlier one has any. So
    nothing waits in the memory of a busy worker while an idle one could take it.

    Redis being away is no error here: the reader says so once and goes on asking.
    """

    def __init__(self, broker: LaneBroker) -> None:
        self._broker = broker
        self._next_sign = 0.0
        self._away = False

    def __next__(self) -> MessageProxy | None:
        self._broker.reading.turn()
        try:
            self._show_life()
            found = self._take() if self._broker.door.wait_room(SIGN_OF_LIFE / 5) else None
        except (redis.RedisError, OSError) as error:
            self._lost(error)
            return None
        if self._away:
            self._away = False
            log.info("Redis is back")
        return found

    def _lost(self, error: Exception) -> None:
        if not self._away:
            log.warning("Redis is away; asking on", extra={"error": str(error)})
        self._away = True
        self._next_sign = 0.0
        time.sleep(PAUSE_AFTER_LOSS)

    def _show_life(self) -> None:
        if monotonic() >= self._next_sign:
            for lane in self._broker.lanes:
                self._broker.run("qsize", lane)
            self._next_sign = monotonic() + SIGN_OF_LIFE
            self._broker.answered.turn()

    def _take(self) -> MessageProxy | None:
        lanes = self._broker.lanes
        waiting = self._broker.client.exists(*(f"{NAMESPACE}:{lane}" for lane in lanes))
        self._broker.answered.turn()
        if waiting:
            for lane in lanes:
                for data in self._broker.run("fetch", lane, 1):
                    return self._accept(lane, data)
        time.sleep(POLL)
        return None

    def _accept(self, lane: str, data: bytes | None) -> MessageProxy | None:
        message = _decode(lane, data)
        if message is None:
            return None
        message = message.copy(queue_name=ALL_LANES, options={"lane": lane})
        if message.actor_name != ACTOR or len(message.args) != 1 or not isinstance(message.args[0], int):
            log.error("a message that is not ours was dropped", extra={"queue": lane, "actor": message.actor_name})
            self.ack(MessageProxy(message))
        elif self._broker.door.enter():
            return MessageProxy(message)
        else:
            self.requeue([MessageProxy(message)])
        return None

    def ack(self, message: MessageProxy) -> None:
        """Forgets the message. Where that fails it comes again, and the ledger refuses it."""
        try:
            self._broker.run("ack", message.options["lane"], message.options["redis_message_id"])
        except (redis.RedisError, OSError) as error:
            log.debug("a message could not be acknowledged", extra={"error": str(error)})

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Gives messages back that no thread has taken. Where that fails the sweeper sends new ones."""

        def lane(message: MessageProxy) -> str:
            return str(message.options["lane"])

        for name, group in groupby(sorted(messages, key=lane), key=lane):
            try:
                self._broker.run("requeue", name, *(message.options["redis_message_id"] for message in group))
            except (redis.RedisError, OSError) as error:
                log.warning("messages could not be given back", extra={"queue": name, "error": str(error)})


def _decode(lane: str, data: bytes | None) -> Message[Any] | None:
    try:
        if data is not None:
            return Message.decode(data)
    except DecodeError:
        log.error("a message that cannot be read was dropped", extra={"queue": lane})
    return None

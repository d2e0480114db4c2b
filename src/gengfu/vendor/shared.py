"""What all processes share through Redis: the vendor's token, the right to log in, and the closed gate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import redis

from gengfu.errors import BrokerError
from gengfu.settings import Secret

RedisFactory = Callable[[], "redis.Redis"]
"""Gives a connected client (`decode_responses` off). Called again after the server was lost; raises BrokerError."""

T = TypeVar("T")

LOCK_SECONDS = 10.0
"""How long the right to log in outlives a process that was killed; a living one extends it."""

_STORE = """
local generation = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 1
redis.call('SET', KEYS[1], generation)
redis.call('SET', KEYS[2], '[' .. generation .. ',' .. ARGV[2] .. ']', 'PX', ARGV[3])
return generation
"""
_EXTEND = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_CLOSE = (
    "if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end"
)


@dataclass(frozen=True, slots=True)
class Token:
    """What a login gave. `generation` grows by one with each login of the account."""

    value: Secret
    generation: int


class Shared:
    """The account's corner of Redis. Only Redis counts time here, so that no two machines' clocks need to agree.

    Keys below `gengfu:auth:<account>`: `:token` (generation and token, gone when it expires), `:generation` (the last
    number given), `:lock` (who may log in: a random word of its owner, who alone can release it), `:gate` (there as
    long as the vendor wants no request; its value says why).

    Every method blocks for as long as Redis takes, and raises BrokerError when it cannot be used.
    """

    def __init__(self, factory: RedisFactory, account: str) -> None:
        self._factory = factory
        self._client: redis.Redis | None = None
        self._starting = threading.Lock()
        prefix = f"gengfu:auth:{account}"
        self._token, self._generation = f"{prefix}:token", f"{prefix}:generation"
        self._lock, self._gate = f"{prefix}:lock", f"{prefix}:gate"

    def _do(self, work: Callable[[Any], T]) -> T:
        with self._starting:
            client = self._client = self._client or self._factory()
        try:
            return work(client)
        except redis.RedisError as error:
            self._client = None
            raise BrokerError(f"Redis does not answer: {error}") from error

    def token(self) -> tuple[Token, float] | None:
        """The token of the last login and the seconds for which it may be used; `None` when it has expired."""

        def read(client: Any) -> tuple[bytes | None, int]:
            with client.pipeline(transaction=True) as pipeline:
                pipeline.get(self._token)
                pipeline.pttl(self._token)
                found: tuple[bytes | None, int] = tuple(pipeline.execute())
                return found

        stored, left = self._do(read)
        if stored is None or left <= 0:
            return None
        try:
            generation, value = msgspec.json.decode(stored, type=tuple[int, str])
        except msgspec.DecodeError:
            return None
        return Token(Secret(value), generation), left / 1000

    def store(self, value: Secret, seconds: float, known: int) -> Token:
        """Puts a new token in place of the last one, under a generation above it and above `known`."""
        text = msgspec.json.encode(value.reveal())
        keys = (self._generation, self._token)
        generation = self._do(lambda client: client.eval(_STORE, 2, *keys, known, text, max(1, int(seconds * 1000))))
        return Token(value, int(generation))

    def drop(self) -> None:
        """Forgets the token."""
        self._do(lambda client: client.delete(self._token))

    def lock(self, owner: str) -> bool:
        """Takes the right to log in, unless another has it."""
        return bool(self._do(lambda client: client.set(self._lock, owner, nx=True, px=int(LOCK_SECONDS * 1000))))

    def extend(self, owner: str) -> bool:
        """Keeps the right to log in for `LOCK_SECONDS` from now, if it is still the owner's."""
        return bool(self._do(lambda client: client.eval(_EXTEND, 1, self._lock, owner, int(LOCK_SECONDS * 1000))))

    def release(self, owner: str) -> None:
        """Gives the right to log in back, if it is still the owner's."""
        self._do(lambda client: client.eval(_RELEASE, 1, self._lock, owner))

    def close_gate(self, reason: str, seconds: float) -> None:
        """Asks all processes to send nothing for that long; a gate that stays closed longer is left alone."""
        self._do(lambda client: client.eval(_CLOSE, 1, self._gate, reason, max(1, int(seconds * 1000))))

    def gate(self) -> tuple[str, float]:
        """Why no request is to be sent, and for how many seconds more; 0 when the gate is open."""

        def read(client: Any) -> tuple[bytes | None, int]:
            left = client.pttl(self._gate)
            return (client.get(self._gate), left) if left > 0 else (None, 0)

        reason, left = self._do(read)
        return (reason or b"").decode("utf-8", "replace"), max(0, left) / 1000

"""The one login that every command, job and page of the program shares, across threads, processes and restarts."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property, partial
from typing import TypeVar

from gengfu.clock import Clock, monotonic, utcnow
from gengfu.errors import BrokerError, ConfigError, LoginRefused, StoreError
from gengfu.logs import Redactor, register_secret
from gengfu.settings import Secret, Settings
from gengfu.store.refusals import Refusal, RefusalStore
from gengfu.vendor.http_loop import Line
from gengfu.vendor.login import Identity, Login, digest_of, matches
from gengfu.vendor.login_client import Desk
from gengfu.vendor.shared import LOCK_SECONDS, RedisFactory, Shared, Token

T = TypeVar("T")

log = logging.getLogger(__name__)

BROKER_PATIENCE = 15.0
"""Seconds for which a login waits for a Redis that is away."""


class AuthState(StrEnum):
    """How things stand between the program and the vendor."""

    NONE = "none"
    """There is no token; the next call logs in."""
    VALID = "valid"
    """There is a token, shared by all processes."""
    REFUSED = "refused"
    """The vendor refused these credentials; no login is made until they change or `auth:reset` is run."""


@dataclass(frozen=True, slots=True)
class AuthStatus:
    """What `auth:status` shows; nothing in it is secret."""

    state: AuthState
    url: str
    username: str
    account: str
    """The name under which the processes share the login."""
    generation: int | None = None
    """The number of the login that gave the present token."""
    expires_in: float | None = None
    """Seconds for which the present token is used."""
    reason: str | None = None
    """Why the login was refused, in the vendor's words."""
    refused_at: datetime | None = None


class AuthService:
    """Guarantees one login at a time for an account, in this process and all others that share its Redis and database.

    1. Whoever needs a token takes the one in memory, else the one in Redis, else logs in under a lock in Redis. Whoever
       finds the lock taken waits for the token that its owner will put there.
    2. Whoever was told that a token is dead gets a newer one if there is one, and logs in only if there is none.
    3. A login that the vendor refused is written to the database before the lock is given back. From then on nobody
       logs in with these credentials, after a restart neither, until `reset`; not even when others log in with better
       ones, since a worker that still has the old ones would try them again and again. An answer that says nothing
       about the credentials (5xx, HTML, a time-out) is no refusal.
    4. Before a login the credentials are read anew: what a person corrected counts at once, also for a running worker.

    The token and the password appear in no error and no log.
    """

    def __init__(
        self,
        settings: Settings,
        redis: RedisFactory,
        refusals: RefusalStore,
        clock: Clock = utcnow,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        """`reread` gives the settings as they are now; without it a change counts after a restart."""
        self.line = Line(settings)
        self._settings = settings
        self._reread = reread
        self._factory = redis
        self._refusals = refusals
        self._clock = clock
        self._token: Token | None = None
        self._good_until = 0.0
        self._generation = 0
        self._pending: asyncio.Task[Token] | None = None
        self._compared: tuple[str, bool] = ("", False)
        self._unsaved: Refusal | None = None
        self._secrets = Redactor()
        if settings.api_password is not None:
            self._secrets.add(settings.api_password.reveal(), lasting=True)
        self._desk = Desk(self.line, self.scrub, clock)

    @cached_property
    def _me(self) -> Identity:
        return Identity(*self._settings.api())

    @cached_property
    def _shared(self) -> Shared:
        return Shared(self._factory, self._me.account)

    # For threads that are not the loop's.

    def authorization(self) -> str:
        """The value of the `authorization` header, for any call to the vendor.

        Raises:
            LoginRefused, Postpone, VendorError, BrokerError, StoreError, ConfigError: as `token`.
        """
        return "bearer " + self.line.run(self.token()).value.reveal()

    def login(self) -> AuthStatus:
        """Logs in now, whether or not there is a token, and shares the new one.

        Raises:
            LoginRefused, Postpone, VendorError, BrokerError, StoreError, ConfigError: as `token`.
        """
        self.line.run(self._obtain(None, anew=True))
        return self.status()

    def status(self) -> AuthStatus:
        """How things stand; makes no call to the vendor.

        Raises:
            BrokerError, StoreError, ConfigError: Redis, the database or the settings cannot say.
        """
        me = self._me
        refusal = self._refusals.get(me.account) or self._unsaved
        if refusal is not None and self._is_ours(refusal.digest):
            return AuthStatus(
                AuthState.REFUSED, me.url, me.username, me.account, reason=refusal.reason, refused_at=refusal.refused_at
            )
        stored = self._shared.token()
        if stored is None:
            return AuthStatus(AuthState.NONE, me.url, me.username, me.account)
        return AuthStatus(AuthState.VALID, me.url, me.username, me.account, stored[0].generation, stored[1])

    def reset(self) -> bool:
        """Forgets that the login was refused, and the shared token; says whether it was refused.

        Raises:
            StoreError, ConfigError: the database cannot forget it, or the account is not set.
        """
        unsaved, self._unsaved = self._unsaved, None
        was_refused = self._refusals.forget(self._me.account) or unsaved is not None
        self._token = None
        try:
            self._shared.drop()
        except BrokerError as error:
            log.warning("the shared token was not forgotten", extra={"error": str(error)})
        return was_refused

    def scrub(self, text: str) -> str:
        """The text with stars in place of the password and of every token of late."""
        return self._secrets.redact(text)

    @property
    def logins(self) -> int:
        """Login calls that this process has made."""
        return self._desk.calls

    def close(self) -> None:
        """Ends the loop thread and its connections; harmless when nothing was started."""
        self.line.close()

    # For the loop.

    def current(self) -> Token | None:
        """The token in memory, if there is one that should still be good; costs nothing."""
        return self._token if self._token is not None and monotonic() < self._good_until else None

    async def token(self) -> Token:
        """A token that should be good.

        Raises:
            LoginRefused: the vendor refuses the credentials, now or before.
            Postpone: the vendor asks to wait for more than 30 s.
            VendorError: the login could not be made, for other reasons than the credentials.
            BrokerError: Redis was away for 15 s, so nobody can tell who may log in.
            StoreError: the database cannot say whether the credentials were refused.
            ConfigError: the vendor's address, the credentials or the CA file are missing or malformed.
        """
        return self.current() or await self._obtained(None)

    async def renew(self, dead: Token) -> Token:
        """A token other than `dead`, which the vendor no longer takes. Raises as `token` does."""
        current = self.current()
        if current is not None and current != dead:
            return current
        self._token = None
        return await self._obtained(dead)

    async def _obtained(self, dead: Token | None) -> Token:
        """Waits for the login under way in this process, or starts one; cancelling who waits does not cancel it."""
        while True:
            if self._pending is None:
                self._pending = asyncio.get_running_loop().create_task(self._obtain(dead))
                self._pending.add_done_callback(self._landed)
            token = await asyncio.shield(self._pending)
            if token != dead:
                return token

    def _landed(self, task: asyncio.Task[Token]) -> None:
        self._pending = None
        if not task.cancelled():
            task.exception()

    async def _obtain(self, dead: Token | None, *, anew: bool = False) -> Token:
        if not anew and (token := await self._stored(dead)) is not None:
            return token
        await self._take_up_changes()
        await self._raise_if_refused()
        owner = secrets.token_hex(16)
        while anew or (token := await self._stored(dead)) is None:
            if await self._patiently(partial(self._shared.lock, owner)):
                break
            await asyncio.sleep(random.uniform(0.02, 0.05))
        else:
            return token
        keeper = asyncio.get_running_loop().create_task(self._keep_lock(owner))
        try:
            token = None if anew else await self._stored(dead)
            if token is None:
                await self._raise_if_refused()
                token = await self._log_in(dead)
            return token
        finally:
            keeper.cancel()
            await self._release_lock(owner)

    async def _stored(self, dead: Token | None) -> Token | None:
        """The token that some process put into Redis, unless it is the dead one."""
        found = await self._patiently(self._shared.token)
        if found is None or found[0] == dead:
            return None
        return self._keep(*found)

    def _keep(self, token: Token, seconds: float) -> Token:
        self._token, self._generation = token, token.generation
        self._good_until = monotonic() + seconds
        self._hide(token.value)
        return token

    def _hide(self, token: Secret) -> None:
        self._secrets.add(token.reveal())
        register_secret(token.reveal())

    async def _patiently(self, work: Callable[[], T]) -> T:
        deadline = monotonic() + BROKER_PATIENCE
        while True:
            try:
                return await self.line.offload(work)
            except BrokerError:
                if monotonic() > deadline:
                    raise
            await asyncio.sleep(0.25)

    async def _keep_lock(self, owner: str) -> None:
        while True:
            await asyncio.sleep(LOCK_SECONDS / 4)
            try:
                await self.line.offload(partial(self._shared.extend, owner))
            except BrokerError:
                continue

    async def _release_lock(self, owner: str) -> None:
        try:
            await self.line.offload(partial(self._shared.release, owner))
        except BrokerError as error:
            log.warning("the right to log in could not be given back; it ends by itself", extra={"error": str(error)})

    # The refusal.

    def _is_ours(self, digest: str) -> bool:
        if self._compared[0] != digest:
            self._compared = (digest, matches(digest, self._me.username, self._me.password))
        return self._compared[1]

    async def _take_up_changes(self) -> None:
        """Takes the credentials that the settings name now. Another server, or a file that is half written, is left to
        the next start."""
        if self._reread is None:
            return
        try:
            fresh = Identity(*(await self.line.offload(self._reread)).api())
        except ConfigError:
            return
        if fresh != self._me and fresh.url == self._me.url:
            self._hide(fresh.password)
            self._me, self._token, self._unsaved, self._compared = fresh, None, None, ("", False)
            self.__dict__.pop("_shared", None)
            log.info("credentials changed", extra={"user": fresh.username})

    async def _raise_if_refused(self) -> None:
        refusal = await self.line.offload(partial(self._refusals.get, self._me.account))
        if refusal is None or not await self.line.offload(partial(self._is_ours, refusal.digest)):
            refusal = self._unsaved
            if refusal is None:
                return
            await self._remember(refusal)
        raise self._refused(refusal)

    async def _remember(self, refusal: Refusal) -> None:
        """Writes the refusal down; one that the database did not take stays in memory until the next chance."""
        work = partial(self._refusals.remember, self._me.account, refusal.digest, refusal.reason, refusal.refused_at)
        try:
            await self.line.offload(work)
            self._unsaved = None
        except StoreError as error:
            self._unsaved = refusal
            log.error("that the login was refused could not be written down", extra={"error": str(error)})

    def _refused(self, refusal: Refusal) -> LoginRefused:
        return LoginRefused(
            f"the vendor refused the login of {self._me.username} at {self._me.url} on "
            f"{refusal.refused_at:%Y-%m-%d %H:%M} UTC ({refusal.reason}); no further login is made until API_USERNAME "
            "or API_PASSWORD change or `gengfu auth:reset` is run"
        )

    # The login itself.

    async def _log_in(self, dead: Token | None) -> Token:
        answer = await self._desk.ask(self._me)
        if answer.outcome is Login.REFUSED:
            digest = await self.line.offload(partial(digest_of, self._me.username, self._me.password))
            refusal = Refusal(digest, answer.why, self._clock())
            await self._remember(refusal)
            raise self._refused(refusal)
        known = max(self._generation, dead.generation if dead is not None else 0)
        self._hide(answer.token)
        try:
            token = await self.line.offload(partial(self._shared.store, answer.token, answer.seconds, known))
        except BrokerError as error:
            log.warning("the new token could not be shared with other processes", extra={"error": str(error)})
            token = Token(answer.token, known + 1)
        log.info("logged in", extra={"user": self._me.username, "generation": token.generation})
        return self._keep(token, answer.seconds)

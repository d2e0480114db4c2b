"""Gets a token for whoever needs one, with one login for all of them, in this process and in all others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf

from gengfu.clock import monotonic
from gengfu.errors import LoginRefused, Postpone, StoreError
from gengfu.language import tr
from gengfu.retry import Patience
from gengfu.store.logins import LoginState, Refusal, Token
from gengfu.vendor.http_loop import HttpLoop
from gengfu.vendor.login import LoginAnswerKind
from gengfu.vendor.login_client import LoginClient
from gengfu.vendor.shared_login import SharedLogin

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.05
"""Seconds between the first two looks at a login that another process makes ..."""
LONGEST_PAUSE = 0.25
"""... and between later ones, at most."""
RELEASE_AGAIN = 1.0
"""Seconds after which a right to log in that the database did not take back is given back again."""


class SingleFlight:
    """Guarantees one login at a time for an account. Lives in the loop.

    1. Whoever needs a token takes the one in memory, else the one in the database, else logs in under the lease of this
       process. Whoever finds another process at it waits for the token that it will put there; a process that is dead
       loses that right with its lease.
    2. Whoever was told that a token is dead gets a newer one if there is one, and logs in only if there is none.
    3. A login that the vendor refused is written down before others may log in. From then on nobody logs in with these
       credentials.
    4. Before a login the credentials are read anew: what a person corrected counts at once, also for a running worker.
    """

    def __init__(self, shared: SharedLogin, client: LoginClient, loop: HttpLoop, lease: Callable[[], int]) -> None:
        """`lease` gives the id of this process's lease; it blocks, and raises StoreError."""
        self._shared = shared
        self._logins = shared.logins
        self._client = client
        self._loop = loop
        self._lease = lease
        self._token: Token | None = None
        self._good_until = 0.0
        self._generation = 0
        self._pending: asyncio.Task[Token] | None = None
        self._releases: set[asyncio.Task[None]] = set()

    def current(self) -> Token | None:
        """The token in memory, if there is one that should still be good; costs nothing."""
        return self._token if self._token is not None and monotonic() < self._good_until else None

    def forget(self) -> None:
        """Forgets the token in memory."""
        self._token = None

    async def token(self) -> Token:
        """A token that should be good.

        Raises:
            LoginRefused: the vendor refuses the credentials, now or before.
            Postpone: the vendor asks to wait for more than 30 s.
            VendorError: the login could not be made, for other reasons than the credentials.
            StoreError: the database cannot say who may log in.
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

    async def log_in(self) -> Token:
        """The token of a login made now, whatever token there is. Raises as `token` does."""
        while self._pending is not None:
            await asyncio.wait([self._pending])
        return await asyncio.shield(self._started(None, anew=True))

    async def _obtained(self, dead: Token | None) -> Token:
        """Waits for the login under way in this process, or starts one; cancelling who waits does not cancel it."""
        while True:
            pending = self._pending or self._started(dead)
            token = await asyncio.shield(pending)
            if token != dead:
                return token

    def _started(self, dead: Token | None, *, anew: bool = False) -> asyncio.Task[Token]:
        self._pending = asyncio.get_running_loop().create_task(self._obtain(dead, anew))
        self._pending.add_done_callback(self._ended)
        return self._pending

    def _ended(self, task: asyncio.Task[Token]) -> None:
        self._pending = None
        if not task.cancelled():
            task.exception()

    async def _obtain(self, dead: Token | None, anew: bool) -> Token:
        """The token of another process, unless it is to be had `anew`, or that of a login."""
        state = await self._loop.offload(self._shared.look)
        if (token := self._taken_from(state, dead, anew)) is not None:
            return token
        if await self._loop.offload(self._shared.take_up_changes):
            self._token = None
            state = await self._loop.offload(self._shared.look)
        pauses = Patience(inf, FIRST_PAUSE, LONGEST_PAUSE)
        while (token := self._taken_from(state, dead, anew)) is None:
            await self._raise_if_refused(state)
            # Also while another is at it: only who has a lease finds out that the other is dead.
            lease_id = await self._loop.offload(self._lease)
            fence = await self._take(lease_id) if state.holder in (None, lease_id) else None
            if fence is None:
                await pauses.lasts_async()
            elif (token := await self._under(fence, dead, anew)) is not None:
                return token
            state = await self._loop.offload(self._shared.look)
        return token

    async def _raise_if_refused(self, state: LoginState) -> None:
        if state.refusal is not None:
            await self._loop.offload(self._shared.write_down_unsaved)
            raise self._refused(state.refusal)

    def _taken_from(self, state: LoginState, dead: Token | None, anew: bool) -> Token | None:
        if anew or state.token is None or state.token == dead:
            return None
        return self._keep(state.token, state.expires_in)

    async def _take(self, lease_id: int) -> int | None:
        return await self._loop.offload(partial(self._logins.take, self._shared.account, lease_id))

    async def _under(self, fence: int, dead: Token | None, anew: bool) -> Token | None:
        """What comes of having the right to log in; None where it was lost on the way."""
        is_over = False
        try:
            state = await self._loop.offload(self._shared.look)
            token = self._taken_from(state, dead, anew)
            if token is None:
                await self._raise_if_refused(state)
                token = await self._log_in(fence, dead)
                is_over = token is not None
            return token
        finally:
            if not is_over:
                self._release_soon(fence)

    def _release_soon(self, fence: int) -> None:
        release = asyncio.get_running_loop().create_task(self._release(fence))
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)

    async def _release(self, fence: int) -> None:
        pauses = Patience(inf, RELEASE_AGAIN, RELEASE_AGAIN)
        while True:
            try:
                await self._loop.offload(partial(self._logins.release, self._shared.account, fence))
                return
            except StoreError as error:
                log.warning("the right to log in could not be given back; trying on", extra={"error": str(error)})
            await pauses.lasts_async()

    async def _log_in(self, fence: int, dead: Token | None) -> Token | None:
        identity = self._shared.identity
        try:
            answer = await self._client.ask(identity)
        except Postpone as wait:
            with suppress(StoreError):
                await self._loop.offload(partial(self._logins.close_gate, identity.account, str(wait), wait.seconds))
            raise
        if answer.kind is LoginAnswerKind.REFUSED:
            raise self._refused(await self._loop.offload(partial(self._shared.refuse, answer.why, fence)))
        self._shared.hide(answer.token)
        known = max(self._generation, dead.generation if dead is not None else 0)
        grant = partial(self._logins.grant, identity.account, fence, answer.token, answer.seconds, known)
        try:
            token = await self._loop.offload(grant)
        except StoreError as error:
            log.warning("the new token could not be shared with other processes", extra={"error": str(error)})
            self._release_soon(fence)
            token = Token(answer.token, known + 1)
        if token is None:
            log.warning("the right to log in passed to another process meanwhile", extra={"user": identity.username})
            return None
        log.info("logged in", extra={"user": identity.username, "generation": token.generation})
        return self._keep(token, answer.seconds)

    def _keep(self, token: Token, seconds: float) -> Token:
        self._token, self._generation = token, token.generation
        self._good_until = monotonic() + seconds
        self._shared.hide(token.value)
        return token

    def _refused(self, refusal: Refusal) -> LoginRefused:
        identity = self._shared.identity
        return LoginRefused(
            tr(
                "the vendor refused the login of {identity.username} at {identity.url} on {refused_at} UTC "
                "({refusal.reason}); no further login is made until API_USERNAME or API_PASSWORD change or "
                "`gengfu auth:reset` is run",
                identity=identity,
                refused_at=f"{refusal.refused_at:%Y-%m-%d %H:%M}",
                refusal=refusal,
            )
        )

"""Makes one request for a page: with the shared login, in its turn, and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from aiohttp import ClientResponse
from yarl import URL

from gengfu.clock import Clock, monotonic
from gengfu.language import tr
from gengfu.settings import Settings
from gengfu.store.logins import Token
from gengfu.vendor.answers import AnswerKind, Expected, PageAnswer, excerpt, judge, judge_error, retry_after, with_wait
from gengfu.vendor.auth import AuthService
from gengfu.vendor.paging import Listing
from gengfu.vendor.rate_limiter import RateLimiter

MOST_USELESS = 3
"""Fresh tokens in a row that the vendor takes for no single page, before it is the address that is doubted."""


class TokenHealth:
    """Whether the tokens that the login gives are of any use.

    A token that served no page before it died is useless. After three of them in a row the next login is pointless. One
    that came from a renewal and died after one page at most makes the client send one request at a time, since every
    death costs all that is open; a token that serves two pages ends that.
    """

    def __init__(self) -> None:
        self.useless = 0
        self.one_at_a_time = False
        self._token: Token | None = None
        self._served = 0
        self._is_renewed = False
        self._is_dead = False

    def used(self, token: Token) -> None:
        """A request goes out with the token."""
        if token != self._token:
            self._token, self._served, self._is_renewed, self._is_dead = token, 0, self._is_dead, False

    def served(self, token: Token) -> None:
        """A page came back for the token."""
        self.useless = 0
        if token == self._token:
            self._served += 1
            self.one_at_a_time = self.one_at_a_time and self._served < 2

    def died(self, token: Token) -> None:
        """The vendor no longer takes the token."""
        if token != self._token or self._is_dead:
            return
        self._is_dead = True
        if self._is_renewed:
            self.one_at_a_time = self.one_at_a_time or self._served <= 1
            self.useless += not self._served


class Response(msgspec.Struct, frozen=True):
    """What a request brought, and the seconds that it took."""

    answer: PageAnswer
    took: float


@dataclass(frozen=True, slots=True)
class FetchSpec:
    """Which list is read, in which page size, and where its pages are."""

    listing: Listing
    size: int
    check_from: int
    """The first page whose length is checked: pages before it may have fewer rows than their `total` implies."""
    address: Callable[[int], str]
    """The address of a page, below the base and already encoded."""


class Requester:
    """Makes calls. Each waits for its turn and is counted; a dead token is renewed before it returns."""

    def __init__(self, settings: Settings, auth: AuthService, limiter: RateLimiter, clock: Clock) -> None:
        self._base = settings.api()[0]
        self._page_bytes = settings.api_page_bytes
        self._auth = auth
        self._limiter = limiter
        self._clock = clock
        self._health = TokenHealth()
        self._headers: tuple[Token | None, dict[str, str]] = (None, {})

    def begin(self) -> None:
        """What is fetched from now on may doubt the address anew."""
        self._health.useless = 0

    async def fetch(self, address: str, expected: Expected) -> Response:
        """Asks for a page at an address below the base, already encoded.

        Raises:
            LoginRefused, Postpone, VendorError, StoreError, ConfigError: there is no token or no way out.
        """
        ticket = await self._limiter.enter()
        kind: AnswerKind | None = None
        asked: float | None = None
        try:
            token = self._auth.tokens.current() or await self._auth.tokens.token()
            self._health.used(token)
            self._limiter.totals.calls += 1
            started = monotonic()
            answer, asked = await self._call(address, token, expected)
            took, kind = monotonic() - started, answer.kind
        finally:
            self._limiter.leave(ticket, kind, asked)
        if kind is AnswerKind.PAGE:
            self._health.served(token)
        elif kind is AnswerKind.DEAD_LOGIN:
            answer = await self._revive(token, answer)
        self._limiter.one_at_a_time = self._health.one_at_a_time
        return Response(answer, took)

    async def _call(self, address: str, token: Token, expected: Expected) -> tuple[PageAnswer, float | None]:
        """The answer on one call, and the seconds to wait that the vendor asked for."""

        def judged(response: ClientResponse, body: bytes) -> tuple[PageAnswer, float | None]:
            answer = judge(response.status, body, expected, self._excerpt, response.headers.get("Link"))
            if response.status not in (429, 503):
                return answer, None
            asked = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"), self._clock())
            return with_wait(answer, asked), asked

        try:
            url = URL(self._base + address, encoded=True)
            return await self._auth.loop.ask("GET", url, self._page_bytes, judged, headers=self._headers_for(token))
        except Exception as error:
            return judge_error(error), None

    async def _revive(self, token: Token, answer: PageAnswer) -> PageAnswer:
        self._health.died(token)
        if self._health.useless < MOST_USELESS:
            self._limiter.one_at_a_time = self._health.one_at_a_time
            await self._auth.tokens.renew(token)
            return answer
        why = tr(
            "{answer.why}, again with a fresh login: the vendor ends each login at once, or API_WECHAT_URL "
            "does not lead to its API (it answers the same for a path that does not exist)",
            answer=answer,
        )
        return PageAnswer(AnswerKind.REJECTED, answer.status, why)

    def _excerpt(self, body: bytes) -> str:
        return excerpt(body, self._auth.scrub)

    def _headers_for(self, token: Token) -> dict[str, str]:
        if self._headers[0] is not token:
            self._headers = (token, {"authorization": f"bearer {token.value.reveal()}"})
        return self._headers[1]

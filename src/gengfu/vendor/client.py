"""The vendor's lists, page by page, for job threads: concurrent inside, plain iterators outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import unquote, urljoin

from gengfu.clock import Clock, utcnow
from gengfu.errors import AnswerError, Stopped
from gengfu.language import tr
from gengfu.settings import Settings
from gengfu.vendor.answers import LONGEST_LIST, clean
from gengfu.vendor.auth import AuthService
from gengfu.vendor.page_fetch import PageFetch
from gengfu.vendor.paging import Failure, Listing, Numbered, Page
from gengfu.vendor.rate_limiter import RateLimiter, Totals
from gengfu.vendor.requester import FetchSpec, Requester


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals of this process since it started."""

    calls: int
    """Requests for pages."""
    retries: int
    """Those of them that repeated a request because of a fault."""
    throttled: int
    """Answers with 429."""
    logins: int
    """Requests for a token."""


class VendorClient:
    """Reads lists of the vendor. Every job thread of the process shares its connections, its limit and its login.

    What can be repeated is repeated: with jitter, a few times for each page, within a budget for all. A 429 makes every
    process wait. A page is one only if it is what the contract says; everything else is a `Failure` with its reason.
    """

    def __init__(self, settings: Settings, auth: AuthService, clock: Clock = utcnow) -> None:
        self._settings = settings
        self._auth = auth
        self._clock = clock
        self._totals = Totals()
        self._fetches: set[PageFetch] = set()

    @cached_property
    def _limiter(self) -> RateLimiter:
        return RateLimiter(self._settings, self._totals, self._auth.loop, self._auth.shared)

    @cached_property
    def _requester(self) -> Requester:
        return Requester(self._settings, self._auth, self._limiter, self._clock)

    def pages(
        self,
        listing: Listing,
        indices: Iterable[int],
        size: int,
        stop: threading.Event | None = None,
        *,
        check_from: int = 0,
    ) -> Generator[list[Page | Failure], None, None]:
        """Fetches pages of `size` rows, many at once, in the order given, and yields what has arrived in the meantime.

        From page `check_from` on, a page with fewer rows than its own `total` implies is a fault. Nothing is asked
        before the first iteration; leaving the iteration cancels what is open.

        Raises:
            LoginRefused: the vendor refuses the credentials.
            Postpone: the vendor asks to wait for more than 30 s.
            Stopped: `stop` was set, or the client was closed; what was open is cancelled.
            VendorError, StoreError, ConfigError: there is no login, for other reasons.
        """
        return self._fetch(FetchSpec(listing, size, check_from, listing.addresses(size)), indices, stop)

    def page(
        self, listing: Listing, index: int, size: int, stop: threading.Event | None = None, *, check_length: bool = True
    ) -> Page:
        """Fetches one page. Without `check_length` it may have fewer rows than its `total` implies.

        Raises:
            AnswerError: there was no such page after every try; the text names the request, the status and what came.
            GengfuError: as `pages`.
        """
        return self._one(
            FetchSpec(listing, size, 0 if check_length else index + 1, listing.addresses(size)), index, stop
        )

    def walk(self, listing: Listing, size: int, stop: threading.Event | None = None) -> Iterator[Page]:
        """Fetches the pages of a list that lead from one to the next, to the end that its style knows.

        Raises:
            AnswerError: there was no such page after every try, a page does not lead on, or leads back or elsewhere.
            GengfuError: as `pages`.
        """
        assert not isinstance(listing.paging, Numbered)
        place = (listing.path, listing.query, size)
        base = self._settings.api()[0]
        url: str | None = urljoin(base, listing.paging.begin(*place))
        asked: set[int] = set()
        rows = 0
        while url is not None:
            where = url.removeprefix(base)
            token = self._auth.tokens.current()
            if url == where or (token is not None and token.value.reveal() in unquote(url)):
                wrong = "outside API_WECHAT_URL" if url == where else "an address with the login in it"
                raise AnswerError(
                    tr(
                        "{listing.path} leads to {address}, {wrong}",
                        listing=listing,
                        address=clean(url, self._auth.scrub),
                        wrong=wrong,
                    )
                )
            if hash(url) in asked:
                raise AnswerError(
                    tr("GET {where} leads nowhere new: the server sends the same page again and again", where=where)
                )
            asked.add(hash(url))
            page = self._one(FetchSpec(listing, size, len(asked), _always(where)), len(asked) - 1, stop)
            rows += len(page.rows)
            if rows > LONGEST_LIST:
                raise AnswerError(
                    tr(
                        "{listing.path} has no end: more than {most} rows are not believed",
                        listing=listing,
                        most=LONGEST_LIST,
                    )
                )
            yield replace(page, total=rows)
            try:
                follows = listing.paging.follow(*place, page, url)
            except ValueError as problem:
                raise AnswerError(
                    tr("GET {where} answered 200, but {why}", where=where, why=clean(str(problem), self._auth.scrub))
                ) from None
            url = urljoin(base, follows) if follows is not None else None

    def _one(self, spec: FetchSpec, index: int, stop: threading.Event | None) -> Page:
        for batch in self._fetch(spec, (index,), stop):
            for result in batch:
                if isinstance(result, Failure):
                    raise AnswerError(result.cause)
                return result
        raise Stopped(tr("reading {spec.listing.path} was stopped", spec=spec))

    def _fetch(
        self, spec: FetchSpec, indices: Iterable[int], stop: threading.Event | None
    ) -> Generator[list[Page | Failure], None, None]:
        fetch = PageFetch(
            spec,
            indices,
            loop=self._auth.loop,
            limiter=self._limiter,
            requester=self._requester,
            ceiling=self._settings.api_concurrency,
            stop=stop,
        )
        self._fetches.add(fetch)
        try:
            yield from fetch.batches()
        finally:
            self._fetches.discard(fetch)

    def counters(self) -> Counters:
        """The totals so far; what a run used is the difference of two."""
        totals = self._totals
        return Counters(totals.calls, totals.retries, totals.throttled, self._auth.logins)

    def close(self) -> None:
        """Ends what is under way (who waits for it gets Stopped) and closes the connections."""
        for fetch in list(self._fetches):
            fetch.cancel(Stopped("the vendor client was closed"))
        self._auth.close()


def _always(address: str) -> Callable[[int], str]:
    return lambda _: address

"""The event loop thread of a process and the HTTP session that lives in it."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import aiohttp
import uvloop
from yarl import URL

from gengfu.clock import monotonic
from gengfu.language import tr
from gengfu.settings import Settings
from gengfu.vendor.answers import BadAnswer, Unreachable, clean
from gengfu.vendor.proxies import proxy_for
from gengfu.vendor.tls import certificate_problem, tls_context

T = TypeVar("T")

log = logging.getLogger(__name__)

WARN_EVERY = 60.0
"""Seconds between two warnings that TLS is not verified, so that each run has one and not each window."""

PROXY_LOGIN = 407

LARGE = 1_000_000
"""Of answers with more bytes, one at a time is taken in by a process."""


class HttpLoop:
    """The process's way to the vendor: one thread with an event loop, one HTTP session, a few threads for what blocks.

    1. Nothing exists until the first call; the session is made in the loop when first asked for.
    2. Job threads hand work in with `run` (and wait) or `call_soon` (and do not).
    3. `close` cancels what still runs there, closes the connections and ends the threads. A later call starts anew.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._session: aiohttp.ClientSession | None = None
        self._large = asyncio.Lock()
        self._warned_at: float | None = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = uvloop.new_event_loop()
                self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="gengfu-vendor-io")
                self._thread = threading.Thread(target=self._loop.run_forever, name="gengfu-vendor", daemon=True)
                self._thread.start()
            return self._loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs the coroutine in the loop and waits for it. Not to be called from the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._started()).result()

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Has the loop call something soon."""
        self._started().call_soon_threadsafe(callback, *args)

    async def offload(self, work: Callable[[], T]) -> T:
        """Runs something that blocks in a thread of its own; called in the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def session(self) -> aiohttp.ClientSession:
        """The HTTP session; called in the loop.

        Raises:
            ConfigError: the file of trusted certificates is not one, or the proxy is none.
        """
        if self._session is None:
            settings = self._settings
            timeout = aiohttp.ClientTimeout(
                total=settings.api_total_timeout,
                sock_connect=settings.api_connect_timeout,
                sock_read=settings.api_read_timeout,
            )
            proxy = proxy_for(settings)
            places = (settings.api_wechat_url or "", proxy.url if proxy else "")
            encrypted = any(place.startswith("https:") for place in places)
            tls = tls_context(settings.api_ca_file, verify=settings.api_verify_tls) if encrypted else True
            auth = aiohttp.BasicAuth(proxy.user, proxy.password.reveal(), "utf-8") if proxy and proxy.user else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls),
                proxy=proxy.url if proxy else None,
                proxy_auth=auth,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"client": "system", "User-Agent": "gengfu", "Accept-Encoding": "gzip"},
                timeout=timeout,
            )
            # aiohttp would send a call again by itself when a kept connection breaks: one more that no budget sees.
            self._session._retry_connection = False
            self._large = asyncio.Lock()
        return self._session

    async def ask(
        self, method: str, url: URL, most: int, judge: Callable[[aiohttp.ClientResponse, bytes], T], **options: Any
    ) -> T:
        """Sends one request, follows no redirect, and gives what `judge` makes of the answer and its body, unpacked.

        Raises:
            BadAnswer: the body is longer than `most` bytes, or packed in a way that was not asked for.
            Unreachable: the proxy refuses, or the server's certificate is not accepted.
        """
        try:
            return await self._ask(method, url, most, judge, **options)
        except aiohttp.ClientConnectorCertificateError as error:
            problem = error.certificate_error
            if not isinstance(problem, ssl.SSLCertVerificationError):
                raise
            raise Unreachable(certificate_problem(problem, url.host or "", self._settings.api_ca_file)) from None
        except aiohttp.ClientHttpProxyError as error:
            if error.status == PROXY_LOGIN:
                raise _refused_by_proxy() from None
            if error.status < 500:
                raise Unreachable(
                    tr("did not get past the proxy, which answered {status}", status=error.status)
                ) from None
            raise

    async def _ask(
        self, method: str, url: URL, most: int, judge: Callable[[aiohttp.ClientResponse, bytes], T], **options: Any
    ) -> T:
        async with (
            self.session().request(method, url, allow_redirects=False, **options) as response,
            AsyncExitStack() as alone,
        ):
            if response.status == PROXY_LOGIN:
                raise _refused_by_proxy()
            packed = response.headers.get("Content-Encoding", "identity").strip().lower()
            if packed not in ("", "identity", "gzip"):
                raise BadAnswer(
                    tr(
                        "answered {response.status} packed as {packed}, which was not asked for",
                        response=response,
                        packed=clean(packed, str),
                    )
                )
            parts: list[bytes] = []
            size = 0
            async for part in response.content.iter_any():
                parts.append(part)
                if size <= LARGE < size + len(part):
                    await alone.enter_async_context(self._large)
                size += len(part)
                if size > most:
                    raise BadAnswer(
                        tr(
                            "answered {response.status} with more than the {most} bytes that are taken in",
                            response=response,
                            most=most,
                        )
                    )
            body = b"".join(parts)
            parts.clear()
            return judge(response, body)

    def warn_unverified(self) -> None:
        """Warns that the vendor's certificate is not verified, if so; at most once a minute."""
        if self._settings.api_verify_tls or not (self._settings.api_wechat_url or "").startswith("https:"):
            return
        now = monotonic()
        if self._warned_at is None or now - self._warned_at >= WARN_EVERY:
            self._warned_at = now
            log.warning(
                "API_VERIFY_TLS is off: the vendor's certificate is not verified, and who stands in between can read "
                "the login. Set API_CA_FILE to the PEM file of its authority instead"
            )

    def close(self) -> None:
        """Ends everything; harmless when nothing was started."""
        with self._starting:
            loop, thread, pool, session = self._loop, self._thread, self._pool, self._session
            self._loop = self._thread = self._pool = self._session = None
        if loop is None or thread is None or pool is None:
            return
        asyncio.run_coroutine_threadsafe(_wind_up(session), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        pool.shutdown(wait=False)


async def _wind_up(session: aiohttp.ClientSession | None) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if session is not None:
        await session.close()


def _refused_by_proxy() -> Unreachable:
    return Unreachable(
        tr(
            "did not get past the proxy, which answered 407: it wants a user and a password, or other ones; write them "
            "into its address, as in API_PROXY=http://user:secret@10.0.0.1:3128"
        )
    )

"""Answers: good ones, and every way in which one can go wrong on the wire."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import math
import socket
import struct
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache

from aiohttp import web

from gengfu_simulator.values import FaultKind, RetryAfter, decimal

DEAD_LOGIN = "无效路径或登录状态失效"
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_HTML = {"Content-Type": "text/html; charset=utf-8"}
_HTML_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>nginx</body></html>"
_STATUS_PAGES = {
    FaultKind.FORBIDDEN: "403 Forbidden",
    FaultKind.NOT_FOUND: "404 Not Found",
    FaultKind.SERVER_ERROR: "500 Internal Server Error",
    FaultKind.BAD_GATEWAY: "502 Bad Gateway",
    FaultKind.UNAVAILABLE: "503 Service Temporarily Unavailable",
    FaultKind.GATEWAY_TIMEOUT: "504 Gateway Time-out",
}
_PORTAL = (
    "<!-- wifi --><meta http-equiv='refresh' content='0;url=http://10.0.0.1/login'>"
    "<form action='/login'>请先登录上网<input name='username'><input name='password'></form>"
)
_DRIP_SECONDS = 0.1
_SPACES = b" " * (1 << 20)


def json_answer(body: bytes, status: int = 200) -> web.Response:
    """JSON text as an answer."""
    return web.Response(body=body, status=status, headers=_JSON)


def dead_login(as_status: bool) -> web.Response:
    """The answer to a token that is dead: as a 401, or as 200 with plain text."""
    if as_status:
        return json_answer(b'{"message":"Authorization has been denied for this request."}', 401)
    return web.Response(text=DEAD_LOGIN, headers=_TEXT)


def throttled(retry_after: RetryAfter, due: float | None) -> web.Response:
    """A 429; `due` is in how many seconds the next request may come, where the server knows."""
    answer = json_answer('{"message":"请求过于频繁"}'.encode(), 429)
    header = retry_after_header(retry_after, due, datetime.now(UTC))
    if header is not None:
        answer.headers["Retry-After"] = header
    return answer


def retry_after_header(retry_after: RetryAfter, due: float | None, now: datetime) -> str | None:
    """The value of `Retry-After`, `None` for no such header."""
    if retry_after.word == "none":
        return None
    if retry_after.word == "garbage":
        return "soon"
    seconds = retry_after.seconds
    if seconds is None:
        seconds = max(1, math.ceil(due or 0))
    if retry_after.word == "date":
        return format_datetime(now + timedelta(seconds=math.ceil(seconds)), usegmt=True)
    return decimal(seconds)


def status_answer(kind: FaultKind) -> web.Response | None:
    """The answer for a kind that is a status and no more; `None` for other kinds and for 429."""
    if kind is FaultKind.UNAUTHORIZED:
        return dead_login(as_status=True)
    if kind in _STATUS_PAGES:
        return web.Response(text=_HTML_PAGE.format(_STATUS_PAGES[kind]), status=int(kind), headers=_HTML)
    return None


def page_body(rows: list[bytes], total: int, kind: FaultKind | None = None) -> bytes:
    """The JSON text of one page, its content wrong where the kind says so."""
    listed = b",".join(rows)
    match kind:
        case FaultKind.EMPTY:
            return b'{"results":[],"total":%d}' % total
        case FaultKind.SHORT:
            return b'{"results":[%b],"total":%d}' % (b",".join(rows[: len(rows) // 2]), total)
        case FaultKind.NO_RESULTS:
            return b'{"total":%d}' % total
        case FaultKind.NULL_RESULTS:
            return b'{"results":null,"total":%d}' % total
        case FaultKind.OBJECT_RESULTS:
            return b'{"results":{"items":[%b]},"total":%d}' % (listed, total)
        case FaultKind.NO_TOTAL:
            return b'{"results":[%b]}' % listed
        case FaultKind.TEXT_TOTAL:
            return b'{"results":[%b],"total":"%d"}' % (listed, total)
        case FaultKind.HUGE_TOTAL:
            return b'{"results":[%b],"total":%d}' % (listed, 10**12)
        case FaultKind.LARGE_TOTAL:
            return b'{"results":[%b],"total":%d}' % (listed, total * 10**6)
        case FaultKind.NEGATIVE_TOTAL:
            return b'{"results":[%b],"total":-1}' % listed
        case FaultKind.NULL_TOTAL:
            return b'{"results":[%b],"total":null}' % listed
        case FaultKind.FLOAT_TOTAL:
            return b'{"results":[%b],"total":%d.5}' % (listed, total)
        case FaultKind.BARE_ARRAY:
            return b"[%b]" % listed
        case _:
            return b'{"results":[%b],"total":%d}' % (listed, total)


async def send(request: web.BaseRequest, kind: FaultKind | None, body: bytes, status: int = 200) -> web.StreamResponse:
    """Sends a JSON body, or breaks it off, delays or spoils it as the kind says.

    Does not return for the kinds that never end a connection properly; it is cancelled when the client goes.
    """
    match kind:
        case FaultKind.DEAD:
            return dead_login(as_status=False)
        case FaultKind.HTML:
            return web.Response(text=_HTML_PAGE.format("系统维护中"), headers=_HTML)
        case FaultKind.EMPTY_BODY:
            return web.Response(headers=_JSON)
        case FaultKind.HALF:
            return json_answer(body[: len(body) // 2], status)
        case FaultKind.BAD_UTF8:
            return json_answer(body[:1] + b'"\xff\xfe":"\xc3(",' + body[1:], status)
        case FaultKind.PORTAL:
            return web.Response(text=_PORTAL, headers=_HTML)
        case FaultKind.BOMB:
            return _packed(_bomb())
        case FaultKind.MEMBERS:
            pieces = (body[place : place + 10] for place in range(0, len(body), 10))
            return _packed(b"".join(map(gzip.compress, pieces)) + gzip.compress(_SPACES) * 400)
        case FaultKind.PACKED:
            return web.Response(body=body, headers=_JSON | {"Content-Encoding": "br"})
        case FaultKind.BACKSLASHES:
            return json_answer(b'{"results":["%b' % (b"\\" * 30_000_000))
        case FaultKind.NESTED:
            return json_answer(b'{"results":[%b%b],"total":1000000}' % (b"[" * 100_000, b"]" * 100_000))
        case FaultKind.NUMBERS:
            return json_answer(b'{"results":[%b0],"total":10000001}' % (b"0," * 10_000_000))
        case FaultKind.ENDLESS | FaultKind.HEADERS:
            return await _no_end(request, kind)
        case FaultKind.RESET | FaultKind.CLOSE | FaultKind.STALL:
            return await _no_answer(request, kind)
        case FaultKind.CUT | FaultKind.STALL_BODY | FaultKind.DRIP:
            return await _part_of_an_answer(request, kind, body)
        case _:
            return json_answer(body, status)


def _packed(body: bytes) -> web.Response:
    return web.Response(body=body, headers=_JSON | {"Content-Encoding": "gzip"})


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(_SPACES) for _ in range(400)) + packer.flush()


async def _no_end(request: web.BaseRequest, kind: FaultKind) -> web.StreamResponse:
    if kind is FaultKind.ENDLESS:
        answer = web.StreamResponse(headers=_JSON)
        await answer.prepare(request)
        with suppress(ConnectionResetError):
            while True:
                await answer.write(_SPACES)
        return answer
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        if request.transport.is_closing():
            break
        request.transport.write(b"X-%d: %b\r\n" % (number, b"x" * 1_000))
        await asyncio.sleep(0.001)
    return await _until_the_client_goes(web.Response())


async def _no_answer(request: web.BaseRequest, kind: FaultKind) -> web.StreamResponse:
    transport = request.transport
    if transport is not None and kind is FaultKind.RESET:
        # Without a linger time the system ends the connection by RST instead of FIN.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    elif transport is not None and kind is FaultKind.CLOSE:
        transport.close()
    return await _until_the_client_goes(web.Response())


async def _part_of_an_answer(request: web.BaseRequest, kind: FaultKind, body: bytes) -> web.StreamResponse:
    answer = web.StreamResponse(headers=_JSON)
    answer.content_length = len(body)
    await answer.prepare(request)
    if kind is FaultKind.DRIP:
        for place in range(len(body)):
            await answer.write(body[place : place + 1])
            await asyncio.sleep(_DRIP_SECONDS)
        return answer
    await answer.write(body[: len(body) // 2])
    if kind is FaultKind.CUT and request.transport is not None:
        request.transport.close()
    return await _until_the_client_goes(answer)


async def _until_the_client_goes(answer: web.StreamResponse) -> web.StreamResponse:
    """Waits to be cancelled, which the server does when the connection is gone."""
    await asyncio.Event().wait()
    return answer

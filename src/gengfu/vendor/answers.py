"""What an answer of the vendor is: a page, a dead login, a wait or a fault; decided from its status and bytes alone."""

from __future__ import annotations

import email.utils
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any

import aiohttp
import msgspec

from gengfu.errors import GengfuError
from gengfu.language import tr
from gengfu.text import visible
from gengfu.vendor.json_repair import cut_off, repaired
from gengfu.vendor.paging import NO_MORE, PageIndex, PageShape, next_link

DEAD_LOGIN_TEXT = "无效路径或登录状态失效"
"""The vendor's plain-text answer, with status 200, to a token that is no longer good, and to a path that is none."""

EXCERPT = 200
"""Characters of an answer that an error shows."""

LONGEST_LIST = 100_000_000
"""A `total` above this is not believed."""

MOST_VALUES = 1_000_000
"""An answer that holds more values is not believed: each would take some 60 bytes while it is read."""


class AnswerKind(StrEnum):
    """What became of a call."""

    PAGE = "page"
    """The answer that the contract promises."""
    DEAD_LOGIN = "dead_login"
    """The token is no longer good: renew it and ask again."""
    THROTTLED = "throttled"
    """The vendor asks for a wait (429, or 503 with `Retry-After`): all workers wait, and the call is no failed try."""
    OVERLOADED = "overloaded"
    """The vendor could not cope (502, 503, 504, time-out, broken connection): ask again, and ask less at once."""
    FAULT = "fault"
    """An answer that is not what the contract says, but may be the next time."""
    REJECTED = "rejected"
    """An answer that will be the same the next time."""


class PageAnswer(msgspec.Struct, frozen=True):
    """What a call brought. `rows`, `total` and `more` count only for a page, `why` only for everything else."""

    kind: AnswerKind
    status: int | None = None
    why: str = ""
    rows: list[msgspec.Raw] = []
    total: int = 0
    more: str | int | None = None


_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-z]", re.IGNORECASE)
_PORTAL = (
    "does a proxy, a firewall or a login page of the network stand in between, or is API_WECHAT_URL another address?"
)


class BadAnswer(Exception):
    """An answer that is not read to its end; the text says why not."""


class Unreachable(Exception):
    """What stands before the vendor refuses, and will again; the text says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Which page was asked for."""

    index: int
    size: int
    check_length: bool = True
    """Whether fewer rows than `total` implies are a fault."""
    shape: PageShape = PageIndex().shape


def judge(
    status: int, body: bytes, expected: Expected, excerpt: Callable[[bytes], str], link: str | None = None
) -> PageAnswer:
    """What an answer to the request for a page is. `excerpt` turns a body into a text fit for an error; `link` is the
    answer's header `Link`."""
    if status == 200:
        return _judge_page(body, expected, excerpt, link)
    said = tr("answered {status}: {excerpt}", status=status, excerpt=excerpt(body))
    if status == 401:
        return PageAnswer(AnswerKind.DEAD_LOGIN, status, said)
    if status == 429:
        return PageAnswer(AnswerKind.THROTTLED, status, said)
    if status in (502, 503, 504):
        return PageAnswer(AnswerKind.OVERLOADED, status, said)
    if 300 <= status < 400:
        return PageAnswer(AnswerKind.REJECTED, status, tr("{said} (a redirect; {portal})", said=said, portal=_PORTAL))
    if 400 <= status < 500:
        return PageAnswer(AnswerKind.REJECTED, status, said)
    return PageAnswer(AnswerKind.FAULT, status, said)


def _judge_page(body: bytes, expected: Expected, excerpt: Callable[[bytes], str], link: str | None) -> PageAnswer:
    shape = expected.shape
    if len(body) > MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        return PageAnswer(AnswerKind.FAULT, 200, tr("answered 200 with more than {most} values", most=MOST_VALUES))
    try:
        page = _decoded(body, shape)
    except msgspec.DecodeError as problem:
        if body.rstrip()[-1:] not in (b"}", b"]"):
            return _judge_other(body, problem, excerpt)
        try:
            page = _decoded(repaired(body), shape)
        except msgspec.DecodeError as error:
            return _judge_other(body, error, excerpt)
    rows = page if shape.rows is None else page.rows
    if shape.whole:
        return PageAnswer(AnswerKind.PAGE, 200, rows=[page], more=next_link(link))
    if shape.total is None:
        more = next_link(link) if shape.link else page.more if shape.more is not None else None
        if not rows and more not in NO_MORE:
            return PageAnswer(AnswerKind.FAULT, 200, "answered 200 with no rows, though it leads on to a next page")
        return PageAnswer(AnswerKind.PAGE, 200, rows=rows, total=len(rows), more=more)
    wrong = _length_fault(len(rows), page.total, expected)
    if wrong:
        return PageAnswer(AnswerKind.FAULT, 200, tr("answered 200 with {wrong}", wrong=wrong))
    return PageAnswer(AnswerKind.PAGE, 200, rows=rows, total=page.total)


def _decoded(body: bytes, shape: PageShape) -> Any:
    decode = _decoder(shape)
    try:
        return decode(body)
    except RecursionError:
        return decode(cut_off(body))


@cache
def _decoder(shape: PageShape) -> Callable[[bytes], Any]:
    """Decodes an answer of that shape, down to its rows."""
    rows = list[msgspec.Raw]
    if shape.whole:
        return msgspec.json.Decoder(msgspec.Raw).decode
    if shape.rows is None:
        return msgspec.json.Decoder(rows).decode
    members: list[Any] = [("rows", rows, msgspec.field(name=shape.rows))]
    if shape.total is not None:
        members.append(("total", Annotated[int, msgspec.Meta(ge=0)], msgspec.field(name=shape.total)))
    if shape.more is not None:
        default = None if shape.may_lack_more else msgspec.NODEFAULT
        members.append(("more", str | int | None, msgspec.field(default=default, name=shape.more)))
    return msgspec.json.Decoder(msgspec.defstruct("PageBody", members)).decode


def _length_fault(rows: int, total: int, expected: Expected) -> str:
    if total > LONGEST_LIST:
        return tr(
            "a total of {total}, which is not believed: it is above {most}",
            total=str(total)[:40],
            most=LONGEST_LIST,
        )
    implied = min(max(total - expected.index * expected.size, 0), expected.size)
    if expected.check_length and rows < implied:
        return tr(
            "{rows} rows on page {expected.index} where its own total of {total} implies {implied}",
            rows=rows,
            expected=expected,
            total=total,
            implied=implied,
        )
    return ""


def _judge_other(body: bytes, error: msgspec.DecodeError, excerpt: Callable[[bytes], str]) -> PageAnswer:
    said = excerpt(body)
    if _HTML.match(body):
        return PageAnswer(
            AnswerKind.FAULT,
            200,
            tr("answered 200 with HTML in place of JSON: {said} ({portal})", said=said, portal=_PORTAL),
        )
    if is_dead_login(body):
        return PageAnswer(AnswerKind.DEAD_LOGIN, 200, f"answered 200: {said}")
    if isinstance(error, msgspec.ValidationError):
        return PageAnswer(
            AnswerKind.FAULT,
            200,
            tr("answered 200 with JSON that is not the contract's ({error}): {said}", error=error, said=said),
        )
    if not body.strip():
        return PageAnswer(AnswerKind.FAULT, 200, "answered 200 with an empty body")
    if body.lstrip()[:1] in (b"{", b"["):
        return PageAnswer(
            AnswerKind.FAULT,
            200,
            tr("answered 200 with JSON that is cut or broken ({error}): {said}", error=error, said=said),
        )
    return PageAnswer(AnswerKind.FAULT, 200, tr("answered 200 with something that is not JSON: {said}", said=said))


def is_dead_login(body: bytes) -> bool:
    """Whether a body that is no page is the vendor's dead-login text, in UTF-8 or as a Chinese Windows writes it."""
    return any(DEAD_LOGIN_TEXT.encode(encoding) in body[:400] for encoding in ("utf-8", "gb18030"))


def with_wait(answer: PageAnswer, asked: float | None) -> PageAnswer:
    """The answer of a 429 or 503 that asked for a wait of so many seconds: whoever says when is not broken."""
    if answer.kind is AnswerKind.OVERLOADED and asked is not None:
        return PageAnswer(AnswerKind.THROTTLED, answer.status, answer.why)
    return answer


def _why_unreached(error: aiohttp.ClientConnectorError) -> str:
    """What the system says of a connection that was not made; a name that leads nowhere has a number of its own."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error.os_error)


_CAUSES: tuple[tuple[type[Exception], AnswerKind, str], ...] = (
    (
        aiohttp.ConnectionTimeoutError,
        AnswerKind.OVERLOADED,
        "could not be connected to in time (API_CONNECT_TIMEOUT)",
    ),
    (aiohttp.SocketTimeoutError, AnswerKind.OVERLOADED, "fell silent in the middle of the call (API_READ_TIMEOUT)"),
    (TimeoutError, AnswerKind.OVERLOADED, "took too long as a whole (API_TOTAL_TIMEOUT)"),
    (aiohttp.InvalidURL, AnswerKind.REJECTED, "is not an address that can be asked; look at API_WECHAT_URL"),
    (aiohttp.ServerDisconnectedError, AnswerKind.OVERLOADED, "closed the connection without an answer"),
    (aiohttp.ClientPayloadError, AnswerKind.FAULT, "cut its answer short"),
)


def judge_error(error: Exception) -> PageAnswer:
    """What a call is that brought no answer, or one that could not be judged: whatever was raised over it is a fault of
    the answer.

    Raises:
        GengfuError: `error` itself, when it is one of ours.
    """
    if isinstance(error, GengfuError):
        raise error
    if isinstance(error, BadAnswer):
        return PageAnswer(AnswerKind.FAULT, why=str(error))
    if isinstance(error, Unreachable):
        return PageAnswer(AnswerKind.REJECTED, why=str(error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        text = "did not get past the proxy, which answered {error.status}"
        return PageAnswer(AnswerKind.OVERLOADED, why=tr(text, error=error))
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        text = "did not get to the proxy {error.host}:{error.port} ({reason}); look at API_PROXY and HTTPS_PROXY"
        return PageAnswer(AnswerKind.OVERLOADED, why=tr(text, error=error, reason=_why_unreached(error)))
    for cause, kind, why in _CAUSES:
        if isinstance(error, cause):
            return PageAnswer(kind, why=why)
    if isinstance(error, aiohttp.ClientConnectorError):
        return PageAnswer(
            AnswerKind.OVERLOADED, why=tr("could not be connected to ({reason})", reason=_why_unreached(error))
        )
    if isinstance(error, aiohttp.ClientResponseError):
        return PageAnswer(
            AnswerKind.FAULT, why=tr("answered with broken HTTP ({problem})", problem=clean(error.message, str))
        )
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return PageAnswer(
            AnswerKind.OVERLOADED,
            why=tr("broke the connection ({reason})", reason=getattr(error, "strerror", None) or type(error).__name__),
        )
    told = clean(f"{type(error).__name__}: {error}", str)
    return PageAnswer(AnswerKind.FAULT, why=tr("gave an answer that cannot be read ({told})", told=told))


def excerpt(body: bytes, scrub: Callable[[str], str]) -> str:
    """The first 200 characters of a body, in quotes and fit for an error."""
    return f"'{clean(body[: EXCERPT * 10].decode('utf-8', 'replace'), scrub)}'"


def clean(text: str, scrub: Callable[[str], str]) -> str:
    """The first 200 characters of a foreign text, without secrets, and without anything that a terminal would obey."""
    return visible(scrub(text)[:EXCERPT])


def retry_after(value: str | None, date: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` asks for, as a number or as an HTTP date (RFC 9110, 10.2.3), up to infinity; `None`
    for garbage.

    A date is taken against the answer's own `Date`, so that the two machines' clocks need not agree.
    """
    text = (value or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    return max(0.0, (until - (_http_date(date or "") or now)).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, LookupError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

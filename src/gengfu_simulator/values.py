"""How the values of faults are written and read: times, shares, kinds of failure, pins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from gengfu_simulator.described import Described
from gengfu_simulator.errors import SimulatorError

Parser = Callable[[Any], Any]
Item = TypeVar("Item")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
FOR_EVER = -1
"""As the number of times: without end."""


class FaultKind(Described):
    """How one answer goes wrong. The kinds from `empty` on are well-formed HTTP and JSON with the wrong content."""

    UNAUTHORIZED = "401", "status 401"
    FORBIDDEN = "403", "status 403"
    NOT_FOUND = "404", "status 404"
    THROTTLED = "429", "status 429, with --retry-after"
    SERVER_ERROR = "500", "status 500"
    BAD_GATEWAY = "502", "status 502"
    UNAVAILABLE = "503", "status 503"
    GATEWAY_TIMEOUT = "504", "status 504"
    DEAD = "dead", "the dead-login text, though the token is good"
    HTML = "html", "a page of HTML with 200"
    EMPTY_BODY = "empty-body", "200 with no body"
    HALF = "half", "half of the JSON, with its honest length"
    CUT = "cut", "half of the promised length, then the connection closes"
    RESET = "reset", "the connection is reset"
    CLOSE = "close", "the connection closes without an answer"
    STALL = "stall", "no answer, ever"
    STALL_BODY = "stall-body", "half of the answer, then nothing more, ever"
    DRIP = "drip", "the answer comes at ten bytes a second"
    BAD_UTF8 = "bad-utf8", "bytes that are no UTF-8"
    PORTAL = "portal", "the page on which a network asks for a login, with 200"
    BOMB = "bomb", "400 kB of gzip that hold 400 MB of spaces"
    MEMBERS = "members", "the page as 4 000 pieces of gzip in a row, 400 MB of spaces behind it"
    ENDLESS = "endless", "a body that goes on as long as somebody reads it"
    HEADERS = "headers", "header lines that go on as long as somebody reads them"
    PACKED = "packed", "the page with a Content-Encoding that nobody asked for"
    BACKSLASHES = "backslashes", "a string of 30 MB of backslashes"
    NESTED = "nested", "a row of 100 000 arrays, each in the one before"
    NUMBERS = "numbers", "a page of ten million numbers"
    EMPTY = "empty", "no results, though the total is honest"
    SHORT = "short", "half of the page's rows"
    LONG = "long", "one row more than was asked for"
    HUGE_TOTAL = "huge-total", "total is 10^12"
    LARGE_TOTAL = "large-total", "total is a million times what it is"
    NO_RESULTS = "no-results", "results is missing"
    NULL_RESULTS = "null-results", "results is null"
    OBJECT_RESULTS = "object-results", "results is an object"
    NO_TOTAL = "no-total", "total is missing"
    TEXT_TOTAL = "text-total", "total is a string"
    NEGATIVE_TOTAL = "negative-total", "total is -1"
    NULL_TOTAL = "null-total", "total is null"
    FLOAT_TOTAL = "float-total", "total is no whole number"
    BARE_ARRAY = "bare-array", "the rows without the object around them"

    @property
    def is_of_content(self) -> bool:
        """Whether it is well-formed JSON with the wrong content."""
        kinds = list(FaultKind)
        return kinds.index(self) >= kinds.index(FaultKind.EMPTY)


class FilterFault(StrEnum):
    """How a filter of the list fails."""

    IGNORED = "ignored"
    """The list comes as if the filter had not been given."""
    ERROR = "error"
    """Status 500."""
    EMPTY = "empty"
    """Nothing is found."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A kind of failure and the share of the list calls (0..1) that it befalls."""

    kind: FaultKind
    share: float

    @classmethod
    def parse(cls, text: str) -> Failing:
        """`KIND:SHARE`."""
        word, _, part = text.partition(":")
        return cls(_kind(word, text), share(part))

    def __str__(self) -> str:
        return f"{self.kind}:{self.share:g}"


_PIN_TARGETS = (
    *("all", "device", "groups", "accounts", "friends", "offset", "cursor", "link", "header"),
    "login",
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A kind of failure that befalls one target so many times; `FOR_EVER` for always."""

    target: str
    kind: FaultKind
    times: int = FOR_EVER

    @classmethod
    def parse(cls, text: str) -> Pin:
        """`TARGET:KIND` or `TARGET:KIND:TIMES`."""
        target, _, rest = text.partition(":")
        word, _, times = rest.partition(":")
        if not target.isdecimal() and target not in _PIN_TARGETS:
            raise SimulatorError(f"{text!r} pins neither a page number nor one of: {', '.join(_PIN_TARGETS)}")
        return cls(target, _kind(word, text), count(times) if times else FOR_EVER)

    def __str__(self) -> str:
        return f"{self.target}:{self.kind}" + (f":{self.times}" if self.times != FOR_EVER else "")


@dataclass(frozen=True, slots=True)
class BrokenFilter:
    """A filter of the device list, by its query name or `all`, that does not do what it should."""

    name: str
    how: FilterFault

    @classmethod
    def parse(cls, text: str) -> BrokenFilter:
        """`NAME:HOW`."""
        name, _, how = text.partition(":")
        if not name or how not in set(FilterFault):
            raise SimulatorError(
                f"{text!r} is not a filter and one of {', '.join(FilterFault)}, for example imei:ignored"
            )
        return cls(name, FilterFault(how))

    def __str__(self) -> str:
        return f"{self.name}:{self.how}"


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """What a 429 says of when to come again: a word, and the seconds where they are fixed."""

    word: str = "auto"
    seconds: float | None = None

    @classmethod
    def parse(cls, value: str | float) -> RetryAfter:
        """`auto`, `none`, `garbage`, `date`, `date:SECONDS` or SECONDS."""
        word, _, seconds = str(value).partition(":")
        if word in ("auto", "none", "garbage") and not seconds:
            return cls(word)
        if word == "date":
            return cls(word, duration(seconds) if seconds else None)
        return cls("seconds", duration(value))

    def __str__(self) -> str:
        if self.seconds is None:
            return self.word
        return decimal(self.seconds) if self.word == "seconds" else f"{self.word}:{decimal(self.seconds)}"


def decimal(seconds: float) -> str:
    """As few digits as tell it, without an exponent."""
    return f"{seconds:f}".rstrip("0").rstrip(".")


def duration(value: str | float) -> float:
    """Seconds, from `20ms`, `1.5s`, `2m` or a plain number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|)", str(value).strip())
    if not match or isinstance(value, bool):
        raise SimulatorError(f"{value!r} is not a time; for example: 20ms, 1.5s, 0")
    return float(match[1]) * _UNITS[match[2]]


def share(value: str | float) -> float:
    """A share of the whole, 0..1."""
    part = _number(value)
    if not 0 <= part <= 1:
        raise SimulatorError(f"{value!r} is not a share from 0 to 1")
    return part


def amount(value: str | float) -> float:
    """A number that is not negative."""
    number = _number(value)
    if number < 0:
        raise SimulatorError(f"{value!r} is negative")
    return number


def integer(value: str | float) -> int:
    """A whole number."""
    number = _number(value)
    if number != int(number):
        raise SimulatorError(f"{value!r} is not a whole number")
    return int(number)


def count(value: str | float) -> int:
    """A whole number that is not negative."""
    return int(amount(integer(value)))


def index(value: str | float) -> int:
    """A page number, or -1 for none."""
    number = integer(value)
    if number < -1:
        raise SimulatorError(f"{value!r} is no page number")
    return number


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise SimulatorError(f"{value!r} is neither true nor false")
    return value


def retry_after(value: str | float) -> str:
    """The text of a `RetryAfter`."""
    return str(RetryAfter.parse(value))


def expires_in(value: str | float) -> str:
    """`honest`, `missing`, `null`, `text`, or a number of seconds."""
    text = str(value)
    if text not in ("honest", "missing", "null", "text"):
        text = f"{_number(value):g}"
    return text


def choice(*words: str) -> Parser:
    """One of these words."""

    def parse(value: object) -> str:
        if str(value) not in words:
            raise SimulatorError(f"{value!r} is not one of {', '.join(words)}")
        return str(value)

    return parse


def many(parse: Callable[[str], Item]) -> Parser:
    """A list of items; a single one may stand without the list."""

    def parse_all(value: object) -> tuple[Item, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise SimulatorError(f"{value!r} is not a list of strings")
        return tuple(parse(text) for text in texts)

    return parse_all


def _kind(word: str, text: str) -> FaultKind:
    if word not in set(FaultKind):
        raise SimulatorError(f"{text!r} names no kind of failure; one of: {', '.join(FaultKind)}")
    return FaultKind(word)


def _number(value: str | float) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise SimulatorError(f"{value!r} is not a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise SimulatorError(f"{value!r} is not a number")
    return number

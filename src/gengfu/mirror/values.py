"""The vendor's values as the database keeps them: texts, flags, times and JSON, one by one or a column at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gengfu.language import tr
from gengfu.mirror.resource import Kind
from gengfu.store.rows import Codec
from gengfu.store.tables import json_value
from gengfu.vendor.json_repair import levels

MISSING = msgspec.UNSET
"""The vendor's row does not name the field: what is stored stays. Null and '' are values of their own."""

UNFIT = (ValueError, TypeError, OverflowError)
"""What a reading raises for a value that is not of its kind."""

NOTHING: frozenset[type] = frozenset({type(None), type(MISSING)})

_HOURS = 20_000
"""How many hours' offsets are remembered, about 2 MB."""

_TAILS = frozenset(f":{minute:02}:{second:02}" for minute in range(60) for second in range(60))
"""How a time may go on after its hour."""

_NO_MOMENT = "0001-01-01T00:00:00"

MOST_LEVELS = 256
"""How deep a value may be nested; every database and every program reads so much back."""

Reading = Callable[[Any], Any]
"""Of one value that is there."""


class Readings:
    """Reads values of each kind, in the form that a driver takes. Raises one of UNFIT where a value is not of that
    kind."""

    def __init__(self, zone: ZoneInfo, codec: Codec) -> None:
        self._moment = _Moments(zone, codec)
        self._flags = {spelling: codec.flag(value) for value in (False, True) for spelling in _SPELLINGS[value]}
        self.decoded: dict[Kind, Reading] = {
            Kind.TEXT: _text,
            Kind.FLAG: self._flag,
            Kind.MOMENT: self._moment,
            Kind.JSON: _json,
        }
        """Of values that a JSON decoder gives."""

    def of_column(self, kind: Kind) -> Callable[[Iterable[Any]], list[Any]]:
        """Reads a column of that kind, with JSON values raw; null and what is MISSING stay as they are."""
        if kind is Kind.MOMENT:
            return self._moment.of_column
        if kind is Kind.FLAG:
            flags: dict[Any, Any] = {**self._flags, None: None, MISSING: MISSING}
            return lambda column: [flags[value] if value in flags else self._flag(value) for value in column]
        read, known = {Kind.TEXT: (_text, NOTHING | {str}), Kind.JSON: (_raw_json, NOTHING)}[kind]
        return lambda column: [value if value.__class__ in known else read(value) for value in column]

    def _flag(self, value: Any) -> int:
        known = self._flags.get(value.lower() if value.__class__ is str else value)
        if known is None or value.__class__ is float:
            raise ValueError
        return known


_SPELLINGS: dict[bool, tuple[int | str, ...]] = {False: (0, "0", "false"), True: (1, "1", "true")}


def _text(value: Any) -> str:
    kind = value.__class__
    if kind is int or kind is float:
        return str(value)
    if kind is not str:
        raise ValueError
    text: str = value
    return text


class _Moments:
    """Reads times that carry no zone as local times of one zone; remembers the zone's offset by the hour.

    Where moments are kept as text and the offset is in whole hours, minutes and seconds stay as the vendor wrote them.
    """

    def __init__(self, zone: ZoneInfo, codec: Codec) -> None:
        self._zone = zone
        self._codec = codec
        self._offsets: dict[str, timedelta] = {}
        self._heads: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        if value.__class__ is not str:
            raise ValueError
        if value == "" or value.startswith(_NO_MOMENT):
            return None
        offset = self._offsets.get(value[:13])
        if offset is not None:
            try:
                return self._codec.encode(datetime.fromisoformat(value + "+00:00") - offset)
            except ValueError:
                pass
        return self._first_of_its_hour(value)

    def of_column(self, column: Iterable[Any]) -> list[Any]:
        """Of many values; null and what is MISSING stay as they are."""
        heads = self._heads
        found: list[Any] = []
        for value in column:
            if value.__class__ in NOTHING or value == _NO_MOMENT:
                found.append(value if value is MISSING else None)
                continue
            head = heads.get(value[:13])
            if head is None or value[13:19] not in _TAILS:
                found.append(self(value))
            elif len(value) == 19:
                found.append(f"{head}{value[13:]}.000000")
            elif value[19] == "." and value[20:].isdigit() and value.isascii():
                found.append(f"{head}{value[13:26].ljust(13, '0')}")
            else:
                found.append(self(value))
        return found

    def _first_of_its_hour(self, value: str) -> Any:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return self._codec.encode(moment.astimezone(UTC))
        moment = moment.replace(tzinfo=self._zone)
        encoded = self._codec.encode(moment.astimezone(UTC))
        offset = moment.utcoffset()
        if offset is not None and len(self._offsets) < _HOURS:
            self._offsets[value[:13]] = offset
            if self._codec.text and offset % timedelta(hours=1) == timedelta():
                self._heads[value[:13]] = encoded[:13]
        return encoded


class UnreadableRow(Exception):
    """The row cannot be read; the text says why."""


_any_json = msgspec.json.Decoder().decode


def strict_json(text: str) -> str:
    """The text, if it is JSON that every database and every program reads back: what msgspec reads holds no number that
    is too large for Python.

    Raises:
        ValueError, msgspec.DecodeError, RecursionError: it is not.
    """
    _any_json(text)
    return _shallow(text)


def _shallow(text: str) -> str:
    may_be_deep = len(text) > 2 * MOST_LEVELS and text.count("[") + text.count("{") > MOST_LEVELS
    if may_be_deep and levels(text.encode()) > MOST_LEVELS:
        raise ValueError
    return text


def _raw_json(value: msgspec.Raw) -> str | None:
    text = str(value, "utf-8")
    if text[0] == '"':
        inner: str = _any_json(text)
        try:
            return strict_json(inner)
        except (ValueError, msgspec.DecodeError, RecursionError):
            return _json(inner)
    return None if text == "null" else strict_json(text)


def _json(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = storable(json_value(value))
        except (ValueError, RecursionError):
            pass
    return json_text(value)


def json_text(value: Any) -> str:
    """A value as JSON.

    Raises:
        UnreadableRow: it is nested too deep.
    """
    try:
        return _shallow(msgspec.json.encode(value).decode())
    except (ValueError, RecursionError):
        raise UnreadableRow(tr("a value of it is nested deeper than {most} levels", most=MOST_LEVELS)) from None


def storable(value: Any) -> Any:
    """NUL becomes its visible sign and a lone surrogate the replacement character: no database keeps them in text."""
    if isinstance(value, str):
        return value.replace("\0", "\u2400").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(name): storable(item) for name, item in value.items()}
    return value

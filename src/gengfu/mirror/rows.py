"""A vendor row: its key, its hashes and its values, read from the raw bytes only as far as needed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from xxhash import xxh3_64_digest

from gengfu.mirror.resource import Kind, Resource
from gengfu.store.rows import AWARE, MomentForm

MISSING = msgspec.UNSET
"""The vendor's row does not name the field: what is stored stays. Null and '' are values of their own."""

_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")

_HOURS = 20_000
"""How many hours' offsets are remembered, about 2 MB."""

_TAILS = frozenset(f":{minute:02}:{second:02}" for minute in range(60) for second in range(60))
"""How a time may go on after its hour."""

_NO_MOMENT = "0001-01-01T00:00:00"

_MOST_UNKNOWN = 64
"""So many fields that the resource does not name may come and go before rows with further ones are read slowly."""


class UnreadableRow(Exception):
    """The row has no usable key or is no object; the text says which."""


class RowReader:
    """Reads the rows of one resource. Values come in the order of its columns, and times in the form `moments`."""

    def __init__(self, resource: Resource, zone: str, moments: MomentForm = AWARE) -> None:
        self.columns = resource.columns
        self._name = resource.key
        self._key: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct("Key", [("id", int)], rename={"id": resource.key})
        )
        volatile = [field.name for field in resource.volatile]
        self._volatile_names = volatile
        self._volatile_heads = [f"{json.dumps(name, ensure_ascii=False)}:".encode() for name in volatile]
        members = [(f"v{i}", msgspec.Raw, msgspec.field(default=None, name=n)) for i, n in enumerate(volatile)]
        self._present = msgspec.json.Decoder(msgspec.defstruct("Volatile", members, gc=False))
        self._moment = _Moments(ZoneInfo(zone), moments)
        readers: dict[Kind, tuple[Callable[[Any], Any], type]] = {
            Kind.TEXT: (_text, str),
            Kind.FLAG: (_flag, bool),
            Kind.MOMENT: (self._moment, type(None)),
            Kind.JSON: (_json, type(None)),
        }
        self._fields = [(field.name, *readers[field.kind]) for field in resource.fields]
        self._volatile_readers = [(field.name, readers[field.kind][0]) for field in resource.volatile]
        self._resource = resource
        self._fast = _Fast(resource, self._moment)

    def key(self, raw: msgspec.Raw) -> int:
        """The row's key.

        Raises:
            UnreadableRow: it has none that is a whole number of 64 bits, or is no object.
        """
        try:
            key: int = self._key.decode(raw).id
        except (msgspec.DecodeError, UnicodeDecodeError):
            key = self._odd_key(_decode(raw))
        if not -(2**63) <= key < 2**63:
            raise UnreadableRow(f"its {self._name} {key} does not fit in 64 bits")
        return key

    def readable_keys(self, rows: Iterable[msgspec.Raw]) -> Iterator[int]:
        """The keys of those rows that have one."""
        for raw in rows:
            try:
                yield self.key(raw)
            except UnreadableRow:
                continue

    def _odd_key(self, row: Any) -> int:
        if not isinstance(row, dict):
            raise UnreadableRow("it is not an object")
        if self._name not in row:
            raise UnreadableRow(f"it has no {self._name}")
        value = row[self._name]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value.strip()):
            return int(value)
        raise UnreadableRow(f"its {self._name} is {json.dumps(value)[:100]}, not a whole number")

    def row_hash(self, raw: msgspec.Raw) -> int:
        """A hash of all bytes of the row, signed 64 bits."""
        return int.from_bytes(xxh3_64_digest(raw), "big", signed=True)

    def content_hash(self, raw: msgspec.Raw) -> int:
        """A hash of the row without its volatile fields, signed 64 bits."""
        try:
            rest: bytes | None = self._without_volatile(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            rest = None
        if rest is None:
            row = {name: value for name, value in _decode(raw).items() if name not in self._volatile_names}
            rest = json.dumps(row, sort_keys=True).encode()
        return int.from_bytes(xxh3_64_digest(rest), "big", signed=True)

    def _without_volatile(self, raw: msgspec.Raw) -> bytes | None:
        """The row's bytes without its volatile fields; None if they are not written plainly, or if such a field stands
        in an object in the row too, which no other value of the field would change."""
        rest = bytes(raw)
        for head, value in zip(self._volatile_heads, msgspec.structs.astuple(self._present.decode(raw)), strict=False):
            if value is not None:
                start = rest.rfind(head)
                after = start + len(head)
                after += rest[after : after + 1] == b" "
                if start < 0 or rest.find(head, 0, start) >= 0 or not rest.startswith(bytes(value), after):
                    return None
                rest = rest[:start] + rest[after + len(value) :]
        return rest

    def values(self, key: int, raw: msgspec.Raw, absent: Any = MISSING) -> list[Any]:
        """The row's values in the order of `columns`, `key` first; `absent`, MISSING or None, where the row does not
        name the field.

        JSON columns hold JSON text. A value that does not fit its column is kept in `other` under the vendor's name.
        """
        data = bytes(raw)
        if b"\\" in data and _UNSTORABLE.search(data):
            return self._slow_values(key, _storable(_decode(raw)), absent)
        try:
            return self._fast.values(key, data, absent)
        except (msgspec.DecodeError, ValueError, TypeError, OverflowError):
            return self._slow_values(key, _decode(raw), absent)

    def _slow_values(self, key: int, row: dict[str, Any], absent: Any) -> list[Any]:
        """The values of a row that is not as the fast decoder expects it, field by field."""
        values: list[Any] = [key]
        del row[self._name]
        odd: dict[str, Any] = {}
        wide: set[str] = set()
        for name, read, plain in self._fields:
            value = row.pop(name, absent)
            if value.__class__ is not plain and value is not None and value is not absent:
                try:
                    value = read(value)
                    wide.add(name)
                except (ValueError, TypeError, OverflowError):
                    odd[name] = value
                    value = None
            values.append(value)
        self._learn(row, wide)
        other = row | odd
        values.append(_dump(other) if other else None)
        return values

    def _learn(self, unknown: Iterable[str], wide: Iterable[str]) -> None:
        """Has rows decoded fast from now on that carry these fields, unless the vendor makes up names without end, or
        whose values of the `wide` fields are not of their plain type."""
        fast = self._fast
        names = dict.fromkeys((*fast.unknown, *unknown))
        known = tuple(names) if len(names) <= _MOST_UNKNOWN else fast.unknown
        both = fast.wide.union(wide)
        if known != fast.unknown or both != fast.wide:
            self._fast = _Fast(self._resource, self._moment, known, both)

    def volatile(self, raw: msgspec.Raw) -> tuple[Any, ...]:
        """The values of the volatile fields; None where the row does not name the field, or none that fits it."""
        try:
            found = msgspec.structs.astuple(self._present.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError):
            row = _decode(raw)
            return tuple(_fitting(read, row.get(name)) for name, read in self._volatile_readers)
        pairs = zip(self._volatile_readers, found, strict=False)
        return tuple(
            None if value is None else _fitting(read, msgspec.json.decode(value)) for (_, read), value in pairs
        )


_AS_IT_IS: dict[Kind, type] = {Kind.TEXT: str, Kind.FLAG: bool}
"""Values of these types need no reading."""


class _Fast:
    """Decodes rows whose fields are the resource's and the `unknown` ones seen so far. It refuses all others, and
    values that are not of their field's plain type, except in the `wide` fields."""

    def __init__(
        self,
        resource: Resource,
        moment: Callable[[Any], Any],
        unknown: tuple[str, ...] = (),
        wide: frozenset[str] = frozenset(),
    ) -> None:
        self.unknown = unknown
        self.wide = wide
        plain: dict[Kind, Any] = {Kind.TEXT: str, Kind.FLAG: bool, Kind.MOMENT: str, Kind.JSON: msgspec.Raw}
        odd: dict[Kind, Any] = {Kind.TEXT: str | int | float, Kind.FLAG: bool | int | str}
        readers: dict[Kind, Callable[[Any], Any]] = {
            Kind.TEXT: _text,
            Kind.FLAG: _flag,
            Kind.MOMENT: moment,
            Kind.JSON: _raw_json,
        }
        members: list[tuple[str, Any]] = []
        self._readings: list[tuple[int, type, Callable[[Any], Any]]] = []
        for place, field in enumerate(resource.fields, 1):
            is_wide = field.name in wide and field.kind in odd
            members.append((field.name, (odd if is_wide else plain)[field.kind]))
            if is_wide or field.kind not in odd:
                self._readings.append((place, _AS_IT_IS.get(field.kind, type(None)), readers[field.kind]))
        self._end = len(members) + 1
        self._heads = [f"{json.dumps(name, ensure_ascii=False)}:".encode() for name in unknown]
        members += [(name, msgspec.Raw) for name in (*unknown, resource.key)]
        self._decoders = {absent: _decoder(members, absent) for absent in (MISSING, None)}

    def values(self, key: int, data: bytes, absent: Any) -> list[Any]:
        """As those of `RowReader`.

        Raises:
            ValueError, TypeError, OverflowError: the row is not to be read this way.
        """
        values: list[Any] = [key, *msgspec.structs.astuple(self._decoders[absent].decode(data))]
        for place, plain, read in self._readings:
            value = values[place]
            if value is not None and value.__class__ is not plain and value is not MISSING:
                values[place] = read(value)
        end = self._end
        pairs = zip(self._heads, values[end:], strict=False)
        other = b",".join([head + bytes(value) for head, value in pairs if value is not absent])
        values[end:] = (f"{{{other.decode()}}}" if other else None,)
        return values


def _decoder(members: Sequence[tuple[str, Any]], absent: Any) -> msgspec.json.Decoder[Any]:
    nothing = None if absent is None else None | msgspec.UnsetType
    fields: list[Any] = [
        (f"f{i}", kind if kind is msgspec.Raw else kind | nothing, msgspec.field(default=absent, name=name))
        for i, (name, kind) in enumerate(members)
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False))


def _fitting(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return None if value is None else read(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _decode(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(bytes(raw).decode("utf-8", "replace"))


def _dump(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _storable(value: Any) -> Any:
    """NUL becomes its visible sign and a lone surrogate the replacement character: no database keeps them in text."""
    if isinstance(value, str):
        return value.replace("\0", "\u2400").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return value


def _text(value: Any) -> str:
    kind = value.__class__
    if kind is int or kind is float:
        return str(value)
    if kind is not str:
        raise ValueError
    text: str = value
    return text


_FLAGS: dict[int | str, bool] = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = _FLAGS.get(value if value.__class__ is int else str(value).lower())
    if known is None:
        raise ValueError
    return known


class _Moments:
    """Reads times that carry no zone as local times of one zone; remembers the zone's offset by the hour.

    Where moments are kept as text and the offset is in whole hours, minutes and seconds stay as the vendor wrote them.
    """

    def __init__(self, zone: ZoneInfo, form: MomentForm) -> None:
        self._zone = zone
        self._form = form
        self._offsets: dict[str, timedelta] = {}
        self._heads: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        if value == _NO_MOMENT:
            return None
        try:
            hour, tail = value[:13], value[13:19]
            if (head := self._heads.get(hour)) is not None and tail in _TAILS:
                if len(value) == 19:
                    return f"{head}{tail}.000000"
                fraction = value[20:]
                if value[19] == "." and fraction.isdigit() and fraction.isascii():
                    return f"{head}{tail}.{fraction[:6]:0<6}"
            return self._form.encode(datetime.fromisoformat(value + "+00:00") - self._offsets[hour])
        except (KeyError, ValueError):
            return self._first_of_its_hour(value)

    def _first_of_its_hour(self, value: str) -> Any:
        if value == "" or value.startswith(_NO_MOMENT):
            return None
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return self._form.encode(moment.astimezone(UTC))
        moment = moment.replace(tzinfo=self._zone)
        encoded = self._form.encode(moment.astimezone(UTC))
        offset = moment.utcoffset()
        if offset is not None and len(self._offsets) < _HOURS:
            self._offsets[value[:13]] = offset
            if self._form.text and offset % timedelta(hours=1) == timedelta():
                self._heads[value[:13]] = encoded[:13]
        return encoded


_any_json = msgspec.json.Decoder(msgspec.Raw)


def _raw_json(value: msgspec.Raw) -> str | None:
    text = str(value, "utf-8")
    if text[0] == '"':
        inner: str = msgspec.json.decode(value)
        try:
            _any_json.decode(inner)
        except (msgspec.DecodeError, RecursionError):
            return _json(inner)
        return inner
    return None if text == "null" else text


def _json(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = _storable(json.loads(value))
        except (ValueError, RecursionError):
            pass
    return _dump(value)

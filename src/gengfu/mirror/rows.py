"""A vendor row: its key, its hashes and its values, read from the raw bytes only as far as needed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from xxhash import xxh3_64_intdigest

from gengfu.mirror.resource import Kind, Resource
from gengfu.store.rows import AWARE, MomentForm

MISSING = msgspec.UNSET
"""The vendor's row does not name the field: what is stored stays. Null and '' are values of their own."""

_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


_HOURS = 20_000
"""How many hours' offsets are remembered, about 2 MB."""

_SHAPES = 2_000
"""How many combinations of types in a row are remembered, about 2 MB."""

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
        self._volatile = _cutter(volatile)
        members = [(f"v{i}", msgspec.Raw, msgspec.field(default=None, name=n)) for i, n in enumerate(volatile)]
        self._present = msgspec.json.Decoder(msgspec.defstruct("Volatile", members, gc=False))
        self._resource = resource
        self._fast = _fast_decoder(resource, ())
        readers: dict[Kind, tuple[Callable[[Any], Any], type]] = {
            Kind.TEXT: (_text, str),
            Kind.FLAG: (_flag, bool),
            Kind.MOMENT: (_Moments(ZoneInfo(zone), moments), type(None)),
            Kind.JSON: (_json, type(None)),
        }
        self._fields = [(field.name, *readers[field.kind]) for field in resource.fields]
        self._readings: dict[tuple[type, ...], list[tuple[int, Callable[[Any], Any]]]] = {}
        self._volatile_readers = [(field.name, readers[field.kind][0]) for field in resource.volatile]
        raw_readers = {**readers, Kind.JSON: (_raw_json, type(None))}
        self._fast_fields = [raw_readers[field.kind] for field in resource.fields]

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
        return _signed(xxh3_64_intdigest(raw))

    def content_hash(self, raw: msgspec.Raw) -> int:
        """A hash of the row without its volatile fields, signed 64 bits."""
        if self._volatile is None:
            return self.row_hash(raw)
        rest, cut = self._volatile.subn(b"", bytes(raw))
        try:
            found = msgspec.structs.astuple(self._present.decode(raw))
            exact = cut == len(found) - found.count(None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            exact = False
        if not exact:  # a nested object carries a field of that name too, and that one is content
            row = {name: value for name, value in _decode(raw).items() if name not in self._volatile_names}
            rest = json.dumps(row, sort_keys=True).encode()
        return _signed(xxh3_64_intdigest(rest))

    def values(self, key: int, raw: msgspec.Raw) -> list[Any]:
        """The row's values in the order of `columns`, `key` first; MISSING where the row does not name the field.

        JSON columns hold JSON text. A value that does not fit its column is kept in `other` under the vendor's name.
        """
        if _UNSTORABLE.search(raw):
            return self._slow_values(key, _storable(_decode(raw)))
        fast = self._fast
        try:
            values: list[Any] = [key, *msgspec.structs.astuple(fast.decoder.decode(raw))]
            shape = tuple(map(type, values))
            for place, read in self._readings.get(shape) or self._readings_of(shape):
                values[place] = read(values[place])
            end = len(self._fields) + 1
            values[end:] = [fast.other(values[end:])]
        except (msgspec.DecodeError, ValueError, TypeError, OverflowError):
            return self._slow_values(key, _decode(raw))
        return values

    def _readings_of(self, shape: tuple[type, ...]) -> list[tuple[int, Callable[[Any], Any]]]:
        """Which values of a row of these types are not yet what their columns take, with what reads them."""
        nothing = (type(None), msgspec.UnsetType)
        wanted = zip(self._fast_fields, shape[1:], strict=False)
        found = [(i, read) for i, ((read, plain), kind) in enumerate(wanted, 1) if kind not in (plain, *nothing)]
        found = [(i, str if read is _text and shape[i] is int else read) for i, read in found]
        if len(self._readings) < _SHAPES:
            self._readings[shape] = found
        return found

    def _slow_values(self, key: int, row: dict[str, Any]) -> list[Any]:
        """The values of a row that has unknown fields or unfit values, field by field."""
        values: list[Any] = [key]
        del row[self._name]
        odd: dict[str, Any] = {}
        for name, read, plain in self._fields:
            value = row.pop(name, MISSING)
            if value.__class__ is not plain and value is not None and value is not MISSING:
                try:
                    value = read(value)
                except (ValueError, TypeError, OverflowError):
                    odd[name] = value
                    value = None
            values.append(value)
        self._learn(row)
        other = row | odd
        values.append(_dump(other) if other else None)
        return values

    def _learn(self, unknown: Iterable[str]) -> None:
        """Has rows that carry these fields decoded fast from now on, unless the vendor makes up names without end."""
        names = dict.fromkeys((*self._fast.unknown, *unknown))
        if len(self._fast.unknown) < len(names) <= _MOST_UNKNOWN:
            self._fast = _fast_decoder(self._resource, tuple(names))

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


@dataclass(frozen=True)
class _Fast:
    """A decoder of rows whose fields are the resource's and the `unknown` ones seen so far; it refuses all others.

    A decoded row ends with the unknown fields and the key, undecoded.
    """

    decoder: msgspec.json.Decoder[Any]
    unknown: tuple[str, ...]
    heads: tuple[bytes, ...]

    def other(self, values: Sequence[Any]) -> str | None:
        """The unknown fields of a row, from how it ends, as an object in JSON; None if there are none."""
        parts = [head + bytes(value) for head, value in zip(self.heads, values, strict=False) if value is not MISSING]
        return (b"{" + b",".join(parts) + b"}").decode() if parts else None


def _cutter(names: Sequence[str]) -> re.Pattern[bytes] | None:
    """Finds the named fields with their values; they begin alike where possible, which makes the search fast."""
    if not names:
        return None
    lowest, highest = min(names), max(names)
    alike = next((i for i, pair in enumerate(zip(lowest, highest, strict=False)) if pair[0] != pair[1]), len(lowest))
    rest = "|".join(re.escape(name[alike:]) for name in names)
    pattern = f'"{re.escape(lowest[:alike])}(?:{rest})"' + r'\s*:\s*(?:"(?:[^"\\]|\\.)*"|[^",{}\[\]]*),?'
    return re.compile(pattern.encode())


def _fast_decoder(resource: Resource, unknown: tuple[str, ...]) -> _Fast:
    types: dict[Kind, Any] = {
        Kind.TEXT: str | int | float | None | msgspec.UnsetType,
        Kind.FLAG: bool | int | str | None | msgspec.UnsetType,
        Kind.MOMENT: str | None | msgspec.UnsetType,
        Kind.JSON: msgspec.Raw,
    }
    members = [(field.name, types[field.kind]) for field in resource.fields]
    members += [(name, msgspec.Raw) for name in (*unknown, resource.key)]
    fields = [(f"f{i}", kind, msgspec.field(default=MISSING, name=name)) for i, (name, kind) in enumerate(members)]
    struct = msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)
    heads = tuple(f"{json.dumps(name, ensure_ascii=False)}:".encode() for name in unknown)
    return _Fast(msgspec.json.Decoder(struct), unknown, heads)


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


def _signed(digest: int) -> int:
    return digest - (1 << 64) if digest >> 63 else digest


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
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise ValueError


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
            if len(value) == 19 and (head := self._heads.get(value[:13])) is not None:
                datetime.fromisoformat(value)
                return f"{head}{value[13:]}.000000"
            return self._form.encode(datetime.fromisoformat(value + "+00:00") - self._offsets[value[:13]])
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
    text = bytes(value).decode()
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

"""Vendor rows: their keys, their hashes and their values, read from the raw bytes only as far as needed."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import astuple
from xxhash import xxh3_64_digest

from gengfu.language import tr
from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.mirror.values import MISSING, NOTHING, UNFIT, Readings, UnreadableRow, json_text, storable, strict_json
from gengfu.store.rows import PYTHON, Codec
from gengfu.store.tables import json_value
from gengfu.vendor.json_repair import cut_off

T = TypeVar("T")

_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")

_MOST_UNKNOWN = 64
"""So many fields that the resource does not name may come and go before rows with further ones are read slowly."""


class RowReader:
    """Reads the rows of one resource, many at once. Values come in the order of its columns, in the form that the
    driver takes."""

    def __init__(self, resource: Resource, zone: str, codec: Codec = PYTHON) -> None:
        self.columns = resource.columns
        self._name = resource.key
        key = msgspec.defstruct("Key", [("id", int)], rename={"id": resource.key}, gc=False)
        self._key: msgspec.json.Decoder[Any] = msgspec.json.Decoder(key)
        self._keys: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[key])  # type: ignore[valid-type]
        self._resource = resource
        self._readings = Readings(ZoneInfo(zone), codec)
        self._columns = _Columns(resource, self._readings)
        self._volatile = _Volatile(resource.volatile, self._readings)

    def key(self, raw: msgspec.Raw) -> int:
        """The row's key.

        Raises:
            UnreadableRow: it has none that is a whole number of 64 bits, or is no object.
        """
        try:
            key: int = self._key.decode(raw).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            key = self._odd_key(_decode(raw))
        if not -(2**63) <= key < 2**63:
            raise UnreadableRow(tr("its {name} {key} does not fit in 64 bits", name=self._name, key=str(key)[:40]))
        return key

    def keys(self, rows: Sequence[msgspec.Raw]) -> list[int]:
        """The keys of rows.

        Raises:
            UnreadableRow: as `key`, for one of them.
        """
        try:
            keys = [row.id for row in self._keys.decode(b"[%b]" % b",".join(rows))]
            struct.pack(f"{len(rows)}q", *keys)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, struct.error):
            return [self.key(raw) for raw in rows]
        return keys

    def readable_keys(self, rows: Sequence[msgspec.Raw]) -> list[int]:
        """The keys of those rows that have one."""
        try:
            return self.keys(rows)
        except UnreadableRow:
            return [key for raw in rows for key in self._key_if_any(raw)]

    def _key_if_any(self, raw: msgspec.Raw) -> Iterator[int]:
        try:
            yield self.key(raw)
        except UnreadableRow:
            pass

    def distinct(self, rows: Sequence[msgspec.Raw]) -> int:
        """How many different rows these are; those without a key are all different."""
        keys = self.readable_keys(rows)
        return len({*keys}) + len(rows) - len(keys)

    def _odd_key(self, row: Any) -> int:
        if not isinstance(row, dict):
            raise UnreadableRow("it is not an object")
        if self._name not in row:
            raise UnreadableRow(tr("it has no {name}", name=self._name))
        value = row[self._name]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value.strip()):
            return int(value)
        raise UnreadableRow(
            tr("its {name} is {value}, not a whole number", name=self._name, value=json.dumps(value)[:100])
        )

    def row_hashes(self, rows: Sequence[msgspec.Raw]) -> Sequence[int]:
        """A hash of all bytes of each row, signed 64 bits."""
        return _hashes(rows)

    def content_hashes(self, rows: Sequence[msgspec.Raw]) -> Sequence[int]:
        """A hash of each row without its volatile fields, signed 64 bits."""
        return _hashes(self._volatile.cut(rows))

    def rows(self, keys: Sequence[int], rows: Sequence[msgspec.Raw], absent: Any = MISSING) -> list[tuple[Any, ...]]:
        """Each row's values in the order of `columns`, its key first; `absent`, MISSING or None, where it does not name
        the field.

        JSON columns hold JSON text. A value that does not fit its column is kept in `other` under the vendor's name.
        """
        return _in_parts(
            lambda part: self._columns.rows(keys[part], rows[part], absent),
            lambda place: self._slowly(keys[place], rows[place], absent),
            0,
            len(rows),
        )

    def _slowly(self, key: int, raw: msgspec.Raw, absent: Any) -> tuple[Any, ...]:
        """The values of a row that is not as `_Columns` expects it, field by field."""
        row = _decode(raw)
        if _UNSTORABLE.search(raw):
            row = storable(row)
        values: list[Any] = [key]
        del row[self._name]
        odd: dict[str, Any] = {}
        wide: set[str] = set()
        for field in self._resource.fields:
            value = row.pop(field.name, absent)
            if value.__class__ not in NOTHING:
                if field.kind is Kind.TEXT and value.__class__ is not str:
                    wide.add(field.name)
                try:
                    value = self._readings.decoded[field.kind](value)
                except UNFIT:
                    odd[field.name] = value
                    value = None
            values.append(value)
        self._learn(row, wide)
        other = row | odd
        return (*values, json_text(other) if other else None)

    def _learn(self, unknown: Iterable[str], wide: Iterable[str]) -> None:
        """Has rows read many at once from now on that carry these fields, unless the vendor makes up names without end,
        or numbers in the texts of the `wide` fields."""
        columns = self._columns
        names = dict.fromkeys((*columns.unknown, *unknown))
        known = tuple(filter(_is_plain, names)) if len(names) <= _MOST_UNKNOWN else columns.unknown
        both = columns.wide.union(wide)
        if known != columns.unknown or both != columns.wide:
            self._columns = _Columns(self._resource, self._readings, known, both)

    def volatile(self, rows: Sequence[msgspec.Raw]) -> list[tuple[Any, ...]]:
        """The values of the volatile fields of each row; None where it does not name the field, or none that fits."""
        return self._volatile.values(rows)


_DECODED: dict[Kind, Any] = {
    Kind.TEXT: str | int | float,
    Kind.FLAG: bool | int | str,
    Kind.MOMENT: str,
    Kind.JSON: msgspec.Raw,
}
"""As what values are decoded, to be read column by column."""


class _Columns:
    """Reads rows whose fields are the resource's and the `unknown` ones seen so far, column by column. It refuses all
    others, and texts that are numbers except in the `wide` fields."""

    def __init__(
        self,
        resource: Resource,
        readings: Readings,
        unknown: tuple[str, ...] = (),
        wide: frozenset[str] = frozenset(),
    ) -> None:
        self.unknown = unknown
        self.wide = wide
        members: list[tuple[str, Any]] = []
        self._readers: list[tuple[int, Callable[[Iterable[Any]], list[Any]]]] = []
        for place, field in enumerate(resource.fields):
            is_plain = field.kind is Kind.TEXT and field.name not in wide
            members.append((field.name, str if is_plain else _DECODED[field.kind]))
            if not is_plain:
                self._readers.append((place, readings.of_column(field.kind)))
        self._end = len(members)
        self._heads = _heads(unknown)
        members += [(name, msgspec.Raw) for name in (*unknown, resource.key)]
        self._decoders = {absent: _decoder(members, absent, whole=True) for absent in (MISSING, None)}

    def rows(self, keys: Sequence[int], rows: Sequence[msgspec.Raw], absent: Any) -> list[tuple[Any, ...]]:
        """As those of `RowReader`.

        Raises:
            ValueError, TypeError, OverflowError, msgspec.DecodeError: one of the rows is not to be read this way.
        """
        joined = b"".join(rows)
        if b"\\" in joined and _UNSTORABLE.search(joined):
            raise ValueError
        decode = self._decoders[absent].decode
        columns: list[Sequence[Any]] = list(zip(*[astuple(decode(raw)) for raw in rows], strict=True))
        for place, read in self._readers:
            columns[place] = read(columns[place])
        other = self._other(columns[self._end : -1], absent, len(rows))
        return list(zip(keys, *columns[: self._end], other, strict=True))

    def _other(self, columns: Iterable[Sequence[Any]], absent: Any, length: int) -> Iterable[str | None]:
        """The unknown fields of each row as one JSON object."""
        found = [""] * length
        for head, column in zip(self._heads, columns, strict=True):
            found = [
                text if value is absent else f"{text},{head}{strict_json(str(value, 'utf-8'))}"
                for text, value in zip(found, column, strict=True)
            ]
        return [f"{{{text[1:]}}}" if text else None for text in found]


class _Volatile:
    """Finds the values of the volatile fields in rows."""

    def __init__(self, fields: Sequence[Field], readings: Readings) -> None:
        self._names = [field.name for field in fields]
        self._heads = [head.encode() for head in _heads(self._names)]
        self._raws = _decoder([(name, msgspec.Raw) for name in self._names], None)
        self._typed = _decoder([(field.name, _DECODED[field.kind]) for field in fields], None)
        self._columns = [readings.of_column(field.kind) for field in fields]
        self._readers = [readings.decoded[field.kind] for field in fields]

    def cut(self, rows: Sequence[msgspec.Raw]) -> list[bytes]:
        """The bytes of each row without these fields; of a row that is not written plainly, those of its values."""
        return _in_parts(lambda part: self._cut(rows[part]), lambda place: self._rewritten(rows[place]), 0, len(rows))

    def _cut(self, rows: Sequence[msgspec.Raw]) -> list[bytes]:
        joined = b"\n".join(rows)
        decode = self._raws.decode
        rests = [*map(bytes, rows)]
        for head, column in zip(self._heads, zip(*[astuple(decode(raw)) for raw in rows], strict=True), strict=True):
            # It must not stand in an object in a row too, which no other value of the field would change.
            if joined.count(head) != len(column) - column.count(None):
                raise ValueError
            for place, value in enumerate(column):
                if value is not None:
                    before, _, after = rests[place].rpartition(head)
                    told = after.removeprefix(b" ")
                    rest = told.removeprefix(value)
                    if len(rest) == len(told):
                        raise ValueError
                    rests[place] = before + rest
        return rests

    def _rewritten(self, raw: msgspec.Raw) -> bytes:
        row = {name: value for name, value in _decode(raw).items() if name not in self._names}
        return json.dumps(row, sort_keys=True).encode()

    def values(self, rows: Sequence[msgspec.Raw]) -> list[tuple[Any, ...]]:
        """As those of `RowReader`."""
        if not self._names:
            return [()] * len(rows)
        return _in_parts(lambda part: self._values(rows[part]), lambda place: self._slowly(rows[place]), 0, len(rows))

    def _values(self, rows: Sequence[msgspec.Raw]) -> list[tuple[Any, ...]]:
        decode = self._typed.decode
        columns = zip(*[astuple(decode(raw)) for raw in rows], strict=True)
        return list(zip(*[read(column) for read, column in zip(self._columns, columns, strict=True)], strict=True))

    def _slowly(self, raw: msgspec.Raw) -> tuple[Any, ...]:
        row = _decode(raw)
        return tuple(_fitting(read, row.get(name)) for name, read in zip(self._names, self._readers, strict=True))


def _in_parts(many: Callable[[slice], list[T]], one: Callable[[int], T], start: int, end: int) -> list[T]:
    """What `many` gives for the places from `start` to `end`; where it can't read some of them, what `one` gives for
    these, and `many` for the stretches between."""
    if start == end:
        return []
    try:
        return many(slice(start, end))
    except Exception:
        if end - start == 1:
            return [one(start)]
    half = (start + end) // 2
    return _in_parts(many, one, start, half) + _in_parts(many, one, half, end)


def _hashes(rows: Sequence[Any]) -> Sequence[int]:
    return struct.unpack(f">{len(rows)}q", b"".join(map(xxh3_64_digest, rows)))


def _is_plain(name: str) -> bool:
    """Whether a field's name stands in JSON as it is, and is not so long that it is made up."""
    return name.isprintable() and not {'"', "\\"} & {*name} and len(name) <= 200


def _heads(names: Iterable[str]) -> list[str]:
    """How fields of those names are written."""
    return [f"{json.dumps(name, ensure_ascii=False)}:" for name in names]


def _decoder(members: Sequence[tuple[str, Any]], absent: Any, *, whole: bool = False) -> msgspec.json.Decoder[Any]:
    """Decodes rows; if they must be `whole`, it refuses those with other fields than these."""
    nothing = None if absent is None else None | msgspec.UnsetType
    fields: list[Any] = [
        (f"f{i}", kind if kind is msgspec.Raw else kind | nothing, msgspec.field(default=absent, name=name))
        for i, (name, kind) in enumerate(members)
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, forbid_unknown_fields=whole, gc=False))


def _fitting(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return None if value is None else read(value)
    except UNFIT:
        return None


def _decode(raw: msgspec.Raw) -> Any:
    """The row in Python's terms. Numbers that are too large for them are texts, what is nested too deep is cut off."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json_value(cut_off(bytes(raw)).decode("utf-8", "replace"))

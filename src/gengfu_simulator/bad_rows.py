"""Bad rows: what can be wrong with a single row of a list, on the wire or in the device itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gengfu_simulator.described import Described
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.numbers import mix

_MEGABYTE = 1 << 20


class RowKind(Described):
    """How one row is odd. The first ones are so on the wire only, the later ones are true of the device."""

    NULL = "null", "null in the row's place"
    TEXT = "text", "a string in the row's place"
    NUMBER = "number", "a number in the row's place"
    LIST = "list", "a list in the row's place"
    NO_ID = "no-id", "the row has no id"
    NULL_ID = "null-id", "the id is null"
    WORD_ID = "word-id", "the id is a word"
    TEXT_ID = "text-id", "the id is a number in a string"
    FLOAT_ID = "float-id", "the id is written as 100001.0"
    HUGE_ID = "huge-id", "the id needs more than 64 bits"
    BOOL_ID = "bool-id", "the id is true"
    TWICE = "twice", "the row stands twice side by side, counted twice"
    ECHO = "echo", "the row comes again at the end of the list, counted twice"
    NO_IMEI = "no-imei", "the device has no imei field"
    NULL_IMEI = "null-imei", "its imei is null"
    EMPTY_IMEI = "empty-imei", "its imei is empty"
    SAME_IMEI = "same-imei", "its imei is that of all devices of this kind"
    BIG_EXTRA = "big-extra", "its extra holds 1 MB"
    TEXT_EXTRA = "text-extra", "its extra is a string that is no JSON"
    DEEP_EXTRA = "deep-extra", "its extra is nested 200 levels deep"
    EMOJI = "emoji", "its name holds an emoji"
    NUL = "nul", "its name holds a NUL"
    SURROGATE = "surrogate", "its name holds half a surrogate pair"
    LONG_NAME = "long-name", "its name is 64 kB long"
    NUMBER_NAME = "number-name", "its name is a number"
    TEXT_FLAG = "text-flag", 'its alive is the string "true"'
    HUGE_GROUP = "huge-group", "its groupId needs more than 64 bits"
    ODD_TIME = "odd-time", "its lastAliveTime is no time"
    ZERO_TIME = "zero-time", "its createTime is 0001-01-01T00:00:00"


@dataclass(frozen=True, slots=True)
class BadRow:
    """One kind of odd row and whom it befalls: one device by its id, or a share of all (0..1), the same each time."""

    kind: RowKind
    device_id: int | None
    share: float

    @classmethod
    def parse(cls, text: str) -> BadRow:
        """`KIND:ID` or `KIND:SHARE%`."""
        word, _, which = text.partition(":")
        if word not in set(RowKind):
            raise SimulatorError(f"{text!r} names no kind of row; one of: {', '.join(RowKind)}")
        try:
            if which.endswith("%"):
                share = float(which[:-1]) / 100
                if 0 <= share <= 1:
                    return cls(RowKind(word), None, share)
            else:
                return cls(RowKind(word), int(which), 0.0)
        except ValueError:
            pass
        raise SimulatorError(f"{text!r} needs a device's id or a share, for example {word}:100007 or {word}:2%")

    def __str__(self) -> str:
        return f"{self.kind}:{self.device_id if self.device_id is not None else f'{self.share * 100:g}%'}"


class BadRows:
    """Which rows are odd, and how; the same devices each time for the same list of faults."""

    def __init__(self, bad_rows: tuple[BadRow, ...] = ()) -> None:
        self._by_id: dict[int, list[RowKind]] = {}
        self._by_share: list[tuple[RowKind, int, float]] = []
        for bad_row in bad_rows:
            if bad_row.device_id is not None:
                self._by_id.setdefault(bad_row.device_id, []).append(bad_row.kind)
            else:
                salt = int.from_bytes(bad_row.kind.encode()[:8], "big")
                self._by_share.append((bad_row.kind, salt, bad_row.share * 2.0**64))

    def __bool__(self) -> bool:
        return bool(self._by_id or self._by_share)

    def of(self, device_id: int) -> list[RowKind]:
        """The kinds that befall this device."""
        found = list(self._by_id.get(device_id, ()))
        found.extend(kind for kind, salt, limit in self._by_share if mix(device_id, salt) < limit)
        return found


TRUE_OF_THE_DEVICE: dict[RowKind, tuple[str, Callable[[], Any]]] = {
    RowKind.NULL_IMEI: ("imei", lambda: None),
    RowKind.EMPTY_IMEI: ("imei", lambda: ""),
    RowKind.SAME_IMEI: ("imei", lambda: "860000000000000"),
    RowKind.BIG_EXTRA: ("extra", lambda: {"log": "x" * _MEGABYTE}),
    RowKind.TEXT_EXTRA: ("extra", lambda: "{not json"),
    RowKind.DEEP_EXTRA: ("extra", lambda: _nested(200)),
    RowKind.EMOJI: ("userName", lambda: "小明📱👨‍👩‍👧"),
    RowKind.NUL: ("userName", lambda: "小\x00明"),
    RowKind.SURROGATE: ("userName", lambda: "小\ud83d明"),
    RowKind.LONG_NAME: ("userName", lambda: "长" * 21_845),
    RowKind.NUMBER_NAME: ("userName", lambda: 12345),
    RowKind.TEXT_FLAG: ("alive", lambda: "true"),
    RowKind.HUGE_GROUP: ("groupId", lambda: 2**70),
    RowKind.ODD_TIME: ("lastAliveTime", lambda: "昨天下午"),
    RowKind.ZERO_TIME: ("createTime", lambda: "0001-01-01T00:00:00"),
}
"""For each kind that changes a field of the device: the field and its odd value."""

_INSTEAD_OF_THE_ROW: dict[RowKind, bytes] = {
    RowKind.NULL: b"null",
    RowKind.TEXT: '"设备"'.encode(),
    RowKind.NUMBER: b"42",
    RowKind.LIST: b"[1,2]",
}
_INSTEAD_OF_THE_ID: dict[RowKind, bytes] = {
    RowKind.NULL_ID: b'"id":null',
    RowKind.WORD_ID: b'"id":"abc"',
    RowKind.TEXT_ID: b'"id":"%d"',
    RowKind.FLOAT_ID: b'"id":%d.0',
    RowKind.HUGE_ID: b'"id":1180591620717411303424',
    RowKind.BOOL_ID: b'"id":true',
}


def corrupt(device: dict[str, Any], kind: RowKind) -> None:
    """Makes the device odd, if the kind is one that is true of the device."""
    if kind is RowKind.NO_IMEI:
        device.pop("imei", None)
    elif kind in TRUE_OF_THE_DEVICE:
        field, value = TRUE_OF_THE_DEVICE[kind]
        device[field] = value()


def on_the_wire(row: bytes, device_id: int, kind: RowKind) -> bytes:
    """The row as it is sent: broken, if the kind is one of the wire."""
    if kind in _INSTEAD_OF_THE_ROW:
        return _INSTEAD_OF_THE_ROW[kind]
    honest = b'"id":%d' % device_id
    if kind is RowKind.NO_ID:
        return row.replace(honest + b"," if honest + b"," in row else b"," + honest, b"", 1)
    if kind in _INSTEAD_OF_THE_ID:
        odd = _INSTEAD_OF_THE_ID[kind]
        return row.replace(honest, odd % device_id if b"%d" in odd else odd, 1)
    return row


def _nested(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = {"in": value}
    return value

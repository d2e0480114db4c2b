"""Seeded devices: the same device for the same id and seed each time, made as JSON text when asked for."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from typing import Any

import msgspec

from gengfu_simulator import names
from gengfu_simulator.numbers import mix

FIRST_ID = 100_001
ACCOUNTS = 260
NULL_TIME = "0001-01-01T00:00:00"
_IMEIS = 10**13
_STRIDE = 7_368_787_940_921
_BACK = pow(_STRIDE, -1, _IMEIS)
_NEWEST = datetime.fromisoformat("2025-06-30T12:00:00")
_VOLATILE = b',"lastAliveTime":'

_ROW = (
    b'{"id":%d,"imei":%b,"userName":"%b","nickname":%b,"realName":%b,"phone":"1%d%09d",%b,"currentAccountId":%d,'
    b'"wechatAccounts":%b,"alive":%b,"isDeleted":%b,"deletedAndStop":%b,"createTime":"%b"%b}'
)
_TIMES = b',"lastAliveTime":"%b","lastUpdateTime":"%b"'
_ASLEEP = (
    b',"lastAliveTime":"0001-01-01T00:00:00","lastUpdateTime":"%b"',
    b',"lastAliveTime":null,"lastUpdateTime":"%b"',
    b',"lastUpdateTime":"%b"',
)


def encode(device: Any) -> bytes:
    """The JSON text of a device, as UTF-8; half a surrogate pair goes out as its escape."""
    try:
        return msgspec.json.encode(device)
    except UnicodeEncodeError:
        return json.dumps(device, separators=(",", ":")).encode()


def with_times(row: bytes, stamp: bytes) -> bytes:
    """The same seeded, living row, both of its volatile times replaced by `stamp`."""
    return row[: row.rindex(_VOLATILE)] + _TIMES % (stamp, stamp) + b"}"


class RowMaker:
    """Makes any device's row from its id and the seed alone, so that a million devices cost no memory until read.

    A living device's row always ends with its two volatile times.
    """

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self._salt = dice.getrandbits(64)
        self._profiles = [_profile(dice) for _ in range(512)]
        self._people = [(dice.choice(names.SURNAMES) + dice.choice(names.GIVEN_NAMES)).encode() for _ in range(1024)]
        self._nicknames = [_nickname(dice) for _ in range(1024)]
        self._created = [_moment(dice, days=700) for _ in range(2048)]
        self._seen = [_moment(dice, days=1) for _ in range(2048)]

    def alive(self, device_id: int) -> bool:
        """Whether the seeded device lives, so that its volatile times move."""
        return mix(device_id, self._salt) >> 58 < 56

    def imei(self, device_id: int) -> str | None:
        """The device's imei: mostly its own, now and then its neighbour's, empty or null."""
        return self._imei(device_id, mix(device_id, self._salt))

    def with_imei(self, imei: str) -> list[int]:
        """The ids, seeded or not, whose device would carry this imei."""
        if len(imei) != 15 or not imei.isascii() or not imei.isdigit():
            return []
        owner = int(imei[2:]) * _BACK % _IMEIS
        return [device_id for device_id in (owner, owner + 1) if self.imei(device_id) == imei]

    def row(self, device_id: int) -> bytes:
        """The JSON text of the seeded device, about 700 bytes."""
        bits = mix(device_id, self._salt)
        imei = self._imei(device_id, bits)
        person = self._people[bits >> 9 & 1023]
        return _ROW % (
            device_id,
            b"null" if imei is None else b'"%b"' % imei.encode(),
            b"u%d" % device_id,
            self._nicknames[bits >> 19 & 1023],
            b"null" if bits % 23 == 0 else b'"%b"' % person,
            3 + bits % 7,
            device_id * 7_368_787 % 1_000_000_000,
            self._profiles[bits & 511],
            _account(device_id),
            self._accounts(device_id, bits, person),
            (b"true" if bits % 16 else b"1") if bits >> 58 < 56 else (b"false" if bits % 16 else b"0"),
            b"false" if bits % 32 else b"0",
            b"false",
            self._created[bits >> 29 & 2047],
            self._times(bits),
        )

    def _imei(self, device_id: int, bits: int) -> str | None:
        rare = bits % 1499
        if rare == 1:
            return ""
        if rare == 2:
            return None
        owner = device_id - 1 if rare == 3 else device_id
        return f"86{owner * _STRIDE % _IMEIS:013d}"

    def _accounts(self, device_id: int, bits: int, person: bytes) -> bytes:
        if bits % 5 == 0:
            return b"[]" if bits % 10 else b"null"
        return b'[{"wechatId":"wxid_%x","nickname":"%b","accountId":%d,"online":%b}]' % (
            bits >> 20,
            person,
            _account(device_id),
            b"true" if bits & 1 else b"false",
        )

    def _times(self, bits: int) -> bytes:
        seen = self._seen[bits >> 40 & 2047]
        if bits >> 58 < 56:
            return _TIMES % (seen, seen)
        return _ASLEEP[bits % 3] % seen


def _account(device_id: int) -> int:
    """The account of the customer service that has the device, which the list of accounts has, too."""
    return 700_001 + device_id % ACCOUNTS


def _profile(dice: random.Random) -> bytes:
    """What devices of one kind share, as the inside of a JSON object; some fields null, some left out."""
    brand, model, system = dice.choice(names.MODELS)
    group = dice.randrange(len(names.GROUPS))
    extra: Any = {
        "sim": dice.choice(["移动", "联通", "电信"]),
        "battery": dice.randrange(20, 101),
        "tags": ["v2", "回访"],
    }
    if dice.random() < 0.3:
        extra = json.dumps(extra, ensure_ascii=False)
    profile: dict[str, Any] = {
        "memo": dice.choice(names.MEMOS),
        "brand": brand,
        "model": model,
        "operatingSystem": system,
        "softwareVersion": f"8.0.{dice.randrange(20, 48)}",
        "groupId": group + 1,
        "groupName": names.GROUPS[group],
        "tenantId": 1000 + group % 3,
        "rooted": dice.choice([False, False, True, 0]),
        "xPosed": dice.choice([False, False, 1]),
        "deleteTime": dice.choice([None, NULL_TIME]),
        "extra": extra,
    }
    for name in ("memo", "softwareVersion", "groupName", "extra"):
        if dice.random() < 0.08:
            profile[name] = None
    for name in ("memo", "model", "operatingSystem", "xPosed", "deleteTime", "extra"):
        if dice.random() < 0.08:
            del profile[name]
    if dice.random() < 0.1:
        profile["signalStrength"] = dice.randrange(-110, -50)
    if dice.random() < 0.1:
        profile["phoneAppVersion"] = f"3.{dice.randrange(10)}.{dice.randrange(20)}"
    return encode(profile)[1:-1]


def _nickname(dice: random.Random) -> bytes:
    nickname = f"{dice.choice(names.NICKNAMES)}{dice.randrange(1, 400)}"
    return encode(dice.choice([nickname, nickname, nickname, nickname, "", None]))


def _moment(dice: random.Random, days: int) -> bytes:
    """A time within so many days before the newest one, with no, three or seven digits of fraction."""
    moment = _NEWEST - timedelta(seconds=dice.randrange(1, days * 86_400))
    fraction = dice.choice(["", f".{dice.randrange(1, 1000):03d}", f".{dice.randrange(1, 10**7):07d}"])
    return (moment.isoformat() + fraction).encode()

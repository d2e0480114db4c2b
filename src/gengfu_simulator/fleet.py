"""The fleet: which devices the vendor lists where, and what a person or the time does to them."""

from __future__ import annotations

import json
import random
from array import array
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from gengfu_simulator.bad_rows import BadRows, corrupt
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.rows import FIRST_ID, RowMaker, encode, with_times

_KEPT_ROWS = 300_000
_KEPT_LENGTH = 65_536
_SEEDED_DELETION = "2025-06-30T12:00:00"
_KEYWORD_FIELDS = ("userName", "nickname", "realName", "memo", "phone", "imei")
_FIELD_OF_FILTER = {"accountId": "currentAccountId"}


class ListName(StrEnum):
    """The vendor's word for each of the lists; a device stands on one at most."""

    LIVE = "unDeleted"
    """Devices in use."""
    DELETED = "deleted"
    """Devices that somebody deleted."""
    STOPPED = "deletedAndStop"
    """Devices that were deleted and switched off for good."""


class Pick(StrEnum):
    """From which part of the live list devices are taken."""

    FRONT = "front"
    """The lowest ids."""
    END = "end"
    """The highest ids."""
    RANDOM = "random"
    """Anywhere, by the seed."""


class Fleet:
    """Keeps up to a few million devices, each on one list or purged.

    Rows come from the seed and are made when read; only what was changed is stored. `version` grows with every change
    of a list or a row, except that moving times alone leave it. Ids are given out once.
    """

    def __init__(self, devices: int, deleted: int = 0, stopped: int = 0, seed: int = 1) -> None:
        self.version = 0
        self._maker = RowMaker(seed)
        self._dice = random.Random(seed)
        self._lists: dict[ListName, array[int]] = {}
        self._ends: list[tuple[int, ListName]] = []
        end = FIRST_ID
        for name, count in ((ListName.LIVE, devices), (ListName.DELETED, deleted), (ListName.STOPPED, stopped)):
            self._lists[name] = array("q", range(end, end + count))
            end += count
            self._ends.append((end, name))
        self._first, self._next = FIRST_ID, end
        self._seeded_end = end
        self._moved: dict[int, ListName | None] = {}
        self._edited: dict[int, bytes] = {}
        self._heartbeats: dict[int, bytes] = {}
        self._kept: dict[int, bytes] = {}
        self.bad_rows = BadRows()
        self._memos = 0

    def ids(self, name: ListName) -> array[int]:
        """The ids of a list, in its order. Not to be changed by the caller."""
        return self._lists[name]

    def home(self, device_id: int) -> ListName | None:
        """The list on which the device stands, `None` for one that was purged or never was."""
        if device_id in self._moved:
            return self._moved[device_id]
        return self._seeded_home(device_id)

    def rows(self, ids: Iterable[int]) -> list[bytes]:
        """The true rows of these devices, as JSON text."""
        kept = self._kept
        return [kept.get(device_id) or self._make(device_id) for device_id in ids]

    def device(self, device_id: int) -> dict[str, Any]:
        """One device, decoded."""
        device: dict[str, Any] = json.loads(self.rows([device_id])[0])
        return device

    def warm(self, count: int) -> None:
        """Makes the first rows of the live list ahead of the first call."""
        self.rows(self._lists[ListName.LIVE][:count])

    def set_bad_rows(self, bad_rows: BadRows) -> None:
        """From now on these devices are odd, and all others are not."""
        if bad_rows or self.bad_rows:
            self.bad_rows = bad_rows
            self._kept.clear()
            self.version += 1

    def find(self, name: ListName, filters: Mapping[str, str]) -> Sequence[int]:
        """The ids of a list whose devices match every filter: `imei` as a whole, `keyword` in part, others by value."""
        ids: Sequence[int] = self._lists[name]
        imei = filters.get("imei")
        if imei and not self.bad_rows:
            near = {*self._maker.with_imei(imei), *self._edited}
            ids = sorted(device_id for device_id in near if self.home(device_id) is name)
        if "keyword" in filters:
            needle = json.dumps(filters["keyword"], ensure_ascii=False).encode(errors="replace")[1:-1]
            ids = [device_id for device_id in ids if self._may_contain(device_id, needle)]
        return [device_id for device_id in ids if self._matches(device_id, filters)]

    def choose(self, *, ids: list[int] | None, count: int | None, share: float | None, pick: Pick) -> list[int]:
        """The ids meant by a control call: those named, or so many (or such a share) of the live ones; else one.

        Raises:
            SimulatorError: an id was never given out.
        """
        if ids is not None:
            unknown = [device_id for device_id in ids if not self._first <= device_id < self._next]
            if unknown:
                raise SimulatorError(
                    f"there never was a device {unknown[0]}; ids run from {self._first} to {self._next - 1}"
                )
            return ids
        live = self._lists[ListName.LIVE]
        if share is not None:
            count = round(len(live) * share)
        count = min(1 if count is None else count, len(live))
        if pick is Pick.RANDOM:
            return sorted(self._dice.sample(live, count))
        return list(live[:count] if pick is Pick.FRONT else live[len(live) - count :])

    def add(self, count: int = 1, pick: Pick = Pick.END, fields: Mapping[str, Any] | None = None) -> list[int]:
        """New devices: with the highest ids at the end of the live list, or with the lowest at its front."""
        live = self._lists[ListName.LIVE]
        if pick is Pick.FRONT:
            if count >= self._first:
                raise SimulatorError(f"{count} devices do not fit in front of id {self._first}")
            ids = list(range(self._first - count, self._first))
            self._first -= count
            self._lists[ListName.LIVE] = array("q", ids) + live
        else:
            ids = list(range(self._next, self._next + count))
            self._next += count
            live.extend(ids)
        for device_id in ids:
            self._moved[device_id] = ListName.LIVE
            if fields:
                self._store(device_id, self._plain(device_id) | dict(fields))
        self.version += 1
        return ids

    def send(self, ids: list[int], name: ListName | None, now: str) -> list[int]:
        """Moves devices to a list, or off every list (`None`), and marks them as the vendor would at its time `now`."""
        moving = [device_id for device_id in dict.fromkeys(ids) if self.home(device_id) is not name]
        self._take_off(moving)
        for device_id in moving:
            self._moved[device_id] = name
            if name is not None:
                self._store(device_id, _marked(self._plain(device_id), name, now))
                insort(self._lists[name], device_id)
        self.version += 1
        return moving

    def move(self, ids: list[int]) -> list[int]:
        """Puts devices of the live list at its end; every row behind them shifts forward."""
        moving = [device_id for device_id in ids if self.home(device_id) is ListName.LIVE]
        self._take_off(moving)
        self._lists[ListName.LIVE].extend(moving)
        self.version += 1
        return moving

    def change(self, ids: list[int], fields: Mapping[str, Any], drop: Iterable[str], now: str) -> list[int]:
        """Sets and removes fields; with neither, each device gets a memo that no device had before."""
        drop = list(drop)
        for device_id in ids:
            device = self._plain(device_id)
            new = dict(fields)
            if not new and not drop:
                self._memos += 1
                new["memo"] = f"第{self._memos}次变更"
            if "lastUpdateTime" in device:
                new.setdefault("lastUpdateTime", now)
            left = {name: value for name, value in (device | new).items() if name not in drop}
            self._store(device_id, left)
        self.version += 1
        return ids

    def heartbeat(self, ids: list[int], now: str) -> list[int]:
        """Moves the two volatile times of those devices that live; returns these."""
        stamp = now.encode()
        moved = []
        for device_id in ids:
            if self.home(device_id) is not ListName.LIVE:
                continue
            if device_id in self._edited:
                device = self._plain(device_id)
                if not device.get("alive") or "lastAliveTime" not in device:
                    continue
                self._store(device_id, device | {"lastAliveTime": now, "lastUpdateTime": now})
            elif self._maker.alive(device_id):
                self._heartbeats[device_id] = stamp
                row = self._kept.pop(device_id, None)
                if row is not None and not self.bad_rows:
                    self._kept[device_id] = with_times(row, stamp)
            else:
                continue
            moved.append(device_id)
        return moved

    def _take_off(self, ids: list[int]) -> None:
        """Removes ids from the lists on which they stand; one alone costs little even in a long list."""
        if len(ids) == 1:
            name = self.home(ids[0])
            if name is not None:
                self._lists[name].remove(ids[0])
            return
        leaving = set(ids)
        for name, listed in self._lists.items():
            if any(self.home(device_id) is name for device_id in ids):
                self._lists[name] = array("q", (device_id for device_id in listed if device_id not in leaving))

    def _seeded_home(self, device_id: int) -> ListName | None:
        if not FIRST_ID <= device_id < self._seeded_end:
            return None
        return next(name for end, name in self._ends if device_id < end)

    def _make(self, device_id: int) -> bytes:
        row = self._plain_row(device_id)
        kinds = self.bad_rows.of(device_id) if self.bad_rows else ()
        if kinds:
            device = json.loads(row)
            for kind in kinds:
                corrupt(device, kind)
            row = encode(device)
        if len(self._kept) < _KEPT_ROWS and len(row) < _KEPT_LENGTH:
            self._kept[device_id] = row
        return row

    def _plain_row(self, device_id: int) -> bytes:
        row = self._edited.get(device_id)
        if row is not None:
            return row
        row = self._maker.row(device_id)
        if device_id in self._heartbeats:
            row = with_times(row, self._heartbeats[device_id])
        name = self._seeded_home(device_id)
        if name in (None, ListName.LIVE):
            return row
        return encode(_marked(json.loads(row), name, _SEEDED_DELETION))

    def _plain(self, device_id: int) -> dict[str, Any]:
        device: dict[str, Any] = json.loads(self._plain_row(device_id))
        return device

    def _store(self, device_id: int, device: Mapping[str, Any]) -> None:
        self._edited[device_id] = encode(device)
        self._heartbeats.pop(device_id, None)
        self._kept.pop(device_id, None)

    def _may_contain(self, device_id: int, needle: bytes) -> bool:
        """A quick look at the text that spares most rows the decoding; text with escapes is left to the slow look."""
        row = self.rows([device_id])[0]
        return needle in row or b"\\u" in row

    def _matches(self, device_id: int, filters: Mapping[str, str]) -> bool:
        device = self.device(device_id)
        for name, wanted in filters.items():
            if name == "keyword":
                if not any(wanted in str(device.get(field) or "") for field in _KEYWORD_FIELDS):
                    return False
            elif name == "hasWechat":
                if bool(device.get("wechatAccounts")) is not _truth(wanted):
                    return False
            elif name in ("alive", "rooted", "xPosed"):
                if bool(device.get(name)) is not _truth(wanted):
                    return False
            elif str(device.get(_FIELD_OF_FILTER.get(name, name))) != wanted:
                return False
        return True


def _truth(word: str) -> bool:
    return word.lower() in ("1", "true")


def _marked(device: dict[str, Any], name: ListName, now: str) -> dict[str, Any]:
    listed = name is ListName.LIVE
    return device | {
        "isDeleted": not listed,
        "deletedAndStop": name is ListName.STOPPED,
        "deleteTime": None if listed else now,
    }

"""The device list: from a query to the rows of one page."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from gengfu_simulator.bad_rows import RowKind, on_the_wire
from gengfu_simulator.clocks import vendor_time
from gengfu_simulator.fault_injector import FaultInjector
from gengfu_simulator.faults import Faults
from gengfu_simulator.fleet import Fleet, ListName
from gengfu_simulator.rows import encode
from gengfu_simulator.values import FilterFault

DEFAULT_SIZE = 100
_FILTERS = (
    *("accountId", "keyword", "imei", "groupId", "brand", "model", "operatingSystem", "softwareVersion"),
    *("phoneAppVersion", "recorderVersion", "contactsVersion", "rooted", "xPosed", "alive", "hasWechat"),
    "departmentId",
)


class BadQueryError(Exception):
    """The query is none that the contract knows; answered with 400."""


class BrokenFilterError(Exception):
    """A filter that is made to fail; answered with 500."""


@dataclass(frozen=True, slots=True)
class Query:
    """A list call's query, read: which page of which list, through which filters."""

    index: int
    size: int
    name: ListName
    filters: Mapping[str, str]

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> Query:
        """
        Raises:
            BadQueryError: a number is none, or there is no such list.
        """
        try:
            index = int(parameters.get("pageIndex") or 0)
            size = int(parameters.get("pageSize") or DEFAULT_SIZE)
            name = ListName(parameters.get("deleteType") or ListName.LIVE)
        except ValueError as error:
            raise BadQueryError(str(error)) from None
        if index < 0 or size < 1:
            raise BadQueryError("pageIndex or pageSize is out of range")
        return cls(index, size, name, {key: value for key, value in parameters.items() if value and key in _FILTERS})


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page as they go out, and the total beside them."""

    rows: list[bytes]
    total: int


def parameters(raw: str) -> dict[str, str]:
    """A raw query string as names and values; the last of two equal names wins."""
    found = {}
    for part in raw.split("&"):
        name, _, value = part.partition("=")
        found[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return found


class DeviceList:
    """Answers queries from the fleet, with whatever the present faults do to lists and rows."""

    def __init__(self, fleet: Fleet, injector: FaultInjector, seed: int) -> None:
        self._fleet = fleet
        self._injector = injector
        self._dice = random.Random(seed)
        self._found: tuple[object, Sequence[int]] = (None, ())

    def page(self, query: Query, more: int = 0) -> Page:
        """One page; `more` rows follow those that belong to it.

        Raises:
            BrokenFilterError: the faults want it so.
        """
        faults = self._injector.faults
        ids = self._ids(self._with_broken_filters(query, faults))
        count = int(len(ids) * faults.visible)
        size = min(query.size, faults.page_cap) if faults.page_cap else query.size
        index = min(query.index, faults.repeat_from) if faults.repeat_from >= 0 else query.index
        start, end = min(index * size, count), min(index * size + size + more, count)
        shown = ids[len(ids) - end : len(ids) - start][::-1] if faults.order == "desc" else ids[start:end]
        if faults.heartbeat and query.name is ListName.LIVE:
            self._fleet.heartbeat(self._injector.heartbeats(shown), vendor_time())
        rows = self._fleet.rows(shown)
        if faults.shuffle_keys:
            rows = [self._shuffled(row) for row in rows]
        if faults.row:
            rows = [self._as_sent(row, device_id) for row, device_id in zip(rows, shown, strict=True)]
        return Page(rows, count + faults.total_offset)

    def _ids(self, query: Query | None) -> Sequence[int]:
        if query is None:
            return ()
        doubled = any(bad_row.kind in (RowKind.TWICE, RowKind.ECHO) for bad_row in self._injector.faults.row)
        if not query.filters and not doubled:
            return self._fleet.ids(query.name)
        key = (self._fleet.version, query.name, query.filters, doubled)
        if self._found[0] != key:
            ids = self._fleet.find(query.name, query.filters) if query.filters else self._fleet.ids(query.name)
            self._found = (key, self._doubled(ids) if doubled else ids)
        return self._found[1]

    def _doubled(self, ids: Sequence[int]) -> list[int]:
        found, echoes = [], []
        for device_id in ids:
            kinds = self._fleet.bad_rows.of(device_id)
            found.extend([device_id] * (2 if RowKind.TWICE in kinds else 1))
            if RowKind.ECHO in kinds:
                echoes.append(device_id)
        return found + echoes

    def _as_sent(self, row: bytes, device_id: int) -> bytes:
        for kind in self._fleet.bad_rows.of(device_id):
            row = on_the_wire(row, device_id, kind)
        return row

    def _shuffled(self, row: bytes) -> bytes:
        items = list(json.loads(row).items())
        self._dice.shuffle(items)
        return encode(dict(items))

    def _with_broken_filters(self, query: Query, faults: Faults) -> Query | None:
        """The query as the broken server understands it; `None` finds nothing."""
        name, filters = query.name, dict(query.filters)
        for broken in faults.broken_filter:
            hit = [given for given in filters if broken.name in (given, "all")]
            hits_list = name is not ListName.LIVE and broken.name in ("deleteType", "all")
            if not hit and not hits_list:
                continue
            if broken.how is FilterFault.ERROR:
                raise BrokenFilterError
            if broken.how is FilterFault.EMPTY:
                return None
            for given in hit:
                del filters[given]
            if hits_list:
                name = ListName.LIVE
        return Query(query.index, query.size, name, filters)

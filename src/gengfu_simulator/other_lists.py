"""The other lists behind the same login: groups, accounts, and friends in every style in which lists come in pages."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from gengfu_simulator import answers, names
from gengfu_simulator.bad_rows import BadRows, RowKind
from gengfu_simulator.faults import Faults
from gengfu_simulator.listing import BadQueryError
from gengfu_simulator.rows import ACCOUNTS, encode
from gengfu_simulator.values import FaultKind

_FRIENDS = 330
_FRIEND_BASE = 5_000_000
_SIZE = 100
_SIZE_NAMES = {"accounts": "pageSize", "friends": "count"}

Rows = list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call is answered with."""

    rows: int
    body: bytes
    link: str | None = None
    """The header `Link`."""


class OtherLists:
    """The seeded rows of the other lists, as JSON text. They never change, but the faults of lists befall them."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.groups = [_group(number, name, dice) for number, name in enumerate(names.GROUPS, 1)]
        self._accounts = [_account(number, dice) for number in range(1, ACCOUNTS + 1)]
        self._friends = [_friend(number, dice) for number in range(1, _FRIENDS + 1)]
        self._lists: dict[str, Rows] = {
            "groups": list(enumerate(self.groups, 1)),
            "accounts": list(enumerate(self._accounts, 700_001)),
            "friends": list(enumerate(self._friends, _FRIEND_BASE + 1)),
        }

    def answer(
        self,
        target: str,
        query: Mapping[str, str],
        path: str,
        faults: Faults,
        bad_rows: BadRows,
        kind: FaultKind | None,
    ) -> Answer:
        """One page of the list of that name, as the query asks for it and as the faults have it.

        Raises:
            BadQueryError: the query is none that the list knows.
        """
        rows = self._shown(target, faults, bad_rows)
        if target == "groups":
            return _answer(rows, None, kind)
        size = number(query, _SIZE_NAMES.get(target, "limit"), _SIZE)
        size = min(size, faults.page_cap) if faults.page_cap else size
        if size < 1:
            raise BadQueryError("the page size is out of range")
        start = _start(target, rows, query, size)
        index = start // size
        place = faults.repeat_from * size if 0 <= faults.repeat_from < index else start
        page = rows[place : place + size]
        after = start + size if start + size < len(rows) or faults.repeat_from >= 0 else None
        if target in ("accounts", "offset"):
            return Answer(len(page), answers.page_body([row for _, row in page], len(rows), kind))
        return _answer(page, _way_on(target, path, after, size), kind)

    def _shown(self, target: str, faults: Faults, bad_rows: BadRows) -> Rows:
        rows = self._lists.get(target, self._lists["friends"])
        rows = rows[: int(len(rows) * faults.visible)]
        if not any(bad_row.kind in (RowKind.TWICE, RowKind.ECHO) for bad_row in faults.row):
            return rows
        doubled, echoes = Rows(), Rows()
        for key, row in rows:
            kinds = bad_rows.of(key)
            doubled += [(key, row)] * (2 if RowKind.TWICE in kinds else 1)
            if RowKind.ECHO in kinds:
                echoes.append((key, row))
        return doubled if target == "friends" else doubled + echoes


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A number of the query.

    Raises:
        BadQueryError: it is none.
    """
    try:
        return int(query.get(name) or default)
    except ValueError:
        raise BadQueryError(f"{name} is no number") from None


def _start(target: str, rows: Rows, query: Mapping[str, str], size: int) -> int:
    """The place of the first row that the query asks for."""
    if target == "friends":
        after = number(query, "preFriendId", 0)
        return next((place for place, (key, _) in enumerate(rows) if key > after), len(rows))
    if target == "accounts":
        start = number(query, "pageIndex", 0) * size
    elif target == "cursor":
        word = query.get("cursor", "")
        start = number({"cursor": word.removeprefix("after-")}, "cursor", 0)
    else:
        start = number(query, "offset", 0)
    if start < 0:
        raise BadQueryError("there is nothing before the first row")
    return start


def _way_on(target: str, path: str, after: int | None, size: int) -> tuple[str, str | None] | None:
    """What names the next page: the member and its value, or `Link` for the header; None for a bare array alone."""
    if target == "cursor":
        return "nextCursor", None if after is None else f"after-{after}"
    following = None if after is None else f"{path}?offset={after}&limit={size}"
    return {"link": ("next", following), "header": ("Link", following)}.get(target)


def _answer(rows: Rows, way_on: tuple[str, str | None] | None, kind: FaultKind | None) -> Answer:
    listed = b",".join(row for _, row in rows)
    empty = kind is FaultKind.EMPTY
    if kind is not None and kind.is_of_content and not empty:
        return Answer(0, b"{}")
    array = b"[]" if empty else b"[%b]" % listed
    if way_on is None or way_on[0] == "Link":
        link = None if way_on is None or way_on[1] is None else f'<{way_on[1]}>; rel="next", </>; rel="first"'
        return Answer(len(rows), array, link)
    return Answer(len(rows), b'{"results":%b,%b:%b}' % (array, encode(way_on[0]), encode(way_on[1])))


def _group(number: int, name: str, dice: random.Random) -> bytes:
    return encode(
        {
            "id": number,
            "tenantId": 1000 + number % 3,
            "groupName": name,
            "groupMemo": dice.choice(["", None, "按季度盘点", "只放在线设备"]),
            "count": dice.randrange(5, 400),
            "createTime": f"2024-{number % 12 + 1:02d}-15T09:30:00",
        }
    )


def _account(number: int, dice: random.Random) -> bytes:
    real_name = dice.choice(names.SURNAMES) + dice.choice(names.GIVEN_NAMES)
    return encode(
        {
            "id": 700_000 + number,
            "tenantId": 1000 + number % 3,
            "userName": f"kefu{number:03d}",
            "realName": real_name,
            "phone": f"13{dice.randrange(10**9):09d}",
            "departmentId": dice.choice([None, 1, 2, 3]),
            "createTime": f"2024-{number % 12 + 1:02d}-{number % 28 + 1:02d}T10:00:00",
        }
    )


def _friend(number: int, dice: random.Random) -> bytes:
    return encode(
        {
            "id": _FRIEND_BASE + number,
            "accountId": 700_001 + number % ACCOUNTS,
            "wechatId": f"wxid_{dice.getrandbits(48):012x}",
            "nickname": dice.choice(names.SURNAMES) + dice.choice(["总", "老师", "姐", "哥", "先生", "女士"]),
            "conRemark": dice.choice(["", "老客户", "潜在客户", None]),
            "createTime": f"2025-{number % 6 + 1:02d}-{number % 28 + 1:02d}T11:20:00",
        }
    )

"""The other lists behind the same login: groups, accounts, and one that is paged by the previous row's id."""

from __future__ import annotations

import random

from gengfu.simulator import names
from gengfu.simulator.rows import encode

_ACCOUNTS = 260
_FRIENDS = 330


class Neighbours:
    """The seeded rows of the neighbour lists, as JSON text. They never change."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.groups = [_group(number, name, dice) for number, name in enumerate(names.GROUPS, 1)]
        self._accounts = [_account(number, dice) for number in range(1, _ACCOUNTS + 1)]
        self._friends = [_friend(number, dice) for number in range(1, _FRIENDS + 1)]

    def accounts(self, index: int, size: int) -> tuple[list[bytes], int]:
        """One page of the accounts, and how many there are in all."""
        return self._accounts[index * size : (index + 1) * size], len(self._accounts)

    def friends(self, after: int, size: int) -> list[bytes]:
        """The friends that follow the one with this id; none after the last."""
        return self._friends[max(0, after - _FRIEND_BASE) :][:size]


_FRIEND_BASE = 5_000_000


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
            "accountId": 700_001 + number % _ACCOUNTS,
            "wechatId": f"wxid_{dice.getrandbits(48):012x}",
            "nickname": dice.choice(names.SURNAMES) + dice.choice(["总", "老师", "姐", "哥", "先生", "女士"]),
            "conRemark": dice.choice(["", "老客户", "潜在客户", None]),
            "createTime": f"2025-{number % 6 + 1:02d}-{number % 28 + 1:02d}T11:20:00",
        }
    )

"""What is asked of the devices alone: who uses which phone, and whose WeChat is on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gengfu.mirror.account import ACCOUNT
from gengfu.services.json import object_of, to_json
from gengfu.services.lists import Content, Filter, ListService, Row, checked_text
from gengfu.services.report import STATES, ReportColumn
from gengfu.store.lists import ListStore, Order, Presence, ValueFilter, Which


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFilter(Filter):
    """Chooses devices."""

    group: str | None = None
    """The name or the id of their group."""
    account: str | None = None
    """The customer service that has the phone: the id of the account, or a name of it as the list of accounts has it,
    or else a part of one."""
    wechat: str | None = None
    """A part of the id or of the nickname of a WeChat account on the phone, in capitals or not."""
    wechat_online: bool | None = None
    """Whether such an account, or any at all, is online."""


@dataclass(frozen=True, slots=True)
class WechatAccount:
    """A WeChat account on a phone, as far as the vendor tells."""

    id: str | None
    nickname: str | None
    online: bool | None


@dataclass(frozen=True, slots=True)
class AccountOnDevice:
    """A WeChat account with the phone that it is on, and the customer service that has it."""

    device: Row
    wechat: WechatAccount
    account_id: str | None
    """That of the customer service, which the vendor tells of the phone."""
    account_name: str | None
    """As the list of accounts has it, if that is mirrored."""


@dataclass(frozen=True, slots=True)
class AccountsFound:
    """WeChat accounts by device; those of one device are never apart."""

    accounts: Sequence[AccountOnDevice]
    more: bool
    """Whether others follow: those of the devices after the last one."""


class DeviceService(ListService):
    """The devices of one source, as the mirror has them."""

    def accounts(self, chosen: DeviceFilter, *, after: int | None = None, limit: int = 50) -> AccountsFound:
        """The WeChat accounts of the chosen devices, by device, and of these only the accounts that fit; of the devices
        that follow the device `after`, so many that there are `limit` accounts or a few more."""
        which = self._which(chosen)
        found: list[tuple[int, WechatAccount]] = []
        more = False
        for device_id, told in self._store.stream(which, ["id", "wechat_accounts"], Order(), after):
            accounts = [account for account in wechat_accounts(told) if _fits(account, chosen)]
            if accounts and len(found) >= limit:
                more = True
                break
            found += [(device_id, account) for account in accounts]
        devices = {row.id: row for row in self._named(list(dict.fromkeys(key for key, _ in found)))}
        ids = {key: row.fields["current_account_id"] for key, row in devices.items()}
        names = self.account_names(ids.values())
        rows = [
            AccountOnDevice(devices[key], account, ids[key], names.get(ids[key]))
            for key, account in found
            if key in devices
        ]
        return AccountsFound(rows, more)

    def _report_columns(self, name: str, content: Content) -> list[ReportColumn]:
        if name == "current_account_id":
            names = self._all_account_names
            return [
                ReportColumn("客服", lambda row, _: names.get(row.fields[name])),
                ReportColumn("客服账号", lambda row, _: row.fields[name]),
            ]
        if name != "wechat_accounts":
            return super()._report_columns(name, content)
        if not content.per_account:
            return [
                ReportColumn("微信", lambda row, _: "；".join(map(_told, wechat_accounts(row.fields[name]))) or None)
            ]
        return [
            ReportColumn("微信号", lambda _, account: account and account.id),
            ReportColumn("微信昵称", lambda _, account: account and account.nickname),
            ReportColumn("微信状态", lambda _, account: account and _ONLINE[account.online]),
        ]

    def _parts(self, content: Content) -> Callable[[Row], Sequence[Any]]:
        if not content.per_account:
            return super()._parts(content)
        return lambda row: wechat_accounts(row.fields["wechat_accounts"]) or (None,)

    @cached_property
    def _all_account_names(self) -> Mapping[str | None, str]:
        rows = self._accounts().stream(Which(Presence.ALL), ["id", "real_name", "user_name"])
        return {str(key): real_name or user_name for key, real_name, user_name in rows}

    def account_names(self, ids: Iterable[str | None]) -> Mapping[str | None, str]:
        """What the accounts of those ids are called, as far as the list of accounts is mirrored."""
        known = sorted({int(each) for each in ids if each is not None and re.fullmatch("[0-9]{1,18}", each)})
        found: dict[str | None, str] = {}
        for start in range(0, len(known), 1_000):
            for row in self._accounts().named(known[start : start + 1_000]):
                if name := row["real_name"] or row["user_name"]:
                    found[str(row["id"])] = name
        return found

    def _accounts(self) -> ListStore:
        return ListStore(self._db, ACCOUNT.table, self._source_id)

    def _which(self, chosen: Filter) -> Which:
        which = super()._which(chosen)
        if not isinstance(chosen, DeviceFilter):
            return which
        conditions = [*which.conditions]
        if chosen.group is not None:
            conditions.append(ValueFilter(["group_name", "group_id"], [chosen.group]))
        if chosen.account is not None:
            conditions.append(ValueFilter(["current_account_id"], self._account_ids(chosen.account)))
        in_json = ("wechat_accounts", chosen.wechat) if chosen.wechat else None
        return replace(which, conditions=conditions, in_json=in_json)

    def _account_ids(self, text: str) -> list[str]:
        """The accounts that a text means: those of that id or name, or else those of which it is a part of a name."""
        found = self._accounts().find(Which(Presence.ALL, checked_text(text)), Order(), None, _MOST_ACCOUNTS)
        named = [
            row for row in found if text.lower() in {str(row[name]).lower() for name in ("user_name", "real_name")}
        ]
        return [text, *(str(row["id"]) for row in named or found)]

    def _test(self, chosen: Filter) -> tuple[Sequence[str], Callable[..., bool]] | None:
        if not isinstance(chosen, DeviceFilter) or (chosen.wechat is None and chosen.wechat_online is None):
            return None
        return ["wechat_accounts"], lambda told: any(_fits(account, chosen) for account in wechat_accounts(told))


_MOST_ACCOUNTS = 1_000

_NAMES = {
    "id": ("wechatid", "wxid", "wechat", "id"),
    "nickname": ("nickname", "name"),
    "online": ("online", "alive", "isonline", "isalive"),
}
"""How the vendor may call what is known of a WeChat account, in small letters without anything between the words."""
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def wechat_accounts(told: Any) -> list[WechatAccount]:
    """The WeChat accounts of a device, as its field tells them; whatever is none is left out."""
    found = []
    for each in told if isinstance(told, list) else [told]:
        if not isinstance(each, dict):
            continue
        known = {re.sub(r"[^a-z]", "", str(name).lower()): value for name, value in each.items()}
        values = [
            next((known[name] for name in names if known.get(name) is not None), None) for names in _NAMES.values()
        ]
        if any(value is not None for value in values):
            key, nickname, online = (None if value is None else str(value) for value in values)
            found.append(WechatAccount(key, nickname, _TRUTHS.get((online or "").lower())))
    return found


_ONLINE = {True: STATES["online"], False: STATES["offline"], None: None}


def _told(account: WechatAccount) -> str:
    """An account in a cell of a report."""
    name = account.nickname or account.id or ""
    known = [account.id] if account.nickname and account.id else []
    return f"{name}（{'，'.join([*known, _ONLINE[account.online] or STATES['unknown']])}）"


def _fits(account: WechatAccount, chosen: DeviceFilter) -> bool:
    text = (chosen.wechat or "").lower()
    told = text in (account.id or "").lower() or text in (account.nickname or "").lower()
    return told and chosen.wechat_online in (None, account.online)


@to_json.register(AccountOnDevice)
def _account(account: AccountOnDevice) -> dict[str, Any]:
    device = account.device
    told = {"device_id": device.id, "device_name": device.name, "phone": device.fields["phone"], "state": device.state}
    told |= {f"wechat_{name}": value for name, value in object_of(account.wechat).items()}
    return {**told, "account_id": account.account_id, "account_name": account.account_name}


@to_json.register(AccountsFound)
def _accounts(found: AccountsFound) -> dict[str, Any]:
    rows = found.accounts
    told = {"count": len(rows), "more": found.more, "next": rows[-1].device.id if found.more else None}
    return {"accounts": to_json(rows), **told}

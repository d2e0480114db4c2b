"""The device list, as VENDOR_API describes it."""

from __future__ import annotations

from gengfu.mirror.resource import Field, Kind, Resource, Scope
from gengfu.vendor.listing import Listing

_FILTERS = (
    "accountId keyword imei groupId brand model deleteType operatingSystem softwareVersion phoneAppVersion "
    "recorderVersion contactsVersion rooted xPosed alive hasWechat departmentId"
)

DEVICE = Resource(
    name="device",
    listing=Listing("api/device/pageResult", tuple((name, "") for name in _FILTERS.split())),
    title="device list",
    fields=(
        Field("imei", "imei", searched=True),
        Field("userName", "user_name", searched=True),
        Field("nickname", "nickname", searched=True),
        Field("realName", "real_name", searched=True),
        Field("memo", "memo", searched=True),
        Field("phone", "phone", searched=True),
        Field("brand", "brand"),
        Field("model", "model"),
        Field("operatingSystem", "operating_system"),
        Field("softwareVersion", "software_version"),
        Field("groupId", "group_id"),
        Field("groupName", "group_name"),
        Field("tenantId", "tenant_id"),
        Field("currentAccountId", "current_account_id"),
        Field("wechatAccounts", "wechat_accounts", Kind.JSON),
        Field("extra", "extra", Kind.JSON),
        Field("alive", "alive", Kind.FLAG),
        Field("rooted", "rooted", Kind.FLAG),
        Field("xPosed", "x_posed", Kind.FLAG),
        Field("isDeleted", "is_deleted", Kind.FLAG),
        Field("deletedAndStop", "deleted_and_stop", Kind.FLAG),
        Field("createTime", "create_time", Kind.MOMENT),
        Field("deleteTime", "delete_time", Kind.MOMENT),
        Field("lastAliveTime", "last_alive_time", Kind.MOMENT, volatile=True),
        Field("lastUpdateTime", "last_update_time", Kind.MOMENT, volatile=True),
    ),
    scopes=(
        Scope("0", {"deleteType": "unDeleted"}),
        Scope("1", {"deleteType": "deleted"}, confirms_gone=True),
        Scope("2", {"deleteType": "deletedAndStop"}, confirms_gone=True),
    ),
    probe="imei",
)
"""The fleet. Its scopes are the values of `--is-del`."""

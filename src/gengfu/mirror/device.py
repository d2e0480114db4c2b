"""The device list, as VENDOR_API describes it."""

from __future__ import annotations

from gengfu.mirror.resource import Field, Kind, Resource, Scope
from gengfu.vendor.paging import Listing

_FILTERS = (
    "accountId keyword imei groupId brand model deleteType operatingSystem softwareVersion phoneAppVersion "
    "recorderVersion contactsVersion rooted xPosed alive hasWechat departmentId"
)

DEVICE = Resource(
    name="device",
    listing=Listing("api/device/pageResult", tuple((name, "") for name in _FILTERS.split())),
    title="device list",
    fields=(
        Field("imei", searched=True, en="IMEI", zh="IMEI"),
        Field("userName", searched=True, en="user name", zh="用户名"),
        Field("nickname", searched=True, en="nickname", zh="昵称"),
        Field("realName", searched=True, en="real name", zh="姓名"),
        Field("memo", searched=True, en="memo", zh="备注"),
        Field("phone", searched=True, en="phone", zh="手机号"),
        Field("brand", en="brand", zh="品牌"),
        Field("model", en="model", zh="型号"),
        Field("operatingSystem", en="system", zh="系统"),
        Field("softwareVersion", en="version", zh="软件版本"),
        Field("groupId", en="group id", zh="分组编号"),
        Field("groupName", en="group", zh="分组"),
        Field("tenantId", en="tenant id", zh="租户编号"),
        Field("currentAccountId", en="account", zh="客服"),
        Field("wechatAccounts", kind=Kind.JSON, en="WeChat accounts", zh="微信"),
        Field("extra", kind=Kind.JSON, en="extra", zh="附加信息"),
        Field("alive", kind=Kind.FLAG, en="online", zh="状态"),
        Field("rooted", kind=Kind.FLAG, en="rooted", zh="已 Root"),
        Field("xPosed", kind=Kind.FLAG, en="Xposed", zh="已装 Xposed"),
        Field("isDeleted", kind=Kind.FLAG, en="deleted", zh="已删除"),
        Field("deletedAndStop", kind=Kind.FLAG, en="deleted and stopped", zh="已删除并停用"),
        Field("createTime", kind=Kind.MOMENT, en="created", zh="创建时间"),
        Field("deleteTime", kind=Kind.MOMENT, en="deleted at", zh="删除时间"),
        Field("lastAliveTime", kind=Kind.MOMENT, volatile=True, en="last online", zh="最后在线"),
        Field("lastUpdateTime", kind=Kind.MOMENT, volatile=True, en="last update", zh="最后更新"),
    ),
    scopes=(
        Scope("0", {"deleteType": "unDeleted"}),
        Scope("1", {"deleteType": "deleted"}, confirms_gone=True),
        Scope("2", {"deleteType": "deletedAndStop"}, confirms_gone=True),
    ),
    probe="imei",
    names=("realName", "nickname", "userName"),
    shown=("imei", "phone", "memo", "groupName"),
    totals=("groupName", "brand", "softwareVersion"),
    report=(
        *("imei", "realName", "nickname", "phone", "memo", "groupName", "brand", "model", "operatingSystem"),
        *("softwareVersion", "currentAccountId", "wechatAccounts", "lastAliveTime", "createTime"),
    ),
    online="alive",
    last_online="lastAliveTime",
)
"""The fleet. Its scopes are the values of `--is-del`."""

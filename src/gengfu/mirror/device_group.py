"""The device groups, as VENDOR_API describes them."""

from __future__ import annotations

from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.vendor.paging import BareArray, Listing

DEVICE_GROUP = Resource(
    name="device_group",
    title="list of device groups",
    listing=Listing("api/DeviceGroup/list", paging=BareArray()),
    fields=(
        Field("tenantId", en="tenant id", zh="租户编号"),
        Field("groupName", searched=True, en="group", zh="分组"),
        Field("groupMemo", searched=True, en="memo", zh="备注"),
        Field("count", en="devices", zh="设备数"),
        Field("createTime", kind=Kind.MOMENT, en="created", zh="创建时间"),
    ),
    names=("groupName",),
    shown=("groupMemo", "count"),
)
"""One array without pages."""

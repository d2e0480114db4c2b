"""The device groups, as VENDOR_API describes them."""

from __future__ import annotations

from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.vendor.listing import Listing
from gengfu.vendor.paging import BareArray

DEVICE_GROUP = Resource(
    name="device_group",
    title="list of device groups",
    listing=Listing("api/DeviceGroup/list", paging=BareArray()),
    fields=(
        Field("tenantId"),
        Field("groupName", searched=True),
        Field("groupMemo", searched=True),
        Field("count"),
        Field("createTime", kind=Kind.MOMENT),
    ),
)
"""One array without pages."""

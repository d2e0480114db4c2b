"""The accounts of the tenant, as VENDOR_API describes them."""

from __future__ import annotations

from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.vendor.listing import Listing

ACCOUNT = Resource(
    name="account",
    title="list of accounts",
    listing=Listing("api/Account/myTenantPageAccounts"),
    fields=(
        Field("tenantId"),
        Field("userName", searched=True),
        Field("realName", searched=True),
        Field("phone", searched=True),
        Field("departmentId"),
        Field("createTime", kind=Kind.MOMENT),
    ),
)
"""Paged like the device list."""

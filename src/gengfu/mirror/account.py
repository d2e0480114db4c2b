"""The accounts of the tenant, as VENDOR_API describes them."""

from __future__ import annotations

from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.vendor.paging import Listing

ACCOUNT = Resource(
    name="account",
    title="list of accounts",
    listing=Listing("api/Account/myTenantPageAccounts"),
    fields=(
        Field("tenantId", en="tenant id", zh="租户编号"),
        Field("userName", searched=True, en="user name", zh="用户名"),
        Field("realName", searched=True, en="real name", zh="姓名"),
        Field("phone", searched=True, en="phone", zh="手机号"),
        Field("departmentId", filtered=True, en="department id", zh="部门编号"),
        Field("createTime", kind=Kind.MOMENT, en="created", zh="创建时间"),
    ),
    names=("realName", "userName"),
    shown=("userName", "phone", "departmentId"),
)
"""Paged like the device list."""

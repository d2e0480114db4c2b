"""The lists that Gengfu brings along."""

from __future__ import annotations

from gengfu.mirror.account import ACCOUNT
from gengfu.mirror.device import DEVICE
from gengfu.mirror.device_group import DEVICE_GROUP

BUILT_IN = {resource.name: resource for resource in (DEVICE, DEVICE_GROUP, ACCOUNT)}
"""By name."""

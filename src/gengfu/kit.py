"""The names that commands, jobs and resources of user code need: `from gengfu.kit import BaseCommand, Job`."""

from __future__ import annotations

from click import Argument, Choice, IntRange, Option

from gengfu.cli.base import BaseCommand, House
from gengfu.cli.output import Column
from gengfu.errors import ConfigError, GengfuError, NotFound, Postpone, Stopped, UsageError, VendorError
from gengfu.mirror.resource import Field, Kind, Resource, Scope
from gengfu.queue.job import Hold, Job
from gengfu.schedule.policy import CatchUp, Overlap, Schedule
from gengfu.vendor.listing import Listing
from gengfu.vendor.paging import BareArray, Cursor, Link, Offset, PageIndex, PreviousId

__all__ = [
    "Argument",
    "BareArray",
    "BaseCommand",
    "CatchUp",
    "Choice",
    "Column",
    "ConfigError",
    "Cursor",
    "Field",
    "GengfuError",
    "Hold",
    "House",
    "IntRange",
    "Job",
    "Kind",
    "Link",
    "Listing",
    "NotFound",
    "Offset",
    "Option",
    "Overlap",
    "PageIndex",
    "Postpone",
    "PreviousId",
    "Resource",
    "Schedule",
    "Scope",
    "Stopped",
    "UsageError",
    "VendorError",
]

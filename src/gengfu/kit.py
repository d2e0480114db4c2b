"""The names that commands, jobs and resources of user code need: `from gengfu.kit import BaseCommand, Job`."""

from __future__ import annotations

from click import Argument, Choice, IntRange, Option

from gengfu.commands.base import BaseCommand, House
from gengfu.commands.output import Column
from gengfu.errors import ConfigError, GengfuError, NotFound, Postpone, Stopped, UsageError, VendorError
from gengfu.queue.job import Hold, Job
from gengfu.schedule.policy import CatchUp, Overlap, Schedule

__all__ = [
    "Argument",
    "BaseCommand",
    "CatchUp",
    "Choice",
    "Column",
    "ConfigError",
    "GengfuError",
    "Hold",
    "House",
    "IntRange",
    "Job",
    "NotFound",
    "Option",
    "Overlap",
    "Postpone",
    "Schedule",
    "Stopped",
    "UsageError",
    "VendorError",
]

"""Gengfu keeps a true, fresh copy of a vendor's device list in your database.

What commands, jobs and resources of user code need is to be had from here: `from gengfu import BaseCommand, Job`. Each
name is imported when it is first used, so `import gengfu` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from click import Argument as Argument
    from click import Choice as Choice
    from click import IntRange as IntRange
    from click import Option as Option

    from gengfu.app import App as App
    from gengfu.cli.base import BaseCommand as BaseCommand
    from gengfu.cli.output import Column as Column
    from gengfu.errors import ConfigError as ConfigError
    from gengfu.errors import GengfuError as GengfuError
    from gengfu.errors import NotFound as NotFound
    from gengfu.errors import Postpone as Postpone
    from gengfu.errors import Stopped as Stopped
    from gengfu.errors import UsageError as UsageError
    from gengfu.errors import VendorError as VendorError
    from gengfu.mirror.resource import Field as Field
    from gengfu.mirror.resource import Kind as Kind
    from gengfu.mirror.resource import Resource as Resource
    from gengfu.mirror.resource import Scope as Scope
    from gengfu.queue.job import Job as Job
    from gengfu.queue.job import JobContext as JobContext
    from gengfu.schedule.policy import CatchUp as CatchUp
    from gengfu.schedule.policy import Overlap as Overlap
    from gengfu.schedule.policy import Schedule as Schedule
    from gengfu.services.export import read_csv as read_csv
    from gengfu.vendor.paging import BareArray as BareArray
    from gengfu.vendor.paging import Cursor as Cursor
    from gengfu.vendor.paging import Link as Link
    from gengfu.vendor.paging import Listing as Listing
    from gengfu.vendor.paging import Offset as Offset
    from gengfu.vendor.paging import PageIndex as PageIndex
    from gengfu.vendor.paging import PreviousId as PreviousId

__version__ = "0.1.0"

_PUBLIC = {
    "click": "Argument Choice IntRange Option",
    "gengfu.app": "App",
    "gengfu.cli.base": "BaseCommand",
    "gengfu.cli.output": "Column",
    "gengfu.errors": "ConfigError GengfuError NotFound Postpone Stopped UsageError VendorError",
    "gengfu.mirror.resource": "Field Kind Resource Scope",
    "gengfu.queue.job": "Job JobContext",
    "gengfu.schedule.policy": "CatchUp Overlap Schedule",
    "gengfu.services.export": "read_csv",
    "gengfu.vendor.paging": "BareArray Cursor Link Listing Offset PageIndex PreviousId",
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names.split()}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

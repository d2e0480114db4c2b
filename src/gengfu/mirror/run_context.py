"""What every step of a run is handed: the run, its list, and what it is read, kept and closed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gengfu.clock import Clock
from gengfu.mirror.resource import Resource, Scope
from gengfu.mirror.rows import RowReader
from gengfu.mirror.window_jobs import WindowJobs
from gengfu.settings import Settings
from gengfu.store.changes import ChangeStore
from gengfu.store.database import Database
from gengfu.store.rows import MirrorTable
from gengfu.store.run_rows import Run
from gengfu.store.runs import RunStore
from gengfu.store.windows import WindowStore
from gengfu.vendor.client import VendorClient
from gengfu.vendor.paging import Listing


@dataclass(frozen=True)
class RunContext:
    """A run as it was when it was read, with the stores of its source."""

    db: Database
    vendor: VendorClient
    jobs: WindowJobs
    settings: Settings
    clock: Clock
    runs: RunStore
    windows: WindowStore
    new_calls: Callable[[], Mapping[str, int]]
    """Gives the calls of this process that no run has been charged with yet."""
    resource: Resource
    reader: RowReader
    table: MirrorTable
    changes: ChangeStore
    run: Run

    @property
    def scope(self) -> Scope:
        """The run's view of the list."""
        return self.resource.scope(self.run.scope)

    @property
    def listing(self) -> Listing:
        """The list as the run's scope asks for it."""
        return self.resource.listing_of(self.scope)

    @property
    def page_size(self) -> int:
        """Of the pages that the run reads, once it is begun."""
        assert self.run.page_size is not None
        return self.run.page_size

    def of(self, run: Run) -> RunContext:
        """The same for the run as it is now."""
        return replace(self, run=run)

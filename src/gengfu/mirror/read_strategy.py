"""The two courses of a run: pages by their numbers, many at once; or one page after the other, to the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gengfu.mirror import reconcile
from gengfu.mirror.reading import Assignment, Batches, Forerun, Reading
from gengfu.mirror.walking import Walking
from gengfu.store.run_rows import OPEN_END, PageRecord, Run
from gengfu.vendor.client import VendorClient
from gengfu.vendor.listing import Listing, Page
from gengfu.vendor.paging import Numbered


@dataclass(frozen=True, slots=True)
class Plan:
    """How a pass reads the list. `pages` and `total` are None where only its end will tell."""

    page_size: int
    pages: int | None
    total: int | None
    windows: Sequence[tuple[int, int]]
    """The first and the last page of each."""
    have: Sequence[Page] = ()
    """Pages that were read for the plan, and need not be read again."""
    forerun: Forerun | None = None
    """What brings all other pages, where they were asked for along with the first one."""

    @property
    def ahead(self) -> Batches | None:
        """The answers that are on their way already."""
        return self.forerun.rest() if self.forerun is not None else None

    def call_off(self) -> None:
        """Nobody wants them any more."""
        if self.forerun is not None:
            self.forerun.close()


class Reader(Protocol):
    """Reads one window."""

    def read(self, have: Sequence[Page], stop: threading.Event, ahead: Batches | None = None) -> None:
        """Reads it; `have` are pages of it that were fetched already, `ahead` brings those that were asked for."""


class Course(Protocol):
    """What differs between the two."""

    @property
    def reader(self) -> Callable[[Assignment], Reader]:
        """What reads a window."""

    def begin(
        self, vendor: VendorClient, listing: Listing, asked: int, before: int | None, stop: threading.Event
    ) -> Plan:
        """The plan of the first pass, for pages of `asked` rows, of which the last run read `before`, if that is known.

        Raises:
            VendorError: the vendor does not answer.
        """

    def again(self, run: Run, total: int) -> Plan:
        """The plan of a further pass, over `total` rows."""

    def reading_order(self, pass_number: int, pages: Sequence[PageRecord]) -> Sequence[PageRecord]:
        """The pages of a pass in the order in which it reads them."""

    def judge(self, evidence: reconcile.Evidence, pages: Sequence[bytes]) -> reconcile.Judgement:
        """Whether every row that existed throughout the run was read; `pages` are those of the latest pass."""


class InWindows:
    """Page 0 tells how long the list is; it is cut into windows, and each pass reads in the other direction."""

    reader: Callable[[Assignment], Reader] = Reading

    def begin(
        self, vendor: VendorClient, listing: Listing, asked: int, before: int | None, stop: threading.Event
    ) -> Plan:
        """Reads page 0, and asks for the others along with it where their number is likely to be as `before`."""
        forerun = Forerun(vendor, listing, asked, before, stop)
        try:
            page = forerun.first()
        except BaseException:
            forerun.close()
            raise
        size = reconcile.page_size(asked, len(page.rows), page.total)
        pages = reconcile.page_count(page.total, size)
        usable = [page] if len(page.rows) == min(size, page.total) else []
        if not usable or pages != before or size != asked:
            forerun.close()
            return Plan(size, pages, page.total, reconcile.cut(pages), usable)
        return Plan(size, pages, page.total, reconcile.cut(pages), usable, forerun)

    def again(self, run: Run, total: int) -> Plan:
        """With the borders of the first pass."""
        assert run.page_size is not None
        pages = reconcile.page_count(total, run.page_size)
        return Plan(run.page_size, pages, total, reconcile.cut(pages))

    def reading_order(self, pass_number: int, pages: Sequence[PageRecord]) -> Sequence[PageRecord]:
        """Even passes read backwards."""
        return pages if pass_number % 2 else pages[::-1]

    def judge(self, evidence: reconcile.Evidence, pages: Sequence[bytes]) -> reconcile.Judgement:
        """By the totals."""
        return reconcile.judge(evidence)


class StepByStep:
    """One window without a known end, read by one job, always forwards."""

    reader: Callable[[Assignment], Reader] = Walking

    def begin(
        self, vendor: VendorClient, listing: Listing, asked: int, before: int | None, stop: threading.Event
    ) -> Plan:
        """Asks nothing."""
        return Plan(asked, None, None, [(0, OPEN_END)])

    def again(self, run: Run, total: int) -> Plan:
        """Like the first."""
        assert run.page_size is not None
        return Plan(run.page_size, None, None, [(0, OPEN_END)])

    def reading_order(self, pass_number: int, pages: Sequence[PageRecord]) -> Sequence[PageRecord]:
        """Forwards."""
        return pages

    def judge(self, evidence: reconcile.Evidence, pages: Sequence[bytes]) -> reconcile.Judgement:
        """By the rows themselves."""
        return reconcile.judge_walk(evidence, pages)


def course_of(listing: Listing) -> Course:
    """The course for a list."""
    return InWindows() if isinstance(listing.paging, Numbered) else StepByStep()

"""Planning a pass: what the first page tells, how the list is cut into windows, and the job that each is given.

Pages are read by their numbers, many at once; or one page after the other, to the end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gengfu.errors import AnswerError, Stopped
from gengfu.language import tr
from gengfu.mirror import reconcile
from gengfu.mirror.run_context import RunContext
from gengfu.store.database import Transaction
from gengfu.store.run_rows import OPEN_END, PageRecord
from gengfu.vendor.client import VendorClient
from gengfu.vendor.paging import Failure, Listing, Numbered, Page

Batches = Iterator[list[Page | Failure]]


def first_pass(context: RunContext, stop: threading.Event) -> PassPlan:
    """How the first pass of a queued run reads its list.

    Raises:
        VendorError: the vendor does not answer.
    """
    return strategy_of(context.listing).begin(context, stop)


def begin(context: RunContext, plan: PassPlan, job_id: int) -> bool:
    """Has the run be read from now on: its first window by this job; False if another job began it first."""

    def work(transaction: Transaction) -> list[int] | None:
        begun = context.runs.start(
            transaction, context.run.id, page_size=plan.page_size, pages=plan.pages, total=plan.total
        )
        return _add_windows(transaction, context, plan, context.run.pass_number, job_id) if begun else None

    added = context.db.write(work)
    if added is None:
        return False
    context.jobs.notify(context.resource, added)
    return True


def read_again(context: RunContext, total: int, job_id: int, stop: threading.Event) -> None:
    """Sends a closing run back to reading, over `total` rows.

    Raises:
        VendorError: the vendor does not answer.
        Fenced: another worker closes it.
    """
    run = context.run
    plan = strategy_of(context.listing).again(context, total, stop)

    def work(transaction: Transaction) -> list[int]:
        context.runs.next_pass(transaction, run, page_size=plan.page_size, pages=plan.pages)
        return _add_windows(transaction, context, plan, run.pass_number + 1, job_id)

    context.jobs.notify(context.resource, context.db.write(work))


def _add_windows(
    transaction: Transaction, context: RunContext, plan: PassPlan, pass_number: int, job_id: int
) -> list[int]:
    """The first window is this job's; the ids of the jobs that were added for the others."""
    added = [context.jobs.add(transaction, context.resource, context.run.id) for _ in plan.windows[1:]]
    owners = [job_id, *added]
    windows = [(owner, first, last) for owner, (first, last) in zip(owners, plan.windows, strict=True)]
    context.windows.add(transaction, context.run.id, pass_number, windows)
    return added


@dataclass(frozen=True, slots=True)
class PassPlan:
    """How a pass reads the list. `pages` and `total` are None where only its end will tell."""

    page_size: int
    pages: int | None
    total: int | None
    windows: Sequence[tuple[int, int]]
    """The first and the last page of each."""
    have: Sequence[Page] = ()
    """Pages that were read for the plan, and need not be read again."""
    prefetch: Prefetch | None = None
    """What brings all other pages, where they were asked for along with the first one."""

    @property
    def ahead(self) -> Batches | None:
        """The answers that are on their way already."""
        return self.prefetch.rest() if self.prefetch is not None else None

    def call_off(self) -> None:
        """Nobody wants them any more."""
        if self.prefetch is not None:
            self.prefetch.close()


class ReadStrategy(Protocol):
    """What differs between the two."""

    def begin(self, context: RunContext, stop: threading.Event) -> PassPlan:
        """The plan of the first pass.

        Raises:
            VendorError: the vendor does not answer, or tells of more rows than it has.
        """

    def again(self, context: RunContext, total: int, stop: threading.Event) -> PassPlan:
        """The plan of a further pass, over `total` rows. Raises as `begin` does."""

    def reading_order(self, pass_number: int, pages: Sequence[PageRecord]) -> Sequence[PageRecord]:
        """The pages of a pass in the order in which it reads them."""

    def judge(self, evidence: reconcile.Evidence, pages: Sequence[bytes]) -> reconcile.Judgement:
        """Whether every row that existed throughout the run was read; `pages` are those of the latest pass."""


class Windowed:
    """Page 0 tells how long the list is; it is cut into windows, and each pass reads in the other direction."""

    def begin(self, context: RunContext, stop: threading.Event) -> PassPlan:
        """Reads page 0, and asks for the others along with it where their number is likely to be as in the last run."""
        asked = context.settings.api_page_size
        before = context.runs.pages_before(context.run, asked)
        prefetch = Prefetch(context.vendor, context.listing, asked, before, stop)
        try:
            page = prefetch.first()
        except BaseException:
            prefetch.close()
            raise
        rows = context.reader.distinct(page.rows)
        size = reconcile.page_size(asked, len(page.rows), rows, page.total)
        pages = reconcile.page_count(page.total, size)
        usable = [page] if rows == min(size, page.total) else []
        if not usable or pages != before or size != asked:
            prefetch.close()
            _believe(context, page.total, size, context.runs.last_total(context.run) or 0, stop)
            return PassPlan(size, pages, page.total, reconcile.cut(pages), usable)
        return PassPlan(size, pages, page.total, reconcile.cut(pages), usable, prefetch)

    def again(self, context: RunContext, total: int, stop: threading.Event) -> PassPlan:
        """With the borders of the first pass."""
        size = context.page_size
        _believe(context, total, size, context.run.total_first or 0, stop)
        pages = reconcile.page_count(total, size)
        return PassPlan(size, pages, total, reconcile.cut(pages))

    def reading_order(self, pass_number: int, pages: Sequence[PageRecord]) -> Sequence[PageRecord]:
        """Even passes read backwards."""
        return pages if pass_number % 2 else pages[::-1]

    def judge(self, evidence: reconcile.Evidence, pages: Sequence[bytes]) -> reconcile.Judgement:
        """By the totals."""
        return reconcile.judge(evidence)


def _believe(context: RunContext, total: int, size: int, known: int, stop: threading.Event) -> None:
    """Where a list is said to have become far longer than it is `known` to be, its last page must be there, before work
    is queued for all of it.

    Raises:
        AnswerError: it is not, or nobody would live to see it.
    """
    pages = reconcile.page_count(total, size)
    if pages <= reconcile.WINDOW_PAGES or total <= 2 * known:
        return
    if pages > reconcile.MOST_PAGES:
        raise AnswerError(
            tr(
                "a total of {total} in pages of {size} rows is not believed: that would be {pages} pages",
                total=total,
                size=size,
                pages=pages,
            )
        )
    try:
        context.vendor.page(context.listing, pages - 2, size, stop)
    except AnswerError as error:
        raise AnswerError(
            tr("a total of {total} is not believed: its last page is not there; {error}", total=total, error=error)
        ) from None


class Sequential:
    """One window without a known end, read by one job, always forwards."""

    def begin(self, context: RunContext, stop: threading.Event) -> PassPlan:
        """Asks nothing."""
        return PassPlan(context.settings.api_page_size, None, None, [(0, OPEN_END)])

    def again(self, context: RunContext, total: int, stop: threading.Event) -> PassPlan:
        """Like the first."""
        return PassPlan(context.page_size, None, None, [(0, OPEN_END)])

    def reading_order(self, pass_number: int, pages: Sequence[PageRecord]) -> Sequence[PageRecord]:
        """Forwards."""
        return pages

    def judge(self, evidence: reconcile.Evidence, pages: Sequence[bytes]) -> reconcile.Judgement:
        """By the rows themselves."""
        return reconcile.judge_walk(evidence, pages)


def strategy_of(listing: Listing) -> ReadStrategy:
    """How that list is read."""
    return Windowed() if isinstance(listing.paging, Numbered) else Sequential()


class Prefetch:
    """The first page of a new run and, where an earlier run tells how many there may be, all others along with it.

    What was asked for in vain, since the list has another length now, is called off by `close`.
    """

    def __init__(
        self, vendor: VendorClient, listing: Listing, size: int, guess: int | None, stop: threading.Event
    ) -> None:
        indices = (0,) if guess is None else (*range(guess), *reconcile.echoes(guess))
        self._batches = vendor.pages(listing, indices, size, stop, check_from=1)
        self._early: list[Page | Failure] = []

    def first(self) -> Page:
        """Page 0, which may have fewer rows than its `total` implies.

        Raises:
            AnswerError: there was none after every try.
            GengfuError: as `VendorClient.pages`.
        """
        for batch in self._batches:
            found = next((answer for answer in batch if answer.index == 0), None)
            self._early += [answer for answer in batch if answer is not found]
            if isinstance(found, Failure):
                raise AnswerError(found.cause)
            if found is not None:
                return found
        raise Stopped("reading the first page was stopped")

    def rest(self) -> Batches:
        """All further answers."""
        yield self._early
        yield from self._batches

    def close(self) -> None:
        """Calls off what has not come yet."""
        self._batches.close()

"""Reading a window: its pages from the vendor to the database, in a transaction now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gengfu.clock import monotonic
from gengfu.errors import AnswerError, GengfuError, Stopped
from gengfu.mirror.reconcile import echoes
from gengfu.mirror.row_writer import Intake
from gengfu.store.run_rows import Run, Window
from gengfu.store.runs import RunStore
from gengfu.vendor.client import VendorClient
from gengfu.vendor.listing import Failure, Listing, Page

COMMIT_ROWS = 4_000
"""Rows to be written after which a window commits, so that memory stays flat and further pages come in meanwhile. Where
a run has more than one window, two are read side by side in a process, and each commits after half as many."""

COMMIT_SECONDS = 0.5
"""Seconds after which it does, so that progress shows and a killed worker loses little."""

SOON = 0.1
"""The same, where a run has one window only: what is written while pages come in need not be written after the last
one, and nobody else waits to write."""


Batches = Iterator[list[Page | Failure]]


class Forerun:
    """The first page of a new run and, where an earlier run tells how many there may be, all others along with it.

    What was asked for in vain, since the list has another length now, is called off by `close`.
    """

    def __init__(
        self, vendor: VendorClient, listing: Listing, size: int, guess: int | None, stop: threading.Event
    ) -> None:
        indices = (0,) if guess is None else (*range(guess), *echoes(guess))
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


@dataclass(frozen=True, slots=True)
class Assignment:
    """A window to be read, and what it is read and written with."""

    vendor: VendorClient
    runs: RunStore
    listing: Listing
    run: Run
    window: Window
    intake: Intake
    calls: Callable[[], dict[str, int]]
    """Gives the calls that no run has been charged with yet."""

    def commit(self, *, shifted: bool = False, last_page: int | None = None) -> None:
        """Writes what the intake has taken in, and forgets it; the arguments are those of `RunStore.record`."""
        intake = self.intake
        intake.settle()
        calls = self.calls()
        self.runs.record(
            self.window,
            intake.pages,
            intake.rejects,
            lambda connection: intake.write(connection) | calls,
            shifted=shifted,
            last_page=last_page,
        )
        intake.clear()


class Reading:
    """Fetches the pages of a window that are not recorded yet, and writes what they change.

    Where one window is the whole first pass, its first and its last page are read once more at the end: other rows
    there show that the list shifted, even if as many appeared as vanished.
    """

    def __init__(self, given: Assignment) -> None:
        self._given = given
        self._echoes: tuple[int, ...] = ()
        self._first_answers: dict[int, bytes] = {}
        self._failures: list[Failure] = []
        self._shifted = False

    def read(self, have: Sequence[Page], stop: threading.Event, ahead: Batches | None = None) -> None:
        """Reads the window; `have` are pages of it that were fetched already, and `ahead` brings all others and those
        that are read once more, where they were asked for before the window was known.

        Raises:
            AnswerError: pages could not be read; the others are recorded.
            Fenced: another worker has taken over.
        """
        window, run = self._given.window, self._given.run
        assert run.page_size is not None
        recorded = self._given.runs.pages_of(window)
        if run.windows == 1 and run.pass_number == 1 and not recorded:
            self._echoes = echoes(window.last_page + 1)
        there = recorded | {page.index for page in have}
        wanted = [page for page in range(window.first_page, window.last_page + 1) if page not in there]
        if window.pass_number % 2 == 0:
            wanted.reverse()
        for page in have:
            self._take(page)
        committed = monotonic()
        most, longest = (COMMIT_ROWS, SOON) if run.windows == 1 else (COMMIT_ROWS // 2, COMMIT_SECONDS)
        try:
            asked = [*wanted, *self._echoes]
            left = len(asked)
            for batch in ahead or self._given.vendor.pages(self._given.listing, asked, run.page_size, stop):
                for answer in batch:
                    self._take(answer)
                left -= len(batch)
                # The commit that completes the window ends this hold on it, so it must be the last one.
                if left <= len(self._echoes):
                    continue
                if self._given.intake.held >= most or monotonic() - committed > longest:
                    self._commit()
                    committed = monotonic()
        except GengfuError:
            self._commit()
            raise
        self._commit()
        if self._failures:
            first = min(self._failures, key=lambda failure: failure.index)
            count = f"{len(self._failures)} of {len(wanted)} pages could not be read"
            raise AnswerError(f"{count}; page {first.index}: {first.cause}")

    def _take(self, answer: Page | Failure) -> None:
        index = answer.index
        if isinstance(answer, Failure):
            if index in self._first_answers:
                self._shifted = True
            else:
                self._failures.append(answer)
        elif index in self._first_answers:
            self._shifted |= self._given.intake.keys(answer) != self._first_answers[index]
        else:
            ids = self._given.intake.add(answer)
            if index in self._echoes:
                self._first_answers[index] = ids

    def _commit(self) -> None:
        self._given.commit(shifted=self._shifted)

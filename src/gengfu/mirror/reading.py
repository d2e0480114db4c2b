"""Reading a window: its pages from the vendor to the database, in a transaction now and then."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gengfu.clock import monotonic
from gengfu.errors import AnswerError, GengfuError
from gengfu.language import tr
from gengfu.mirror.planning import Batches
from gengfu.mirror.reconcile import echoes
from gengfu.mirror.row_writer import RowWriter
from gengfu.mirror.run_context import RunContext
from gengfu.store.run_rows import OPEN_END, Window
from gengfu.vendor.paging import Failure, Page

COMMIT_ROWS = 4_000
"""Rows to be written after which a window commits, so that memory stays flat and further pages come in meanwhile. Where
a run has more than one window, two are read side by side in a process, and each commits after half as many."""

COMMIT_SECONDS = 0.5
"""Seconds after which it does, so that progress shows and a killed worker loses little."""

SOON = 0.1
"""The same, where a run has one window only: what is written while pages come in need not be written after the last
one, and nobody else waits to write."""


def read_window(
    context: RunContext,
    window: Window,
    stop: threading.Event,
    have: Sequence[Page] = (),
    ahead: Batches | None = None,
) -> None:
    """Reads the pages of a held window that are not recorded yet; `have` are pages of it that were fetched already,
    `ahead` brings those that were asked for before the window was known.

    Raises:
        LoginRefused, AnswerError: pages could not be read; the others are recorded.
        Fenced: another worker has taken over.
    """
    writer = RowWriter(context, window)
    if window.last_page == OPEN_END:
        _read_to_the_end(context, window, writer, stop)
    else:
        _Pages(context, window, writer).read(have, stop, ahead)


class _Pages:
    """The pages of a window by their numbers.

    Where one window is the whole first pass, its first and its last page are read once more at the end: other rows
    there show that the list shifted, even if as many appeared as vanished.
    """

    def __init__(self, context: RunContext, window: Window, writer: RowWriter) -> None:
        self._context = context
        self._window = window
        self._writer = writer
        self._echoes: tuple[int, ...] = ()
        self._first_answers: dict[int, bytes] = {}
        self._failures: list[Failure] = []
        self._shifted = False

    def read(self, have: Sequence[Page], stop: threading.Event, ahead: Batches | None = None) -> None:
        """Reads them, and commits now and then."""
        context, window, run = self._context, self._window, self._context.run
        recorded = context.windows.recorded(window)
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
            for batch in ahead or context.vendor.pages(context.listing, asked, context.page_size, stop):
                for answer in batch:
                    self._take(answer)
                left -= len(batch)
                # The commit that completes the window ends this hold on it, so it must be the last one.
                if left <= len(self._echoes):
                    continue
                if self._writer.held >= most or monotonic() - committed > longest:
                    self._writer.commit(shifted=self._shifted)
                    committed = monotonic()
        except GengfuError:
            self._writer.commit(shifted=self._shifted)
            raise
        self._writer.commit(shifted=self._shifted)
        if self._failures:
            first = min(self._failures, key=lambda failure: failure.index)
            count = tr("{number} of {total} pages could not be read", number=len(self._failures), total=len(wanted))
            raise AnswerError(tr("{count}; page {first.index}: {first.cause}", count=count, first=first))

    def _take(self, answer: Page | Failure) -> None:
        index = answer.index
        if isinstance(answer, Failure):
            if index in self._first_answers:
                self._shifted = True
            else:
                self._failures.append(answer)
        elif index in self._first_answers:
            self._shifted |= self._writer.keys(answer) != self._first_answers[index]
        else:
            ids = self._writer.add(answer)
            if index in self._echoes:
                self._first_answers[index] = ids


def _read_to_the_end(context: RunContext, window: Window, writer: RowWriter, stop: threading.Event) -> None:
    """Reads the one window of a pass page by page, where only an answer tells what comes next.

    It always starts at the beginning: what a cursor of an earlier try leads to by now, nobody knows. What that try has
    written is true and stays; its pages are taken off the record.
    """
    context.windows.restart(window)
    committed = monotonic()
    seen: dict[bytes, int] = {}
    last = 0
    try:
        for page in context.vendor.walk(context.listing, context.page_size, stop):
            last = page.index
            ids = writer.add(page)
            earlier = seen.setdefault(ids, last) if ids else last
            if earlier != last:
                raise AnswerError(
                    tr(
                        "page {last} repeats page {earlier}: the server ignores which page is asked for",
                        last=last,
                        earlier=earlier,
                    )
                )
            if writer.held >= COMMIT_ROWS or monotonic() - committed > COMMIT_SECONDS:
                writer.commit()
                committed = monotonic()
    except GengfuError:
        writer.commit()
        raise
    writer.commit(last_page=last)

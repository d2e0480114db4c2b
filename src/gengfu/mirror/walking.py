"""Walking a list: page by page from its first to its last, where only an answer tells what comes next."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gengfu.clock import monotonic
from gengfu.errors import AnswerError, GengfuError
from gengfu.mirror.reading import COMMIT_ROWS, COMMIT_SECONDS, Assignment, Batches
from gengfu.vendor.listing import Page


class Walking:
    """Reads the one window of a pass and writes what its pages change.

    It always starts at the beginning: what a cursor of an earlier try leads to by now, nobody knows. What that try has
    written is true and stays; its pages are taken off the record.
    """

    def __init__(self, given: Assignment) -> None:
        self._given = given
        self._seen: dict[bytes, int] = {}

    def read(self, have: Sequence[Page], stop: threading.Event, ahead: Batches | None = None) -> None:
        """Reads the list to its end; there is nothing to `have` before, nor `ahead`.

        Raises:
            AnswerError: a page could not be read, or the server does not turn the pages.
            Fenced: another worker has taken over.
        """
        assert self._given.run.page_size is not None
        self._given.runs.restart(self._given.window)
        committed = monotonic()
        last = 0
        try:
            for page in self._given.vendor.walk(self._given.listing, self._given.run.page_size, stop):
                self._take(page)
                last = page.index
                if self._given.intake.held >= COMMIT_ROWS or monotonic() - committed > COMMIT_SECONDS:
                    self._commit()
                    committed = monotonic()
        except GengfuError:
            self._commit()
            raise
        self._commit(last)

    def _take(self, page: Page) -> None:
        ids = self._given.intake.add(page)
        earlier = self._seen.setdefault(ids, page.index) if ids else page.index
        if earlier != page.index:
            raise AnswerError(f"page {page.index} repeats page {earlier}: the server does not turn the pages")

    def _commit(self, last_page: int | None = None) -> None:
        self._given.commit(last_page=last_page)

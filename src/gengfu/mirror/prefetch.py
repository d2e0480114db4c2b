"""Prefetch: the pages that are asked for along with the first one, before it has told how many there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from gengfu.errors import AnswerError, Stopped
from gengfu.mirror.reconcile import echoes
from gengfu.vendor.client import VendorClient
from gengfu.vendor.listing import Failure, Listing, Page

Batches = Iterator[list[Page | Failure]]


class Prefetch:
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

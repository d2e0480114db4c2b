"""What is asked of the vendor and what comes of it: a list, a page of it, or the reason why there is no page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gengfu.vendor.paging import Numbered, PageIndex, Paging

if TYPE_CHECKING:
    import msgspec


@dataclass(frozen=True)
class Listing:
    """One vendor list: its path, its fixed query, in the contract's order, empty values included, and how it pages."""

    path: str
    """Below the base address, for example `api/device/pageResult`."""
    query: tuple[tuple[str, str], ...] = ()
    """Without what asks for a page, which always comes last."""
    paging: Paging = field(default_factory=PageIndex)

    def narrowed(self, **replaced: str) -> Listing:
        """The same list with other values for some of its query's names.

        Raises:
            LookupError: the query has no such name.
        """
        unknown = replaced.keys() - {name for name, _ in self.query}
        if unknown:
            raise LookupError(f"{self.path} cannot be narrowed by {', '.join(sorted(unknown))}")
        return replace(self, query=tuple((name, replaced.get(name, value)) for name, value in self.query))

    @property
    def numbered(self) -> Numbered:
        """How it pages, where its pages can be asked for in any order.

        Raises:
            LookupError: they cannot.
        """
        if not isinstance(self.paging, Numbered):
            raise LookupError(f"{self.path} has no numbered pages")
        return self.paging

    def target(self, size: int) -> tuple[str, str]:
        """What stands before and after the page number in the address of a page of `size` rows, already encoded."""
        return self.numbered.target(self.path, self.query, size)

    def addresses(self, size: int) -> Callable[[int], str]:
        """Gives the address of a page of `size` rows, counted from 0."""
        return self.numbered.addresses(self.path, self.query, size)


@dataclass(frozen=True, slots=True)
class Page:
    """One page as the vendor answered it; its rows are still JSON."""

    index: int
    rows: list[msgspec.Raw]
    total: int
    """What the vendor says is the length of the whole list; where it does not say, how many rows it has listed so far,
    these included."""
    took: float
    """Seconds of the call that gave it."""
    attempts: int
    """Calls made for it, this one included."""
    more: str | int | None = None
    """What it names as leading to the next page, if the list pages so."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that could not be read, after every try that the client allows."""

    index: int
    cause: str
    status: int | None
    """Of the last answer; `None` when there was none."""

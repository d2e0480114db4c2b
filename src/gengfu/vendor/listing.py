"""What is asked of the vendor and what comes of it: a list, a page of it, or the reason why there is no page."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

import msgspec


@dataclass(frozen=True)
class Listing:
    """One vendor list: its path and its fixed query, in the contract's order, empty values included."""

    path: str
    """Below the base address, for example `api/device/pageResult`."""
    query: tuple[tuple[str, str], ...]
    """Without `pageIndex` and `pageSize`, which are always the last two."""

    def narrowed(self, **replace: str) -> Listing:
        """The same list with other values for some of its query's names.

        Raises:
            LookupError: the query has no such name.
        """
        unknown = replace.keys() - {name for name, _ in self.query}
        if unknown:
            raise LookupError(f"{self.path} cannot be narrowed by {', '.join(sorted(unknown))}")
        return Listing(self.path, tuple((name, replace.get(name, value)) for name, value in self.query))

    def target(self, size: int) -> tuple[str, str]:
        """What stands before and after the page number in the address of a page of `size` rows, already encoded."""
        fixed = urlencode((*self.query, ("pageIndex", "")), quote_via=quote)
        return f"{self.path}?{fixed}", f"&pageSize={size}"


@dataclass(frozen=True, slots=True)
class Page:
    """One page as the vendor answered it; its rows are still JSON."""

    index: int
    rows: list[msgspec.Raw]
    total: int
    """What the vendor says is the length of the whole list."""
    took: float
    """Seconds of the call that gave it."""
    attempts: int
    """Calls made for it, this one included."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that could not be read, after every try that the client allows."""

    index: int
    cause: str
    status: int | None
    """Of the last answer; `None` when there was none."""

"""A list of the vendor: how it comes in pages, in the six ways that are known; what is asked, and a page of it.

Lists that tell their length (`Numbered`) are read many pages at once, in any order. All others (`Sequential`) are read
one page after the other, since an answer is what leads to the next page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from gengfu.language import tr

if TYPE_CHECKING:
    import msgspec

Query = Sequence[tuple[str, str]]

NO_MORE = (None, "", "0", 0)
"""What names no next page."""

_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w-]+\*?\s*=\s*(?:"[^"]*"|[^\s",;]+))*)')
_REL_NEXT = re.compile(r';\s*rel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)', re.IGNORECASE)


@dataclass(frozen=True)
class PageShape:
    """Where an answer keeps what counts. An answer that lacks any of it is none."""

    rows: str | None
    """The member that holds the rows; None where the answer is the array itself."""
    total: str | None = None
    """The member that tells the length of the whole list."""
    more: str | None = None
    """The member that leads to the next page; null, empty or 0 on the last one."""
    may_lack_more: bool = False
    """Whether the last page does without that member."""
    link: bool = False
    """Whether the next page stands in the header `Link`, with `rel="next"`."""
    whole: bool = False
    """Whether any JSON will do: the answer counts as one row, itself."""


def next_link(header: str | None) -> str | None:
    """The target of `rel="next"` in a `Link` header (RFC 8288); None if there is none."""
    found = (link[1] for link in _LINK.finditer(header or "") if _REL_NEXT.search(link[2]))
    return next(found, None)


def address(path: str, query: Query) -> str:
    """A path below the base with its query, encoded."""
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


LONGEST_LINK = 8_000
"""The characters of an address that servers take."""


def linked(url: str, link: str) -> str:
    """Where a link on the page at `url` leads, whole and encoded.

    Raises:
        ValueError: nobody should follow it; the text says why.
    """
    path = urlsplit(link).path
    while path != (path := unquote(path)):
        pass
    if not link.isprintable() or not path.isprintable() or any(sign in link for sign in ' \\"<>'):
        problem = "holds characters that no address has"
    elif {".", ".."} & set(re.split(r"[/\\]", path)):
        problem = "goes by way of . or .."
    elif len(link) > LONGEST_LINK:
        problem = tr("is longer than {longest_link} characters", longest_link=LONGEST_LINK)
    else:
        return urljoin(url, quote(link, safe="%/?#[]@!$&'()*+,;=:~"))
    raise ValueError(tr("its link to the next page {problem}: {link}", problem=problem, link=link[:100]))


@dataclass(frozen=True)
class Numbered:
    """Pages that are asked for by a number, of a list that tells its length on each page."""

    number: str
    size: str
    rows: str = "results"
    total: str = "total"
    first: int = 0
    """The number of the first page."""

    @property
    def shape(self) -> PageShape:
        """How a page looks."""
        return PageShape(self.rows, total=self.total)

    def target(self, path: str, query: Query, size: int) -> tuple[str, str]:
        """What stands before and after the number in the address of a page of `size` rows, already encoded."""
        return address(path, (*query, (self.number, ""))), f"&{quote(self.size)}={size}"

    def addresses(self, path: str, query: Query, size: int) -> Callable[[int], str]:
        """Gives the address of a page, counted from 0."""
        before, after = self.target(path, query, size)
        first, step = self.first, self.step(size)
        return lambda index: f"{before}{first + index * step}{after}"

    def step(self, size: int) -> int:
        """By how much the number grows from page to page."""
        raise NotImplementedError


@dataclass(frozen=True)
class PageIndex(Numbered):
    """Pages are counted: `pageIndex=3&pageSize=100`, answered by `{"results": [...], "total": N}`."""

    number: str = "pageIndex"
    size: str = "pageSize"

    def step(self, size: int) -> int:
        """One page."""
        return 1


@dataclass(frozen=True)
class Offset(Numbered):
    """Rows are counted: `offset=300&limit=100`, answered by `{"results": [...], "total": N}`."""

    number: str = "offset"
    size: str = "limit"

    def step(self, size: int) -> int:
        """A page's rows."""
        return size


class Sequential(Protocol):
    """Pages that lead from one to the next."""

    @property
    def shape(self) -> PageShape:
        """How a page looks."""

    def begin(self, path: str, query: Query, size: int) -> str:
        """The address of the first page, below the base or whole."""

    def follow(self, path: str, query: Query, size: int, page: Page, url: str) -> str | None:
        """The address of the page that follows the one that came from `url`, below the base or whole; None after the
        last.

        Raises:
            ValueError: the page does not say; the text tells what is wrong with it.
        """


@dataclass(frozen=True)
class Cursor:
    """Each page names a cursor, which is asked for next: `{"results": [...], "nextCursor": "..."}`; null, empty or 0
    ends the list."""

    name: str = "cursor"
    size: str | None = "limit"
    rows: str = "results"
    more: str = "nextCursor"
    may_lack_more: bool = False

    @property
    def shape(self) -> PageShape:
        """How a page looks."""
        return PageShape(self.rows, more=self.more, may_lack_more=self.may_lack_more)

    def begin(self, path: str, query: Query, size: int) -> str:
        """Without a cursor."""
        return address(path, (*query, *_sized(self.size, size)))

    def follow(self, path: str, query: Query, size: int, page: Page, url: str) -> str | None:
        """With the cursor that the page names."""
        if page.more in NO_MORE:
            return None
        return address(path, (*query, (self.name, str(page.more)), *_sized(self.size, size)))


@dataclass(frozen=True)
class Link:
    """Each page names the address of the next one: in the member `more`, or, where that is None, in the header `Link`.
    The last page has none, or null."""

    size: str | None = "limit"
    rows: str | None = "results"
    more: str | None = "next"
    may_lack_more: bool = False

    @property
    def shape(self) -> PageShape:
        """How a page looks."""
        return PageShape(self.rows, more=self.more, may_lack_more=self.may_lack_more, link=self.more is None)

    def begin(self, path: str, query: Query, size: int) -> str:
        """The list itself."""
        return address(path, (*query, *_sized(self.size, size)))

    def follow(self, path: str, query: Query, size: int, page: Page, url: str) -> str | None:
        """Where the page says, seen from its own address."""
        return None if page.more in NO_MORE else linked(url, str(page.more))


@dataclass(frozen=True)
class PreviousId:
    """A page holds the rows that follow a given one, named by its key: `preFriendId=5000100`. A page is a bare array,
    and an empty one ends the list."""

    name: str
    size: str | None = "count"
    key: str = "id"
    first: str = "0"
    """What the first page is asked for by."""

    @property
    def shape(self) -> PageShape:
        """How a page looks."""
        return PageShape(None)

    def begin(self, path: str, query: Query, size: int) -> str:
        """The rows that follow none."""
        return self._after(path, query, size, self.first)

    def follow(self, path: str, query: Query, size: int, page: Page, url: str) -> str | None:
        """The rows that follow the last one."""
        return self._after(path, query, size, self._last_key(page)) if page.rows else None

    def _after(self, path: str, query: Query, size: int, key: str) -> str:
        return address(path, (*query, (self.name, key), *_sized(self.size, size)))

    def _last_key(self, page: Page) -> str:
        import msgspec

        try:
            key = msgspec.json.decode(page.rows[-1])[self.key]
        except (msgspec.DecodeError, TypeError, LookupError, UnicodeDecodeError):
            key = None
        if isinstance(key, bool) or not isinstance(key, int | str) or key == "":
            raise ValueError(tr("its last row has no {key} by which to ask for the next page", key=self.key))
        return str(key)


@dataclass(frozen=True)
class BareArray:
    """The whole list is one array, in one answer."""

    @property
    def shape(self) -> PageShape:
        """How it looks."""
        return PageShape(None)

    def begin(self, path: str, query: Query, size: int) -> str:
        """The list itself."""
        return address(path, query)

    def follow(self, path: str, query: Query, size: int, page: Page, url: str) -> str | None:
        """Nothing follows."""
        return None


@dataclass(frozen=True)
class Unknown:
    """How the list comes in pages is still to be found out: one answer, whatever it holds."""

    @property
    def shape(self) -> PageShape:
        """Any JSON."""
        return PageShape(None, link=True, whole=True)

    def begin(self, path: str, query: Query, size: int) -> str:
        """What is asked for."""
        return address(path, query)

    def follow(self, path: str, query: Query, size: int, page: Page, url: str) -> str | None:
        """Nothing follows."""
        return None


Paging = Numbered | Sequential
"""Any of them."""


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


def _sized(name: str | None, size: int) -> Query:
    return ((name, str(size)),) if name is not None else ()

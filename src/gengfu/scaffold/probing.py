"""Recognises a list from its answers: how it comes in pages, what its key is, and what its fields hold.

A page proves little, so each guess about the pages is tried: the vendor is asked for another page, and the rows that
come tell whether the guess was right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gengfu.errors import AnswerError, UsageError
from gengfu.language import tr
from gengfu.mirror.resource import Field, Kind, is_field_name
from gengfu.vendor.paging import NO_MORE, BareArray, Cursor, Link, Offset, PageIndex, Paging, PreviousId, Query

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer: its JSON, and what its header `Link` names as next."""

    body: Any
    link: str | None = None


Ask = Callable[[Query], Sample]
"""Asks for the list with these parameters besides its own. Raises AnswerError where the vendor refuses."""

_NUMBERS = (
    *((PageIndex, "pageIndex", "pageSize"), (Offset, "offset", "limit"), (PageIndex, "page", "pageSize")),
    *((PageIndex, "pageNo", "pageSize"), (PageIndex, "pageNum", "pageSize"), (PageIndex, "page", "size")),
    *((PageIndex, "page", "limit"), (PageIndex, "page", "per_page"), (PageIndex, "current", "size")),
    *((Offset, "skip", "take"), (Offset, "skip", "limit"), (Offset, "start", "limit"), (Offset, "offset", "count")),
)
"""The names that are tried for the number and the size of a page, the likely ones first."""

_ROWS = ("results", "rows", "items", "list", "data", "records")
_TOTALS = ("total", "totalCount", "total_count", "totalElements", "recordCount", "count")
_SIZES = ("limit", "count", "size", "pageSize", "per_page")
FEW = 4
"""A list with fewer rows has no two pages to compare."""
PROBE = 2
"""Rows on a page that is asked for only to see what comes."""
_VOLATILE = re.compile(r"last.*(alive|active|seen|update|beat|online).*(time|at)$|heartbeat", re.IGNORECASE)


def rows_of(sample: Sample) -> tuple[list[Row], str | None]:
    """The rows of an answer, and the member that holds them; None where the answer is the array itself.

    Raises:
        UsageError: no rows can be made out in it.
    """
    body = sample.body
    if isinstance(body, list):
        member, found = None, body
    elif isinstance(body, dict):
        lists = {name: value for name, value in body.items() if isinstance(value, list)}
        likely = [name for name in _ROWS if name in lists] or [name for name in lists if lists[name]] or list(lists)
        if not likely:
            raise UsageError(tr("the answer is an object without an array of rows; its members are: {body}", body=body))
        member, found = likely[0], lists[likely[0]]
    else:
        raise UsageError(tr("the answer is neither an array nor an object: {dumps}", dumps=json.dumps(body)[:100]))
    if not found:
        raise UsageError("the list is empty, so there is nothing to recognise in it; try again when it has rows")
    if not all(isinstance(row, dict) for row in found):
        raise UsageError("the rows of the list are no objects")
    return found, member


def key_of(rows: Sequence[Row], wanted: str | None) -> str:
    """The field that identifies a row: a whole number in each of them, no two alike; `id` if it is one.

    Raises:
        UsageError: `wanted` is none, none is, or several are.
    """
    names = [name for name in rows[0] if _is_key(name, rows)]
    if wanted is not None:
        if wanted not in names:
            raise UsageError(
                tr(
                    "{wanted!r} is no key: it is not a whole number of its own in each of {number} rows",
                    wanted=wanted,
                    number=len(rows),
                )
            )
        return wanted
    likely = [name for name in names if name.lower() == "id"] or [n for n in names if n.lower().endswith("id")] or names
    if len(likely) != 1 or (len(rows) == 1 and likely[0].lower() != "id"):
        told = tr("several fields could be: {likely}", likely=likely) if likely else "no field could be"
        raise UsageError(tr("which field is the key of a row? {told}; say so with --key", told=told))
    return likely[0]


def _is_key(name: str, rows: Sequence[Row]) -> bool:
    values = [row.get(name) for row in rows]
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return whole and len(set(values)) == len(values)


def paging_of(ask: Ask, path: str, query: Query, first: Sample, key: str, *, trusting: bool = False) -> Paging:
    """How the list comes in pages. With `trusting`, a likely guess is taken where none can be tried.

    Raises:
        UsageError: it is none of the known ways.
    """
    rows, member = rows_of(first)
    prober = _Prober(ask, key)
    if first.link is not None:
        return Link(size=prober.size_of(rows, first.link), rows=member, more=None)
    if member is None:
        return _array(prober, path, query, rows)
    body = first.body
    for name, value in body.items():
        if re.search("next", name, re.IGNORECASE) and not isinstance(value, bool | list | dict):
            if value in NO_MORE:
                continue
            if isinstance(value, str) and re.match(r"https?://|/|\?", value):
                return Link(size=prober.size_of(rows, value), rows=member, more=name)
            return _cursor(prober, rows, member, name, value, trusting)
    totals = [name for name in _TOTALS if isinstance(body.get(name), int) and not isinstance(body.get(name), bool)]
    if totals:
        found = _numbered(prober) or (_likely(query) if trusting or len(rows) < FEW else None)
        if found is not None:
            return replace(found, rows=member, total=totals[0])
    raise UsageError(
        tr(
            "how {path} comes in pages cannot be made out (its members are: {body}); write the file by hand, "
            "as docs/further-lists.md shows",
            path=path,
            body=body,
        )
    )


class _Prober:
    """Asks for pages and looks at the keys that come; a refusal is an answer without rows."""

    def __init__(self, ask: Ask, key: str) -> None:
        self._ask = ask
        self._key = key

    def keys(self, *query: tuple[str, str]) -> list[Any]:
        try:
            rows, _ = rows_of(self._ask(query))
        except (AnswerError, UsageError):
            return []
        return [row.get(self._key) for row in rows]

    def leads_on(self, known: Sequence[Row], *query: tuple[str, str]) -> bool:
        """Whether these parameters give rows that are not among the known ones."""
        found = self.keys(*query)
        return bool(found) and not {row.get(self._key) for row in known} & set(found)

    def size_of(self, known: Sequence[Row], link: str = "") -> str | None:
        """By which name a page can be made small; the names in a link to the next page are tried first."""
        expected = [row.get(self._key) for row in known[:PROBE]]
        named = re.findall(r"[?&]([\w.-]+)=\d+(?=&|$)", link)
        names = dict.fromkeys((*named, *_SIZES))
        return next((name for name in names if self.keys((name, str(PROBE))) == expected), None)


def _array(prober: _Prober, path: str, query: Query, rows: Sequence[Row]) -> Paging:
    """A bare array is the whole list, unless more rows come after its last one."""
    last = str(rows[-1].get(prober._key))
    given = [name for name, value in query if re.search("id$", name, re.IGNORECASE) and value in ("", "0")]
    stem = re.sub(r"(List|Page|All)$", "", re.split(r"/", path.strip("/"))[-2:][0])
    words = re.findall(r"[A-Z]+[a-z0-9]*|[a-z0-9]+", stem)
    nouns = ["".join(words[place:]) for place in range(len(words))]
    made = [f"pre{noun[:1].upper()}{noun[1:]}Id" for noun in nouns]
    common = ("preId", "lastId", "afterId", "sinceId", "after", "since_id", "last_id")
    for name in dict.fromkeys((*given, *made, *common)):
        if prober.leads_on(rows, (name, last)):
            return PreviousId(name, size=prober.size_of(rows), key=prober._key)
    return BareArray()


def _likely(query: Query) -> PageIndex | Offset:
    """The style whose names the query holds, or else the first there is."""
    given = dict(query)
    named = ((style, number, size) for style, number, size in _NUMBERS if number in given)
    style, number, size = next(named, _NUMBERS[0])
    return style(number, size)


def _cursor(prober: _Prober, rows: Sequence[Row], member: str, more: str, value: Any, trusting: bool) -> Paging:
    bare = re.sub("next_?", "", more, flags=re.IGNORECASE)
    names = [name for name in (bare[:1].lower() + bare[1:], more, "cursor", "after", "pageToken", "page_token") if name]
    if trusting:
        return Cursor(names[0], rows=member, more=more)
    for name in dict.fromkeys(names):
        if prober.leads_on(rows, (name, str(value))):
            return Cursor(name, size=prober.size_of(rows), rows=member, more=more)
    raise UsageError(tr("the answer names {more}, but by which parameter to ask for it cannot be made out", more=more))


def _numbered(prober: _Prober) -> PageIndex | Offset | None:
    """Which names give which rows, by three small pages."""
    for style, number, size in _NUMBERS:
        small = (size, str(PROBE))
        zero, one = (prober.keys((number, str(n)), small) for n in (0, 1))
        if len(one) != PROBE or len(zero) not in (0, PROBE):
            continue
        if style is Offset:
            if zero and zero[1] == one[0] and zero[0] != one[0]:
                return Offset(number, size)
        elif zero and not set(zero) & set(one):
            return PageIndex(number, size)
        elif zero in ([], one) and not set(prober.keys((number, "2"), small)) & set(one):
            return PageIndex(number, size, first=1)
    return None


def fields_of(rows: Sequence[Row], later: Sequence[Row], key: str, wanted: Sequence[str] = ()) -> tuple[Field, ...]:
    """The fields that the rows have, in their order, with what they hold; `later` are rows read a moment later.

    Raises:
        UsageError: one of `wanted` is none of them, or no column can be named after a field.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name != key and is_field_name(name)))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise UsageError(tr("the rows have no field {unknown}; they have: {names}", unknown=unknown, names=names))
    after = {row.get(key): row for row in later}
    found = []
    for name in wanted or names:
        values = [row[name] for row in rows if row.get(name) is not None]
        kind = kind_of(name, values)
        moves = any(row.get(key) in after and after[row.get(key)].get(name) != row.get(name) for row in rows)
        guessed = kind is Kind.MOMENT and _VOLATILE.search(name) is not None
        try:
            found.append(Field(name, kind=kind, volatile=moves or guessed))
        except ValueError:
            found.append(Field(name, f"field_{names.index(name) + 1}", kind=kind, volatile=moves or guessed))
    return _apart(found)


def _apart(fields: Sequence[Field]) -> tuple[Field, ...]:
    """The fields with a column of its own each."""
    taken: set[str] = set()
    apart = []
    for field in fields:
        column = field.column
        while column in taken:
            column += "_2"
        taken.add(column)
        apart.append(replace(field, column=column))
    return tuple(apart)


def kind_of(name: str, values: Sequence[Any]) -> Kind:
    """What a field holds, by the values that are not null."""
    if not values:
        return Kind.TEXT
    if any(isinstance(value, bool) for value in values) and all(value in (0, 1) for value in values):
        return Kind.FLAG
    if all(isinstance(value, dict | list) or _is_json(value) for value in values):
        return Kind.JSON
    if all(isinstance(value, str) and (value == "" or _is_moment(value)) for value in values) and any(values):
        return Kind.MOMENT
    is_flag = re.match(r"(is|has)[A-Z_]", name) and all(value in (0, 1) for value in values)
    return Kind.FLAG if is_flag else Kind.TEXT


def _is_json(value: Any) -> bool:
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return False
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _is_moment(value: str) -> bool:
    if not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True

"""Sorts the rows of arriving pages into new, changed, moved by a heartbeat and unchanged, and writes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec

from gengfu.errors import TooLarge
from gengfu.language import tr
from gengfu.mirror.reconcile import pack, unpacked
from gengfu.mirror.resource import Kind
from gengfu.mirror.run_context import RunContext
from gengfu.mirror.values import MISSING, UnreadableRow, storable
from gengfu.store.changes import ChangeKind, Difference
from gengfu.store.database import PATIENCE, Transaction
from gengfu.store.rows import Known
from gengfu.store.run_rows import PageRecord, Reject, Window
from gengfu.vendor.paging import Page

_LOOKUP_ROWS = 1_000
_HEAVY = 4_000
"""A row of more bytes counts as so many times as many rows, so that long ones do not fill the memory."""
_REJECT_CHARACTERS = 2_000
_LARGE = 50_000
"""Bytes of a row that may make a statement too long for the database."""
_REJECTS = 1_000
"""So many rows set aside are kept of each commit; all are counted."""

_Arrived = tuple[int, msgspec.Raw, int]
"""Key, row and row hash."""


class RowWriter:
    """The rows of one window between their arrival and their commit. Of a key that comes twice the later row counts.

    Rows are compared with what is stored as they arrive, while further pages are on their way. `commit` writes what
    differs, with the pages' records and the changes, in one transaction that only the holder of the window can commit.
    """

    def __init__(self, context: RunContext, window: Window) -> None:
        resource, reader = context.resource, context.reader
        self._context = context
        self._window = window
        self._reader = reader
        self._table = context.table
        self._confirms_gone = context.scope.confirms_gone
        self._json = {reader.columns.index(f.column) for f in resource.fields if f.kind == Kind.JSON}
        self._json.add(len(reader.columns) - 1)
        self._volatile = {reader.columns.index(f.column) for f in resource.volatile}
        self._flags = {reader.columns.index(f.column) for f in resource.fields if f.kind == Kind.FLAG}
        self._times = {reader.columns.index(f.column) for f in resource.fields if f.kind == Kind.MOMENT}
        self._searched = [reader.columns.index(f.column) for f in resource.fields if f.searched]
        self._clear()

    def _clear(self) -> None:
        self._pages: list[PageRecord] = []
        self._rejects: list[Reject] = []
        self._weight = 0
        self._differing = 0
        self._since: datetime | None = None
        self._pending: dict[int, msgspec.Raw] = {}
        self._new: dict[int, tuple[Any, ...]] = {}
        self._changed: dict[int, tuple[tuple[Any, ...], int, int]] = {}
        self._touched: dict[int, tuple[Any, ...]] = {}

    @property
    def held(self) -> int:
        """How many rows are kept until they are compared or written."""
        settled = len(self._new) + len(self._changed) + len(self._touched) + len(self._rejects)
        return len(self._pending) + settled + self._weight // _HEAVY

    def add(self, page: Page) -> bytes:
        """Takes a page in, and gives its packed keys."""
        keys, rows = self._readable(page)
        if len({*keys}) < len(keys) or not self._pending.keys().isdisjoint(keys):
            self._compare_copies(keys, rows)
        self._pending.update(zip(keys, rows, strict=True))
        self._weight += sum(map(len, rows))
        ids = pack(keys)
        took = round(page.took * 1000)
        arrived = self._context.clock()
        self._pages.append(PageRecord(page.index, len(page.rows), page.total, ids, 0, took, page.attempts, arrived))
        if len(self._pending) >= _LOOKUP_ROWS or self._weight > _LOOKUP_ROWS * _HEAVY:
            self._settle()
        return ids

    def _compare_copies(self, keys: Sequence[int], rows: Sequence[msgspec.Raw]) -> None:
        """Counts the rows of which two copies differ, other than by a heartbeat."""
        met = dict(self._pending)
        for key, raw in zip(keys, rows, strict=True):
            if key in met:
                self._differing += self._content_hash(met[key]) != self._content_hash(raw)
            met[key] = raw

    def _content_hash(self, raw: msgspec.Raw) -> int | None:
        """None of a row that cannot be read."""
        try:
            return self._reader.content_hashes([raw])[0]
        except Exception:
            return None

    def _readable(self, page: Page) -> tuple[list[int], Sequence[msgspec.Raw]]:
        """The keys and the rows of a page; rows without a key are set aside."""
        try:
            return self._reader.keys(page.rows), page.rows
        except UnreadableRow:
            pass
        found: list[tuple[int, msgspec.Raw]] = []
        for raw in page.rows:
            try:
                found.append((self._reader.key(raw), raw))
            except UnreadableRow as problem:
                self._rejects.append(_reject(page.index, problem, raw))
        return [key for key, _ in found], [raw for _, raw in found]

    def keys(self, page: Page) -> bytes:
        """The packed keys of a page that is not taken in."""
        return pack(self._reader.readable_keys(page.rows))

    def _settle(self) -> None:
        """Compares what arrived with what is stored, and decodes what differs."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        known = self._context.db.look(lambda connection: self._table.known(connection, pending), PATIENCE)
        settled = (self._new, self._changed)
        earlier: dict[int, Any] = {key: rows[key][-1] for rows in settled for key in rows.keys() & pending.keys()}
        earlier |= {key: known[key][2] for key in self._touched.keys() & pending.keys()}
        for key, content_hash in earlier.items():
            self._differing += content_hash != self._content_hash(pending[key])
            for taken in (self._new, self._changed, self._touched):
                taken.pop(key, None)
        new: list[_Arrived] = []
        moved: list[_Arrived] = []
        for arrived in zip(pending, pending.values(), self._reader.row_hashes([*pending.values()]), strict=True):
            stored = known.get(arrived[0])
            if stored is None:
                new.append(arrived)
            elif stored[1] != arrived[2] or self._is_back(stored):
                moved.append(arrived)
        self._take(self._take_new, new)
        self._take(partial(self._take_moved, known=known), moved)

    def _take(self, take: Callable[[Sequence[_Arrived]], None], arrived: Sequence[_Arrived]) -> None:
        """Has `take` take in many rows at once. Whatever goes wrong over a row sets that row aside, and no other."""
        try:
            take(arrived)
        except Exception as problem:
            if len(arrived) == 1:
                key, raw, _ = arrived[0]
                self._rejects.append(_reject(self._page_of(key), problem, raw))
                return
            half = len(arrived) // 2
            self._take(take, arrived[:half])
            self._take(take, arrived[half:])

    def _page_of(self, key: int) -> int:
        return next(page.page for page in reversed(self._pages) if key in unpacked(page.ids))

    def _is_back(self, stored: Known) -> bool:
        return stored[3] and not self._confirms_gone

    def _take_new(self, arrived: Sequence[_Arrived]) -> None:
        keys, rows, row_hashes = _columns(arrived)
        self._since = self._since or self._context.clock()
        moment = self._table.codec.encode(self._since)
        own = (moment, moment, moment if self._confirms_gone else None)
        read = self._reader.rows(keys, rows, absent=None)
        found = zip(read, self._searches(read), row_hashes, self._reader.content_hashes(rows), strict=True)
        self._new.update((values[0], (*values, search, *own, *hashes)) for values, search, *hashes in found)

    def _take_moved(self, arrived: Sequence[_Arrived], known: Mapping[int, Known]) -> None:
        touched: list[_Arrived] = []
        changed: list[tuple[_Arrived, int]] = []
        for row, content_hash in zip(arrived, self._reader.content_hashes([row[1] for row in arrived]), strict=True):
            stored = known[row[0]]
            if stored[2] == content_hash and not self._is_back(stored):
                touched.append(row)
            else:
                changed.append((row, content_hash))
        keys, rows, _ = _columns([row for row, _ in changed])
        answered = zip(changed, self._reader.rows(keys, rows), strict=True)
        found = {key: (values, row_hash, content) for ((key, _, row_hash), content), values in answered}
        keys, rows, row_hashes = _columns(touched)
        volatile = zip(keys, row_hashes, self._reader.volatile(rows), strict=True)
        self._touched.update((key, (key, row_hash, *values)) for key, row_hash, values in volatile)
        self._changed.update(found)

    def commit(self, *, shifted: bool = False, last_page: int | None = None) -> None:
        """Writes what arrived, and forgets it. `shifted` when pages turned out to be of different states of the list;
        `last_page` when the end of an open window was found.

        Raises:
            Fenced: the window or the run has passed to another; nothing was written.
        """
        self._settle()
        window = self._window if last_page is None else replace(self._window, last_page=last_page)
        calls = self._context.new_calls()
        while True:
            try:
                self._context.db.write(lambda transaction: self._write(transaction, window, calls, shifted))
                break
            except TooLarge as problem:
                self._set_aside_largest(problem)
        self._clear()

    def _set_aside_largest(self, problem: TooLarge) -> None:
        """Leaves out the row that has most text, since the database takes no statement with it."""
        rows = {**self._new, **{key: values for key, (values, _, _) in self._changed.items()}}
        sizes = {key: sum(len(str(value).encode()) for value in values) for key, values in rows.items()}
        key = max(sizes, key=sizes.__getitem__, default=0)
        if sizes.get(key, 0) < _LARGE:
            raise problem
        self._rejects.append(
            Reject(
                self._page_of(key),
                tr("the row {key} is too large: {problem}", key=key, problem=problem),
                f'{{"id": {key}}}',
            )
        )
        for kept in (self._new, self._changed):
            kept.pop(key, None)

    def _write(self, transaction: Transaction, window: Window, calls: Mapping[str, int], shifted: bool) -> None:
        """May run again, where the transaction is tried again."""
        context, now = self._context, self._context.clock()
        context.windows.lock(transaction, window)
        rows, differences = self._merged(transaction, now)
        refused = self._table.upsert(transaction, rows)
        self._table.touch(transaction, list(self._touched.values()))
        texts = {row[0]: json.dumps(row, ensure_ascii=False, default=str) for row in rows if row[0] in refused}
        refusals = [Reject(self._page_of(key), why, _shown(texts[key])) for key, why in refused.items()]
        rejects = [*self._rejects, *refusals]
        set_aside = Counter(reject.page for reject in rejects)
        pages = [replace(page, rejected=set_aside[page.page]) for page in self._pages] if rejects else self._pages
        new = [key for key in self._new if key not in refused]
        kinds = {each.row_id: each.kind for each in differences if each.row_id not in refused}
        counts = {
            "new": len(new),
            "changed": sum(kind is ChangeKind.CHANGED for kind in kinds.values()),
            "returned": sum(kind is ChangeKind.RETURNED for kind in kinds.values()),
            "heartbeat": len(self._touched),
            "rejected": len(rejects),
            "differing": self._differing,
            **calls,
        }
        context.windows.record(transaction, window, pages, rejects[:_REJECTS], counts, shifted=shifted)
        kept = [each for each in differences if each.row_id not in refused] if refused else differences
        context.changes.record(transaction, self._table, window.run_id, now, kept, new, self._since)

    def _merged(self, connection: Transaction, now: datetime) -> tuple[list[tuple[Any, ...]], list[Difference]]:
        """The rows that are to be written, and what changed in those that were there. That a row returned is the last
        of its differences."""
        encode = self._table.codec.encode
        stored = self._table.current(connection, self._changed)
        rows = list(self._new.values())
        differences: list[Difference] = []
        for key, (answered, row_hash, content_hash) in self._changed.items():
            values = list(answered)
            old = stored[key]
            found = [Difference(key, ChangeKind.CHANGED, *difference) for difference in self._merge(values, old)]
            _, first_seen_at, updated_at, gone_at = old[len(values) : len(values) + 4]
            back = gone_at is not None and not self._confirms_gone
            if back:
                was = _plain(self._table.decoded(len(values) + 3, gone_at))
                found.append(Difference(key, ChangeKind.RETURNED, "gone_at", was, None))
            differences += found
            own = (first_seen_at, encode(now) if found else updated_at, None if back else gone_at)
            rows.append((*values, *self._searches([values]), *own, row_hash, content_hash))
        return rows, differences

    def _searches(self, rows: Sequence[Sequence[Any]]) -> list[str | None]:
        """What a search for a text looks into, row by row."""
        if not self._searched:
            return [None] * len(rows)
        columns = [map(itemgetter(place), rows) for place in self._searched]
        return ["\n".join(filter(None, found)).lower() for found in zip(*columns, strict=True)]

    def _merge(self, values: list[Any], stored: tuple[Any, ...]) -> list[tuple[str, Any, Any]]:
        """Fills the fields that the vendor's row does not name from the stored row; gives (column, old, new) of the
        others where the value differs, volatile ones left out. Leaves JSON columns as text."""
        differences: list[tuple[str, Any, Any]] = []
        for place, (column, value, old) in enumerate(zip(self._reader.columns, values, stored, strict=False)):
            if value is MISSING:
                values[place] = old
                continue
            if value == old or place in self._volatile:
                continue
            if value is not None and place in self._json:
                new = msgspec.json.decode(value)
            elif value is not None and place in self._times:
                new = self._table.codec.decode(value)
            elif value is not None and place in self._flags:
                new = bool(value)
            else:
                new = value
            known = self._table.decoded(place, old)
            if new != known:
                differences.append((column, _plain(known), _plain(new)))
        return differences


def _reject(page: int, problem: Exception, raw: msgspec.Raw) -> Reject:
    why = (
        str(problem)
        if isinstance(problem, UnreadableRow)
        else tr("it cannot be read: {kind}: {problem}", kind=type(problem).__name__, problem=problem)
    )
    return Reject(page, _shown(why), _shown(bytes(raw)[: 4 * _REJECT_CHARACTERS].decode("utf-8", "replace")))


def _shown(text: str) -> str:
    """Its first characters, as every database keeps them."""
    shown: str = storable(text[:_REJECT_CHARACTERS])
    return shown


def _columns(arrived: Sequence[_Arrived]) -> tuple[Sequence[int], Sequence[msgspec.Raw], Sequence[int]]:
    keys, rows, row_hashes = zip(*arrived, strict=True) if arrived else ((), (), ())
    return keys, rows, row_hashes


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value

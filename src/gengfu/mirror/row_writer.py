"""Sorts the rows of arriving pages into new, changed, moved by a heartbeat and unchanged, and writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any

import msgspec

from gengfu.errors import TooLarge
from gengfu.mirror.reconcile import distinct, pack
from gengfu.mirror.resource import Kind
from gengfu.mirror.rows import UnreadableRow
from gengfu.mirror.run_context import RunContext
from gengfu.mirror.values import MISSING
from gengfu.store.changes import ChangeKind, Difference
from gengfu.store.database import PATIENCE, Transaction
from gengfu.store.rows import Known
from gengfu.store.run_rows import PageRecord, Reject, Window
from gengfu.vendor.listing import Page

_LOOKUP_ROWS = 1_000
_REJECT_CHARACTERS = 2_000
_LARGE = 50_000
"""Bytes of a row that may make a statement too long for the database."""

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
        self._since: datetime | None = None
        self._pending: dict[int, msgspec.Raw] = {}
        self._new: dict[int, tuple[Any, ...]] = {}
        self._changed: dict[int, tuple[tuple[Any, ...], int, int]] = {}
        self._touched: dict[int, tuple[Any, ...]] = {}

    @property
    def held(self) -> int:
        """How many rows are kept until they are compared or written."""
        return len(self._pending) + len(self._new) + len(self._changed) + len(self._touched)

    def add(self, page: Page) -> bytes:
        """Takes a page in, and gives its packed keys."""
        keys, rows = self._readable(page)
        self._pending.update(zip(keys, rows, strict=True))
        ids = pack(keys)
        took = round(page.took * 1000)
        arrived = self._context.clock()
        self._pages.append(PageRecord(page.index, len(page.rows), page.total, ids, took, page.attempts, arrived))
        if len(self._pending) >= _LOOKUP_ROWS:
            self._settle()
        return ids

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
                text = bytes(raw)[:_REJECT_CHARACTERS].decode("utf-8", "replace")
                self._rejects.append(Reject(page.index, str(problem), text.replace("\0", "\u2400")))
        return [key for key, _ in found], [raw for _, raw in found]

    def keys(self, page: Page) -> bytes:
        """The packed keys of a page that is not taken in."""
        return pack(self._reader.readable_keys(page.rows))

    def _settle(self) -> None:
        """Compares what arrived with what is stored, and decodes what differs."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        with self._context.db.read(PATIENCE) as connection:
            known = self._table.known(connection, pending)
        for earlier in (self._new, self._changed, self._touched):
            for key in earlier.keys() & pending.keys():
                del earlier[key]
        new: list[_Arrived] = []
        moved: list[_Arrived] = []
        for arrived in zip(pending, pending.values(), self._reader.row_hashes([*pending.values()]), strict=True):
            stored = known.get(arrived[0])
            if stored is None:
                new.append(arrived)
            elif stored[1] != arrived[2] or self._is_back(stored):
                moved.append(arrived)
        self._take_new(new)
        self._take_moved(moved, known)

    def _is_back(self, stored: Known) -> bool:
        return stored[3] and not self._confirms_gone

    def _take_new(self, arrived: Sequence[_Arrived]) -> None:
        keys, rows, row_hashes = _columns(arrived)
        self._since = self._since or self._context.clock()
        moment = self._table.form.encode(self._since)
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
        keys, rows, row_hashes = _columns(touched)
        volatile = zip(keys, row_hashes, self._reader.volatile(rows), strict=True)
        self._touched.update((key, (key, row_hash, *values)) for key, row_hash, values in volatile)
        keys, rows, _ = _columns([row for row, _ in changed])
        answered = zip(changed, self._reader.rows(keys, rows), strict=True)
        self._changed.update((key, (values, row_hash, content)) for ((key, _, row_hash), content), values in answered)

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
        page = next(page.page for page in self._pages if key in distinct([page.ids]))
        self._rejects.append(Reject(page, f"the row {key} is too large: {problem}", f'{{"id": {key}}}'))
        for kept in (self._new, self._changed):
            kept.pop(key, None)

    def _write(self, transaction: Transaction, window: Window, calls: Mapping[str, int], shifted: bool) -> None:
        """May run again, where the transaction is tried again."""
        context, now = self._context, self._context.clock()
        context.windows.lock(transaction, window)
        counts, differences = self._write_rows(transaction, now)
        context.windows.record(transaction, window, self._pages, self._rejects, {**counts, **calls}, shifted=shifted)
        context.changes.record(transaction, self._table, window.run_id, now, differences, list(self._new), self._since)

    def _write_rows(self, connection: Transaction, now: datetime) -> tuple[dict[str, int], list[Difference]]:
        """Writes what differs; how many rows of each kind there were, as the run counts them, and what changed."""
        encode = self._table.form.encode
        stored = self._table.current(connection, self._changed)
        rows = list(self._new.values())
        differences: list[Difference] = []
        changed = returned = 0
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
            returned += back
            changed += bool(found) and not back
            own = (first_seen_at, encode(now) if found else updated_at, None if back else gone_at)
            rows.append((*values, *self._searches([values]), *own, row_hash, content_hash))
        self._table.upsert(connection, rows)
        self._table.touch(connection, list(self._touched.values()))
        counts = {"new": len(self._new), "changed": changed, "returned": returned}
        return counts | {"heartbeat": len(self._touched), "rejected": len(self._rejects)}, differences

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
            if value == old and place not in self._json:
                continue
            if value is MISSING:
                values[place] = self._table.encoded(place, old)
                continue
            if place in self._volatile or value == self._table.encoded(place, old):
                continue
            if value is not None and place in self._json:
                new = msgspec.json.decode(value)
            elif value is not None and place in self._times:
                new = self._table.form.decode(value)
            elif value is not None and place in self._flags:
                new = bool(value)
            else:
                new = value
            known = self._table.decoded(place, old)
            if new != known:
                differences.append((column, _plain(known), _plain(new)))
        return differences


def _columns(arrived: Sequence[_Arrived]) -> tuple[Sequence[int], Sequence[msgspec.Raw], Sequence[int]]:
    keys, rows, row_hashes = zip(*arrived, strict=True) if arrived else ((), (), ())
    return keys, rows, row_hashes


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value

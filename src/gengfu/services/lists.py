"""The rows of any mirrored list: find them, show one with its history, what changed, totals, who is offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

from gengfu.clock import Clock
from gengfu.errors import NotFound, UsageError
from gengfu.language import both, tr
from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.services import export
from gengfu.services.destination import destination
from gengfu.services.export import Format
from gengfu.services.json import object_of, to_json
from gengfu.services.report import DETAIL, STATE, SUMMARY, Report, ReportColumn, column_of
from gengfu.services.runs import RunService, Verdict
from gengfu.store.changes import Change, ChangeKind, ChangeQuery, ChangeStore
from gengfu.store.database import Database
from gengfu.store.lists import (
    ListStore,
    Order,
    Presence,
    SinceKnownBy,
    StateSince,
    ValueFilter,
    Which,
)
from gengfu.store.retention import CHANGES_KEPT

__all__ = ["Change", "ChangeKind", "Presence", "SinceKnownBy"]

LONGEST_TEXT = 1_000
"""Characters of a text that is searched for."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the mirror, and since when it is known, changed, gone. As JSON it is one object with all its columns."""

    id: int
    fields: Mapping[str, Any]
    """The vendor's fields by column, and what else its row holds as `other`."""
    first_seen_at: datetime
    updated_at: datetime
    gone_at: datetime | None
    name: str | None
    """By which people know it."""
    state: str
    """`online`, `offline`, `unknown`; of a list without that `present`; or `gone`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Chooses rows; what is None or empty does not matter."""

    presence: Presence = Presence.PRESENT
    text: str | None = None
    """A part of a searched field, in capitals or not, or the whole id."""
    equal: Mapping[str, Any] = field(default_factory=dict)
    """Values by column; None does not matter."""
    online: bool | None = None
    changed_since: datetime | None = None
    """Changed, come or gone at that moment or later; a heartbeat is no change."""


@dataclass(frozen=True, slots=True)
class Found:
    """The rows that a search found, in its order."""

    resource: str
    rows: Sequence[Row]
    more: bool
    """Whether others follow: those after the last one."""
    gone: int | None = None
    """Where no row is found that is present: one that the search would find among those that are gone."""


@dataclass(frozen=True, slots=True)
class RowDetail:
    """A row with its latest changes, the newest first."""

    resource: str
    status: str
    """`present`, `gone`, or since which run it is missing."""
    row: Row
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class ChangesFound:
    """Changes of the rows of a list, in the order that was asked for."""

    resource: str
    changes: Sequence[Change]
    more: bool
    """Whether others follow: those after the last one."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many present rows have a value, and how many of these are online."""

    value: Any
    rows: int
    online: int | None
    """None where the list has no such field."""


@dataclass(frozen=True, slots=True)
class ListStatus:
    """How many rows a list has, by state and by the values of a few fields."""

    list: str
    as_of: datetime | None
    """When the last complete run of the live list ended."""
    present: int
    states: Mapping[str, int]
    """`missing`: not listed by the last complete run, and `held`: these wait for a decision. Both are present."""
    totals: Mapping[str, Sequence[Share]]
    """By column, the most frequent value first."""


@dataclass(frozen=True, slots=True)
class OfflineRow:
    """A row that is offline, or back online, and since when."""

    row: Row
    since: datetime
    known_by: SinceKnownBy
    last_online: datetime | None
    """By the vendor's word."""


@dataclass(frozen=True, slots=True)
class OfflineFound:
    """The rows that are offline, or came back online."""

    resource: str
    as_of: datetime
    total: int
    """How many there are, shown or not."""
    rows: Sequence[OfflineRow]
    more: bool
    """Whether others follow: those after the last one."""
    unknown: int
    """How many more are offline of which is not known since when."""


@dataclass(frozen=True, slots=True)
class Content:
    """What goes into a file."""

    chosen: Filter
    columns: Sequence[str] | None = None
    """None for all, or for those of the report."""
    report: bool = False
    """For people: Chinese titles, states in words, a summary."""
    per_account: bool = False
    """Of a report of devices: one line for each WeChat account, in place of one for each device."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of rows that was written; None where it was a stream."""

    file: Path | None
    format: Format
    count: int
    notes: Sequence[str]
    """What was not written as it is."""


class ListService:
    """The rows of one list of one source, as the mirror has them."""

    def __init__(
        self, resource: Resource, db: Database, source_id: int, zone: str, clock: Clock, runs: Callable[[], RunService]
    ) -> None:
        """`zone`: in which people read times."""
        self.resource = resource
        self._db = db
        self._source_id = source_id
        self._store = ListStore(db, resource.table, source_id)
        self._changes = ChangeStore(db, source_id)
        self._zone = zone
        self._clock = clock
        self._runs = runs
        self._fields = {field.name: field for field in resource.fields}
        self.columns = self._store.columns
        """All columns, in the order in which a file has them."""

    def find(self, chosen: Filter, *, sort: str | None = None, after: int | None = None, limit: int = 50) -> Found:
        """The first `limit` rows that the filter chooses; of those that follow the row `after`.

        Args:
            sort: a column by its name or its label, with a `-` in front for the other direction; None for the id.

        Raises:
            UsageError: the text is empty or too long, or there is no such column.
        """
        order = self._order(sort)
        rows = self._sought(chosen, order, after, limit + 1)
        past = None
        if not rows and after is None and chosen.text is not None and chosen.presence is Presence.PRESENT:
            gone = self._store.find(Which(Presence.GONE, chosen.text), Order(), None, 1)
            past = gone[0]["id"] if gone else None
        return Found(self.resource.name, rows[:limit], len(rows) > limit, past)

    def _sought(self, chosen: Filter, order: Order, after: int | None, limit: int) -> list[Row]:
        which, test = self._which(chosen), self._test(chosen)
        if test is None:
            return [self.row(found) for found in self._store.find(which, order, after, limit)]
        columns, fits = test
        stream = self._store.stream(which, ["id", *columns], order, after)
        return self._named([key for key, *values in islice((v for v in stream if fits(*v[1:])), limit)])

    def _named(self, ids: Sequence[int]) -> list[Row]:
        return [self.row(found) for found in self._store.named(ids)]

    def one(self, row_id: int, changes: int) -> RowDetail:
        """A row with its latest changes.

        Raises:
            NotFound: the mirror has none of that id.
        """
        found = self._store.get(row_id)
        if found is None:
            name = self.resource.name
            raise NotFound(
                tr(
                    "there is no {row} {row_id} in the mirror; search with: gengfu {name}:find TEXT",
                    row=tr("device") if name == "device" else tr("row"),
                    row_id=row_id,
                    name=name,
                )
            )
        row = self.row(found)
        missed = self._store.missed_by(row_id)
        status = (
            tr("gone")
            if row.gone_at
            else tr("present")
            if missed is None
            else tr("missing since run {missed}", missed=missed)
        )
        return RowDetail(self.resource.name, status, row, self.timeline(row_id, changes))

    def timeline(self, row_id: int, limit: int) -> list[Change]:
        """The latest changes of a row, the newest first."""
        return self._changes.of_row(self.resource.name, row_id, limit)

    def changes(
        self,
        *,
        since: datetime | None = None,
        column: str | None = None,
        row_id: int | None = None,
        kind: ChangeKind | None = None,
        after: int | None = None,
        limit: int = 50,
        oldest_first: bool = False,
    ) -> ChangesFound:
        """The first `limit` changes of the list, the newest first unless told otherwise; of those that follow the
        change `after`.

        Raises:
            UsageError: there is no such column.
        """
        field = self.column(column) if column is not None else None
        asked = ChangeQuery(self.resource.name, since, field, row_id, kind, after, oldest_first)
        found = self._changes.listed(asked, limit + 1)
        return ChangesFound(self.resource.name, found[:limit], len(found) > limit)

    def status(self, values: int) -> ListStatus:
        """How many rows there are; of each field that is counted, the `values` most frequent values."""
        resource = self.resource
        flag = self._fields[resource.online].column if resource.online is not None else None
        counted = resource.totals or [field.name for field in resource.fields if field.filtered]
        columns = [self._fields[name].column for name in counted]
        kinds = _ONLINE.values() if flag else (_PRESENT,)
        states: Counter[str] = Counter(dict.fromkeys((*kinds, _GONE), 0))
        totals: list[tuple[Counter[Any], Counter[Any]]] = [(Counter(), Counter()) for _ in columns]
        for *held, gone, number in self._store.totals([*columns, *([flag] if flag else [])]):
            online = held[len(columns) :]
            states[_state(online, gone=gone)] += number
            for value, (rows, rows_online) in zip(held, totals, strict=False):
                if not gone:
                    rows[value] += number
                    rows_online[value] += number if online == [True] else 0
        absent, waiting = self._store.absent()
        present = sum(states.values()) - states[_GONE]
        shares = {
            column: [
                Share(value, number, on[value] if flag else None)
                for value, number in sorted(rows.items(), key=lambda each: (-each[1], str(each[0])))[:values]
            ]
            for column, (rows, on) in zip(columns, totals, strict=True)
        }
        return ListStatus(
            resource.name,
            self._as_of(),
            present,
            {**states, tr("missing"): absent - waiting, tr("held"): waiting},
            shares,
        )

    def _as_of(self) -> datetime | None:
        """When the last complete run of the live list ended."""
        live = self.resource.scopes[0].name
        last = self._runs().latest(1, resource=self.resource.name, scope=live, verdict=Verdict.COMPLETE)
        return last[0].finished_at if last else None

    def offline(
        self,
        chosen: Filter,
        *,
        since: datetime | None = None,
        longer_than: timedelta | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> OfflineFound:
        """The rows that the vendor lists as offline: those that went offline `since` a moment, the latest first; or are
        offline longer than that, the longest first.

        Since when: the run that found it offline where an earlier one had found it online; else, as where it was
        offline before the first run, the vendor's word on when it was last online; else it is known since when the
        mirror has it, and may be offline for longer: such a row is none that went offline `since` a moment.
        """
        now = self._clock()
        flag, told = self._online_columns()
        rows = self._store.offline(flag, told, self._which(chosen))
        until = now - longer_than if longer_than is not None else None
        found, unknown = gone_offline(rows, since, until, now - CHANGES_KEPT)
        return self._offline_page(found, unknown, now, after, limit)

    def back(self, chosen: Filter, *, since: datetime, after: int | None = None, limit: int = 50) -> OfflineFound:
        """The rows that are online and that a run found to have come online `since` a moment, the latest first."""
        found = self._store.back(self._online_columns()[0], since, self._which(chosen))
        return self._offline_page(_latest_first(found), 0, self._clock(), after, limit)

    def _offline_page(
        self, found: Sequence[StateSince], unknown: int, now: datetime, after: int | None, limit: int
    ) -> OfflineFound:
        first = 0
        if after is not None:
            first = next((place for place, each in enumerate(found, 1) if each.id == after), -1)
            if first == -1:
                raise NotFound(tr("{id} is no longer among them; begin again without --after", id=after))
        page, told = found[first : first + limit], self._online_columns()[1]
        rows = {row.id: row for row in self._named([each.id for each in page])}
        told_of = [
            OfflineRow(rows[each.id], each.since, each.known_by, rows[each.id].fields[told] if told else None)
            for each in page
            if each.id in rows
        ]
        more = len(found) > first + limit
        return OfflineFound(self.resource.name, now, len(found), told_of, more, unknown)

    def _online_columns(self) -> tuple[str, str | None]:
        online, last = self.resource.online, self.resource.last_online
        assert online is not None
        return self._fields[online].column, self._fields[last].column if last is not None else None

    def stream(self, chosen: Filter, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The chosen rows by id, as of one moment, as tuples of these columns; in flat memory."""
        which, test = self._which(chosen), self._test(chosen)
        if test is None:
            return self._store.stream(which, columns)
        tested, fits = test
        found = self._store.stream(which, [*columns, *tested])
        return (values[: len(columns)] for values in found if fits(*values[len(columns) :]))

    def count(self, chosen: Filter) -> int:
        """How many rows the filter chooses."""
        if self._test(chosen) is None:
            return self._store.count(self._which(chosen))
        return sum(1 for _ in self.stream(chosen, ["id"]))

    def held_back(self, run_id: int, limit: int) -> tuple[int, list[Row]]:
        """How many rows wait for a person's word on the held run, and the first `limit` of them."""
        number, found = self._store.held_back(run_id, limit)
        return number, [self.row(row) for row in found]

    def export_file(
        self,
        path: Path,
        content: Content,
        asked: str | None,
        *,
        force: bool,
        mode: int | None,
        tell: Callable[[int, int], None],
    ) -> Exported:
        """Writes rows to a file, which is there only when it is whole; or through a pipe or a device.

        Args:
            asked: the format, in place of the one that the ending names.
            force: overwrite the file if it is there.
            mode: its permissions; those of the file that is there, or its owner's alone, where it is None.
            tell: hears how many of how many rows are written.

        Raises:
            UsageError: the file is there, its format is not known, or the rows do not fit into it.
            FileError: it cannot be written.
        """
        form = export.format_of(path, asked)
        with destination(path, force=force, mode=mode) as part:
            count, notes = self._write(form, part, content, tell)
        return Exported(path.absolute(), form, count, notes)

    def export_stream(
        self, stream: IO[bytes], content: Content, asked: str | None, tell: Callable[[int, int], None]
    ) -> Exported:
        """Writes them to a stream, which stays open.

        Raises:
            UsageError: no format is named, or one that cannot go to a stream.
        """
        if asked is None:
            raise UsageError("which format is stdout to get? give --format csv or --format jsonl")
        count, notes = self._write(Format(asked), stream, content, tell)
        return Exported(None, Format(asked), count, notes)

    def _write(
        self, form: Format, place: Path | IO[bytes], content: Content, tell: Callable[[int, int], None]
    ) -> tuple[int, list[str]]:
        if content.report and form is Format.JSONL:
            raise UsageError("a report is for people: write it as .xlsx or .csv, or leave --preset report out")
        total = self.count(content.chosen)
        if form is Format.XLSX and total > export.XLSX_ROWS:
            raise UsageError(export.too_many_rows(total))
        columns = content.columns or self.columns
        report = self._report(content) if content.report else None
        titles = report.titles if report is not None else columns
        name = DETAIL if content.report else self.resource.name
        writer = export.writer(form, place, titles, ZoneInfo(self._zone), name)
        rows = self.stream(content.chosen, self.columns if report is not None else columns)
        if report is not None:
            rows = report.lines(self.row(dict(zip(self.columns, values, strict=True))) for values in rows)
        sheet = None if report is None else (SUMMARY, report.summary)
        number = export.copy(rows, writer, lambda done: tell(done, total), sheet)
        return number, writer.notes

    def _report(self, content: Content) -> Report:
        resource = self.resource
        chosen = content.columns
        if chosen is None:
            fields = resource.report or [field.name for field in resource.fields]
            chosen = ["id", *(("gone_at",) if resource.online is None else (self._online_columns()[0],))]
            chosen += [self._fields[name].column for name in fields if name != resource.online]
        columns = [each for name in chosen for each in self._report_columns(name, content)]
        counted = {self._fields[name].column: self._fields[name].zh for name in resource.totals}
        return Report(columns, self._parts(content), counted, self._as_of(), self._clock())

    def _report_columns(self, name: str, content: Content) -> list[ReportColumn]:
        """How a report shows a column."""
        field = self._field_of(name)
        if name in _OWN and name != "other":
            return [ReportColumn(field.zh, lambda row, _: getattr(row, name))]
        return [STATE if field.name == self.resource.online else column_of(field)]

    def _parts(self, content: Content) -> Callable[[Row], Sequence[Any]]:
        """What has a line of its own in a row."""
        return lambda _: (None,)

    def row(self, found: Mapping[str, Any]) -> Row:
        """A stored row."""
        fields = {name: found[name] for name in self.resource.columns[1:]}
        names = (fields[self._fields[name].column] for name in self.resource.names)
        online = [fields[self._online_columns()[0]]] if self.resource.online is not None else []
        state = _state(online, gone=found["gone_at"] is not None)
        known = (found["first_seen_at"], found["updated_at"], found["gone_at"])
        return Row(found["id"], fields, *known, next(filter(None, names), None), state)

    def column(self, word: str) -> str:
        """The column that goes by this name: its own, the vendor's, or its label in either language.

        Raises:
            UsageError: there is none.
        """
        sought = word.strip().lower()
        for name in self.columns:
            field = self._field_of(name)
            if sought in (name, field.name.lower(), field.en.lower(), field.zh.lower()):
                return name
        raise UsageError(
            tr("there is no column {word!r}; there are: {columns}", word=word.strip(), columns=self.columns)
        )

    @property
    def shown(self) -> Sequence[str]:
        """The columns that a table of rows shows beside id and name."""
        names = self.resource.shown or [field.name for field in self.resource.fields if field.kind is Kind.TEXT][:4]
        return [self._fields[name].column for name in names]

    def label(self, column: str) -> str:
        """What people call a column."""
        field = self._field_of(column)
        return both(field.en, field.zh)

    def _field_of(self, column: str) -> Field:
        return next((field for field in self.resource.fields if field.column == column), None) or _OWN[column]

    def columns_named(self, text: str | None) -> Sequence[str] | None:
        """The columns that a list of names separated by commas names; None for None.

        Raises:
            UsageError: one of them does not exist, or there is none.
        """
        if text is None:
            return None
        words = text.replace("，", ",").split(",")
        return list(dict.fromkeys(self.column(word) for word in words if word.strip() or len(words) == 1))

    def _order(self, sort: str | None) -> Order:
        if sort is None:
            return Order()
        column = self.column(sort.strip().removeprefix("-"))
        if (
            any(field.column == column and field.kind is Kind.JSON for field in self.resource.fields)
            or column == "other"
        ):
            raise UsageError(
                tr("rows cannot be sorted by {column}, which holds objects; sort by another column", column=column)
            )
        return Order(column, sort.strip().startswith("-"))

    def _which(self, chosen: Filter) -> Which:
        """What of a filter the database decides."""
        text = checked_text(chosen.text) if chosen.text is not None else None
        equal = [ValueFilter([name], [value]) for name, value in chosen.equal.items() if value is not None]
        if chosen.online is not None:
            equal.append(ValueFilter([self._online_columns()[0]], [chosen.online]))
        return Which(chosen.presence, text, equal, chosen.changed_since)

    def _test(self, chosen: Filter) -> tuple[Sequence[str], Callable[..., bool]] | None:
        """What of a filter is left to be decided row by row: by which columns, and how."""
        return None


_OWN = {
    "id": Field("id", en="id", zh="编号"),
    "other": Field("other", en="other", zh="其他"),
    "first_seen_at": Field("first_seen_at", en="first seen", zh="首次出现"),
    "updated_at": Field("updated_at", en="updated", zh="更新时间"),
    "gone_at": Field("gone_at", en="gone", zh="下架时间"),
}
"""The columns that every mirrored list has, with their labels."""


def checked_text(text: str) -> str:
    """A text that can be searched for.

    Raises:
        UsageError: it is empty or too long.
    """
    if not text.strip():
        raise UsageError("the text to search for is empty; to see all, leave it out")
    if len(text) > LONGEST_TEXT:
        raise UsageError(
            tr(
                "the text to search for has {number} characters; at most {longest_text} can be",
                number=len(text),
                longest_text=LONGEST_TEXT,
            )
        )
    return text


def gone_offline(
    rows: Sequence[StateSince], since: datetime | None, until: datetime | None, kept_from: datetime
) -> tuple[list[StateSince], int]:
    """Of the rows that are offline those that went so `since` a moment, the latest first, or that are so since `until`
    or longer, the longest first; and of how many others it is not known.

    Of a row that no run has found online it is certain since it was first seen, or since changes are kept: it may be
    offline for longer, and is none that went offline since a moment.
    """
    known = [each for each in rows if each.known_by is not SinceKnownBy.FIRST_SEEN]
    others = [
        replace(each, since=max(each.since, kept_from)) for each in rows if each.known_by is SinceKnownBy.FIRST_SEEN
    ]
    chosen = known if since is not None else [*known, *others]
    found = [
        each for each in chosen if (since is None or each.since >= since) and (until is None or each.since <= until)
    ]
    unknown = len(others) if since is not None else sum(until is not None and each.since > until for each in others)
    if since is not None:
        return _latest_first(found), unknown
    return sorted(found, key=lambda each: (each.since, each.id)), unknown


def _latest_first(rows: Sequence[StateSince]) -> list[StateSince]:
    return sorted(sorted(rows, key=lambda each: each.id), key=lambda each: each.since, reverse=True)


_ONLINE = {True: tr("online"), False: tr("offline"), None: tr("unknown")}
_PRESENT, _GONE = tr("present"), tr("gone")


def _state(online: Sequence[bool | None], *, gone: bool) -> str:
    """`online`: empty where the list has no such field."""
    if gone:
        return _GONE
    return _ONLINE[online[0]] if online else _PRESENT


def _rows_of(resource: str) -> str:
    return "devices" if resource == "device" else "rows"


@to_json.register(Row)
def _row(row: Row) -> dict[str, Any]:
    known = {name: getattr(row, name) for name in ("first_seen_at", "updated_at", "gone_at")}
    return {name: to_json(value) for name, value in {"id": row.id, **row.fields, **known}.items()}


@to_json.register(Found)
def _found(found: Found) -> dict[str, Any]:
    rows = found.rows
    told = {"count": len(rows), "more": found.more, "next": rows[-1].id if found.more else None}
    return {_rows_of(found.resource): to_json(rows), **told}


@to_json.register(RowDetail)
def _detail(detail: RowDetail) -> dict[str, Any]:
    told = ("run_id", "field", "old", "new", "changed_at")
    changes = [{name: to_json(getattr(change, name)) for name in told} for change in detail.changes]
    return {"status": detail.status, _rows_of(detail.resource)[:-1]: to_json(detail.row), "changes": changes}


@to_json.register(ChangesFound)
def _changes(found: ChangesFound) -> dict[str, Any]:
    key = "device_id" if found.resource == "device" else "row_id"
    changes = []
    for change in found.changes:
        told = object_of(change, without=("source_id", "resource", "row_id"))
        changes.append({"seq": told.pop("seq"), key: change.row_id, **told})
    last = found.changes[-1].seq if found.more else None
    return {"changes": changes, "count": len(changes), "more": found.more, "next": last}


@to_json.register(OfflineFound)
def _offline(found: OfflineFound) -> dict[str, Any]:
    name = _rows_of(found.resource)
    rows = [{**object_of(each, without=("row",)), name[:-1]: to_json(each.row)} for each in found.rows]
    last = found.rows[-1].row.id if found.more else None
    told = {"as_of": to_json(found.as_of), "total": found.total, "count": len(rows), "unknown": found.unknown}
    return {name: rows, **told, "more": found.more, "next": last}

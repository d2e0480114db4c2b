"""Closing a run: from the recorded pages to the verdict, and what it marks in the mirror."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum

from sqlalchemy import Connection, select

from gengfu.clock import Clock
from gengfu.errors import AnswerError
from gengfu.mirror import reconcile
from gengfu.mirror.read_strategy import course_of
from gengfu.mirror.resource import Resource
from gengfu.mirror.rows import RowReader
from gengfu.settings import Settings
from gengfu.store import absences
from gengfu.store.changes import ChangeKind, ChangeStore, Difference
from gengfu.store.database import PATIENCE, Database
from gengfu.store.rows import MirrorTable
from gengfu.store.run_rows import PageRecord, Run, Verdict
from gengfu.store.runs import RunStore
from gengfu.vendor.client import VendorClient
from gengfu.vendor.listing import Failure

ASK_AT_MOST = 200
"""So many missing rows are asked for one by one; more are left to the next run."""


class _Word(Enum):
    """What the vendor says of a row that its list lacks."""

    GONE = "listed as deleted"
    ALIVE = "listed as live when asked for"
    NOTHING = "not listed anywhere, or not to be asked for"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What closing came to. Without a verdict: the list must be read once more, with `total` rows to expect."""

    verdict: Verdict | None
    reason: str | None
    total: int
    counts: Mapping[str, int | None] = field(default_factory=dict)
    gone: Collection[int] = ()
    """Live rows to be marked as gone."""
    absent: Collection[int] = ()
    """Live rows that are missing for the first time, or held back."""


class Closing:
    """Closes one run; `decide` only reads, `mark` writes within the transaction that ends the run."""

    def __init__(
        self,
        db: Database,
        vendor: VendorClient,
        settings: Settings,
        clock: Clock,
        resource: Resource,
        reader: RowReader,
        table: MirrorTable,
        run: Run,
    ) -> None:
        self._db = db
        self._vendor = vendor
        self._settings = settings
        self._clock = clock
        self._resource = resource
        self._scope = resource.scope(run.scope)
        self._reader = reader
        self._table = table
        self._run = run
        self._course = course_of(resource.listing)

    def decide(self, runs: RunStore, stop: threading.Event) -> Outcome:
        """The outcome of a run whose windows are all read.

        Raises:
            LoginRefused, Postpone, Stopped: as the vendor client does, while it asks for missing rows.
        """
        with self._db.read(PATIENCE) as connection:
            records = list(runs.page_records(connection, self._run.id))
        latest = [record for number, record in records if number == self._run.pass_number]
        repeated = reconcile.repetition((record.page, record.ids) for record in latest)
        total = latest[-1].total
        if repeated:
            reason = f"page {repeated[0]} repeats page {repeated[1]}: the server does not turn the pages"
            return Outcome(Verdict.PARTIAL, reason, total, {"total_last": total})
        shifted = self._run.shifted or (
            self._run.pass_number == 1 and self._run.windows > 1 and self._echoes_differ(latest, stop)
        )
        seen = reconcile.distinct(record.ids for _, record in records)
        evidence = self._evidence(records, latest, len(seen), shifted)
        judgement = self._course.judge(evidence, [record.ids for record in latest])
        missing, live = self._missing(seen)
        counts = self._counts(evidence)
        if judgement.verdict != Verdict.COMPLETE:
            return Outcome(judgement.verdict, judgement.reason, evidence.totals[-1], counts)
        if reconcile.too_many_vanished(len(missing), live, self._settings.guard_percent, self._settings.guard_minimum):
            reason = f"{len(missing)} of {live} live rows vanished at once"
            return Outcome(Verdict.HELD, reason, total, counts | {"absent": len(missing)}, absent=missing)
        if self._scope.confirms_gone:
            return Outcome(Verdict.COMPLETE, judgement.reason, total, counts, gone=missing)
        return self._settle(evidence, judgement, missing, counts, stop)

    def _settle(
        self,
        evidence: reconcile.Evidence,
        judgement: reconcile.Judgement,
        missing: Sequence[int],
        counts: dict[str, int | None],
        stop: threading.Event,
    ) -> Outcome:
        """Tells the missing rows that are gone from those that may come back."""
        with self._db.read(PATIENCE) as connection:
            before = absences.absent_once(connection, self._run.source_id, self._resource.name)
        words = self._ask(missing, stop) if len(missing) <= ASK_AT_MOST else {}
        alive = {row for row, word in words.items() if word == _Word.ALIVE}
        if alive and evidence.pass_number < reconcile.MAX_PASSES:
            reason = f"{len(alive)} rows were missing that the vendor still has"
            return Outcome(None, reason, evidence.totals[-1])
        confirmed = {row for row, word in words.items() if word == _Word.GONE}
        # A row that could not be read may be any of the missing ones, so this run is no witness against them.
        witness = evidence.unreadable == 0
        gone = [row for row in missing if row in confirmed or (witness and row in before and row not in alive)]
        absent = set(missing if witness else before.intersection(missing)).difference(gone, alive)
        return Outcome(
            Verdict.COMPLETE, judgement.reason, evidence.totals[-1], counts | {"absent": len(absent)}, gone, absent
        )

    def mark(self, connection: Connection, outcome: Outcome) -> dict[str, int]:
        """Marks the gone rows and remembers the absent ones."""
        if outcome.verdict == Verdict.COMPLETE:
            gone = self._mark_gone(connection, outcome.gone)
            if self._scope.confirms_gone:
                self._forget(connection, outcome.gone)
            else:
                absences.remember(connection, self._run, outcome.absent, held=False)
            return {"gone": gone}
        if outcome.verdict == Verdict.HELD:
            absences.remember(connection, self._run, outcome.absent, held=True)
        return {}

    def approve(self, connection: Connection) -> int:
        """Marks what is still held back as gone; how many rows."""
        rows = absences.held_back(connection, self._run)
        self._forget(connection, rows)
        return self._mark_gone(connection, rows)

    def discard(self, connection: Connection) -> dict[str, int]:
        """Forgets what is held back."""
        rows = absences.held_back(connection, self._run)
        self._forget(connection, rows)
        return {}

    def _forget(self, connection: Connection, rows: Collection[int]) -> None:
        absences.forget(connection, self._run.source_id, self._resource.name, rows)

    def _mark_gone(self, connection: Connection, rows: Collection[int]) -> int:
        now = self._clock()
        marked = self._table.gone(connection, rows, now)
        if marked:
            moment = now.isoformat()
            found = [Difference(row, ChangeKind.GONE, "gone_at", None, moment) for row in marked]
            ChangeStore(self._db, self._run.source_id).record(connection, self._table, self._run.id, now, found)
        return len(marked)

    def _echoes_differ(self, records: Sequence[PageRecord], stop: threading.Event) -> bool:
        """Whether the pages at both ends of the list, read once more, list other rows than they did."""
        assert self._run.page_size is not None
        listing = self._resource.listing_of(self._scope)
        recorded = {record.page: record.ids for record in records}
        indices = reconcile.echoes(len(records))
        for batch in self._vendor.pages(listing, indices, self._run.page_size, stop):
            for answer in batch:
                keys = [] if isinstance(answer, Failure) else self._reader.readable_keys(answer.rows)
                if reconcile.pack(keys) != recorded[answer.index]:
                    return True
        return False

    def _evidence(
        self, records: Sequence[tuple[int, PageRecord]], latest: Sequence[PageRecord], distinct: int, shifted: bool
    ) -> reconcile.Evidence:
        number = self._run.pass_number
        earlier = [record.ids for before, record in records if before < number]
        known = len(reconcile.distinct(earlier))
        reading_order = self._course.reading_order(number, latest)
        return reconcile.Evidence(
            pass_number=number,
            totals=[record.total for record in reading_order],
            rows=sum(record.rows for record in latest),
            distinct=distinct,
            fresh=distinct - known,
            unreadable=sum(record.rows - len(record.ids) // 8 for record in latest),
            past_end=latest[-1].rows,
            shifted=shifted,
            slack=self._settings.api_concurrency,
        )

    def _counts(self, evidence: reconcile.Evidence) -> dict[str, int | None]:
        run = self._run
        unchanged = max(0, evidence.distinct - run.new - run.changed - run.returned)
        return {"seen": evidence.distinct, "total_last": evidence.totals[-1], "unchanged": unchanged}

    def _missing(self, seen: array[int]) -> tuple[list[int], int]:
        """The live rows that this run says are not live, and how many live rows there are.

        Those that the live list lacks; or, in a scope that confirms what is gone, those that it lists.
        """
        live = 0
        with self._db.read(PATIENCE) as connection:

            def counted() -> Iterator[Sequence[int]]:
                nonlocal live
                for part in self._table.listed(connection):
                    live += len(part)
                    yield part

            missing = list(reconcile.sift(counted(), seen, listed_ones=self._scope.confirms_gone))
        return missing, live

    def _ask(self, rows: Sequence[int], stop: threading.Event) -> dict[int, _Word]:
        """What the vendor says of each row when asked for it by the resource's probe; several are asked at once."""
        if not rows or self._resource.probe is None:
            return {}
        probe = next(f for f in self._resource.fields if f.name == self._resource.probe)
        table = self._resource.table
        with self._db.read(PATIENCE) as connection:
            query = select(table.c.id, table.c[probe.column]).where(
                table.c.source_id == self._run.source_id, table.c.id.in_(rows)
            )
            found = [(row[0], row[1]) for row in connection.execute(query)]
        askable = [(row, value) for row, value in found if value]
        with ThreadPoolExecutor(max_workers=min(8, max(1, len(askable)))) as pool:
            words = pool.map(lambda pair: self._word(pair[0], pair[1], stop), askable)
            return {row: word for (row, _), word in zip(askable, words, strict=True)}

    def _word(self, row: int, value: str, stop: threading.Event) -> _Word:
        assert self._resource.probe is not None
        scopes = sorted(self._resource.scopes, key=lambda scope: not scope.confirms_gone)
        for scope in scopes:
            listing = self._resource.listing_of(scope).narrowed(**{self._resource.probe: value})
            try:
                page = self._vendor.page(listing, 0, self._settings.api_page_size, stop, check_length=False)
                listed = row in self._reader.readable_keys(page.rows)
            except AnswerError:
                return _Word.NOTHING
            if listed:
                return _Word.GONE if scope.confirms_gone else _Word.ALIVE
        return _Word.NOTHING

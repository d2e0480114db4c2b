"""Closing a run: from the recorded pages to the verdict, and what it marks in the mirror."""

from __future__ import annotations

import logging
import threading
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from gengfu.errors import AnswerError
from gengfu.language import joined, tr
from gengfu.mirror import planning, reconcile
from gengfu.mirror.run_context import RunContext
from gengfu.store import absences, retention
from gengfu.store.changes import ChangeKind, Difference
from gengfu.store.database import PATIENCE, Transaction
from gengfu.store.run_rows import Decision, PageRecord, Verdict
from gengfu.vendor.paging import Failure

log = logging.getLogger("gengfu.mirror")

ASK_AT_MOST = 200
"""So many missing rows are asked for one by one; more are left to the next run."""


class _Word(Enum):
    """What the vendor says of a row that its list lacks."""

    GONE = "listed as deleted"
    ALIVE = "listed as live when asked for"
    NOTHING = "not listed anywhere, or not to be asked for"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What closing came to. Without a verdict: the list must be read once more, with `total` rows to expect."""

    verdict: Verdict | None
    reason: str | None
    total: int
    counts: Mapping[str, int | None] = field(default_factory=dict)
    gone: Collection[int] = ()
    """Live rows to be marked as gone."""
    absent: Collection[int] = ()
    """Live rows that are missing for the first time, or held back."""


def close(context: RunContext, job_id: int, stop: threading.Event) -> None:
    """Gives a run whose windows all ended its verdict, with what follows from it, or has its list read once more.

    Raises:
        LoginRefused, Postpone, Stopped: as the vendor client does, while it asks for missing rows.
        Fenced: another worker closes it.
    """
    if close_partial(context):
        return
    found = _Closing(context).conclude(stop)
    if found.verdict is None:
        run = context.run
        log.warning("list shifted", extra={"run": run.id, "pass": run.pass_number, "why": found.reason})
        planning.read_again(context, found.total, job_id, stop)
        return
    _end(context, found, found.verdict)


def close_partial(context: RunContext) -> bool:
    """Ends the run as partial if windows of it were given up."""
    failed = context.windows.failures(context.run)
    if not failed:
        return False
    more = [tr("and {number} more", number=len(failed) - 5)] if len(failed) > 5 else []
    reason = joined("; ", [*failed[:5], *more])
    _end(context, Conclusion(Verdict.PARTIAL, reason, 0), Verdict.PARTIAL)
    return True


def decide(context: RunContext, decision: Decision, by: str) -> int | None:
    """Keeps a person's word on a held run: what is still missing is marked as gone, or nothing is. How many rows were
    marked; None if the run is not held."""

    def work(transaction: Transaction) -> int | None:
        now = context.clock()
        if not context.runs.decide(transaction, context.run, decision, by, now):
            return None
        rows = absences.held_back(transaction, context.run)
        absences.forget(transaction, context.run, rows)
        return _mark_gone(transaction, context, rows, now) if decision is Decision.APPROVED else 0

    return context.db.write(work)


def _end(context: RunContext, found: Conclusion, verdict: Verdict) -> None:
    """Ends the run with all that follows from the verdict, or with nothing of it."""
    run = context.run
    calls = {name: getattr(run, name) + count for name, count in context.new_calls().items()}

    def work(transaction: Transaction) -> None:
        now = context.clock()
        context.runs.close(transaction, run, verdict, found.reason, {**found.counts, **calls})
        retention.forget_pages(transaction, run)
        if verdict == Verdict.HELD:
            absences.remember(transaction, run, found.absent, held=True)
        elif verdict == Verdict.COMPLETE and context.scope.confirms_gone:
            absences.forget(transaction, run, found.gone)
        elif verdict == Verdict.COMPLETE:
            absences.remember(transaction, run, found.absent, held=False)
        _mark_gone(transaction, context, found.gone, now)

    context.db.write(work)
    level = logging.INFO if verdict == Verdict.COMPLETE else logging.WARNING
    log.log(level, "run closed", extra={"run": run.id, "verdict": verdict, "why": found.reason or ""})


def _mark_gone(transaction: Transaction, context: RunContext, rows: Collection[int], now: datetime) -> int:
    """Marks live rows as gone, which the run counts; how many they were."""
    if not rows:
        return 0
    marked = context.table.gone(transaction, rows, now)
    context.runs.count_gone(transaction, context.run, len(marked))
    found = [Difference(row, ChangeKind.GONE, "gone_at", None, now.isoformat()) for row in marked]
    context.changes.record(transaction, context.table, context.run.id, now, found)
    return len(marked)


class _Closing:
    """Tells the verdict of a run; it only reads."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._db = context.db
        self._vendor = context.vendor
        self._settings = context.settings
        self._resource = context.resource
        self._scope = context.scope
        self._reader = context.reader
        self._run = context.run
        self._strategy = planning.strategy_of(context.listing)

    def conclude(self, stop: threading.Event) -> Conclusion:
        """From the recorded pages to the verdict."""
        records = list(self._context.windows.page_records(self._run.id))
        latest = [record for number, record in records if number == self._run.pass_number]
        total = latest[-1].total
        if unread := self._unread(latest):
            return Conclusion(Verdict.PARTIAL, unread, total, {"total_last": total})
        first_pass = self._run.pass_number == 1
        shifted = self._run.shifted or (first_pass and self._run.windows > 1 and self._echoes_differ(latest, stop))
        if first_pass and not shifted and (repeated := self._repetition(latest)):
            reason = tr(
                "page {last} repeats page {earlier}: the server ignores which page is asked for",
                last=repeated[0],
                earlier=repeated[1],
            )
            return Conclusion(Verdict.PARTIAL, reason, total, {"total_last": total})
        seen = reconcile.distinct(record.ids for _, record in records)
        evidence = self._evidence(records, latest, len(seen), shifted)
        judgement = self._strategy.judge(evidence, [record.ids for record in latest])
        if self._run.differing:
            drift = tr(
                "{differing} rows came twice with different values, of which the later ones count",
                differing=self._run.differing,
            )
            judgement = replace(
                judgement, reason=joined("; ", [judgement.reason, drift]) if judgement.reason else drift
            )
        missing, live = self._missing(seen)
        counts = self._counts(evidence)
        if judgement.verdict != Verdict.COMPLETE:
            return Conclusion(judgement.verdict, judgement.reason, evidence.totals[-1], counts)
        if reconcile.too_many(len(missing), live, self._settings.guard_percent, self._settings.guard_minimum):
            reason = tr("{number} of {live} live rows vanished at once", number=len(missing), live=live)
            return Conclusion(Verdict.HELD, reason, total, counts | {"absent": len(missing)}, absent=missing)
        if self._scope.confirms_gone:
            return Conclusion(Verdict.COMPLETE, judgement.reason, total, counts, gone=missing)
        return self._settle(evidence, judgement, missing, counts, stop)

    def _repetition(self, latest: Sequence[PageRecord]) -> tuple[int, int] | None:
        """A page that lists what another lists, with that other. In a list that shifts, two pages that were read at
        different times may do so honestly."""
        is_counted = self._run.total_first is not None
        return reconcile.repetition((page.page, page.ids, page.total if is_counted else None) for page in latest)

    def _unread(self, latest: Sequence[PageRecord]) -> str:
        """Why the run is no witness of the list, if too much of it could not be read."""
        rejected, rows = sum(page.rejected for page in latest), sum(page.rows for page in latest)
        whole = [page.page for page in latest if page.rows and page.rejected >= page.rows]
        settings = self._settings
        if not whole and not reconcile.too_many(
            rejected, rows, settings.unreadable_percent, settings.unreadable_minimum
        ):
            return ""
        example = self._context.windows.rejects(self._run.id)[:1]
        told = (
            tr("; the first, on page {page}: {reason}", page=example[0].page, reason=example[0].reason)
            if example
            else ""
        )
        return tr(
            "{rejected} of {rows} rows could not be read{whole}{told}",
            rejected=rejected,
            rows=rows,
            whole=tr(", all of page {page}", page=whole[0]) if whole else "",
            told=told,
        )

    def _settle(
        self,
        evidence: reconcile.Evidence,
        judgement: reconcile.Judgement,
        missing: Sequence[int],
        counts: dict[str, int | None],
        stop: threading.Event,
    ) -> Conclusion:
        """Tells the missing rows that are gone from those that may come back."""
        with self._db.read(PATIENCE) as connection:
            before = absences.absent_once(connection, self._run)
        words = self._ask(missing, stop) if len(missing) <= ASK_AT_MOST else {}
        alive = {row for row, word in words.items() if word == _Word.ALIVE}
        if alive and evidence.pass_number < reconcile.MAX_PASSES:
            reason = tr("{number} rows were missing that the vendor still has", number=len(alive))
            return Conclusion(None, reason, evidence.totals[-1])
        confirmed = {row for row, word in words.items() if word == _Word.GONE}
        # A row that could not be read may be any of the missing ones, so this run is no witness against them.
        witness = evidence.unreadable == 0
        gone = [row for row in missing if row in confirmed or (witness and row in before and row not in alive)]
        absent = set(missing if witness else before.intersection(missing)).difference(gone, alive)
        return Conclusion(
            Verdict.COMPLETE, judgement.reason, evidence.totals[-1], counts | {"absent": len(absent)}, gone, absent
        )

    def _echoes_differ(self, records: Sequence[PageRecord], stop: threading.Event) -> bool:
        """Whether the pages at both ends of the list, read once more, list other rows than they did."""
        recorded = {record.page: record.ids for record in records}
        indices = reconcile.echoes(len(records))
        for batch in self._vendor.pages(self._context.listing, indices, self._context.page_size, stop):
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
        reading_order = self._strategy.reading_order(number, latest)
        return reconcile.Evidence(
            pass_number=number,
            totals=[record.total for record in reading_order],
            rows=sum(record.rows for record in latest),
            distinct=distinct,
            fresh=distinct - known,
            unreadable=sum(record.rows - len(record.ids) // 8 for record in latest),
            doubled=sum(len(record.ids) // 8 for record in latest) - len(reconcile.distinct(r.ids for r in latest)),
            past_end=latest[-1].rows,
            shifted=shifted,
            slack=self._settings.api_concurrency,
        )

    def _counts(self, evidence: reconcile.Evidence) -> dict[str, int | None]:
        run = self._run
        unchanged = max(0, evidence.distinct - run.new - run.changed - run.returned)
        total = evidence.totals[-1]
        return {"seen": evidence.distinct, "total_last": total, "unchanged": unchanged, "doubled": evidence.doubled}

    def _missing(self, seen: array[int]) -> tuple[list[int], int]:
        """The live rows that this run says are not live, and how many live rows there are.

        Those that the live list lacks; or, in a scope that confirms what is gone, those that it lists.
        """
        live = 0
        with self._db.read(PATIENCE) as connection:

            def counted() -> Iterator[Sequence[int]]:
                nonlocal live
                for part in self._context.table.listed(connection):
                    live += len(part)
                    yield part

            missing = list(reconcile.sift(counted(), seen, listed_ones=self._scope.confirms_gone))
        return missing, live

    def _ask(self, rows: Sequence[int], stop: threading.Event) -> dict[int, _Word]:
        """What the vendor says of each row when asked for it by the resource's probe; several are asked at once."""
        if not rows or self._resource.probe is None:
            return {}
        probe = next(f for f in self._resource.fields if f.name == self._resource.probe)
        with self._db.read(PATIENCE) as connection:
            found = self._context.table.values(connection, rows, probe.column)
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

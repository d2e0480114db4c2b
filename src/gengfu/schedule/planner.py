"""Accounts for the due moments of all entries: what becomes of each is decided once and written down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from gengfu.schedule.cron import Cron, cron_of
from gengfu.schedule.enqueue import Enqueuer, Settled
from gengfu.schedule.plan import EntryPlan, FormatMoment, offset, paused_because, plan
from gengfu.schedule.policy import Entry
from gengfu.store.ticks import EntryRow, TickHolder, Ticks, TickState, TickStore

log = logging.getLogger("gengfu.schedule.planner")

PLAN_EVERY = timedelta(seconds=20)
"""So often a pass is recorded although nothing is due, as a sign of life."""


class Planner:
    """Makes passes over the entries. Whoever accounts for a due moment first writes it down; the row of its entry tells
    the others. An entry that cannot be planned keeps no other from running."""

    def __init__(
        self,
        store: TickStore,
        read_entries: Callable[[], Mapping[str, Entry]],
        enqueuer: Enqueuer,
        show: FormatMoment,
    ) -> None:
        self.entries: Mapping[str, Entry] = {}
        """As they were at the last pass, by name."""
        self.paused: Mapping[str, str] = {}
        """Why entries are paused, by name."""
        self._store = store
        self._read_entries = read_entries
        self._enqueuer = enqueuer
        self._show = show
        self._crons: dict[tuple[str, str | None], Cron] = {}
        self._last: datetime | None = None
        self._next: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether it is time for a pass."""
        last = self._last
        return last is None or not last <= now < last + PLAN_EVERY or (self._next is not None and now >= self._next)

    def until_next(self, now: datetime) -> float | None:
        """Seconds until the next tick is due; None where there is none."""
        return (self._next - now).total_seconds() if self._next is not None else None

    def make_pass(self, now: datetime, name: str, get_holder: Callable[[], TickHolder]) -> list[Settled]:
        """Accounts for all ticks up to now; what became of those that only queue.

        Args:
            name: the name of the scheduler.
            get_holder: asked for where ticks are to be claimed.

        Raises:
            StoreError: the database cannot do it.
        """
        self.entries = self._read_entries()
        rows = self._store.write(Ticks.entries)
        self.paused = {key: paused_because(row, self._show) for key, row in rows.items() if row.paused_at is not None}
        plans = self.plans(rows, now)
        claimed = {key for key, found in plans.items() if any(new.state is TickState.CLAIMED for new in found.ticks)}
        holder = get_holder() if any(self.entries[key].queues is None for key in claimed) else name

        def write(ticks: Ticks) -> list[Settled]:
            settled = []
            for key, found in plans.items():
                if ticks.advance(key, rows.get(key), found.row):
                    settled += self._record(ticks, self.entries[key], found, holder, name, now)
            return settled

        settled = self._store.write(write)
        self._last, self._next = now, self._next_due(now)
        return settled

    def _record(
        self, ticks: Ticks, entry: Entry, found: EntryPlan, holder: TickHolder | str, name: str, now: datetime
    ) -> list[Settled]:
        settled = []
        for new in found.ticks:
            claimer = holder if entry.queues is None else name
            tick_id = ticks.record(entry.name, found.row.clock_epoch, entry.argv, new, claimer, now)
            if tick_id is not None and entry.queues is not None and new.state is TickState.CLAIMED:
                done = self._enqueuer.settle(ticks, ticks.get(tick_id), entry, name)
                settled += [done] if done is not None else []
        return settled

    def plans(self, rows: Mapping[str, EntryRow], now: datetime) -> dict[str, EntryPlan]:
        """What a pass at that time writes, by entry, in the order of their names."""
        found: dict[str, EntryPlan] = {}
        for name, entry in sorted(self.entries.items()):
            try:
                planned = plan(entry, self._cron(entry), rows.get(name), now, self._show)
            except Exception:
                log.exception("an entry cannot be planned; the others go on", extra={"entry": name})
            else:
                found |= {name: planned} if planned is not None else {}
        return found

    def _next_due(self, now: datetime) -> datetime | None:
        """When the next tick of any entry is due after that time; None where there is none."""
        moments = []
        for name, entry in self.entries.items():
            if entry.schedule.enabled:
                late_by = offset(entry)
                try:
                    due = self._cron(entry).after(now - late_by)
                except Exception:
                    log.debug("an entry has no next tick", extra={"entry": name})
                else:
                    moments += [due + late_by] if due is not None else []
        return min(moments, default=None)

    def _cron(self, entry: Entry) -> Cron:
        """Each expression is read once."""
        schedule = entry.schedule
        key = (schedule.cron, schedule.timezone)
        if key not in self._crons:
            self._crons[key] = cron_of(entry)
        return self._crons[key]

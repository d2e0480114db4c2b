"""What is due of all entries, and what becomes of it; an entry that cannot be planned keeps no other from running."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from gengfu.schedule.cron import Cron, cron_of
from gengfu.schedule.plan import Plan, Say, offset, plan
from gengfu.schedule.policy import Entry
from gengfu.store.tick_rows import EntryRow

log = logging.getLogger("gengfu.schedule.calendar")


class Calendar:
    """Plans passes over many entries. It reads each expression once."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._crons: dict[tuple[str, str | None], Cron] = {}

    def plans(self, entries: Mapping[str, Entry], rows: Mapping[str, EntryRow], now: datetime) -> dict[str, Plan]:
        """What a pass at that time writes, by entry, in the order of their names."""
        found: dict[str, Plan] = {}
        for name, entry in sorted(entries.items()):
            try:
                planned = plan(entry, self._cron(entry), rows.get(name), now, self._say)
            except Exception:
                log.exception("an entry cannot be planned; the others go on", extra={"entry": name})
            else:
                found |= {name: planned} if planned is not None else {}
        return found

    def next_due(self, entries: Mapping[str, Entry], now: datetime) -> datetime | None:
        """When the next tick of any entry is due after that time; None where there is none."""
        moments = []
        for name, entry in entries.items():
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
        schedule = entry.schedule
        key = (schedule.cron, schedule.timezone)
        if key not in self._crons:
            self._crons[key] = cron_of(entry)
        return self._crons[key]

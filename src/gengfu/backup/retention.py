"""Which backups have had their time; a decision on names and moments alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """How many backups are kept: the newest of each of so many days, weeks and months that have one."""

    daily: int
    weekly: int
    monthly: int
    zone: tzinfo
    """Where a day begins."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A good backup, as the rule sees it."""

    file: str
    moment: datetime


def outdated(candidates: Iterable[Candidate], rule: Rule, now: datetime, spared: Collection[str] = ()) -> list[str]:
    """The files to remove, oldest first, of backups of one kind of database that are all known to be good.

    The newest is never among them, nor one of `spared`. What is dated later than now stays and counts for nothing,
    since then the clock was wrong, then or now. What is younger than a day stays, such as the copy that a person made
    before a change, or a restore. Days are those that have a backup, so no jump of the clock makes all of them old.
    """
    newest_first = sorted(candidates, key=lambda found: (found.moment, found.file), reverse=True)
    past = [found for found in newest_first if found.moment <= now]
    kept = {found.file for found in past if found.moment > now - DAY}
    kept.update(found.file for found in past[:1])
    periods: list[tuple[int, Callable[[datetime], tuple[int, ...]]]] = [
        (rule.daily, lambda local: (local.year, local.month, local.day)),
        (rule.weekly, lambda local: local.isocalendar()[:2]),
        (rule.monthly, lambda local: (local.year, local.month)),
    ]
    for number, period in periods:
        seen: set[tuple[int, ...]] = set()
        for found in past:
            of = period(found.moment.astimezone(rule.zone))
            if of not in seen and len(seen) < number:
                seen.add(of)
                kept.add(found.file)
    return [found.file for found in reversed(past) if found.file not in kept and found.file not in spared]

"""The due moments of a cron expression, backwards."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def due_before(expression: str, zone: str, moment: datetime, count: int) -> datetime | None:
    """The last but `count` - 1 of the due moments before `moment`; None where there are not so many, or where the
    expression or the zone cannot be read."""
    from zoneinfo import ZoneInfo

    from cronsim import CronSim, CronSimError

    try:
        local = moment.astimezone(ZoneInfo(zone))
        moments = list(islice(CronSim(_NAMED.get(expression, expression), local, reverse=True), count))
    except (CronSimError, ValueError, OSError, LookupError):
        return None
    return moments[-1].astimezone(UTC) if len(moments) == count else None

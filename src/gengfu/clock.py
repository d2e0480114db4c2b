"""The one place where time is read; everything else is handed a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

Clock = Callable[[], datetime]
"""Returns the present moment as an aware datetime in UTC."""


def utcnow() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """The moment as that zone has it; as it is where the zone's calendar has no such day, before the year 1 or after
    9999."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


monotonic = time.monotonic
"""Seconds that never jump; for measuring how long something took or has been silent."""

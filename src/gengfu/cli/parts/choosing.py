"""What the filters of a command line mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gengfu.errors import UsageError
from gengfu.store.devices import COLUMNS, Presence, Which

_SPANS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def presence(gone: bool, everything: bool) -> Presence:
    """What `--gone` and `--all` ask for.

    Raises:
        UsageError: both are given.
    """
    if gone and everything:
        raise UsageError("--gone and --all cannot be combined")
    return Presence.GONE if gone else Presence.ALL if everything else Presence.PRESENT


def which(
    *,
    gone: bool,
    everything: bool,
    alive: bool | None,
    changed_since: str | None,
    zone: str,
    now: datetime,
    **equal: str | None,
) -> Which:
    """The devices that the filters of an export choose.

    Raises:
        UsageError: they cannot be combined, or make no sense.
    """
    since = moment(changed_since, zone, now) if changed_since is not None else None
    return Which(presence(gone, everything), alive=alive, changed_since=since, **equal)


def moment(text: str, zone: str, now: datetime) -> datetime:
    """`90m`, `24h`, `7d` or `2w` ago; or a day or a time, in `zone` where it names none.

    Raises:
        UsageError: it is none of these.
    """
    span = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    try:
        if span is not None:
            return now - timedelta(**{_SPANS[span[2]]: int(span[1])})
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is not None else found.replace(tzinfo=ZoneInfo(zone))
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time; for example: 90m, 7d, 2026-01-31 or 2026-01-31T08:00") from None


def columns(text: str | None) -> Sequence[str]:
    """The columns of the device table that a list names; all of them for None.

    Raises:
        UsageError: one of them does not exist.
    """
    if text is None:
        return COLUMNS
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in COLUMNS]
    if unknown or not named:
        wrong = ", ".join(unknown) or text
        raise UsageError(f"there is no column {wrong!r}; there are: {', '.join(COLUMNS)}")
    return list(dict.fromkeys(named))

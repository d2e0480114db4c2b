"""Finds what was meant by a name that is no setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gengfu.language import Message, tr
from gengfu.setting_files import ENVIRONMENT, TOML, Given

SCHEDULE_KEYS = (
    "command", "cron", "timezone", "overlap", "catch_up", "catch_up_limit", "grace", "timeout", "jitter", "enabled"
)  # fmt: skip
"""What a table `[schedule.NAME]` of `gengfu.toml` may hold."""

ENVIRONMENT_ALONE = ("GENGFU_HOME", "GENGFU_SAFE_DIRECTORY")
"""What counts in the environment and nowhere else."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""What all programs read, in small letters too."""

TICK = "GENGFU_TICK"
"""Tells a command that the schedule runs the number of its tick."""
STARTED_BY = frozenset({"GENGFU_PARENT", TICK})
"""What a process of the program gives to those that it starts."""

_OWN = (*ENVIRONMENT_ALONE, *STARTED_BY, "GENGFU_SIMULATOR_PASSWORD")
_OWN_PREFIXES = ("GENGFU_TEST_", "GENGFU_BENCH_")

_ELSEWHERE = {
    "APP_DEFAULT_TIMEZONE": "GENGFU_TIMEZONE",
    "DEFAULT_TIMEZONE": "GENGFU_TIMEZONE",
    "TIMEZONE": "GENGFU_TIMEZONE",
    "TZ": "GENGFU_TIMEZONE",
    "API_URL": "API_WECHAT_URL",
    "API_BASE_URL": "API_WECHAT_URL",
    "API_USER": "API_USERNAME",
    "API_PASS": "API_PASSWORD",
    "DB_URL": "DATABASE_URL",
    "DATABASE_DSN": "DATABASE_URL",
    "QUEUE_TYPE": "REDIS_URL",
    "QUEUE_CONNECTOR": "REDIS_URL",
    "QUEUE_DRIVER": "REDIS_URL",
    "QUEUE_CONNECTION": "REDIS_URL",
}
"""What other programs call it."""


def misspelt(
    unknown: Iterable[Given], environ: Mapping[str, str], schedule: Any, known: Iterable[str]
) -> Iterator[Message]:
    """What is written and read by nobody, each with what was meant.

    Args:
        unknown: what the files say that is no setting.
        environ: where names of ours, and those that nearly are, are looked for.
        schedule: the table `schedule` of `gengfu.toml`.
    """
    names = list(known)
    for given in unknown:
        yield _told(given.name, given.place, names)
    near = {form for name in names for form in _forms(name)}
    for name in sorted(environ.keys() - set(names) - {name.lower() for name in PROXIES}):
        ours = name.startswith(("API_", "GENGFU_"))
        if name not in _OWN and not name.startswith(_OWN_PREFIXES) and (ours or not near.isdisjoint(_forms(name))):
            yield _told(name, ENVIRONMENT, names)
    for entry, table in schedule.items() if isinstance(schedule, dict) else ():
        for key in table if isinstance(table, dict) else ():
            if key not in SCHEDULE_KEYS:
                yield _told(key, f"{TOML}, [schedule.{entry}]", SCHEDULE_KEYS)


def _told(name: str, place: str, known: Iterable[str]) -> Message:
    if name in ENVIRONMENT_ALONE:
        return tr("{name} ({place}) is not used: it counts in the environment alone", name=name, place=place)
    near = meant(name, known)
    if near is None:
        hint = tr("see: {command}", command="gengfu config")
    elif name.upper() in _ELSEWHERE:
        hint = tr("what counts here is {name}", name=near)
    else:
        hint = tr("did you mean {name}?", name=near)
    shown = name if name.isprintable() and len(name) <= 64 else "..."
    return tr("{name} ({place}) is no setting and is not used; {hint}", name=shown, place=place, hint=hint)


def meant(name: str, known: Iterable[str]) -> str | None:
    """The name that was meant; None where none is like it."""
    from difflib import get_close_matches

    forms = {form: each for each in known for form in _forms(each)}
    if near := next((forms[form] for form in _forms(name) if form in forms), None):
        return near
    like = {each.upper(): each for each in known}
    found = _ELSEWHERE.get(name.upper()) or next(iter(get_close_matches(name.upper(), like, 1, 0.7)), None)
    return like.get(found) if found else None


def _forms(name: str) -> list[str]:
    """The name without what may be left out, and that with any one character less: two names that share a form differ
    by one mistake, whether a character is doubled, left out, exchanged, or changes places with its neighbour."""
    plain = "".join(filter(str.isalnum, name)).upper()
    return [plain, *(plain[:at] + plain[at + 1 :] for at in range(len(plain)))] if len(plain) > 5 else [plain]

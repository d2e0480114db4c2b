"""Reads single values of settings and of the schedule's entries, as text or in the types of TOML.

Each reader raises ValueError with what is wrong, to be said after the name: "is 'many', not a number". The value stands
in it only where it is no secret.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gengfu import addresses
from gengfu.durations import duration
from gengfu.language import Message, language_of, tr
from gengfu.ownership import name_of

Reader = Callable[[Any], Any]
Word = TypeVar("Word", bound=StrEnum)


def text(value: Any) -> str:
    """A text on one line, without spaces around it."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(tr("is {value!r}, not a text", value=value))
    found = str(value).strip()
    if not found:
        raise ValueError(tr("is empty"))
    if not found.isprintable():
        raise ValueError(tr("is {value!r}, which holds characters that are not seen or not UTF-8", value=found))
    return found


def secret(value: Any) -> str:
    """A text that is repeated nowhere."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(tr("is not a text"))
    if not value:
        raise ValueError(tr("is empty"))
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise ValueError(tr("holds characters that are not UTF-8")) from None
    return str(value)


def flag(value: Any) -> bool:
    """Yes or no, in one of the usual words."""
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(tr("is {value!r}, neither true nor false", value=value))


def number(low: float, high: float, kind: Callable[[str], Any]) -> Reader:
    """A number within these bounds; `kind` is `int` or `float`."""

    def read(value: Any) -> Any:
        try:
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise ValueError
            found = kind(value.strip() if isinstance(value, str) else repr(value))
        except (ValueError, OverflowError):
            raise ValueError(tr("is {value!r}, not a number", value=value)) from None
        if not low <= found <= high:
            raise ValueError(
                tr("is {value}, outside {low:g} to {high:g}", value=str(value).strip(), low=low, high=high)
            )
        return found

    return read


def seconds(low: float, high: float) -> Reader:
    """A length of time within these bounds, in seconds."""

    def read(value: Any) -> float:
        found = duration(value, bare=1) if isinstance(value, str) else value
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise ValueError(tr('is {value!r}, not a length of time such as 90, "5m" or "1h"', value=value))
        if not low <= found <= high:
            raise ValueError(tr("is {value!r}, outside {low:g} s to {high:g} s", value=value, low=low, high=high))
        return float(found)

    return read


def word(kind: type[Word]) -> Callable[[Any], Word]:
    """One of the words."""

    def read(value: Any) -> Word:
        try:
            return kind(value.strip().lower() if isinstance(value, str) else value)
        except ValueError:
            raise ValueError(tr("is {value!r}, none of {words}", value=value, words=", ".join(kind))) from None

    return read


def zone(value: Any) -> str:
    """A time zone that this machine knows."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(text(value)).key
    except (ValueError, OSError, LookupError):
        raise ValueError(tr("is {value!r}, not a time zone that this machine knows", value=value)) from None


def language(value: Any) -> str:
    """A language that there is."""
    if str(value).strip().lower()[:2] not in ("en", "zh"):
        raise ValueError(tr("is {value!r}, neither zh_CN nor en", value=value))
    return language_of({"GENGFU_LANG": str(value).strip()})


def path(value: Any) -> Path:
    """A path; `~` is the home folder of the user. The bytes of a name need not be UTF-8."""
    if not isinstance(value, str):
        raise ValueError(tr("is {value!r}, not a path", value=value))
    if not value.strip():
        raise ValueError(tr("is empty"))
    if "\0" in value:
        raise ValueError(tr("holds a NUL character"))
    try:
        return Path(value.strip()).expanduser()
    except RuntimeError:
        raise ValueError(tr("is {value!r}, and there is no such user", value=value)) from None


def folder(value: Any) -> Path:
    """The path of a folder, which need not be there yet."""
    return path(value)


def unreachable(place: Path) -> Message | None:
    """Why this user can have no folder there, with the remedy; None where nothing stands against it."""
    for each in (place, *place.parents):
        try:
            found = each.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return tr("{folder}, which cannot be reached: {reason}", folder=place, reason=error.strerror)
        if not stat.S_ISDIR(found.st_mode):
            return tr("{folder}, where {part} is not a folder", folder=place, part=each)
        if os.access(each, os.W_OK | os.X_OK):
            return None
        values = {"folder": place, "part": each, "me": name_of(os.geteuid()), "owner": name_of(found.st_uid)}
        return tr("{folder}, which {me} cannot write, as {part} belongs to {owner}; chown -R {me} {part}", **values)
    return None


def file(value: Any) -> Path:
    """The path of a file that can be read."""
    found = path(value)
    try:
        there = found.is_file()
    except OSError as error:
        raise ValueError(
            tr("names {file}, which cannot be reached: {reason}", file=found, reason=error.strerror)
        ) from None
    if not there:
        raise ValueError(tr("names {file}, which is not a file", file=found))
    if not os.access(found, os.R_OK):
        raise ValueError(tr("names {file}, which this user may not read; for example: chmod a+r {file}", file=found))
    return found


def http_url(value: Any) -> str:
    """A base address, ending with one slash."""
    found = secret(value).strip()
    try:
        parts = urlsplit(found)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(tr("is not an http:// or https:// address"))
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(tr("must not carry a user, a query or a fragment"))
    if not found.isprintable() or " " in found or "\\" in found:
        raise ValueError(tr("holds a space, a backslash or a character that is not seen"))
    return found.rstrip("/") + "/"


def proxy_url(value: Any) -> str:
    """The address of a proxy, or `none`."""
    found = secret(value).strip()
    if found.lower() == "none":
        return "none"
    whole = found if "://" in found else f"http://{found}"
    if wrong := addresses.wrong_with(whole):
        raise ValueError(wrong)
    parts = urlsplit(whole)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(tr("is not an http:// or https:// address, nor none"))
    return whole


def database_url(value: Any) -> str:
    """The address of a database."""
    found = secret(value).strip()
    scheme = found.partition("://")[0].partition("+")[0]
    if "://" not in found or scheme not in ("sqlite", "postgresql", "postgres", "mysql", "mariadb"):
        raise ValueError(tr("is not a sqlite://, postgresql:// or mysql:// address"))
    if scheme == "sqlite":
        if "?" in found:
            raise ValueError(tr("has parameters, and of SQLite only the path of a file is taken"))
    elif wrong := addresses.wrong_with(found):
        raise ValueError(wrong)
    return found


def redis_url(value: Any) -> str:
    """The address of a Redis or Valkey."""
    found = secret(value).strip()
    scheme = found.partition("://")[0]
    if "://" not in found or scheme not in ("redis", "rediss", "unix", "redis+sentinel"):
        raise ValueError(tr("is not a redis://, rediss://, unix:// or redis+sentinel:// address"))
    if wrong := addresses.wrong_with(found):
        raise ValueError(wrong)
    database = urlsplit(found).path.strip("/")
    if scheme in ("redis", "rediss") and database and not database.isdecimal():
        raise ValueError(tr("must end with the number of the database, such as /0"))
    return found

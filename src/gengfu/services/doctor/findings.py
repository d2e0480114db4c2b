"""What a check says, and what it may ask of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.settings import Settings

if TYPE_CHECKING:
    from gengfu.discovery import Broken
    from gengfu.queue.redis_server import RedisServer
    from gengfu.schedule.entries import Entries
    from gengfu.store.database import Database
    from gengfu.vendor.auth import AuthService

PATIENCE = 5.0
"""Seconds that anybody asked over a network has for an answer."""


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """It works, and will not for ever, or not as meant."""
    ERROR = "error"
    """Something cannot work before this is fixed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`."""

    level: Level
    text: str
    remedy: str = ""
    """The command, or the act, that fixes it."""
    fix: Callable[[], str] | None = None
    """Fixes it where that is safe, and says what was done."""


def ok(text: str) -> Finding:
    """All is as it should be."""
    return Finding(Level.OK, text)


def warning(text: str, remedy: str = "", fix: Callable[[], str] | None = None) -> Finding:
    """See `Level.WARNING`."""
    return Finding(Level.WARNING, text, remedy, fix)


def error(text: str, remedy: str = "", fix: Callable[[], str] | None = None) -> Finding:
    """See `Level.ERROR`."""
    return Finding(Level.ERROR, text, remedy, fix)


@dataclass(frozen=True)
class DoctorContext:
    """The program in its working folder on this machine."""

    settings: Settings
    clock: Callable[[], datetime]
    db: Callable[[], Database]
    """The database, whatever the state of its tables."""
    redis: RedisServer | None
    auth: Callable[[], AuthService]
    entries: Callable[[], Entries]
    """Those of the schedule."""
    broken: Callable[[], Sequence[Broken]]
    """What of user code cannot be used."""
    tell: Callable[[str], None]
    """Takes what is waited for, where that takes long."""
    log_in: bool = False
    """Whether the vendor may be asked for a login."""
    root: Path = Path("/")
    """Where the machine's files are."""


@dataclass(frozen=True, slots=True)
class Check:
    """One subject of `doctor`."""

    name: str
    examine: Callable[[DoctorContext], Iterable[Finding]]
    asks_database: bool = False
    """Whether it says nothing where the database cannot be used."""

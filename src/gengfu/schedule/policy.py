"""What a schedule entry says: when a command runs, and what happens when it cannot run then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Overlap(StrEnum):
    """What becomes of a tick that comes due while an earlier one of its entry is still under way."""

    SKIP = "skip"
    """It is not run; its row says what was still under way."""
    QUEUE_ONE = "queue-one"
    """It waits for the earlier one to end; a further tick that comes due meanwhile is skipped."""
    CANCEL_RUNNING = "cancel-running"
    """The earlier one is ended, and this one runs."""


class CatchUp(StrEnum):
    """What becomes of ticks that are found later than the entry's grace, as after a stop of all schedulers."""

    NONE = "none"
    """They are recorded as missed."""
    LATEST = "latest"
    """The latest of them runs, the others are recorded as missed."""
    ALL = "all"
    """They run one after the other, the latest `catch_up_limit` of them; earlier ones are recorded as missed."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a command runs, as its class declares it. A string stands for `Schedule(cron=that string)`."""

    cron: str
    """Five fields as in Debian's crontab(5), or `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly`, `@yearly`
    (`@annually`); six fields begin with the second."""
    command: str = ""
    """The command's options and arguments, as typed after its name."""
    timezone: str | None = None
    """The zone in which the expression is read; None for the setting GENGFU_TIMEZONE."""
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.NONE
    catch_up_limit: int = 10
    """The most ticks that `all` runs."""
    grace: float = 60.0
    """Seconds by which a tick may be late and still be on time."""
    timeout: float = 3600.0
    """Seconds after which the command is ended."""
    jitter: float = 0.0
    """The most seconds by which a tick is put off, by an amount that is the same on every host."""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run of a list that is to be queued."""

    resource: str
    scope: str
    title: str
    """What people call the list: `device list`."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job that is to be queued, unless one for the same subject is queued or running."""

    job: str
    """The name of its class."""
    queue: str
    tries: int
    subject: str
    """What it works for."""
    title: str
    """What people call it: `Backup`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A schedule entry: a name, what it runs, and when."""

    name: str
    """A lower-case letter, then letters, digits and underscores: `device_list`. Its log is `<name>.log`."""
    argv: tuple[str, ...]
    """The command and its arguments, as after `gengfu`."""
    schedule: Schedule
    """With the zone filled in."""
    source: str
    """Where it was declared, for people: `device:list` for a command's class, `gengfu.toml` for the file."""
    mirrors: tuple[str, str] | None = None
    """The list and the scope that the command brings up to date, where it does."""
    queues: RunRequest | JobRequest | None = None
    """What the command queues, where it does nothing else: then no process is started for it."""

"""The entries of the schedule, from the commands' classes and from `gengfu.toml`."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from gengfu.schedule.policy import CatchUp, Entry, Overlap, Schedule

if TYPE_CHECKING:
    from gengfu.settings import Settings


class Commands(Protocol):
    """The commands there are, by name; each may carry a `schedule`."""

    @property
    def commands(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Entries:
    """The entries by name, and what is wrong with others."""

    entries: Mapping[str, Entry]
    problems: Sequence[str]


def load_entries(settings: Settings, catalogue: Commands) -> Entries:
    """Reads them; a problem never stops other entries."""
    found: dict[str, Entry] = {}
    for name, command in catalogue.commands.items():
        declared = command.schedule
        if declared is not None:
            schedule = Schedule(declared) if isinstance(declared, str) else declared
            key = re.sub(r"\W", "_", name)
            found[key] = Entry(key, (name, *shlex.split(schedule.command)), _zoned(schedule, settings), name)
    try:
        written = tomllib.loads((settings.home / "gengfu.toml").read_text("utf-8")).get("schedule", {})
    except FileNotFoundError:
        written = {}
    for name, values in written.items():
        known = dict(values)
        argv = tuple(shlex.split(known.pop("command"))) if "command" in known else found[name].argv
        base = found[name].schedule if name in found else _zoned(Schedule(known["cron"]), settings)
        found[name] = Entry(name, argv, replace(base, **_typed(known)), "gengfu.toml")
    return Entries(found, ())


def _zoned(schedule: Schedule, settings: Settings) -> Schedule:
    return replace(schedule, timezone=schedule.timezone or settings.gengfu_timezone)


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, Any] = {"overlap": Overlap, "catch_up": CatchUp}
    return {name: kinds.get(name, lambda value: value)(value) for name, value in values.items()}

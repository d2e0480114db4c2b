"""The schedule's entries: what commands declare, and what `gengfu.toml` changes and adds."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from gengfu.durations import duration
from gengfu.errors import ConfigError
from gengfu.schedule.cron import Cron
from gengfu.schedule.policy import CatchUp, Entry, JobRequest, Overlap, RunRequest, Schedule
from gengfu.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("gengfu.schedule.entries")

FILE = "gengfu.toml"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_YEAR = 366 * 86400.0

Word = TypeVar("Word", bound=StrEnum)


class Declaring(Protocol):
    """What is asked of a command's class."""

    @property
    def name(self) -> str: ...

    @property
    def schedule(self) -> Schedule | str | None: ...

    def click_command(self, run: Callable[[Any, dict[str, Any]], int]) -> click.Command: ...

    def mirrors(self, options: Mapping[str, Any]) -> tuple[str, str] | None: ...

    def queues(self, options: Mapping[str, Any]) -> RunRequest | JobRequest | None: ...


class Declarations(Protocol):
    """The commands there are, by name."""

    def command(self, name: str) -> Declaring | None: ...

    @property
    def commands(self) -> Mapping[str, Declaring]: ...


@dataclass(frozen=True)
class Entries:
    """The entries that can be used, and in sentences what keeps others from it. Each stands for itself: a mistake in
    one never touches another."""

    entries: Mapping[str, Entry]
    """By name, in order of names; the disabled ones too."""
    problems: Sequence[str]


def load_entries(settings: Settings, catalogue: Declarations) -> Entries:
    """Reads the entries: one for each command whose class has a `schedule`, and those of `[schedule.NAME]` in
    `gengfu.toml`, key by key above the class's entry of that name. No command is run for it."""
    problems: list[str] = []
    drafts: dict[str, _Draft] = {}
    for declaring in catalogue.commands.values():
        if declaring.schedule is not None:
            _declared(declaring, drafts, problems)
    for name, table in _tables(settings.home / FILE, problems):
        draft = drafts.get(name) or _Draft(FILE, {})
        values = {key: _Given(value, f"{FILE}, [schedule.{name}], {key}") for key, value in table.items()}
        source = draft.source if draft.source == FILE else f"{draft.source}, with {FILE}"
        drafts[name] = _Draft(source, {**draft.values, **values})
    entries = {}
    for name, draft in sorted(drafts.items()):
        reader = _Reader(name, draft, settings.gengfu_timezone, catalogue)
        entry = reader.entry()
        if entry is not None:
            entries[name] = entry
        problems += reader.problems
    return Entries(entries, tuple(problems))


class EntryReader:
    """Gives the entries, read again when `gengfu.toml` changes. A file that cannot be read then changes nothing; what
    is wrong with an entry is logged once."""

    def __init__(self, home: Path, load: Callable[[], Entries]) -> None:
        self._file = home / FILE
        self._load = load
        self._entries: Mapping[str, Entry] | None = None
        self._seen: tuple[int, int, int] | None = None

    def __call__(self) -> Mapping[str, Entry]:
        """All of them, by name.

        Raises:
            ConfigError: the file cannot be read at the first call.
        """
        seen = self._stamp()
        if self._entries is None or seen != self._seen:
            try:
                found = self._load()
            except ConfigError as error:
                if self._entries is None:
                    raise
                log.warning("the entries cannot be read again; the old ones stand", extra={"error": str(error)})
            else:
                self._entries = found.entries
                for problem in found.problems:
                    log.warning("an entry cannot be used: %s", problem)
            self._seen = seen
        return self._entries

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class _Given:
    """A value as it was written, and where."""

    value: Any
    place: str


@dataclass(frozen=True)
class _Draft:
    source: str
    values: Mapping[str, _Given]
    """By key; `command` is the whole command line."""


def _declared(declaring: Declaring, drafts: dict[str, _Draft], problems: list[str]) -> None:
    """Adds the entry of a command's class."""
    command, schedule = declaring.name, declaring.schedule
    name = re.sub(r"[^A-Za-z0-9_]", "_", command)
    place = f"the command {command}, schedule"
    if isinstance(schedule, str):
        schedule = Schedule(schedule)
    if not isinstance(schedule, Schedule):
        problems.append(f'{place}: {schedule!r} is neither text nor a Schedule; for example: schedule = "0 2 * * *"')
    elif _NAME.fullmatch(name) is None:
        problems.append(f"{place}: {name!r} cannot be an entry's name; {_NAMING}")
    elif name in drafts:
        problems.append(f"{place}: {drafts[name].source} has an entry of the name {name} already")
    else:
        values = {field.name: getattr(schedule, field.name) for field in fields(Schedule)}
        values["command"] = f"{command} {schedule.command}".strip()
        drafts[name] = _Draft(command, {key: _Given(value, f"{place}, {key}") for key, value in values.items()})


_NAMING = "it must be at most 64 lower-case letters, digits and underscores, a letter first; for example: nightly_list"


def _tables(path: Path, problems: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables `[schedule.NAME]` of the file, with their names, as far as they are such."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read: {error}")
        return
    import tomllib

    try:
        schedule = tomllib.loads(text).get("schedule", {})
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path} is not valid TOML: {error}")
        return
    if not isinstance(schedule, dict):
        problems.append(f"{FILE}, schedule: it is no table; for example: [schedule.nightly_list]")
        return
    for name, table in schedule.items():
        if not isinstance(table, dict):
            problems.append(f"{FILE}, [schedule]: {name} is no table; for example: [schedule.nightly_list]")
        elif _NAME.fullmatch(name) is None:
            problems.append(f"{FILE}, [schedule.{name}]: {name!r} cannot be an entry's name; {_NAMING}")
        else:
            yield name, table


@dataclass(frozen=True)
class _Line:
    argv: tuple[str, ...]
    mirrors: tuple[str, str] | None
    queues: RunRequest | JobRequest | None


class _Reader:
    """Reads one entry. It goes on after a mistake, so that a person learns of all of them at once."""

    def __init__(self, name: str, draft: _Draft, zone: str, catalogue: Declarations) -> None:
        self.problems: list[str] = []
        self._name = name
        self._draft = draft
        self._zone = zone
        self._catalogue = catalogue

    def entry(self) -> Entry | None:
        """The entry; None where `problems` says why there is none."""
        for key in self._draft.values:
            if key not in _READERS:
                self._wrong(key, f"there is no such key; there are: {', '.join(_READERS)}")
        values = {key: self._read(key, given) for key, given in self._draft.values.items() if key in _READERS}
        line = self._line(values.pop("command", None))
        cron = values.get("cron")
        if "cron" not in values:
            self._missing("cron", '"0 2 * * *"')
        if values.get("timezone") is None:
            values["timezone"] = self._zone
        if self.problems or line is None or cron is None:
            return None
        return Entry(self._name, line.argv, Schedule(**values), self._draft.source, line.mirrors, line.queues)

    def _read(self, key: str, given: _Given) -> Any:
        try:
            return _READERS[key](given.value)
        except (ValueError, ConfigError) as error:
            self._wrong(key, str(error))
            return None

    def _line(self, words: tuple[str, ...] | None) -> _Line | None:
        """The command line, if it is one of this program's; its options are parsed, and nothing is run."""
        if "command" not in self._draft.values:
            self._missing("command", '"device:list --is-del 1"')
        if words is None:
            return None
        declaring = self._catalogue.command(words[0])
        if declaring is None:
            hint = "write only what comes after gengfu" if words[0].endswith("gengfu") else "see: gengfu --help"
            self._wrong("command", f"there is no command {words[0]!r}; {hint}")
            return None
        try:
            options = _options(declaring, words)
            return _Line(words, declaring.mirrors(options), declaring.queues(options))
        except ValueError as wrong:
            self._wrong("command", f"{shlex.join(words)!r} cannot be run: {wrong}; see: gengfu {words[0]} --help")
            return None

    def _missing(self, key: str, example: str) -> None:
        self.problems.append(f"{FILE}, [schedule.{self._name}]: {key} is missing; for example: {key} = {example}")

    def _wrong(self, key: str, wrong: str) -> None:
        self.problems.append(f"{self._draft.values[key].place}: {wrong}")


def _options(declaring: Declaring, words: Sequence[str]) -> dict[str, Any]:
    """The options as the command takes them.

    Raises:
        ValueError: it does not; the text says why.
    """
    command = declaring.click_command(lambda _command, _options: 0)
    # It would print the help and end the program.
    command.add_help_option = False
    command.params = [_unasked(parameter) for parameter in command.params]
    try:
        return command.make_context(f"gengfu {words[0]}", list(words[1:])).params
    except click.ClickException as error:
        raise ValueError(error.format_message().rstrip(".")) from error
    except Exception as error:
        # An option of somebody's own may do anything; it must not stop other entries.
        raise ValueError(f"{type(error).__name__} {error}".strip()) from error


def _unasked(parameter: click.Parameter) -> click.Parameter:
    """The parameter without a question to the terminal, where nobody is to answer: it must be given instead."""
    if isinstance(parameter, click.Option) and parameter.prompt:
        parameter = copy(parameter)
        parameter.prompt, parameter.required = None, True
    return parameter


def _command(value: Any) -> tuple[str, ...]:
    line = _text(value, "device:list --is-del 1")
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise ValueError(f"{line!r} cannot be split into words: {str(error).lower()}") from None


def _text(value: Any, example: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{value!r} is not what it takes; for example: "{example}"')
    return value


def _cron(value: Any) -> str:
    return Cron(_text(value, "*/5 * * * *"), "UTC").expression


def _zone(value: Any) -> str | None:
    """None, as a class may say, for the setting."""
    return None if value is None else Cron("* * * * *", _text(value, "Asia/Shanghai")).zone


def _word(kind: type[Word]) -> Callable[[Any], Word]:
    def read(value: Any) -> Word:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{value!r} is none of {', '.join(kind)}") from None

    return read


def _seconds(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, str) and (span := duration(value, bare=1)) is not None:
            seconds = span
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = value
        else:
            raise ValueError(f'{value!r} is no length of time; for example: 90, "90s", "5m" or "1h"')
        if not low <= seconds <= high:
            raise ValueError(f"{value!r} is outside {low:g} s to {high:g} s")
        return float(seconds)

    return read


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1000:
        raise ValueError(f"{value!r} is no whole number from 1 to 1000")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "command": _command,
    "cron": _cron,
    "timezone": _zone,
    "overlap": _word(Overlap),
    "catch_up": _word(CatchUp),
    "catch_up_limit": _count,
    "grace": _seconds(0, _YEAR),
    "timeout": _seconds(1, _YEAR),
    "jitter": _seconds(0, 86_400),
    "enabled": _flag,
}
"""How each key is read. A reader raises ValueError or ConfigError with what is wrong."""

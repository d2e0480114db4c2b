"""The schedule's entries: what commands declare, and what `gengfu.toml` changes and adds."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import click

from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.readers import Reader, flag, number, seconds, text, word, zone
from gengfu.schedule.cron import Cron
from gengfu.schedule.policy import CatchUp, Entry, JobRequest, Overlap, RunRequest, Schedule
from gengfu.setting_files import TOML, read_toml
from gengfu.setting_names import meant
from gengfu.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("gengfu.schedule.entries")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DAY = 86400.0
_YEAR = 366 * _DAY


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
    for name, table in _tables(settings.home / TOML, problems):
        draft = drafts.get(name) or _Draft(TOML, {})
        values = {key: _Given(value, f"{TOML}, [schedule.{name}], {key}") for key, value in table.items()}
        source = draft.source if draft.source == TOML else tr("{draft.source}, with {toml}", draft=draft, toml=TOML)
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
        self._file = home / TOML
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
    place = tr("the command {command}, schedule", command=command)
    if isinstance(schedule, str):
        schedule = Schedule(schedule)
    if not isinstance(schedule, Schedule):
        problems.append(
            tr(
                '{place}: {schedule!r} is neither text nor a Schedule; for example: schedule = "0 2 * * *"',
                place=place,
                schedule=schedule,
            )
        )
    elif _NAME.fullmatch(name) is None:
        problems.append(
            tr("{place}: {name!r} cannot be an entry's name; {naming}", place=place, name=name, naming=_NAMING)
        )
    elif name in drafts:
        problems.append(
            tr(
                "{place}: {source} has an entry of the name {name} already",
                place=place,
                source=drafts[name].source,
                name=name,
            )
        )
    else:
        values = {field.name: getattr(schedule, field.name) for field in fields(Schedule)}
        values["command"] = f"{command} {schedule.command}".strip()
        drafts[name] = _Draft(command, {key: _Given(value, f"{place}, {key}") for key, value in values.items()})


_NAMING = "it must be at most 64 lower-case letters, digits and underscores, a letter first; for example: nightly_list"


def _tables(path: Path, problems: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables `[schedule.NAME]` of the file, with their names, as far as they are such."""
    try:
        schedule = read_toml(path).get("schedule", {})
    except ConfigError as error:
        problems.append(str(error))
        return
    if not isinstance(schedule, dict):
        problems.append(tr("{toml}, schedule: it is no table; for example: [schedule.nightly_list]", toml=TOML))
        return
    for name, table in schedule.items():
        if not isinstance(table, dict):
            problems.append(
                tr("{toml}, [schedule]: {name} is no table; for example: [schedule.nightly_list]", toml=TOML, name=name)
            )
        elif _NAME.fullmatch(name) is None:
            problems.append(
                tr(
                    "{toml}, [schedule.{name}]: {name!r} cannot be an entry's name; {naming}",
                    toml=TOML,
                    name=name,
                    naming=_NAMING,
                )
            )
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
                near = meant(key, _READERS)
                hint = tr("did you mean {near}?", near=near) if near else tr("there are: {readers}", readers=_READERS)
                self._wrong(key, tr("is no key of an entry; {hint}", hint=hint))
        values = {key: self._read(key, given) for key, given in self._draft.values.items() if key in _READERS}
        line = self._line(values.pop("command", None))
        cron = values.get("cron")
        if "cron" not in values:
            self._missing("cron")
        if values.get("timezone") is None:
            values["timezone"] = self._zone
        if self.problems or line is None or cron is None:
            return None
        return Entry(self._name, line.argv, Schedule(**values), self._draft.source, line.mirrors, line.queues)

    def _read(self, key: str, given: _Given) -> Any:
        try:
            return _READERS[key](given.value)
        except ValueError as wrong:
            self._wrong(
                key, tr("{wrong}; for example: {key} = {examples}", wrong=wrong, key=key, examples=_EXAMPLES[key])
            )
        except ConfigError as error:
            self._wrong(key, tr("cannot be used: {error}", error=error))
        return None

    def _line(self, words: tuple[str, ...] | None) -> _Line | None:
        """The command line, if it is one of this program's; its options are parsed, and nothing is run."""
        if "command" not in self._draft.values:
            self._missing("command")
        if words is None:
            return None
        declaring = self._catalogue.command(words[0])
        if declaring is None:
            hint = "write only what comes after gengfu" if words[0].endswith("gengfu") else "see: gengfu --help"
            self._wrong("command", tr("names a command {words!r} that is not there; {hint}", words=words[0], hint=hint))
            return None
        try:
            options = _options(declaring, words)
            return _Line(words, declaring.mirrors(options), declaring.queues(options))
        except ValueError as wrong:
            self._wrong(
                "command",
                tr(
                    "is {words!r}, which cannot be run: {wrong}; see: gengfu {command} --help",
                    words=shlex.join(words),
                    wrong=wrong,
                    command=words[0],
                ),
            )
            return None

    def _missing(self, key: str) -> None:
        example = f"{key} = {_EXAMPLES[key]}"
        self.problems.append(
            tr(
                "{toml}, [schedule.{name}]: {key} is missing; for example: {example}",
                toml=TOML,
                name=self._name,
                key=key,
                example=example,
            )
        )

    def _wrong(self, key: str, wrong: str) -> None:
        self.problems.append(tr("{place} {wrong}", place=self._draft.values[key].place, wrong=wrong))


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
    line = text(value)
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise ValueError(
            tr("is {line!r}, which cannot be split into words: {error}", line=line, error=str(error).lower())
        ) from None


def _cron(value: Any) -> str:
    return Cron(text(value), "UTC").expression


def _zone(value: Any) -> str | None:
    """None, as a class may say, for the setting."""
    return None if value is None else Cron("* * * * *", zone(value)).zone


_READERS: Mapping[str, Reader] = {
    "command": _command,
    "cron": _cron,
    "timezone": _zone,
    "overlap": word(Overlap),
    "catch_up": word(CatchUp),
    "catch_up_limit": number(1, 1000, int),
    "grace": seconds(0, _YEAR),
    "timeout": seconds(1, _YEAR),
    "jitter": seconds(0, _DAY),
    "enabled": flag,
}
"""How each key is read; besides ValueError, a reader may raise ConfigError."""

_EXAMPLES = {
    "command": '"device:list --is-del 1"',
    "cron": '"*/5 * * * *"',
    "timezone": '"Asia/Shanghai"',
    "overlap": '"skip"',
    "catch_up": '"latest"',
    "catch_up_limit": "10",
    "grace": '"5m"',
    "timeout": '"2h"',
    "jitter": '"30s"',
    "enabled": "false",
}

"""Finds the commands, jobs and resources that the program consists of: its own, and those of user code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Generic, TypeVar

from gengfu import cli
from gengfu.cli.base import COMMAND_NAME, BaseCommand
from gengfu.queue.job import Job
from gengfu.queue.options import QUEUE_NAME
from gengfu.sources import APP, Broken, Source, Unusable, entries_of, files_of

if TYPE_CHECKING:
    from gengfu.mirror.resource import Resource

T = TypeVar("T")


class Catalogue:
    """All commands, jobs and resources there are, found without registration.

    A command of the program lives in `cli/<family>.py`, or, where a family needs more than one file, in
    `cli/<family>_<part>.py`. User code lives in any file of `app/commands`, `app/jobs` and `app/resources` in the
    working folder, and behind the entry points `gengfu.commands`, `gengfu.jobs` and `gengfu.resources` of installed
    packages. It is imported when it is needed and not before, so never for a command of the program itself. Of things
    with one name the program's own counts, then the working folder's; the others are `broken`, and so is what cannot be
    imported. Nothing that is broken stops anything else.
    """

    def __init__(self, home: Path | None = None) -> None:
        """`home`: the working folder; None leaves user code out."""
        self._home = home

    @property
    def folder(self) -> Path | None:
        """The folder of user code in the working folder."""
        return None if self._home is None else self._home / APP

    def command(self, name: str) -> type[BaseCommand] | None:
        """The command of that name, importing as little as possible; None where there is none."""
        return self._built_in(name) or self._user_commands.find(name) or self._list_commands.get(name)

    @cached_property
    def commands(self) -> Mapping[str, type[BaseCommand]]:
        """All of them, by name, in order."""
        found: dict[str, type[BaseCommand]] = {}
        for module in self._modules:
            found.update(_commands_in(import_module(f"{cli.__name__}.{module}")))
        return dict(sorted({**self._list_commands, **self._user_commands.all, **found}.items()))

    @property
    def jobs(self) -> Mapping[str, type[Job]]:
        """The jobs of user code by the names of their classes, which are their names in the ledger."""
        return self._user_jobs.all

    @property
    def resources(self) -> Mapping[str, Resource]:
        """The resources of user code, by name."""
        return self._user_resources.all

    @cached_property
    def _list_commands(self) -> Mapping[str, type[BaseCommand]]:
        """The commands of the resources of user code."""
        if not self.resources:
            return {}
        from gengfu.cli.parts.listing import list_command

        return {resource.command: list_command(resource) for resource in self.resources.values()}

    @property
    def broken(self) -> Sequence[Broken]:
        """What of user code cannot be used, each with file, line and reason."""
        found = [*self._user_commands.broken, *self._user_jobs.broken, *self._user_resources.broken]
        return list(dict.fromkeys(found))

    @property
    def broken_jobs(self) -> Mapping[str, Broken]:
        """By name, the jobs that a source seems to define which cannot be imported."""
        return self._user_jobs.hidden

    def why_missing(self, name: str) -> Broken | None:
        """What is broken in the source that seems to define the command of that name, if there is one."""
        return self._user_commands.suspect(name)

    def _built_in(self, name: str) -> type[BaseCommand] | None:
        family = name.partition(":")[0].replace("-", "_")
        for module in self._modules:
            if module == family or module.startswith(f"{family}_"):
                found = _commands_in(import_module(f"{cli.__name__}.{module}")).get(name)
                if found is not None:
                    return found
        return None

    @cached_property
    def _modules(self) -> list[str]:
        return [module.name for module in iter_modules(cli.__path__) if not module.ispkg]

    @cached_property
    def _user_commands(self) -> _Shelf[type[BaseCommand]]:
        return _Shelf(
            self._sources("commands"),
            "command",
            pick=_command,
            name_of=lambda command: command.name,
            wrong=_wrong_with_command,
            built_in=lambda name: self._built_in(name) is not None,
        )

    @cached_property
    def _user_jobs(self) -> _Shelf[type[Job]]:
        return _Shelf(
            self._sources("jobs"),
            "job",
            pick=_job,
            name_of=lambda job: job.__name__,
            wrong=_wrong_with_job,
            built_in=lambda name: name in _built_in_jobs(),
        )

    @cached_property
    def _user_resources(self) -> _Shelf[Resource]:
        return _Shelf(
            self._sources("resources"),
            "resource",
            pick=_resource,
            name_of=lambda resource: resource.name,
            wrong=lambda resource: None if resource.name else "a resource without a name",
            built_in=lambda name: name in _own_resources(),
        )

    def _sources(self, kind: str) -> list[Source]:
        if self._home is None:
            return []
        return [*files_of(self._home, kind), *entries_of(f"gengfu.{kind}")]


class _Shelf(Generic[T]):
    """The things of one kind that user code defines, by name. Each source is imported once, when it is first needed."""

    def __init__(
        self,
        sources: Sequence[Source],
        kind: str,
        *,
        pick: Callable[[object], T | None],
        name_of: Callable[[T], str],
        wrong: Callable[[T], str | None],
        built_in: Callable[[str], bool],
    ) -> None:
        self._sources = sources
        self._kind = kind
        self._pick = pick
        self._name_of = name_of
        self._wrong = wrong
        self._built_in = built_in
        self._loaded: dict[str, dict[str, T]] = {}
        self._problems: dict[str, list[Broken]] = {}
        self._unusable: dict[str, Broken] = {}

    def find(self, name: str) -> T | None:
        """The thing of that name. Where several sources have one, it is that of the first which mentions the name."""
        order = sorted(self._sources, key=lambda source: (source.installed, not source.mentions(name)))
        return next((found[name] for found in map(self._things, order) if name in found), None)

    @cached_property
    def all(self) -> Mapping[str, T]:
        """All things, by name, in order."""
        names = sorted({name for source in self._sources for name in self._things(source)})
        return {name: found for name in names if (found := self.find(name)) is not None}

    @cached_property
    def broken(self) -> list[Broken]:
        """What cannot be used, by source."""
        found: list[Broken] = []
        for source in self._sources:
            things = self._things(source)
            found += self._problems[source.label]
            for name, thing in things.items():
                if self.all[name] is not thing:
                    other = next(each.label for each in self._sources if self._things(each).get(name) is self.all[name])
                    found.append(self._complain(source, thing, f"the {self._kind} {name!r} is in {other} already"))
        return found

    @cached_property
    def hidden(self) -> Mapping[str, Broken]:
        """By name, the classes of sources that cannot be imported."""
        for source in self._sources:
            self._things(source)
        broken = [(source, self._unusable.get(source.label)) for source in self._sources]
        return {name: why for source, why in broken if why is not None for name in source.class_names()}

    def suspect(self, name: str) -> Broken | None:
        """What is broken in a source that mentions the name."""
        for source in self._sources:
            if source.mentions(name):
                self._things(source)
                if self._problems[source.label]:
                    return self._problems[source.label][0]
        return None

    def _things(self, source: Source) -> dict[str, T]:
        if source.label not in self._loaded:
            self._problems[source.label] = []
            self._loaded[source.label] = self._read(source, self._problems[source.label])
        return self._loaded[source.label]

    def _read(self, source: Source, problems: list[Broken]) -> dict[str, T]:
        try:
            things = [thing for thing in map(self._pick, source.load()) if thing is not None]
        except Unusable as error:
            problems.append(error.broken)
            self._unusable[source.label] = error.broken
            return {}
        found: dict[str, T] = {}
        for thing in things:
            name = self._name_of(thing)
            wrong = self._wrong(thing)
            if wrong is None and self._built_in(name):
                wrong = f"the {self._kind} {name!r} is Gengfu's own; choose another name"
            if wrong is None and found.get(name, thing) is not thing:
                wrong = f"the {self._kind} {name!r} is in this file twice"
            if wrong is None:
                found[name] = thing
            else:
                problems.append(self._complain(source, thing, wrong))
        return found

    @staticmethod
    def _complain(source: Source, thing: T, wrong: str) -> Broken:
        return Broken(source.label, source.line_of(getattr(thing, "__name__", "")), wrong)


def _commands_in(module: ModuleType) -> dict[str, type[BaseCommand]]:
    """The commands defined there, by name."""
    things = vars(module).values()
    classes = [thing for thing in things if isinstance(thing, type) and issubclass(thing, BaseCommand)]
    return {found.name: found for found in classes if found.name and found.__module__ == module.__name__}


def _command(thing: object) -> type[BaseCommand] | None:
    """A command that stands for itself: a class whose name begins with an underscore is for others to extend."""
    if isinstance(thing, type) and issubclass(thing, BaseCommand) and thing is not BaseCommand:
        return thing if thing.__name__[0] != "_" else None
    return None


def _job(thing: object) -> type[Job] | None:
    """A job that stands for itself."""
    if isinstance(thing, type) and issubclass(thing, Job) and thing is not Job:
        return thing if thing.__name__[0] != "_" else None
    return None


def _wrong_with_command(command: type[BaseCommand]) -> str | None:
    if not command.name:
        return f"the class {command.__name__} has no name; for example: name = 'report:daily'"
    if not COMMAND_NAME.fullmatch(str(command.name)):
        return f"the class {command.__name__} is named {command.name!r}; a command is named like 'report:daily'"
    return None


def _wrong_with_job(job: type[Job]) -> str | None:
    if not QUEUE_NAME.fullmatch(str(job.queue)):
        return f"the job {job.__name__} names the queue {job.queue!r}; a queue is named like 'reports'"
    return None


def own_jobs() -> tuple[type[Job], ...]:
    """The classes of the program's own jobs."""
    from gengfu.backup.job import BackupDataJob
    from gengfu.mirror.job import ListJob

    return BackupDataJob, ListJob


def _built_in_jobs() -> set[str]:
    """The names of the program's own jobs."""
    return {resource.job for resource in _own_resources().values()} | {job.__name__ for job in own_jobs()}


def _resource(thing: object) -> Resource | None:
    """A resource; one of the program's own, imported to be varied, is none of user code."""
    from gengfu.mirror.resource import Resource

    own = isinstance(thing, Resource) and any(thing is each for each in _own_resources().values())
    return thing if isinstance(thing, Resource) and not own else None


def _own_resources() -> Mapping[str, Resource]:
    from gengfu.mirror.lists import BUILT_IN

    return BUILT_IN

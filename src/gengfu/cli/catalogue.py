"""The commands that the program consists of: its own, those of user code, and those of each mirrored list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

from gengfu import cli
from gengfu.cli.base import BaseCommand
from gengfu.discovery import COMMAND_NAME, Broken, Finder
from gengfu.language import tr
from gengfu.services.user_code import UserCode, own_lists

if TYPE_CHECKING:
    from gengfu import Resource


class Catalogue(UserCode):
    """All commands, jobs and resources there are, found without registration.

    A command of the program lives in `cli/<family>.py`, or, where a family needs more than one file, in
    `cli/<family>_<part>.py`. The commands of a list are made from its description, where nobody wrote one.
    """

    def command(self, name: str) -> type[BaseCommand] | None:
        """The command of that name, importing as little as possible; None where there is none."""
        return self._built_in(name) or self._user_commands.find(name) or self._list_commands.get(name)

    @cached_property
    def commands(self) -> Mapping[str, type[BaseCommand]]:
        """All of them, by name, in order."""
        found: dict[str, type[BaseCommand]] = {}
        for module in self._modules:
            found.update(_commands_in(import_module(f"{cli.__name__}.{module}")))
        made = {**self._list_commands, **self._user_commands.all, **_commands_of(own_lists())}
        return dict(sorted({**made, **found}.items()))

    @cached_property
    def _list_commands(self) -> Mapping[str, type[BaseCommand]]:
        """The commands of the resources of user code."""
        return _commands_of(self.resources) if self.resources else {}

    @property
    def broken(self) -> Sequence[Broken]:
        """What of user code cannot be used, each with file, line and reason."""
        return list(dict.fromkeys([*self._user_commands.broken, *super().broken]))

    def why_missing(self, name: str) -> Broken | None:
        """What is broken in the source that seems to define the command of that name, if there is one."""
        return self._user_commands.suspect(name) or self._resources.suspect(name.partition(":")[0])

    def _built_in(self, name: str) -> type[BaseCommand] | None:
        family = name.partition(":")[0].replace("-", "_")
        for module in self._modules:
            if module == family or module.startswith(f"{family}_"):
                found = _commands_in(import_module(f"{cli.__name__}.{module}")).get(name)
                if found is not None:
                    return found
        return _commands_of(own_lists()).get(name) if name.endswith(LIST_VERBS) else None

    @cached_property
    def _modules(self) -> list[str]:
        return [module.name for module in iter_modules(cli.__path__) if not module.ispkg]

    @cached_property
    def _user_commands(self) -> Finder[type[BaseCommand]]:
        return Finder(
            self._home,
            "command",
            pick=_command,
            name_of=lambda command: command.name,
            wrong=_wrong_with_command,
            built_in=lambda name: self._built_in(name) is not None,
        )


LIST_VERBS = (":list", ":find", ":show", ":changes", ":status", ":offline", ":export")
"""How the names of commands end that are made for lists: for others nothing of lists is imported."""


def _commands_of(resources: Mapping[str, Resource]) -> Mapping[str, type[BaseCommand]]:
    from gengfu.cli.rows import commands_of

    return {name: command for each in resources.values() for name, command in commands_of(each).items()}


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


def _wrong_with_command(command: type[BaseCommand]) -> str | None:
    if not command.name:
        return tr("the class {command} has no name; for example: name = 'report:daily'", command=command.__name__)
    if not COMMAND_NAME.fullmatch(str(command.name)):
        return tr(
            "the class {command} is named {name!r}; a command is named like 'report:daily'",
            command=command.__name__,
            name=command.name,
        )
    return None

"""Finds the commands and jobs that the program consists of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from gengfu import commands
from gengfu.commands.base import BaseCommand


class Catalogue:
    """All commands there are, found without registration. A command lives in `commands/<family>.py`, or, where a family
    needs more than one file, in `commands/<family>_<part>.py`."""

    def command(self, name: str) -> type[BaseCommand] | None:
        """The command of that name, importing no more than its family; None where there is none."""
        family = name.partition(":")[0].replace("-", "_")
        for module in self._modules:
            if module == family or module.startswith(f"{family}_"):
                found = _commands_in(import_module(f"{commands.__name__}.{module}")).get(name)
                if found is not None:
                    return found
        return None

    @cached_property
    def commands(self) -> Mapping[str, type[BaseCommand]]:
        """All of them, by name, in order."""
        found: dict[str, type[BaseCommand]] = {}
        for module in self._modules:
            found.update(_commands_in(import_module(f"{commands.__name__}.{module}")))
        return dict(sorted(found.items()))

    @cached_property
    def _modules(self) -> list[str]:
        return [module.name for module in iter_modules(commands.__path__) if not module.ispkg]


def _commands_in(module: ModuleType) -> dict[str, type[BaseCommand]]:
    """The commands defined there, by name."""
    things = vars(module).values()
    classes = [thing for thing in things if isinstance(thing, type) and issubclass(thing, BaseCommand)]
    return {found.name: found for found in classes if found.name and found.__module__ == module.__name__}

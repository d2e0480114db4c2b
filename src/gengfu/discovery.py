"""Finds the commands and jobs that the program consists of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

from gengfu import commands
from gengfu.commands.base import BaseCommand

if TYPE_CHECKING:
    from gengfu.mirror.resource import Resource


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
        return self._of_resources.get(name)

    @cached_property
    def commands(self) -> Mapping[str, type[BaseCommand]]:
        """All of them, by name, in order."""
        found: dict[str, type[BaseCommand]] = {}
        for module in self._modules:
            found.update(_commands_in(import_module(f"{commands.__name__}.{module}")))
        found.update(self._of_resources)
        return dict(sorted(found.items()))

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        """The lists of the working folder's own, from `app/resources/*.py`, by name."""
        home = Path(os.environ.get("GENGFU_HOME") or ".")
        paths = sorted((home / "app" / "resources").glob("*.py"))
        if not paths:
            return {}
        from gengfu.mirror.resource import Resource

        found: dict[str, Resource] = {}
        for path in paths:
            spec = spec_from_file_location(f"app_resources_{path.stem}", path)
            assert spec is not None and spec.loader is not None
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            found.update({each.name: each for each in vars(module).values() if isinstance(each, Resource)})
        return found

    @cached_property
    def _of_resources(self) -> Mapping[str, type[BaseCommand]]:
        if not self.resources:
            return {}
        from gengfu.commands.parts.listing import list_command

        return {each.command: list_command(each) for each in self.resources.values()}

    @cached_property
    def _modules(self) -> list[str]:
        return [module.name for module in iter_modules(commands.__path__) if not module.ispkg]


def _commands_in(module: ModuleType) -> dict[str, type[BaseCommand]]:
    """The commands defined there, by name."""
    things = vars(module).values()
    classes = [thing for thing in things if isinstance(thing, type) and issubclass(thing, BaseCommand)]
    return {found.name: found for found in classes if found.name and found.__module__ == module.__name__}

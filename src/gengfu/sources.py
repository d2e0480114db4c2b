"""Where user code lies: files of the working folder's `app`, and what installed packages offer by entry points."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gengfu.errors import GengfuError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

APP = "app"
"""The folder of user code in the working folder, and the package as which it is imported."""

TEXT_LIMIT = 300
"""Characters told of an error."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A piece of user code that cannot be used, and why. As text it is one line for people."""

    file: str
    """From the working folder where it lies in there; the entry point where no file is known."""
    line: int | None
    problem: str

    def __str__(self) -> str:
        return f"{self.file}{f', line {self.line}' if self.line else ''}: {self.problem}"

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Unusable(GengfuError):
    """A source cannot be imported; `broken` says where and why."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(str(broken))
        self.broken = broken


class Source:
    """One place that user code is imported from. Whatever the code does while it is imported, errors and an end of the
    program included, becomes `Unusable`; what it prints goes to stderr, since stdout may belong to JSON."""

    label: str
    """For people."""
    installed = False
    """Whether it is part of an installed package, and not of the working folder."""

    def mentions(self, word: str) -> bool:
        """Whether it is likely to define what goes by that name."""
        raise NotImplementedError

    def load(self) -> list[object]:
        """What it defines: classes of its own, and values.

        Raises:
            Unusable: it cannot be imported.
        """
        raise NotImplementedError

    def class_names(self) -> list[str]:
        """The classes that it seems to define; also where it cannot be imported."""
        raise NotImplementedError

    def line_of(self, name: str) -> int | None:
        """The line on which a class of that name begins, if it is known."""
        return None


class UserFile(Source):
    """A file `app/<kind>/<name>.py` of the working folder."""

    def __init__(self, home: Path, path: Path) -> None:
        self._home = home
        self._path = path
        self.label = str(path.relative_to(home))

    def mentions(self, word: str) -> bool:
        """Whether its text has the word as the beginning of a string, or its name is made of it."""
        quoted = re.search(rf"[\"']{re.escape(word)}(?![\w:-])", self._text) is not None
        return quoted or self._path.stem == re.sub(r"\W", "_", word)

    def load(self) -> list[object]:
        """What it defines."""
        if not self._path.stem.isidentifier():
            wrong = "its name is none that Python can import; name it with letters, digits and underscores"
            raise Unusable(Broken(self.label, None, wrong))
        parts = self._path.relative_to(self._home).with_suffix("").parts
        try:
            open_app(self._home)
            with redirect_stdout(sys.stderr):
                return things_of(import_module(".".join(parts)))
        except (Exception, SystemExit) as error:
            raise Unusable(self._broken(error)) from error

    def class_names(self) -> list[str]:
        """The classes at the margin of its text."""
        return re.findall(r"^class\s+(\w+)", self._text, re.MULTILINE)

    def line_of(self, name: str) -> int | None:
        """Where its text has the class."""
        found = re.search(rf"^class\s+{re.escape(name)}\b", self._text, re.MULTILINE)
        return self._text.count("\n", 0, found.start()) + 1 if found else None

    @cached_property
    def _text(self) -> str:
        try:
            return self._path.read_text("utf-8", "replace")
        except OSError:
            return ""

    def _broken(self, error: BaseException) -> Broken:
        place = place_of(error, self._home / APP)
        if place is None:
            return Broken(self.label, None, told(error))
        file = str(place[0].relative_to(self._home))
        through = "" if file == self.label else f" (imported by {self.label})"
        return Broken(file, place[1], told(error) + through)


class PackageEntry(Source):
    """An entry point of an installed package: it names a class or a value, or a module that holds some."""

    installed = True

    def __init__(self, entry: EntryPoint) -> None:
        self._entry = entry
        package = entry.dist.name if entry.dist is not None else entry.module
        self.label = f"entry point {entry.name} of the package {package}"

    def mentions(self, word: str) -> bool:
        """Whether it goes by that name."""
        return self._entry.name == word

    def load(self) -> list[object]:
        """What it names."""
        try:
            with redirect_stdout(sys.stderr):
                found = self._entry.load()
        except (Exception, SystemExit) as error:
            place = place_of(error, None)
            where = f"{place[0]} ({self.label})" if place is not None else self.label
            raise Unusable(Broken(where, place[1] if place is not None else None, told(error))) from error
        return things_of(found) if isinstance(found, ModuleType) else [found]

    def class_names(self) -> list[str]:
        """The class that it names."""
        return [self._entry.attr] if self._entry.attr else []


def files_of(home: Path, kind: str) -> list[Source]:
    """The user's files of that kind, `commands`, `jobs` or `resources`, in order. Those whose names begin with an
    underscore or a dot are left to the others."""
    found = sorted((home / APP / kind).glob("*.py"))
    return [UserFile(home, path) for path in found if path.name[0] not in "._" and path.is_file()]


def entries_of(group: str) -> list[Source]:
    """The entry points of that group, in order."""
    if not any(_entry_points_files()):
        return []
    from importlib.metadata import entry_points

    found = entry_points(group=group)
    return [PackageEntry(entry) for entry in sorted(found, key=lambda entry: (entry.name, entry.value))]


def _entry_points_files() -> Iterator[bool]:
    """For each installed package, whether it may offer something: importing what reads them properly takes as long as
    half the start of the program."""
    for folder in map(Path, dict.fromkeys(sys.path)):
        try:
            names = [path for path in folder.iterdir() if path.name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for path in names:
            try:
                yield b"[gengfu." in (path / "entry_points.txt").read_bytes()
            except OSError:
                continue


def things_of(module: ModuleType) -> list[object]:
    """What a module defines: its own classes, and all values."""
    values = vars(module).values()
    return [value for value in values if not isinstance(value, type) or value.__module__ == module.__name__]


def told(error: BaseException) -> str:
    """The error in one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = text.strip().partition("\n")[0][:TEXT_LIMIT]
    name = type(error).__name__
    if isinstance(error, SystemExit):
        return f"it ends the program when it is imported (SystemExit: {first})"
    return f"{name}: {first}" if first else name


def place_of(error: BaseException, folder: Path | None) -> tuple[Path, int] | None:
    """The last line in that folder's files that the error came through; without a folder, in any but Python's own
    machinery of imports. None where there is none."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append((Path(trace.tb_frame.f_code.co_filename), trace.tb_lineno))
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno or 1))
    machinery = Path(import_module.__code__.co_filename).parent
    for file, line in reversed(places):
        if folder is None:
            if file.is_absolute() and file != Path(__file__) and not file.is_relative_to(machinery):
                return file, line
        elif file.is_relative_to(folder):
            return file, line
    return None


def open_app(home: Path) -> None:
    """Makes `app` importable from that working folder, with or without an `__init__.py`, and nothing else in there."""
    if any(isinstance(finder, _AppFinder) and finder.home == home for finder in sys.meta_path):
        return
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _AppFinder)]
    known = sys.modules.get(APP)
    if known is not None and list(getattr(known, "__path__", [])) != [str(home / APP)]:
        for name in [name for name in sys.modules if name == APP or name.startswith(f"{APP}.")]:
            del sys.modules[name]
    sys.meta_path.insert(0, _AppFinder(home))


class _AppFinder:
    """Finds the package `app` of one working folder; what lies in it Python finds by itself."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        folder = self.home / APP
        if name != APP or not folder.is_dir():
            return None
        start = folder / "__init__.py"
        if start.is_file():
            return spec_from_file_location(APP, start, submodule_search_locations=[str(folder)])
        spec = ModuleSpec(APP, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec

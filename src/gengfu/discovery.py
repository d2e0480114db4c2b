"""Finds user code: in files of the working folder's `app`, and behind the entry points of installed packages.

It is any file of `app/commands`, `app/jobs` and `app/resources`, and whatever the entry points `gengfu.commands`,
`gengfu.jobs` and `gengfu.resources` name. It is imported when it is needed and not before, so never for a command of
the program itself.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gengfu.errors import CodeError, GengfuError
from gengfu.language import tr

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

APP = "app"
"""The folder of user code in the working folder, and the package as which it is imported."""

COMMAND_NAME = re.compile(r"[a-z][a-z0-9_-]*(:[a-z][a-z0-9_-]*)?")
"""What a command may be called."""

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
        if self.line is None:
            return tr("{broken.file}: {broken.problem}", broken=self)
        return tr("{broken.file}, line {broken.line}: {broken.problem}", broken=self)

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Unusable(GengfuError):
    """An origin cannot be imported; `broken` says where and why."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(str(broken))
        self.broken = broken


class Origin:
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


class UserFile(Origin):
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
        through = "" if file == self.label else tr(" (imported by {label})", label=self.label)
        return Broken(file, place[1], told(error) + through)


class PackageEntry(Origin):
    """An entry point of an installed package: it names a class or a value, or a module that holds some."""

    installed = True

    def __init__(self, entry: EntryPoint) -> None:
        self._entry = entry
        package = entry.dist.name if entry.dist is not None else entry.module
        self.label = tr("entry point {entry.name} of the package {package}", entry=entry, package=package)

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


def version_of(home: Path) -> str:
    """A sum over all that user code of the working folder says, by which a process tells what it has loaded."""
    from zlib import crc32

    found = 0
    tests = home / APP / "tests"
    for path in sorted((home / APP).rglob("*.py")):
        if path.is_relative_to(tests):
            continue
        try:
            found = crc32(path.read_bytes(), crc32(os.fsencode(path), found))
        except OSError:
            continue
    return f"{found:08x}"


def origins_of(home: Path, kind: str) -> list[Origin]:
    """The user's files of that kind, `commands`, `jobs` or `resources`, in order, then the packages' entry points.
    Files whose names begin with an underscore or a dot are left to the others."""
    folder = home / APP / kind
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".py")
    except (FileNotFoundError, NotADirectoryError):
        files = []
    except OSError as error:
        raise CodeError(tr("{folder} cannot be read: {why}", folder=folder, why=error.strerror or error)) from error
    found = [UserFile(home, path) for path in files if path.name[0] not in "._" and path.is_file()]
    return [*found, *_entries_of(f"gengfu.{kind}")]


def _entries_of(group: str) -> list[Origin]:
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


class Finder(Generic[T]):
    """The things of one kind that user code defines, by name. Each origin is imported once, when it is first needed.

    Of things with one name the program's own counts, then the working folder's; the others are `broken`, and so is what
    cannot be imported. Nothing that is broken stops anything else.
    """

    def __init__(
        self,
        home: Path | None,
        kind: str,
        *,
        pick: Callable[[object], T | None],
        name_of: Callable[[T], str],
        wrong: Callable[[T], str | None],
        built_in: Callable[[str], bool],
    ) -> None:
        """
        Args:
            home: the working folder; None leaves user code out.
            kind: `command`, `job` or `resource`.
            pick: tells whether a thing is of the kind.
            wrong: why one cannot be used, if it cannot.
            built_in: whether the program has one of that name.
        """
        self._origins = origins_of(home, f"{kind}s") if home is not None else []
        self._kind = kind
        self._pick = pick
        self._name_of = name_of
        self._wrong = wrong
        self._built_in = built_in
        self._loaded: dict[str, dict[str, T]] = {}
        self._problems: dict[str, list[Broken]] = {}
        self._unusable: dict[str, Broken] = {}

    def find(self, name: str) -> T | None:
        """The thing of that name. Where several origins have one, it is that of the first which mentions the name."""
        order = sorted(self._origins, key=lambda origin: (origin.installed, not origin.mentions(name)))
        return next((found[name] for found in map(self._things, order) if name in found), None)

    @cached_property
    def all(self) -> Mapping[str, T]:
        """All things, by name, in order."""
        names = sorted({name for origin in self._origins for name in self._things(origin)})
        return {name: found for name in names if (found := self.find(name)) is not None}

    @cached_property
    def broken(self) -> list[Broken]:
        """What cannot be used, by origin."""
        found: list[Broken] = []
        for origin in self._origins:
            things = self._things(origin)
            found += self._problems[origin.label]
            for name, thing in things.items():
                if self.all[name] is not thing:
                    other = next(each.label for each in self._origins if self._things(each).get(name) is self.all[name])
                    found.append(
                        self._complain(
                            origin,
                            thing,
                            tr("the {kind} {name!r} is in {other} already", kind=self._kind, name=name, other=other),
                        )
                    )
        return found

    @cached_property
    def hidden(self) -> Mapping[str, Broken]:
        """By name, the classes of origins that cannot be imported."""
        for origin in self._origins:
            self._things(origin)
        broken = [(origin, self._unusable.get(origin.label)) for origin in self._origins]
        return {name: why for origin, why in broken if why is not None for name in origin.class_names()}

    def suspect(self, name: str) -> Broken | None:
        """What is broken in an origin that mentions the name."""
        for origin in self._origins:
            if origin.mentions(name):
                self._things(origin)
                if self._problems[origin.label]:
                    return self._problems[origin.label][0]
        return None

    def _things(self, origin: Origin) -> dict[str, T]:
        if origin.label not in self._loaded:
            self._problems[origin.label] = []
            self._loaded[origin.label] = self._read(origin, self._problems[origin.label])
        return self._loaded[origin.label]

    def _read(self, origin: Origin, problems: list[Broken]) -> dict[str, T]:
        try:
            things = [thing for thing in map(self._pick, origin.load()) if thing is not None]
        except Unusable as error:
            problems.append(error.broken)
            self._unusable[origin.label] = error.broken
            return {}
        found: dict[str, T] = {}
        for thing in things:
            name = self._name_of(thing)
            wrong = self._wrong(thing)
            if wrong is None and self._built_in(name):
                wrong = tr("the {kind} {name!r} is Gengfu's own; choose another name", kind=self._kind, name=name)
            if wrong is None and found.get(name, thing) is not thing:
                wrong = tr("the {kind} {name!r} is in this file twice", kind=self._kind, name=name)
            if wrong is None:
                found[name] = thing
            else:
                problems.append(self._complain(origin, thing, wrong))
        return found

    @staticmethod
    def _complain(origin: Origin, thing: T, wrong: str) -> Broken:
        return Broken(origin.label, origin.line_of(getattr(thing, "__name__", "")), wrong)


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
        return tr("it ends the program when it is imported (SystemExit: {first})", first=first)
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


def within(error: Exception, folder: Path) -> Exception:
    """The error with its trace from the first line in that folder's files on; whole, where it has none."""
    trace = error.__traceback__
    while trace is not None and not Path(trace.tb_frame.f_code.co_filename).is_relative_to(folder):
        trace = trace.tb_next
    return error.with_traceback(trace or error.__traceback__)


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

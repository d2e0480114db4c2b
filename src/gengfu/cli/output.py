"""How commands speak: tables and bars on a terminal, plain lines in a pipe, one JSON object where it is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Self, TextIO

from gengfu.clock import in_zone, monotonic
from gengfu.errors import FileError
from gengfu.language import Message, tr, worded
from gengfu.services.json import to_json
from gengfu.text import visible

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import OverflowMethod

NONE = "-"
"""What stands for no value in a table, so that no column is ever empty."""

PLAIN_EVERY = 5.0
"""Seconds between two lines of progress where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False
    """For numbers."""
    shrinks: bool = False
    """Whether its text is shortened where the terminal is too narrow."""
    wraps: bool = False
    """Whether it goes on in the next line there."""
    words: bool = False
    """Whether its cells are words of ours, which are told in the language of people, and not data."""


class Output:
    """Where a command's words go, in the language of whoever reads them. People's text is on stdout, or on stderr where
    stdout belongs to JSON; notes and progress are on stderr always. Colours, boxes and bars are only for terminals;
    elsewhere a row is one line, its cells separated by tabs. Text from the vendor cannot control the terminal.
    """

    def __init__(self, *, as_json: bool, zone: Callable[[], str]) -> None:
        """`zone`: gives the time zone of people's times."""
        self.as_json = as_json
        self._zone = zone
        self._answered = False

    @property
    def _people(self) -> TextIO:
        return sys.stderr if self.as_json else sys.stdout

    def say(self, text: str = "") -> None:
        """A line for people."""
        _print(worded(text), self._people)

    def note(self, text: str) -> None:
        """A line beside the matter: a hint, a warning, something that takes long."""
        _print(f"gengfu: {worded(text)}", sys.stderr)

    def answer(self, thing: object) -> None:
        """The JSON object, where JSON is asked for; the first one counts. `thing` is what a service answered with, or a
        mapping."""
        if not self.as_json or self._answered:
            return
        self._answered = True
        text = json.dumps(to_json(thing), ensure_ascii=False) + "\n"
        # JSON is UTF-8 whatever the terminal speaks; a lone surrogate becomes the escape that JSON has for it.
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileError(unwritable(error)) from error

    def fail(self, kind: str, text: str, code: int, english: str = "") -> int:
        """Says what went wrong and returns `code`. `english`: the text for JSON, where `text` cannot be worded anew."""
        print(f"gengfu: {visible(worded(text))}", file=sys.stderr)
        self.answer({"error": {"type": kind, "message": english or text}})
        return code

    def moment(self, value: datetime | None) -> str:
        """A time as people read it: in their zone, to the second."""
        return NONE if value is None else self.local(value).strftime("%Y-%m-%d %H:%M:%S")

    def local(self, value: datetime) -> datetime:
        """The moment in the zone of people's times."""
        from zoneinfo import ZoneInfo

        return in_zone(value, ZoneInfo(self._zone()))

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
        """A table with a line of titles."""
        if not is_terminal(self._people):
            _print("\t".join(worded(column.title) for column in columns), self._people)
            for row in rows:
                cells = (self.cell(value, words=column.words) for value, column in zip(row, columns, strict=True))
                _print("\t".join(cells), self._people)
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), show_edge=False)
        for column in columns:
            rigid = not (column.shrinks or column.wraps)
            table.add_column(worded(column.title), justify="right" if column.right else "left", no_wrap=rigid)
        for row in rows:
            texts = []
            for value, column in zip(row, columns, strict=True):
                overflow: OverflowMethod = "fold" if column.wraps else "ellipsis"
                text = self.cell(value, words=column.words)
                texts.append(Text(text, no_wrap=not column.wraps, overflow=overflow))
            table.add_row(*texts)
        self._rich(table)

    def record(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and their values, one pair a line."""
        if not is_terminal(self._people):
            for name, value in pairs:
                _print(f"{worded(name)}\t{self.cell(value)}", self._people)
            return
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(worded(name), Text(self.cell(value)))
        self._rich(grid)

    def cell(self, value: object, *, words: bool = False) -> str:
        """A value as it stands in a table: words of ours in the language of people, data as it is."""
        if value is None or value == "":
            return NONE
        if isinstance(value, bool):
            return worded(tr("yes") if value else tr("no"))
        if words or isinstance(value, (Message, Enum)):
            return visible(worded(str(value)))
        if isinstance(value, float):
            return f"{value:.2f}"
        if isinstance(value, datetime):
            return self.moment(value)
        if isinstance(value, (dict, list)):
            return visible(json.dumps(value, ensure_ascii=False))
        return visible(str(value))

    def _rich(self, thing: object) -> None:
        from rich.console import Console

        Console(file=self._people, highlight=False).print(thing)

    def progress(self, label: str, unit: str) -> ProgressBar:
        """Shows on stderr how far something is: `with out.progress("run 12", "pages") as bar: bar.show(3, 20)`."""
        label, unit = worded(label), worded(unit)
        return _Bar(label, unit) if is_terminal(sys.stderr) else _Lines(label, unit)

    def confirm(self, question: str) -> bool | None:
        """Asks a person on the terminal; None where there is none to ask."""
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            return None
        print(f"{worded(question)} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")


class ProgressBar:
    """How far something is; `with` ends the showing."""

    def __init__(self, label: str, unit: str) -> None:
        self._label = label
        self._unit = unit

    def show(self, done: int, total: int | None, more: str = "") -> None:
        """`done` of `total` units, and what else there is to say."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the showing."""


class _Lines(ProgressBar):
    """A line now and then, for logs."""

    def __init__(self, label: str, unit: str) -> None:
        super().__init__(label, unit)
        self._next = monotonic() + PLAIN_EVERY

    def show(self, done: int, total: int | None, more: str = "") -> None:
        if monotonic() >= self._next:
            self._next = monotonic() + PLAIN_EVERY
            of = tr("{done} of {total} {unit}", done=done, total=total, unit=self._unit)
            count = f"{done} {self._unit}" if total is None else worded(of)
            told = [worded(tr("{label}: {count}", label=self._label, count=count)), *([worded(more)] if more else [])]
            print(worded(tr(", ")).join(told), file=sys.stderr, flush=True)


class _Bar(ProgressBar):
    """A bar that stays when it is done."""

    def __init__(self, label: str, unit: str) -> None:
        from rich import progress
        from rich.console import Console

        super().__init__(label, unit)
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[count]}"),
            progress.TextColumn("{task.fields[more]}", style="dim"),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False),
        )
        self._task = self._bar.add_task(label, total=None, count="", more="")

    def show(self, done: int, total: int | None, more: str = "") -> None:
        count = f"{done}/{total} {self._unit}" if total is not None else ""
        self._bar.update(self._task, completed=done, total=total, count=count, more=worded(more))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _print(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileError(unwritable(error)) from error


def unwritable(error: OSError) -> str:
    """What to say of an output that takes nothing: a full disk, most often."""
    return tr("the output cannot be written: {why}", why=error.strerror or error)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at it."""
    return stream is not None and stream.isatty()

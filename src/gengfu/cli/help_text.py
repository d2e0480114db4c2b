"""Help and complaints of click in the language of whoever reads them, at the width that Chinese takes on a terminal."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterable
from inspect import cleandoc

import click

from gengfu.language import Message, tr, worded

_PIECES = re.compile(r"[ \n]+|(?:[!-~]+|[^ \n])[，。；：、！？）》」…]*")
"""What stays on one line: a word of ASCII or one character, with the closing punctuation after it."""


def let_click_speak() -> None:
    """Has click look its own words up where ours are. It knows no other way than the environment of the process, which
    commands that are started would inherit."""
    for name in ("core", "decorators", "exceptions", "formatting", "parser", "types"):
        vars(sys.modules[f"click.{name}"]).update(_=worded, ngettext=_worded_by_number)


def _worded_by_number(one: str, many: str, number: int) -> str:
    return worded(one if number == 1 else many)


def help_of(thing: type) -> str:
    """The docstring that is a command's help."""
    text = thing.__doc__ or ""
    return worded(text if isinstance(text, Message) else cleandoc(text))


def in_language(param: click.Parameter) -> click.Parameter:
    """The option or argument with its help and its metavar in the current language."""
    shown = copy.copy(param)
    shown.type = copy.copy(param.type)
    shown.type.name = worded(param.type.name)
    shown.metavar = worded(param.metavar or "") or None
    if isinstance(shown, click.Option):
        shown.help = worded(shown.help or "") or None
    return shown


class Formatter(click.HelpFormatter):
    """Measures a text by the columns that it takes: two for a Chinese character."""

    def write_heading(self, heading: str) -> None:
        """With the colon of the language."""
        self.write(f"{'':>{self.current_indent}}{worded(tr('{heading}:', heading=heading))}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Terms and what they mean, side by side."""
        rows = list(rows)
        indent = " " * self.current_indent
        first = min(max(columns(term) for term, _ in rows), col_max) + col_spacing
        for term, meaning in rows:
            lines = wrapped(meaning, max(self.width - first - 2, 10))
            room = first - columns(term)
            if lines and room >= col_spacing:
                self.write(f"{indent}{term}{' ' * room}{lines.pop(0)}\n")
            else:
                self.write(f"{indent}{term}\n")
            for line in lines:
                self.write(f"{indent}{'':{first}}{line}\n")


class Context(click.Context):
    """Has help pages written so."""

    formatter_class = Formatter


def columns(text: str) -> int:
    """How wide the text is on a terminal."""
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def wrapped(text: str, width: int) -> list[str]:
    """The lines of that width that the text fills."""
    lines, line, room = [], "", width
    for piece in _PIECES.findall(text):
        size = columns(piece)
        if size > room and line:
            lines.append(line.rstrip())
            line, room, piece = "", width, piece.lstrip()
            size = columns(piece)
        line, room = line + piece, room - size
    return [*lines, line.rstrip()] if line.strip() else lines

"""Renders docs/commands.md from the program itself: `python tests/reference.py` writes it, a test compares it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click

from gengfu.cli.catalogue import Catalogue
from gengfu.cli.console import Console, Session
from gengfu.cli.simulate import Simulate
from gengfu.settings import Secret, Settings

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

HEAD = """\
# Commands

Every command with its options, as the program itself tells them. `gengfu COMMAND --help` prints the same.
[中文](commands.zh-CN.md)

All of them but `simulate` also know `--json`: one JSON object on stdout, text for people on stderr. Exit codes,
settings and files: [Reference](reference.md).
"""

EVERYWHERE = ("--json", "--help")
"""Options that the page tells once for all commands."""


def commands() -> dict[str, click.Command]:
    """All commands of the program by name."""
    console = Console(Session(as_json=False, catalogue=Catalogue()))
    context = click.Context(console, info_name="gengfu")
    found = {name: console.get_command(context, name) for name in console.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def has_own_help(command: click.Command) -> bool:
    """Whether the command hands its whole command line to another program."""
    return bool(command.context_settings.get("ignore_unknown_options"))


def parameters(command: click.Command) -> list[tuple[str, str, str]]:
    """Of each parameter: how it is written, its default (empty if none), its help; without what all commands know."""
    found = [] if has_own_help(command) else [_parameter(param) for param in command.params]
    return [parameter for parameter in found if parameter[0] not in EVERYWHERE]


def _parameter(param: click.Parameter) -> tuple[str, str, str]:
    if not isinstance(param, click.Option):
        return param.make_metavar(click.Context(click.Command("command"))), "", ""
    names = "/".join([*param.opts, *param.secondary_opts])
    if not param.is_flag and not param.count:
        names += f" {_metavar(param)}"
    default = "" if param.is_flag or param.default in (None, ()) or not _is_plain(param.default) else str(param.default)
    return names, default.removesuffix(".0"), param.help or ""


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    kinds = {"integer": "N", "integer range": "N", "float": "SECONDS", "float range": "SECONDS"}
    return kinds.get(option.type.name, "TEXT")


def settings() -> list[tuple[str, str, str]]:
    """Of each setting: its name, its default (empty if there is none), an example."""
    return [
        (field.name.upper(), _default(field.default), field.metadata["example"])
        for field in fields(Settings)
        if field.metadata
    ]


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return value.reveal() if isinstance(value, Secret) else str(value)


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name, command in commands().items():
        arguments = [written for written, _, _ in parameters(command) if not written.startswith("-")]
        words, _, examples = cleandoc(command.help or Simulate.summary()).partition("\nExample")
        title, _, text = words.strip().partition("\n")
        options = [option for option in parameters(command) if option[0].startswith("-")]
        tail = ["[OPTIONS]"] if options or has_own_help(command) else []
        usage = " ".join(["gengfu", name, *arguments, *tail])
        yield f"## `{name}`\n\n{title}.\n\n```text\n{usage}\n```\n"
        if text.strip():
            yield " ".join(text.split()) + "\n"
        if options:
            yield "| Option | Default | Meaning |\n|---|---|---|"
            for written, default, help_text in options:
                yield f"| `{_cell(written)}` | {f'`{_cell(default)}`' if default else ''} | {_cell(help_text)} |"
            yield ""
        lines = [line.strip() for line in examples.partition(":")[2].strip().splitlines()]
        if lines and lines != [usage]:
            yield "For example:\n\n```text\n" + "\n".join(lines) + "\n```\n"
        if has_own_help(command):
            yield f"Its switches: `gengfu {name} --help`.\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE} written\n")

"""The command that lists the commands."""

from __future__ import annotations

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column


class List(BaseCommand):
    """List all commands, or those of one family

    Examples:
      gengfu list
      gengfu list device
    """

    name = "list"
    options = (click.Argument(["family"], required=False),)

    def handle(self, family: str | None) -> int:
        from gengfu.cli.console import console_of

        console, context = console_of(click.get_current_context())
        found = console.family(family)
        if family is None and not self.out.as_json:
            self.out.say(console.get_help(context))
        else:
            self.out.table([Column("command"), Column("what it does", wraps=True)], found.items())
        self.out.answer({"commands": [{"name": name, "summary": summary} for name, summary in found.items()]})
        return 0

"""The command that explains a command."""

from __future__ import annotations

import click

from gengfu.cli.base import BaseCommand


class Help(BaseCommand):
    """Explain a command; without one, what there is on one screen

    Examples:
      gengfu help
      gengfu help device:list
    """

    name = "help"
    options = (click.Argument(["command"], required=False),)

    def handle(self, command: str | None) -> int:
        from gengfu.cli.console import console_of

        console, context = console_of(click.get_current_context())
        text = console.overview() if command is None else console.help_of(context, command)
        self.out.say(text)
        self.out.answer({"help": text})
        return 0

"""Asks the commands of the schedule what an earlier start of them has left under way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand

if TYPE_CHECKING:
    from gengfu.app import App
    from gengfu.cli.output import Output

log = logging.getLogger("gengfu.cli.schedule")


class CommandEarlierWork:
    """Asks with the options of the entry's command line. A command that fails to say is taken to have nothing."""

    def __init__(self, app: App, out: Output) -> None:
        self._app = app
        self._out = out

    def under_way(self, argv: Sequence[str]) -> str | None:
        """In words for people; None where a start would begin something new."""
        told: str | None = self._ask(argv, "under_way")
        return told

    def cancel(self, argv: Sequence[str]) -> None:
        """Ends that."""
        self._ask(argv, "cancel")

    def _ask(self, argv: Sequence[str], what: str) -> Any:
        command = self._app.catalogue.command(argv[0])
        if command is None or getattr(command, what) is getattr(BaseCommand, what):
            return None
        try:
            options = command.options_of(argv[1:])
            return getattr(command(lambda: self._app, self._out), what)(**options)
        except (click.exceptions.Exit, click.ClickException):
            return None  # its start says what is wrong with it
        except Exception as error:
            log.warning("%s failed", what, extra={"command": argv[0], "error": str(error)}, exc_info=error)
            return None

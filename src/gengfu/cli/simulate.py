"""The command that runs the vendor simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from gengfu.cli.base import BaseCommand


class Simulate(BaseCommand):
    """Run a vendor API with a made-up fleet and any fault"""

    name = "simulate"

    @classmethod
    def click_command(cls, run: Callable[[type[BaseCommand], dict[str, Any]], int]) -> click.Command:  # noqa: ARG003
        """Hands the whole command line to the simulator, which shares nothing with the rest of the program."""

        def callback(switches: tuple[str, ...]) -> int:
            from gengfu_simulator.cli import main

            return main(list(switches))

        switches = click.Argument(["switches"], nargs=-1, type=click.UNPROCESSED)
        raw = {"ignore_unknown_options": True}
        return click.Command(
            cls.name, context_settings=raw, params=[switches], callback=callback, add_help_option=False
        )

"""The command that shows what the program does, with everything real but the vendor."""

from __future__ import annotations

import click

from gengfu.cli.base import BaseCommand


class Demo(BaseCommand):
    """See it work: a simulated vendor, a worker, two runs, and what changed

    Everything happens in the folder var/demo, which the next demo begins by
    emptying; your settings and data are not touched, and no process is left.

    Example:
      gengfu demo
    """

    name = "demo"
    options = (
        click.Option(
            ["--devices"],
            type=click.IntRange(100, 1_000_000),
            default=2000,
            show_default=True,
            help="How many phones the simulated vendor has.",
        ),
    )

    def handle(self, devices: int) -> int:
        from gengfu.cli.parts.demonstration import Demonstration, workshop

        with workshop() as folder:
            return Demonstration(folder, devices, self.open_app, self.out).show()

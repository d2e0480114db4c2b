"""What the commands that write files have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gengfu.cli.base import BaseCommand
from gengfu.language import tr

if TYPE_CHECKING:
    from gengfu.services.scaffolding import Written

FORCE = click.Option(["--force"], is_flag=True, help="Overwrite files that are there.")


class Making(BaseCommand):
    """A command that writes files into the working folder, and says what to do next."""

    begins = True

    def tell(self, written: Written) -> int:
        """Tells of what was written."""
        from gengfu.services.json import to_json

        for file in written.files:
            self.out.say(tr("written  {file}", file=file))
        self.out.say()
        self.out.say("Next:")
        for step in written.next:
            self.out.say(f"  {step}")
        self.out.answer(to_json(written))
        return 0

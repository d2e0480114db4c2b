"""The command that shows what the program does, with everything real but the vendor."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from gengfu.cli.base import INTERRUPTED, BaseCommand
from gengfu.cli.device_list import DeviceList
from gengfu.cli.output import Column
from gengfu.cli.wording import COUNTS, ends_of
from gengfu.language import joined, tr


class Demo(BaseCommand):
    """See it work: a simulated vendor, a worker, two runs, and what changed

    Everything happens in the folder var/demo, which the next demo begins by
    emptying; your settings and data are not touched, and no process is left.

    Example:
      gengfu demo
    """

    name = "demo"
    begins = True
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
        from gengfu.services.demo import Demonstration, demo_folder

        with demo_folder() as folder:
            self.out.say(
                tr(
                    "Starting a vendor with {devices} phones, which takes 0.25 to 0.5 s to answer, and a worker ...",
                    devices=devices,
                )
            )
            with Demonstration(folder, devices) as stage:
                self.out.say("\nFirst run: everything is new.")
                runs = [self._run()]
                made = stage.change_fleet()
                self.out.say(
                    tr(
                        "\nAt the vendor: {made.changed} phones changed, {made.added} new, {made.deleted} deleted.",
                        made=made,
                    )
                )
                self.out.say("Second run: only what differs is written.")
                runs.append(self._run())
                self._show_changes(runs[-1]["run"])
                wrong = stage.differences(self.app.devices)
            self._conclude(folder, runs, wrong)
        return 0 if not wrong and all(run["verdict"] == "complete" for run in runs) else 1

    def _run(self) -> dict[str, Any]:
        """What `gengfu device:list --wait` does."""
        code, told = DeviceList(self.open_app, self.out).bring_up_to_date("0", wait=True)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return told

    def _show_changes(self, run: int) -> None:
        found = self.app.runs.detail(run, None).changes
        some = [change for change in found if change.field == "memo"][:6]
        some += [change for change in found if change.field == "gone_at"][:4]
        self.out.say(tr("\nSome of what run {run} found:", run=run))
        columns = [Column("device", right=True), Column("field"), Column("old", shrinks=True)]
        columns.append(Column("new", shrinks=True))
        self.out.table(columns, [[change.row_id, change.field, *ends_of(change)] for change in some])

    def _conclude(self, folder: Path, runs: list[dict[str, Any]], wrong: list[str]) -> None:
        self.out.say("\nBoth runs:")
        columns = [
            Column("run", right=True),
            Column("verdict", words=True),
            *(Column(name, right=True) for name in COUNTS),
        ]
        names = ("run", "verdict", *COUNTS, "seconds")
        self.out.table([*columns, Column("seconds", right=True)], [[run[name] for name in names] for run in runs])
        if wrong:
            self.out.say(
                tr("\nThe mirror differs from the vendor's list: {differences}", differences=joined("; ", wrong[:5]))
            )
        else:
            self.out.say("\nThe mirror equals the vendor's list, field by field.")
        self.out.say(tr("The data lies in {folder}: the mirror in var/gengfu.db, the logs in logs/.", folder=folder))
        self.out.say("Try next:")
        for line in (f"export GENGFU_HOME={folder}", *(f"{_called()} {words}" for words in _NEXT)):
            self.out.say(f"  {line}")
        self.out.answer({"home": folder, "runs": runs, "differences": wrong})


_NEXT = ("device:find 张", "run:show 2", "device:export fleet.xlsx", "--help")


def _called() -> str:
    """How a person calls the program here."""
    if shutil.which("gengfu"):
        return "gengfu"
    return sys.argv[0] if Path(sys.argv[0]).name == "gengfu" else f"{sys.executable} -m gengfu"

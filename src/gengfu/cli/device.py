"""The commands that ask the mirror of the device list, and decide what a held run leaves open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.cli.person import person
from gengfu.errors import UsageError

if TYPE_CHECKING:
    from gengfu.services.devices import Device, Presence
    from gengfu.services.runs import HeldRun


class DeviceShow(BaseCommand):
    """Show one device with all its fields and latest changes

    Examples:
      gengfu device:show 100001
      gengfu device:show 100001 --json | jq .device.memo
    """

    name = "device:show"
    options = (
        click.Argument(["device_id"], metavar="ID", type=int),
        click.Option(["--changes"], type=click.IntRange(0), default=10, show_default=True, help="How many changes."),
    )

    def handle(self, device_id: int, changes: int) -> int:
        from gengfu.cli.wording import ends_of

        found = self.app.devices.one(device_id, changes)
        values = {name: getattr(found.device, name) for name in type(found.device).__dataclass_fields__}
        self.out.record([("status", found.status), *values.items()])
        if found.changes:
            self.out.say()
            columns = [Column("changed"), Column("run", right=True), Column("field"), Column("old", shrinks=True)]
            lines = [[change.changed_at, change.run_id, change.field, *ends_of(change)] for change in found.changes]
            self.out.table([*columns, Column("new", shrinks=True)], lines)
        self.out.answer(found)
        return 0


class DeviceFind(BaseCommand):
    """Find devices by id, imei, name, memo or phone

    Capitals do not matter, and part of a word is enough; an id must be whole.

    Examples:
      gengfu device:find 张三
      gengfu device:find 8612 --all --limit 200
    """

    name = "device:find"
    options = (
        click.Argument(["text"], metavar="TEXT"),
        click.Option(["--limit"], type=click.IntRange(1), default=50, show_default=True, help="The most rows."),
        click.Option(["--gone"], is_flag=True, help="Only devices that the vendor no longer lists."),
        click.Option(["--all", "everything"], is_flag=True, help="Also those that the vendor no longer lists."),
    )

    def handle(self, text: str, limit: int, gone: bool, everything: bool) -> int:
        found = self.app.devices.search(text, _presence(gone, everything), limit)
        columns = [Column("id", right=True), Column("imei"), Column("name", shrinks=True), Column("phone")]
        columns += [Column("memo", shrinks=True), Column("group", shrinks=True), Column("state")]
        if found.devices:
            self.out.table(columns, map(_line, found.devices))
        elif found.gone is not None:
            self.out.note(f"no device found that is present; gone is {found.gone}, see --all")
        else:
            self.out.note("no device found")
        if found.more:
            self.out.note(f"there are more than {limit}; see --limit")
        self.out.answer(found)
        return 0


def _line(device: Device) -> list[object]:
    return [device.id, device.imei, device.name, device.phone, device.memo, device.group_name, device.state]


def _presence(gone: bool, everything: bool) -> Presence:
    """What `--gone` and `--all` ask for.

    Raises:
        UsageError: both are given.
    """
    from gengfu.services.devices import Presence

    if gone and everything:
        raise UsageError("--gone and --all cannot be combined")
    return Presence.GONE if gone else Presence.ALL if everything else Presence.PRESENT


class DeviceExport(BaseCommand):
    """Write devices to a .csv, .xlsx or .jsonl file

    FILE `-` is stdout; say then which format. Times are in GENGFU_TIMEZONE. The
    file is there only when it is whole. In CSV, text that a spreadsheet would
    take for a formula (it begins with = + - or @) gets an apostrophe in front.

    Examples:
      gengfu device:export fleet.xlsx
      gengfu device:export dead.csv --dead --group 华东
      gengfu device:export - --format jsonl --changed-since 24h | jq .id
      gengfu device:export ids.csv --all --columns id,imei,gone_at
    """

    name = "device:export"
    options = (
        click.Argument(["file"], metavar="FILE"),
        click.Option(["--format", "kind"], type=click.Choice(["csv", "xlsx", "jsonl"]), help="In place of the ending."),
        click.Option(["--group"], help="Only of the group with this name or id."),
        click.Option(["--brand"], help="Only of this brand."),
        click.Option(["--model"], help="Only of this model."),
        click.Option(["--alive/--dead"], default=None, help="Only those that are alive, or that are not."),
        click.Option(["--gone"], is_flag=True, help="Only devices that the vendor no longer lists."),
        click.Option(["--all", "everything"], is_flag=True, help="Also those that the vendor no longer lists."),
        click.Option(["--changed-since"], metavar="TIME", help="Changed or gone since: 90m, 7d, 2026-01-31, ..."),
        click.Option(["--columns"], metavar="NAMES", help="Which columns, separated by commas; all by default."),
        click.Option(["--force"], is_flag=True, help="Overwrite the file if it is there."),
    )

    def handle(
        self,
        file: str,
        kind: str | None,
        columns: str | None,
        force: bool,
        gone: bool,
        everything: bool,
        changed_since: str | None,
        **equal: Any,
    ) -> int:
        from gengfu.services.devices import Which, columns_named
        from gengfu.services.times import moment_of

        names, presence = columns_named(columns), _presence(gone, everything)
        zone, now = self.app.settings.gengfu_timezone, self.app.clock()
        since = moment_of(changed_since, zone, now) if changed_since is not None else None
        which = Which(presence, changed_since=since, **equal)
        if file == "-" and self.out.as_json:
            raise UsageError("--json and the file - cannot be combined: both want stdout")
        with self.out.progress("writing", "devices") as bar:
            if file == "-":
                done = self.app.devices.export_stream(sys.stdout.buffer, which, names, kind, bar.show)
            else:
                done = self.app.devices.export_file(Path(file), which, names, kind, force=force, tell=bar.show)
        if file == "-":
            self.out.note(f"{done.count} devices written")
            return 0
        for note in done.notes:
            self.out.note(note)
        self.out.say(f"{done.count} devices written to {file}.")
        self.out.answer(done)
        return 0


class _Decision(BaseCommand):
    """A person's word on a held run."""

    options = (
        click.Argument(["run_id"], metavar="RUN", type=int),
        click.Option(["--yes"], is_flag=True, help="Do not ask."),
    )

    def consent(self, run_id: int, question: str, yes: bool) -> bool:
        """Shows what is at stake and asks, unless the answer was given.

        Raises:
            NotFound, RunError: there is no such run, or it is not held.
            UsageError: nobody is there to be asked.
        """
        from gengfu.cli.wording import run_summary

        held = self.app.runs.held(run_id)
        for line in run_summary(held.run):
            self.out.say(line)
        self._show(held)
        if yes:
            return True
        answer = self.out.confirm(question.format(number=held.number))
        if answer is None:
            raise UsageError(f"{self.name} asks before it acts; without a terminal, give --yes")
        return answer

    def _show(self, held: HeldRun) -> None:
        """The first of the rows that wait for a word."""
        columns = [Column("id", right=True)]
        lines: list[list[object]] = [[row.id] for row in held.rows]
        if held.run.resource == "device":
            columns += [Column("imei"), Column("name", shrinks=True), Column("memo", shrinks=True)]
            lines = [[row.id, row.imei, row.name, row.memo] for row in held.rows]
        if lines:
            self.out.table(columns, lines)
        if held.number > len(lines):
            self.out.say(f"... and {held.number - len(lines)} more.")

    def refused(self, run_id: int) -> int:
        """Nothing was done, as the person wanted."""
        return self.out.fail("Refused", f"run {run_id} stays held", 1)


class DeviceApprove(_Decision):
    """Approve a held run: what vanished is marked as gone

    A run is held when too much vanished at once. What has been listed again
    since is left alone. For the runs of every list, not only of devices.

    Example:
      gengfu device:approve 12
    """

    name = "device:approve"

    def handle(self, run_id: int, yes: bool) -> int:
        from gengfu.cli.wording import rows_of

        if not self.consent(run_id, "Mark these {number} rows as gone?", yes):
            return self.refused(run_id)
        done = self.app.runs.approve(run_id, person())
        self.out.say(f"Run {run_id} approved: {done.gone} {rows_of(self.app.runs.get(run_id))} marked as gone.")
        self.out.answer(done)
        return 0


class DeviceDiscard(_Decision):
    """Discard a held run: nothing is marked as gone

    Example:
      gengfu device:discard 12
    """

    name = "device:discard"

    def handle(self, run_id: int, yes: bool) -> int:
        if not self.consent(run_id, "Discard the run and leave these {number} rows as they are?", yes):
            return self.refused(run_id)
        done = self.app.runs.discard(run_id, person())
        self.out.say(f"Run {run_id} discarded: nothing was marked as gone.")
        self.out.answer(done)
        return 0

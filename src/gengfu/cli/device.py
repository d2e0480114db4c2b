"""The commands that ask the mirror of the device list, and decide what a held run leaves open."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import NotFound, RunError, UsageError

if TYPE_CHECKING:
    from gengfu.cli.parts.exporting import Format
    from gengfu.store.devices import Which
    from gengfu.store.run_rows import Run


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
        from gengfu.cli.parts import views
        from gengfu.store.changes import ChangeStore
        from gengfu.store.devices import DeviceStore

        devices = DeviceStore(self.app.db, self.app.source_id)
        row = devices.get(device_id)
        if row is None:
            raise NotFound(f"there is no device {device_id} in the mirror; search with: gengfu device:find TEXT")
        latest = ChangeStore(self.app.db, self.app.source_id).of_row("device", device_id, changes)
        status = views.device_status(row, devices.missed_by(device_id))
        self.out.record([("status", status), *row.items()])
        if latest:
            self.out.say()
            columns = [Column("changed"), Column("run", right=True), Column("field"), Column("old", shrinks=True)]
            shown = map(views.readable, latest)
            lines = [[c["changed_at"], c["run_id"], c["field"], c["old"], c["new"]] for c in shown]
            self.out.table([*columns, Column("new", shrinks=True)], lines)
        kept = ("run_id", "field", "old", "new", "changed_at")
        told = [{name: getattr(change, name) for name in kept} for change in latest]
        self.out.answer({"status": status, "device": row, "changes": told})
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
        from gengfu.cli.parts import choosing
        from gengfu.store.devices import DeviceStore, Presence

        presence = choosing.presence(gone, everything)
        if not text.strip():
            raise UsageError("TEXT is empty; to list all devices: gengfu device:export -")
        devices = DeviceStore(self.app.db, self.app.source_id)
        found = devices.find(text, presence, limit + 1)
        more, found = len(found) > limit, found[:limit]
        columns = [Column("id", right=True), Column("imei"), Column("name", shrinks=True), Column("phone")]
        columns += [Column("memo", shrinks=True), Column("group", shrinks=True), Column("state")]
        if found:
            self.out.table(columns, map(_found, found))
        elif presence is Presence.PRESENT and (past := devices.find(text, Presence.GONE, 1)):
            self.out.note(f"no device found that is present; gone is {past[0]['id']}, see --all")
        else:
            self.out.note("no device found")
        if more:
            self.out.note(f"there are more than {limit}; see --limit")
        self.out.answer({"devices": found, "count": len(found), "more": more})
        return 0


def _found(row: Mapping[str, Any]) -> list[object]:
    from gengfu.cli.parts import views

    state = "gone" if row["gone_at"] else {True: "alive", False: "dead", None: None}[row["alive"]]
    return [row["id"], row["imei"], views.device_name(row), row["phone"], row["memo"], row["group_name"], state]


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

    def handle(self, file: str, kind: str | None, columns: str | None, force: bool, **filters: Any) -> int:
        from gengfu.cli.parts import choosing, exporting

        names = choosing.columns(columns)
        which = choosing.which(**filters, zone=self.app.settings.gengfu_timezone, now=self.app.clock())
        if file == "-":
            if self.out.as_json:
                raise UsageError("--json and the file - cannot be combined: both want stdout")
            if kind is None:
                raise UsageError("which format is stdout to get? give --format csv or --format jsonl")
            number, _ = self._write(exporting.Format(kind), sys.stdout.buffer, which, names)
            self.out.note(f"{number} devices written")
            return 0
        path = Path(file)
        form = exporting.format_of(path, kind)
        if path.exists() and not force:
            raise UsageError(f"{path} is there already; give --force to overwrite it")
        with exporting.whole(path) as part:
            number, notes = self._write(form, part, which, names)
        for note in notes:
            self.out.note(note)
        self.out.say(f"{number} devices written to {path}.")
        self.out.answer({"file": str(path.absolute()), "format": form, "count": number, "notes": notes})
        return 0

    def _write(
        self, form: Format, place: Path | IO[bytes], which: Which, names: Sequence[str]
    ) -> tuple[int, list[str]]:
        """How many devices were written, and what there is to say about it."""
        from zoneinfo import ZoneInfo

        from gengfu.cli.parts import exporting
        from gengfu.store.devices import DeviceStore

        devices = DeviceStore(self.app.db, self.app.source_id)
        total = devices.count(which)
        if form is exporting.Format.XLSX and total > exporting.XLSX_ROWS:
            raise UsageError(exporting.too_many_rows(total))
        writer = exporting.writer(form, place, names, ZoneInfo(self.app.settings.gengfu_timezone))
        with self.out.progress("writing", "devices") as bar:
            number = exporting.copy(devices.stream(which, names), writer, lambda done: bar.show(done, total))
        return number, writer.notes


_SHOWN = 20
"""So many of the rows at stake are shown."""


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
        from gengfu.cli.parts import views
        from gengfu.store.run_rows import RunState

        run = self.app.mirror.runs.get(run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        if run.state != RunState.HELD:
            raise RunError(f"run {run_id} is not held; it is {run.verdict or run.state}")
        for line in views.run_summary(run):
            self.out.say(line)
        number = self._show_stake(run)
        if yes:
            return True
        answer = self.out.confirm(question.format(number=number))
        if answer is None:
            raise UsageError(f"{self.name} asks before it acts; without a terminal, give --yes")
        return answer

    def _show_stake(self, run: Run) -> int:
        """Shows the first of the rows that wait for a word; how many there are."""
        from gengfu.cli.parts import views
        from gengfu.store import absences
        from gengfu.store.devices import DeviceStore

        columns = [Column("id", right=True)]
        if run.resource == "device":
            number, rows = DeviceStore(self.app.db, self.app.source_id).held_back(run.id, _SHOWN)
            columns += [Column("imei"), Column("name", shrinks=True), Column("memo", shrinks=True)]
            lines = [[row["id"], row["imei"], views.device_name(row), row["memo"]] for row in rows]
        else:
            with self.app.db.read() as connection:
                keys = sorted(absences.held_back(connection, run))
            number, lines = len(keys), [[key] for key in keys[:_SHOWN]]
        if lines:
            self.out.table(columns, lines)
        if number > len(lines):
            self.out.say(f"... and {number - len(lines)} more.")
        return number

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
        if not self.consent(run_id, "Mark these {number} rows as gone?", yes):
            return self.refused(run_id)
        marked = self.app.mirror.approve(run_id)
        self.out.say(f"Run {run_id} approved: {marked} devices marked as gone.")
        self.out.answer({"run": run_id, "status": "approved", "gone": marked})
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
        self.app.mirror.discard(run_id)
        self.out.say(f"Run {run_id} discarded: no device was marked as gone.")
        self.out.answer({"run": run_id, "status": "discarded", "gone": 0})
        return 0

"""The commands around the device list: mirroring it, and asking the mirror."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gengfu.commands.base import INTERRUPTED, BaseCommand
from gengfu.commands.output import Column
from gengfu.errors import NotFound, RunError, UsageError

if TYPE_CHECKING:
    from gengfu.commands.parts.exporting import Format
    from gengfu.store.devices import Which
    from gengfu.store.doorstep import Accepted
    from gengfu.store.run_rows import Run

log = logging.getLogger("gengfu.commands.device")


class DeviceList(BaseCommand):
    """Bring the mirror of the device list up to date

    Records a run, queues it and prints its number; a worker does the rest. A run
    of the same scope that is still active is not started twice: its number is
    printed.

    Examples:
      gengfu device:list              queue a run, as a schedule does
      gengfu device:list --wait       queue it and watch; exit 0 only if complete
      gengfu device:list --now        without a queue, in this process
      gengfu device:list --is-del 1   read the list of deleted devices
    """

    name = "device:list"
    options = (
        click.Option(
            ["--is-del", "scope"],
            type=click.Choice(["0", "1", "2"]),
            default="0",
            show_default=True,
            help="0: the live list, 1: the deleted devices, 2: the deleted and stopped ones.",
        ),
        click.Option(["--wait"], is_flag=True, help="Follow the run to its end; exit 0 only if it is complete."),
        click.Option(["--now"], is_flag=True, help="Do it in this process; exit 0 only if it is complete."),
    )
    log_file = "device_list.log"

    def handle(self, scope: str, wait: bool, now: bool) -> int:
        if wait and now:
            raise UsageError("--wait and --now cannot be combined: one leaves the work to a worker, the other does it")
        code, told = self.bring_up_to_date(scope, wait=wait, now=now)
        self.out.answer(told)
        return code

    def bring_up_to_date(self, scope: str, *, wait: bool = False, now: bool = False) -> tuple[int, dict[str, Any]]:
        """Starts a run, unless one is active, and sees it through if asked to. The exit code, and what JSON tells."""
        self.app.settings.api()
        if not self.app.settings.api_verify_tls:
            self.out.note("warning: API_VERIFY_TLS is false: the vendor's certificate is not verified")
        accepted = self.app.accept_device_list(scope)
        told = {
            "status": "skipped" if accepted.job_id is None else "accepted",
            "run": accepted.run_id,
            "job": accepted.job_id,
            "scope": scope,
            "since": accepted.since,
            "progress": accepted.progress or None,
        }
        log.info("run %s", told["status"], extra={"run": accepted.run_id, "scope": scope})
        self._announce(accepted, scope)
        if now:
            return self._ended(told, self._do(accepted))
        if accepted.job_id is not None:
            self._nudge(accepted.job_id)
        if wait:
            return self._ended(told, self._follow(accepted))
        return 0, told

    def _announce(self, accepted: Accepted, scope: str) -> None:
        if accepted.job_id is not None:
            self.out.say(f"Run {accepted.run_id} of the device list accepted (scope {scope}, job {accepted.job_id}).")
        else:
            since = self.out.moment(accepted.since)
            self.out.say(f"Skipped: run {accepted.run_id} is active since {since}; {accepted.progress}.")

    def _nudge(self, job_id: int) -> None:
        from gengfu.jobs.device_list import DeviceListJob

        problem = self.app.nudge(DeviceListJob.queue, job_id)
        if problem is not None:
            log.warning("workers could not be told", extra={"job": job_id, "error": problem})
            self.out.note(f"warning: no worker could be told ({problem}); the next one finds job {job_id} by itself")

    def _follow(self, accepted: Accepted) -> Run | None:
        """The run as it ended; None when a person looked away first."""
        from gengfu.commands.parts.following import Follower
        from gengfu.store.runs import RunStore

        follower = Follower(RunStore(self.app.db, self.app.clock), self.out, elsewhere=True)
        try:
            run = follower.follow(accepted.run_id)
        except KeyboardInterrupt:
            self.out.note(f"stopped watching; run {accepted.run_id} goes on (gengfu run:show {accepted.run_id})")
            return None
        log.info("run closed", extra={"run": run.id, "verdict": run.verdict, "why": run.reason or ""})
        return run

    def _do(self, accepted: Accepted) -> Run | None:
        """The run as this process, or one that was at it already, ended it; None after Ctrl-C."""
        from gengfu.commands.parts.following import Follower
        from gengfu.queue.inline import Inline
        from gengfu.store.doorstep import run_subject

        follower = Follower(self.app.mirror.runs, self.out, elsewhere=False)
        inline = Inline(self.app.ledger, self.app.jobs, run_subject(accepted.run_id))
        try:
            with inline:
                return follower.follow(accepted.run_id, inline.check)
        except KeyboardInterrupt:
            self.out.note(f"stopped; what run {accepted.run_id} has read is kept, and the next worker goes on with it")
            return None

    def _ended(self, told: dict[str, Any], run: Run | None) -> tuple[int, dict[str, Any]]:
        from gengfu.commands.parts import views
        from gengfu.store.run_rows import Verdict

        if run is None:
            return INTERRUPTED, {**told, "verdict": None, "interrupted": True}
        for line in views.run_summary(run):
            self.out.say(line)
        if run.verdict == Verdict.HELD:
            self.out.note(f"nothing was marked as gone; decide with: gengfu device:approve {run.id}, or device:discard")
        return 0 if run.verdict == Verdict.COMPLETE else 1, {**told, **views.run_json(run)}


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
        from gengfu.commands.parts import views
        from gengfu.store.devices import DeviceStore

        devices = DeviceStore(self.app.db)
        row = devices.get(device_id)
        if row is None:
            raise NotFound(f"there is no device {device_id} in the mirror; search with: gengfu device:find TEXT")
        latest = devices.changes_of_device(device_id, changes)
        status = views.device_status(row, devices.missed_by(device_id))
        self.out.record([("status", status), *row.items()])
        if latest:
            self.out.say()
            columns = [Column("changed"), Column("run", right=True), Column("field"), Column("old", shrinks=True)]
            shown = map(views.readable, latest)
            lines = [[c["changed_at"], c["run_id"], c["field"], c["old"], c["new"]] for c in shown]
            self.out.table([*columns, Column("new", shrinks=True)], lines)
        kept = ("run_id", "field", "old", "new", "changed_at")
        told = [{name: change[name] for name in kept} for change in latest]
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
        from gengfu.commands.parts import choosing
        from gengfu.store.devices import DeviceStore, Presence

        presence = choosing.presence(gone, everything)
        if not text.strip():
            raise UsageError("TEXT is empty; to list all devices: gengfu device:export -")
        devices = DeviceStore(self.app.db)
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
    from gengfu.commands.parts import views

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
        from gengfu.commands.parts import choosing, exporting

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

        from gengfu.commands.parts import exporting
        from gengfu.store.devices import DeviceStore

        devices = DeviceStore(self.app.db)
        total = devices.count(which)
        if form is exporting.Format.XLSX and total > exporting.XLSX_ROWS:
            raise UsageError(exporting.too_many_rows(total))
        writer = exporting.writer(form, place, names, ZoneInfo(self.app.settings.gengfu_timezone))
        with self.out.progress("writing", "devices") as bar:
            number = exporting.copy(devices.stream(which, names), writer, lambda done: bar.show(done, total))
        return number, writer.notes


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
        from gengfu.commands.parts import views
        from gengfu.store.devices import DeviceStore
        from gengfu.store.run_rows import RunState

        run = self.app.mirror.runs.get(run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        if run.state != RunState.HELD:
            raise RunError(f"run {run_id} is not held; it is {run.verdict or run.state}")
        number, rows = DeviceStore(self.app.db).held_back(run_id, 20)
        for line in views.run_summary(run):
            self.out.say(line)
        if rows:
            columns = [
                Column("id", right=True),
                Column("imei"),
                Column("name", shrinks=True),
                Column("memo", shrinks=True),
            ]
            self.out.table(columns, [[row["id"], row["imei"], views.device_name(row), row["memo"]] for row in rows])
        if number > len(rows):
            self.out.say(f"... and {number - len(rows)} more.")
        if yes:
            return True
        answer = self.out.confirm(question.format(number=number))
        if answer is None:
            raise UsageError(f"{self.name} asks before it acts; without a terminal, give --yes")
        return answer

    def refused(self, run_id: int) -> int:
        """Nothing was done, as the person wanted."""
        return self.out.fail("Refused", f"run {run_id} stays held", 1)


class DeviceApprove(_Decision):
    """Approve a held run: what vanished is marked as gone

    A run is held when too many devices vanished at once. Those that have been
    listed again since are left alone.

    Example:
      gengfu device:approve 12
    """

    name = "device:approve"

    def handle(self, run_id: int, yes: bool) -> int:
        if not self.consent(run_id, "Mark these {number} devices as gone?", yes):
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
        if not self.consent(run_id, "Discard the run and leave these {number} devices as they are?", yes):
            return self.refused(run_id)
        self.app.mirror.discard(run_id)
        self.out.say(f"Run {run_id} discarded: no device was marked as gone.")
        self.out.answer({"run": run_id, "status": "discarded", "gone": 0})
        return 0

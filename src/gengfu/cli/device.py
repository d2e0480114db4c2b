"""The commands that ask the mirror of the device list, and decide what a held run leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.cli.person import person
from gengfu.cli.rows import (
    AFTER,
    CHANGED_SINCE,
    CHANGES,
    FILE,
    LIMIT,
    ONLINE,
    PRESENCE,
    SINCE_WHEN,
    SORT,
    TEXT,
    VALUES,
    WHAT_CHANGED,
    ChangesCommand,
    ExportCommand,
    FindCommand,
    OfflineCommand,
    RowsCommand,
    ShowCommand,
    StatusCommand,
    show_rows,
)
from gengfu.errors import UsageError
from gengfu.language import tr

if TYPE_CHECKING:
    from gengfu.services.devices import AccountOnDevice, DeviceFilter
    from gengfu.services.runs import HeldRun

_CHOICE = (
    click.Option(["--group"], help="Only of the group with this name or id."),
    click.Option(["--brand"], help="Only of this brand."),
    click.Option(["--model"], help="Only of this model."),
    click.Option(["--account"], metavar="TEXT", help="Only of the customer service with this account id or name."),
    click.Option(["--wechat"], metavar="TEXT", help="Only with a WeChat account with this in its id or nickname."),
    click.Option(
        ["--wechat-online/--wechat-offline"], default=None, help="Only with a WeChat account that is online, or is not."
    ),
)
"""The filters of devices that other lists do not have."""


class _DeviceCommand(RowsCommand):
    """Asks the mirror of the device list."""

    resource = "device"

    def chosen(
        self,
        *,
        group: str | None = None,
        account: str | None = None,
        wechat: str | None = None,
        wechat_online: bool | None = None,
        **others: Any,
    ) -> DeviceFilter:
        """What these options choose."""
        from gengfu.services.devices import DeviceFilter

        chosen = super().chosen(**others)
        told = {name: getattr(chosen, name) for name in chosen.__dataclass_fields__}
        return DeviceFilter(**told, group=group, account=account, wechat=wechat, wechat_online=wechat_online)


class DeviceShow(_DeviceCommand, ShowCommand):
    """Show one device with all its fields and latest changes

    Examples:
      gengfu device:show 100001
      gengfu device:show 100001 --json | jq .device.memo
    """

    name = "device:show"
    options = (click.Argument(["row_id"], metavar="ID", type=int), CHANGES)


class DeviceFind(_DeviceCommand, FindCommand):
    """Find devices by id, imei, name, memo or phone, by filters, or all

    Capitals do not matter, and part of a word is enough; an id must be whole.
    --account asks for the customer service that has the phone, by its account id
    or, once account:list has run, by its name.

    Examples:
      gengfu device:find 张三
      gengfu device:find --group 华东 --offline --sort -last_alive_time
      gengfu device:find --account kefu001
      gengfu device:find --wechat wxid_7f --wechat-online
      gengfu device:find 8612 --all --limit 200
    """

    name = "device:find"
    options = (TEXT, *_CHOICE, ONLINE, *PRESENCE, CHANGED_SINCE, SORT, LIMIT, AFTER)


class DeviceAccounts(_DeviceCommand):
    """List the WeChat accounts on the devices, and who has each device

    One row for each WeChat account, as the vendor tells them. The customer
    service is named once account:list has run. The accounts of one device stay
    on one page.

    Examples:
      gengfu device:accounts --device 100001
      gengfu device:accounts --nickname 王 --wechat-offline
      gengfu device:accounts --account kefu001
    """

    name = "device:accounts"
    options = (
        click.Option(["--device", "id"], type=int, metavar="ID", help="Only those on this device."),
        click.Option(["--nickname", "--wechat", "wechat"], metavar="TEXT", help="With this in the id or nickname."),
        *(option for option in _CHOICE if option.name != "wechat"),
        ONLINE,
        *PRESENCE,
        LIMIT,
        AFTER,
    )

    def handle(self, limit: int, after: int | None, **chosen: Any) -> int:
        found = self.app.devices.accounts(self.chosen(**chosen), after=after, limit=limit)
        columns = [Column("device", right=True), Column("name", shrinks=True), Column("phone")]
        columns += [Column("state", words=True), Column("WeChat id", shrinks=True), Column("nickname", shrinks=True)]
        columns += [Column("online"), Column("account", shrinks=True)]
        if found.accounts:
            self.out.table(columns, map(_account_line, found.accounts))
        else:
            self.out.note("no WeChat account found")
        if found.more:
            self.out.note(tr("there are more: --after {device}, or --limit", device=found.accounts[-1].device.id))
        self.out.answer(found)
        return 0


def _account_line(account: AccountOnDevice) -> list[object]:
    device, wechat = account.device, account.wechat
    told = [device.id, device.name, device.fields["phone"], device.state, wechat.id, wechat.nickname, wechat.online]
    return [*told, " ".join(filter(None, (account.account_name, account.account_id)))]


class DeviceChanges(_DeviceCommand, ChangesCommand):
    """Tell what changed in the devices: came, changed in a field, went, returned

    The newest first, or with --oldest-first in the order in which it was
    recorded: who goes on from the last SEQ misses nothing.

    Examples:
      gengfu device:changes --since 昨天
      gengfu device:changes --device 100001 --field memo
      gengfu device:changes --since yesterday --kind gone --json
    """

    name = "device:changes"
    options = (
        *WHAT_CHANGED,
        click.Option(["--device", "row_id"], type=int, metavar="ID", help="Only changes of this device."),
    )


class DeviceStatus(_DeviceCommand, StatusCommand):
    """Tell how many devices there are: by state, group, brand and version

    Example:
      gengfu device:status
    """

    name = "device:status"
    options = (VALUES,)


class DeviceOffline(_DeviceCommand, OfflineCommand):
    """Tell which devices are offline and since when, and which came back

    A device went offline when a run found it offline that an earlier run had
    found online. One that was offline already when it was first seen is offline
    since the vendor's last_alive_time, if there is one; else it is offline at
    least since it is known, and does not count as gone offline since a time.
    Times: yesterday, 昨天, 3天前, 2h, 09:00, 2026-11-20; see also --longer-than.

    Examples:
      gengfu device:offline --since 昨天
      gengfu device:offline --longer-than 3d
      gengfu device:offline --back --since 09:00
    """

    name = "device:offline"
    options = (*SINCE_WHEN, *_CHOICE[:4], LIMIT, AFTER)


class DeviceExport(_DeviceCommand, ExportCommand):
    """Write devices to a .csv, .xlsx or .jsonl file

    FILE `-` is stdout; say then which format. Times are in GENGFU_TIMEZONE. The
    file is there only when it is whole, and for its owner alone; a link, a pipe
    or a device is written through. In CSV, what a spreadsheet would take for a
    formula or a number (a phone, an IMEI) gets an apostrophe in front.

    Examples:
      gengfu device:export fleet.xlsx
      gengfu device:export offline.csv --offline --group 华东
      gengfu device:export - --format jsonl --changed-since 24h | jq .id
      gengfu device:export ids.csv --all --columns id,imei,gone_at
      gengfu device:export report.xlsx --preset report --per-account
    """

    name = "device:export"
    options = (
        *FILE[:2],
        *_CHOICE,
        ONLINE,
        *PRESENCE,
        CHANGED_SINCE,
        *FILE[2:],
        click.Option(["--per-account"], is_flag=True, help="With --preset report: one row for each WeChat account."),
    )


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
            raise UsageError(tr("{name} asks before it acts; without a terminal, give --yes", name=self.name))
        return answer

    def _show(self, held: HeldRun) -> None:
        """The first of the rows that wait for a word."""
        if held.rows:
            show_rows(self.out, self.app.rows(held.run.resource), held.rows)
        if held.number > len(held.rows):
            self.out.say(tr("... and {number} more.", number=held.number - len(held.rows)))

    def refused(self, run_id: int) -> int:
        """Nothing was done, as the person wanted."""
        return self.out.fail("Refused", tr("run {run_id} stays held", run_id=run_id), 1)


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
        self.out.say(
            tr(
                "Run {run_id} approved: {done.gone} {rows} marked as gone.",
                run_id=run_id,
                done=done,
                rows=rows_of(self.app.runs.get(run_id)),
            )
        )
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
        self.out.say(tr("Run {run_id} discarded: nothing was marked as gone.", run_id=run_id))
        self.out.answer(done)
        return 0

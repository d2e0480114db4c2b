"""The commands that ask the mirror of any list: find rows, show one, what changed, totals, who is offline, a file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.listing import list_command
from gengfu.cli.output import Column, Output
from gengfu.errors import UsageError
from gengfu.language import both, tr

if TYPE_CHECKING:
    from gengfu import Field, Resource
    from gengfu.services.lists import Filter, ListService, OfflineFound, Row

_KNOWN_BY = {"change": tr("a run"), "vendor": tr("the vendor"), "first_seen": tr("at least")}
"""In words: what tells since when something is offline."""

RIGID = 15
"""A column whose texts all have at most so many plain characters is never shortened."""

TEXT = click.Argument(["text"], metavar="[TEXT]", required=False)
LIMIT = click.Option(["--limit"], type=click.IntRange(1), default=50, show_default=True, help="The most rows.")
AFTER = click.Option(["--after"], type=int, metavar="ID", help="Go on after this one, the last of the page before.")
SORT = click.Option(["--sort"], metavar="COLUMN", help="In the order of this column; -COLUMN for the other direction.")
ONLINE = click.Option(
    ["--online/--offline", "--alive/--dead", "online"],
    default=None,
    help="Only those that are online, or that are not.",
)
CHANGED_SINCE = click.Option(
    ["--changed-since"], metavar="TIME", help="Changed or gone since: 90m, 7d, yesterday, 2026-01-31, ..."
)
PRESENCE = (
    click.Option(["--gone"], is_flag=True, help="Only those that the vendor no longer lists."),
    click.Option(["--all", "everything"], is_flag=True, help="Also those that the vendor no longer lists."),
)
CHANGES = click.Option(["--changes"], type=click.IntRange(0), default=10, show_default=True, help="How many changes.")
WHAT_CHANGED = (
    click.Option(["--since"], metavar="TIME", help="Since then: 90m, 7d, yesterday, 2026-01-31, ..."),
    click.Option(["--field"], metavar="COLUMN", help="Only changes of this column."),
    click.Option(
        ["--kind"], type=click.Choice(["created", "changed", "gone", "returned"]), help="Only what happened so."
    ),
    click.Option(["--oldest-first"], is_flag=True, help="The oldest first, in place of the newest."),
    LIMIT,
    click.Option(["--after"], type=int, metavar="SEQ", help="Go on after this change, the last of the page before."),
)
SINCE_WHEN = (
    click.Option(["--since"], metavar="TIME", help="Went offline since: yesterday, 3d, 09:00, 2026-01-31, ..."),
    click.Option(["--longer-than"], metavar="LENGTH", help="Offline for longer than: 3d, 36h, 2 weeks, ..."),
    click.Option(["--back"], is_flag=True, help="Those that came back online, since yesterday or --since."),
)
VALUES = click.Option(
    ["--values"], type=click.IntRange(1), default=10, show_default=True, help="How many values of each field."
)


class Mode(click.ParamType[int]):
    """Permissions, as chmod takes them."""

    name = "MODE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not re.fullmatch("[0-7]{3}", str(value)):
            self.fail(tr("{value!r} is no mode of a file; for example: 640", value=value), param, ctx)
        return int(value, 8)


FILE = (
    click.Argument(["file"], metavar="FILE"),
    click.Option(["--format", "kind"], type=click.Choice(["csv", "xlsx", "jsonl"]), help="In place of the ending."),
    click.Option(
        ["--columns"], metavar="NAMES", help="Which columns, separated by commas, by name or label; all by default."
    ),
    click.Option(
        ["--preset"],
        type=click.Choice(["report"]),
        help="For people: `report` has Chinese titles, words for states, and a summary.",
    ),
    click.Option(["--force"], is_flag=True, help="Overwrite the file if it is there."),
    click.Option(
        ["--mode"], type=Mode(), metavar="MODE", help="Permissions of the file; 600, or as they are if it is there."
    ),
)


class RowsCommand(BaseCommand):
    """Asks the mirror of one list; a subclass names the list."""

    resource: ClassVar[str]
    """The name of the list."""

    @property
    def rows(self) -> ListService:
        """The rows of the list.

        Raises:
            StoreError: the database cannot be used.
        """
        return self.app.rows(self.resource)

    @property
    def noun(self) -> str:
        """What its rows are called."""
        return tr("devices") if self.resource == "device" else tr("rows")

    def chosen(
        self,
        *,
        text: str | None = None,
        gone: bool = False,
        everything: bool = False,
        online: bool | None = None,
        changed_since: str | None = None,
        **equal: Any,
    ) -> Filter:
        """What these options choose.

        Raises:
            UsageError: they cannot be combined, or one of them cannot be understood.
        """
        from gengfu.services.lists import Filter, Presence

        if gone and everything:
            raise UsageError("--gone and --all cannot be combined")
        presence = Presence.GONE if gone else Presence.ALL if everything else Presence.PRESENT
        since = self.moment(changed_since)
        return Filter(presence=presence, text=text, equal=equal, online=online, changed_since=since)

    def moment(self, text: str | None) -> datetime | None:
        """The moment that a text means, if there is one.

        Raises:
            UsageError: it means none.
        """
        from gengfu.services.times import moment_of

        return None if text is None else moment_of(text, self.app.settings.gengfu_timezone, self.app.clock())


class FindCommand(RowsCommand):
    """Finds rows by a text, by filters, or all; page by page."""

    def handle(self, limit: int, after: int | None, sort: str | None, **chosen: Any) -> int:
        rows = self.rows
        found = rows.find(self.chosen(**chosen), sort=sort, after=after, limit=limit)
        if found.rows:
            show_rows(self.out, rows, found.rows)
        elif found.gone is not None:
            self.out.note(tr("none is found that is present; one that is gone is {found.gone}, see --all", found=found))
        else:
            self.out.note(tr("no {noun} found", noun=self.noun))
        if found.more:
            self.out.note(tr("there are more: --after {rows}, or --limit", rows=found.rows[-1].id))
        self.out.answer(found)
        return 0


def show_rows(out: Output, service: ListService, rows: Sequence[Row]) -> None:
    """A table of rows: id, name, the fields that the list shows, state."""
    shown = {name: [row.fields[name] for row in rows] for name in service.shown}
    named = [("name", [row.name for row in rows])] if service.resource.names else []
    columns = [*named, *((service.label(name), values) for name, values in shown.items())]
    titles = [Column("id", right=True), *(Column(title, shrinks=_is_long(values)) for title, values in columns)]
    lines = zip(
        *([row.id for row in rows], *(values for _, values in columns), [row.state for row in rows]), strict=True
    )
    out.table([*titles, Column("state", words=True)], lines)


def _is_long(values: Sequence[object]) -> bool:
    return any(len(text) > RIGID or not text.isascii() for text in map(str, values))


class ShowCommand(RowsCommand):
    """Shows one row with its latest changes."""

    def handle(self, row_id: int, changes: int) -> int:
        from gengfu.cli.wording import ends_of

        found = self.rows.one(row_id, changes)
        row = found.row
        known = [(self.rows.label(name), getattr(row, name)) for name in ("first_seen_at", "updated_at", "gone_at")]
        fields = [(self.rows.label(name), value) for name, value in row.fields.items()]
        self.out.record([(tr("state"), found.status), (tr("id"), row.id), *fields, *known])
        if found.changes:
            self.out.say()
            columns = [Column("changed"), Column("run", right=True), Column("field"), Column("old", shrinks=True)]
            lines = [[change.changed_at, change.run_id, change.field, *ends_of(change)] for change in found.changes]
            self.out.table([*columns, Column("new", shrinks=True)], lines)
        self.out.answer(found)
        return 0


class ChangesCommand(RowsCommand):
    """Tells what changed in the list."""

    def handle(
        self,
        since: str | None,
        field: str | None,
        kind: str | None,
        oldest_first: bool,
        limit: int,
        after: int | None,
        row_id: int | None,
    ) -> int:
        from gengfu.cli.wording import ends_of
        from gengfu.services.lists import ChangeKind

        found = self.rows.changes(
            since=self.moment(since),
            column=field,
            row_id=row_id,
            kind=ChangeKind(kind) if kind is not None else None,
            after=after,
            limit=limit,
            oldest_first=oldest_first,
        )
        if found.changes:
            columns = [
                Column("seq", right=True),
                Column("changed"),
                Column("id", right=True),
                Column("what", words=True),
            ]
            columns += [Column("field"), Column("old", shrinks=True), Column("new", shrinks=True)]
            lines = [
                [change.seq, change.changed_at, change.row_id, change.kind, change.field, *ends_of(change)]
                for change in found.changes
            ]
            self.out.table(columns, lines)
        else:
            self.out.note("nothing changed")
        if found.more:
            self.out.note(tr("there are more: --after {seq}, or --limit", seq=found.changes[-1].seq))
        self.out.answer(found)
        return 0


class StatusCommand(RowsCommand):
    """Tells how many rows there are, by state and by the values of a few fields."""

    def handle(self, values: int) -> int:
        rows = self.rows
        found = rows.status(values)
        states = [(state, number) for state, number in found.states.items() if number or state in ("online", "offline")]
        as_of = found.as_of or tr("no run was complete yet")
        self.out.record([(tr("as of"), as_of), (self.noun, found.present), *states])
        for column, shares in found.totals.items():
            self.out.say()
            titles = [Column(rows.label(column), shrinks=True), Column(self.noun, right=True)]
            lines = [[share.value, share.rows] for share in shares]
            if "online" in found.states:
                titles += [Column("online", right=True), Column("offline", right=True)]
                lines = [[share.value, share.rows, share.online, share.rows - (share.online or 0)] for share in shares]
            self.out.table(titles, lines)
        self.out.answer(found)
        return 0


class OfflineCommand(RowsCommand):
    """Tells what is offline and since when, and what came back."""

    def handle(
        self, since: str | None, longer_than: str | None, back: bool, limit: int, after: int | None, **chosen: Any
    ) -> int:
        from gengfu.services.times import span_of

        if back and longer_than is not None:
            raise UsageError("--back and --longer-than cannot be combined: what came back is offline no longer")
        choice, moment = self.chosen(**chosen), self.moment(since or ("yesterday" if back else None))
        if back:
            assert moment is not None
            found = self.rows.back(choice, since=moment, after=after, limit=limit)
            self.out.say(
                tr(
                    "{found.total} {noun} came back online since {moment}.",
                    found=found,
                    noun=self.noun,
                    moment=self.out.moment(moment),
                )
            )
        else:
            span = span_of(longer_than) if longer_than is not None else None
            found = self.rows.offline(choice, since=moment, longer_than=span, after=after, limit=limit)
            went = (
                tr("went offline since {moment}", moment=self.out.moment(moment))
                if moment is not None
                else tr("are offline")
            )
            lasting = tr(" for longer than {longer_than}", longer_than=longer_than) if longer_than is not None else ""
            self.out.say(
                tr("{found.total} {noun} {went}{lasting}.", found=found, noun=self.noun, went=went, lasting=lasting)
            )
        self._show(found, tr("online since") if back else tr("offline since"))
        if found.unknown:
            self.out.note(
                tr("{found.unknown} more are offline, but not known since when: they were when first seen", found=found)
            )
        if found.more:
            self.out.note(tr("there are more: --after {row}, or --limit", row=found.rows[-1].row.id))
        self.out.answer(found)
        return 0

    def _show(self, found: OfflineFound, title: str) -> None:
        from gengfu.cli.wording import span_words

        if not found.rows:
            return
        service = self.rows
        # The moments need the room of the first one.
        shown = {name: [each.row.fields[name] for each in found.rows] for name in service.shown[1:]}
        columns = [Column("id", right=True), Column("name", shrinks=True)]
        columns += [Column(service.label(name), shrinks=_is_long(values)) for name, values in shown.items()]
        lines = [
            [
                each.row.id,
                each.row.name,
                *(each.row.fields[name] for name in shown),
                each.since,
                span_words(found.as_of - each.since),
                _KNOWN_BY[each.known_by],
            ]
            for each in found.rows
        ]
        self.out.table(
            [*columns, Column(title), Column("how long", right=True), Column("known by", shrinks=True)], lines
        )


def is_open_as(file: str, stream: TextIO) -> bool:
    """Whether the path leads to what the stream writes to, as /dev/stdout does."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(stream.fileno()))
    except (OSError, ValueError, AttributeError):
        return False


class ExportCommand(RowsCommand):
    """Writes rows to a file."""

    def handle(
        self,
        file: str,
        kind: str | None,
        columns: str | None,
        preset: str | None,
        force: bool,
        mode: int | None,
        per_account: bool = False,
        **chosen: Any,
    ) -> int:
        from gengfu.services.lists import Content

        if per_account and preset is None:
            raise UsageError("--per-account goes with --preset report")
        rows = self.rows
        report = preset is not None
        content = Content(self.chosen(**chosen), rows.columns_named(columns), report=report, per_account=per_account)
        is_stdout = file == "-" or is_open_as(file, sys.stdout)
        if is_stdout and self.out.as_json:
            raise UsageError("--json and the file - cannot be combined: both want stdout")
        with self.out.progress("writing", self.noun) as bar:
            if is_stdout:
                done = rows.export_stream(sys.stdout.buffer, content, kind, bar.show)
            else:
                done = rows.export_file(Path(file), content, kind, force=force, mode=mode, tell=bar.show)
        if is_stdout:
            self.out.note(tr("{done.count} {noun} written", done=done, noun=self.noun))
            return 0
        for note in done.notes:
            self.out.note(note)
        self.out.say(tr("{done.count} {noun} written to {file}.", done=done, noun=self.noun, file=file))
        self.out.answer(done)
        return 0


_MADE: Mapping[str, tuple[type[RowsCommand], str]] = {
    "find": (
        FindCommand,
        """Find rows of the {title}, or list them all

        Capitals do not matter, and part of a word is enough; an id must be whole.

        Examples:
          gengfu {name}:find
          gengfu {name}:find 张 --all --limit 200
        """,
    ),
    "show": (
        ShowCommand,
        """Show one row of the {title}, with its latest changes

        Example:
          gengfu {name}:show 1
        """,
    ),
    "changes": (
        ChangesCommand,
        """Tell what changed in the {title}

        Examples:
          gengfu {name}:changes --since yesterday
          gengfu {name}:changes --kind gone --json
        """,
    ),
    "status": (
        StatusCommand,
        """Count the rows of the {title}, by state

        Example:
          gengfu {name}:status
        """,
    ),
    "export": (
        ExportCommand,
        """Write the {title} to a .csv, .xlsx or .jsonl file

        Works like device:export.

        Examples:
          gengfu {name}:export {name}.xlsx --preset report
          gengfu {name}:export - --format jsonl --changed-since yesterday
        """,
    ),
    "offline": (
        OfflineCommand,
        """Tell what is offline in the {title}, and since when

        Examples:
          gengfu {name}:offline --since yesterday
          gengfu {name}:offline --longer-than 3d
        """,
    ),
}
"""The commands that are made for a list, and what they say of themselves."""


def commands_of(resource: Resource) -> Mapping[str, type[BaseCommand]]:
    """The commands of a list by name, made from its description: one brings the mirror up to date, others ask it."""
    filters = [_filter(field) for field in resource.fields if field.filtered]
    online = [ONLINE] if resource.online is not None else []
    choice = [*filters, *online, *PRESENCE, CHANGED_SINCE]
    options: dict[str, Sequence[click.Parameter]] = {
        "find": (TEXT, *choice, SORT, LIMIT, AFTER),
        "show": (click.Argument(["row_id"], metavar="ID", type=int), CHANGES),
        "changes": (
            *WHAT_CHANGED,
            click.Option(["--row", "row_id"], type=int, metavar="ID", help="Only changes of this row."),
        ),
        "status": (VALUES,),
        "export": (*FILE[:2], *choice, *FILE[2:]),
    }
    if online:
        options["offline"] = (*SINCE_WHEN, *filters, LIMIT, AFTER)
    found: dict[str, type[BaseCommand]] = {resource.command: list_command(resource)}
    for verb, parameters in options.items():
        base, about = _MADE[verb]
        name = f"{resource.name}:{verb}"
        members = {
            "__doc__": tr(cleandoc(about), name=resource.name, title=tr(resource.title)),
            "__module__": __name__,
            "name": name,
            "resource": resource.name,
            "options": parameters,
        }
        found[name] = type(f"{resource.name}_{verb}", (base,), members)
    return found


def _filter(field: Field) -> click.Option:
    word = field.column.replace("_", "-")
    if field.kind == "flag":
        option = click.Option([f"--{word}/--no-{word}", field.column], default=None)
        option.help = tr("By whether {label} is yes.", label=both(field.en, field.zh))
        return option
    option = click.Option([f"--{word}", field.column])
    option.help = tr("Only those whose {label} is this.", label=both(field.en, field.zh))
    return option

"""The commands that tell what runs did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import NotFound
from gengfu.store.run_rows import OPEN_END, Run, Verdict

if TYPE_CHECKING:
    from gengfu.store.changes import Change

Rows = Sequence[Mapping[str, Any]]


class RunList(BaseCommand):
    """List the latest runs, the newest first

    Examples:
      gengfu run:list
      gengfu run:list --verdict held
    """

    name = "run:list"
    options = (
        click.Option(["--limit"], type=click.IntRange(1), default=20, show_default=True, help="The most rows."),
        click.Option(["--resource"], metavar="NAME", help="Only of this list, for example device."),
        click.Option(["--scope"], type=click.Choice(["0", "1", "2"]), help="Only of this scope (--is-del)."),
        click.Option(
            ["--verdict"], type=click.Choice([str(verdict) for verdict in Verdict]), help="Only those that ended so."
        ),
    )

    def handle(self, limit: int, resource: str | None, scope: str | None, verdict: str | None) -> int:
        from gengfu.cli.parts import views
        from gengfu.store.runs import RunStore

        wanted = Verdict(verdict) if verdict is not None else None
        runs = RunStore(self.app.db, self.app.clock).latest(limit, scope, wanted, resource)
        columns = [Column("run", right=True), Column("list"), Column("scope"), Column("verdict"), Column("accepted")]
        columns += [Column(name, right=True) for name in ("seconds", *_LISTED)]
        if runs:
            self.out.table(columns, map(_line, runs))
        else:
            self.out.note("no run yet; start one with: gengfu device:list")
        self.out.answer({"runs": [views.run_json(run) for run in runs], "count": len(runs)})
        return 0


_LISTED = ("seen", "new", "changed", "gone")


def _line(run: Run) -> list[object]:
    from gengfu.cli.parts import views

    counts = [getattr(run, name) for name in _LISTED]
    took = views.seconds(run.created_at, run.finished_at)
    return [run.id, run.resource, run.scope, run.verdict or run.state, run.created_at, took, *counts]


class RunShow(BaseCommand):
    """Show a run: what it read, decided and changed

    Examples:
      gengfu run:show 12
      gengfu run:show 12 --pages
      gengfu run:show 12 --all --json | jq '.changes[] | select(.field == "memo")'
    """

    name = "run:show"
    options = (
        click.Argument(["run_id"], metavar="RUN", type=int),
        click.Option(["--pages"], is_flag=True, help="Every page too."),
        click.Option(["--all", "everything"], is_flag=True, help="All changes, not only the first 20."),
    )

    def handle(self, run_id: int, pages: bool, everything: bool) -> int:
        from gengfu.cli.parts import views
        from gengfu.store.changes import ChangeStore
        from gengfu.store.runs import RunStore

        runs = RunStore(self.app.db, self.app.clock)
        run = runs.get(run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}; see: gengfu run:list")
        read = runs.pages(run_id)
        windows, rejects = runs.windows(run_id), runs.rejects(run_id)
        self._tell_run(run, read)
        if windows:
            self.out.say("\nWindows")
            self.out.table(_WINDOW, map(_window, windows))
        if pages:
            self._tell("Pages", _PAGE, read)
        store = ChangeStore(self.app.db, run.source_id)
        fields = store.fields_of_run(run_id)
        changes = self._tell_changes(run, store.of_run(run_id, None if everything else 20), fields)
        self._tell("Rows set aside", _REJECT, rejects)
        told = {**views.run_json(run), "windows": _plain(windows), "changed_fields": fields}
        told |= {"changes": changes, "rejects": _plain(rejects)}
        self.out.answer({**told, "pages_read": _plain(read)} if pages else told)
        return 0

    def _tell_run(self, run: Run, read: Rows) -> None:
        from gengfu.cli.parts import views

        self.out.say(views.run_line(run))
        took = sorted(page["took_ms"] for page in read)
        speed = f"median {took[len(took) // 2]} ms, longest {took[-1]} ms" if took else None
        same = run.total_last in (None, run.total_first)
        totals = run.total_first if same else f"{run.total_first}, then {run.total_last}"
        pairs = [
            ("list", f"{run.resource}, scope {run.scope}"),
            ("verdict", run.verdict or run.state),
            ("reason", run.reason),
            ("accepted", run.created_at),
            ("first page", run.started_at),
            ("ended", run.finished_at),
            ("rows", totals),
            (
                "pages",
                f"{run.pages} of {run.page_size} rows, pass {run.pass_number}" if run.pages is not None else None,
            ),
            ("page times", speed),
            ("calls", f"{run.calls}, of these retries {run.retries}, throttled {run.throttled}"),
            ("seen", run.seen),
            ("counts", views.run_counts(run)),
            ("heartbeats", run.heartbeat),
        ]
        self.out.record(pairs)

    def _tell(self, title: str, columns: Mapping[str, Column], rows: Rows) -> None:
        if rows:
            self.out.say(f"\n{title}")
            self.out.table(list(columns.values()), [[row[name] for name in columns] for row in rows])

    def _tell_changes(self, run: Run, changes: Sequence[Change], fields: Mapping[str, int]) -> list[dict[str, Any]]:
        from gengfu.cli.parts import views

        row = "device" if run.resource == "device" else "row"
        columns = {"row_id": Column(row, right=True), **_CHANGE}
        self._tell("Changes", columns, list(map(views.readable, changes)))
        if (more := sum(fields.values()) - len(changes)) > 0:
            counted = ", ".join(f"{field} {number}" for field, number in fields.items())
            self.out.say(f"... and {more} more, see --all. By field: {counted}.")
        told = [{name: getattr(change, name) for name in _CHANGE} for change in changes]
        return [{f"{row}_id": change.row_id, **values} for change, values in zip(changes, told, strict=True)]


_WINDOW = (
    *(Column(title, right=True) for title in ("window", "pass", "pages", "read")),
    *(Column("state"), Column("job", right=True), Column("started"), Column("seconds", right=True)),
    Column("reason", shrinks=True),
)


def _window(row: Mapping[str, Any]) -> list[object]:
    from gengfu.cli.parts import views

    pages = f"{row['first_page']}-{'' if row['last_page'] == OPEN_END else row['last_page']}"
    took = views.seconds(row["started_at"], row["finished_at"])
    read = row["pages_read"]
    return [
        *(row["id"], row["pass_number"], pages, read, row["state"], row["job_id"], row["started_at"]),
        *(took, row["reason"]),
    ]


_PAGE = {
    "pass_number": Column("pass", right=True),
    "page": Column("page", right=True),
    "rows": Column("rows", right=True),
    "total": Column("total", right=True),
    "took_ms": Column("ms", right=True),
    "attempts": Column("attempts", right=True),
    "fetched_at": Column("fetched"),
}
_CHANGE = {
    "field": Column("field"),
    "old": Column("old", shrinks=True),
    "new": Column("new", shrinks=True),
    "changed_at": Column("changed"),
}
_REJECT = {
    "page": Column("page", right=True),
    "reason": Column("reason", shrinks=True),
    "raw": Column("row", shrinks=True),
}


def _plain(rows: Rows) -> list[dict[str, Any]]:
    """The rows without what is only for the program's own use; an end that nobody knows yet is None."""
    kept = [{name: row[name] for name in row if name not in ("run_id", "fence", "window_id")} for row in rows]
    return [row | {"last_page": None} if row.get("last_page") == OPEN_END else row for row in kept]

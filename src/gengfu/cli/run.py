"""The commands that tell what runs did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.cli.wording import ends_of, run_counts, run_line
from gengfu.language import tr
from gengfu.services.json import to_json
from gengfu.services.times import seconds

if TYPE_CHECKING:
    from gengfu.services.runs import Run, RunDetail, WindowRow

VERDICTS = ("complete", "drifted", "partial", "held", "failed")
"""The values of `Verdict`, which is not loaded for the list of commands."""


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
        click.Option(["--verdict"], type=click.Choice(VERDICTS), help="Only those that ended so."),
    )

    def handle(self, limit: int, resource: str | None, scope: str | None, verdict: str | None) -> int:
        from gengfu.services.runs import Verdict

        wanted = Verdict(verdict) if verdict is not None else None
        runs = self.app.runs.latest(limit, resource=resource, scope=scope, verdict=wanted)
        columns = [
            Column("run", right=True),
            Column("list"),
            Column("scope"),
            Column("verdict", words=True),
            Column("accepted"),
        ]
        columns += [Column(name, right=True) for name in (tr("seconds"), *_LISTED)]
        if runs:
            self.out.table(columns, map(_line, runs))
        else:
            self.out.note("no run yet; start one with: gengfu device:list")
        self.out.answer({"runs": runs, "count": len(runs)})
        return 0


_LISTED = (tr("seen"), tr("new"), tr("changed"), tr("gone"))


def _line(run: Run) -> list[object]:
    took = seconds(run.created_at, run.finished_at)
    counts = [getattr(run, name) for name in _LISTED]
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
        from gengfu.services.runs import CHANGES_SHOWN

        detail = self.app.runs.detail(run_id, None if everything else CHANGES_SHOWN)
        self._tell_run(detail)
        if detail.windows:
            self.out.say("\nWindows")
            self.out.table(_WINDOW, map(_window, detail.windows))
        if pages:
            self._tell(tr("Pages"), _PAGE, detail.pages)
        self._tell_changes(detail)
        self._tell(tr("Rows set aside"), _REJECT, detail.rejects)
        told = to_json(detail)
        self.out.answer(told if pages else {name: told[name] for name in told if name != "pages_read"})
        return 0

    def _tell_run(self, detail: RunDetail) -> None:
        run, took = detail.run, detail.page_times
        self.out.say(run_line(run))
        same = run.total_last in (None, run.total_first)
        pairs = [
            (tr("list"), tr("{run.resource}, scope {run.scope}", run=run)),
            (tr("verdict"), tr(run.verdict or run.state)),
            (tr("reason"), run.reason),
            *(
                [(tr("decided"), tr("{decision} by {run.decided_by}", decision=tr(run.decision), run=run))]
                if run.decision is not None
                else []
            ),
            *((tr("waits until"), job.available_at) for job in detail.waiting[:1]),
            *((tr("because"), tr(job.cause or "")) for job in detail.waiting[:1]),
            (tr("accepted"), run.created_at),
            (tr("first page"), run.started_at),
            (tr("ended"), run.finished_at),
            (tr("rows"), run.total_first if same else tr("{run.total_first}, then {run.total_last}", run=run)),
            (
                tr("pages"),
                tr("{run.pages} of {run.page_size} rows, pass {run.pass_number}", run=run)
                if run.pages is not None
                else None,
            ),
            (
                tr("page times"),
                tr("median {took.median} ms, longest {took.longest} ms", took=took) if took is not None else None,
            ),
            (tr("calls"), tr("{run.calls}, of these retries {run.retries}, throttled {run.throttled}", run=run)),
            (tr("seen"), run.seen),
            (tr("counts"), run_counts(run)),
            (tr("heartbeats"), run.heartbeat),
        ]
        self.out.record(pairs)

    def _tell(self, title: str, columns: Mapping[str, Column], rows: Sequence[Any]) -> None:
        if rows:
            self.out.say(tr("\n{title}", title=title))
            self.out.table(list(columns.values()), [[getattr(row, name) for name in columns] for row in rows])

    def _tell_changes(self, detail: RunDetail) -> None:
        columns = [
            Column("device" if detail.run.resource == "device" else "row", right=True),
            Column("field"),
            Column("old", shrinks=True),
            Column("new", shrinks=True),
        ]
        if detail.changes:
            self.out.say("\nChanges")
            lines = [[change.row_id, change.field, *ends_of(change), change.changed_at] for change in detail.changes]
            self.out.table([*columns, Column("changed")], lines)
        if detail.more_changes > 0:
            counted = [f"{field} {number}" for field, number in detail.changed_fields.items()]
            self.out.say(
                tr(
                    "... and {detail.more_changes} more, see --all. By field: {counted}.",
                    detail=detail,
                    counted=counted,
                )
            )


_WINDOW = (
    *(
        Column("window", right=True),
        Column("pass", right=True),
        Column("pages", right=True),
        Column("read", right=True),
    ),
    *(Column("state", words=True), Column("job", right=True), Column("started"), Column("seconds", right=True)),
    Column("reason", shrinks=True, words=True),
)


def _window(row: WindowRow) -> list[object]:
    pages = f"{row.first_page}-{'' if row.last_page is None else row.last_page}"
    took = seconds(row.started_at, row.finished_at)
    return [row.id, row.pass_number, pages, row.pages_read, row.state, row.job_id, row.started_at, took, row.reason]


_PAGE = {
    "pass_number": Column("pass", right=True),
    "page": Column("page", right=True),
    "rows": Column("rows", right=True),
    "total": Column("total", right=True),
    "took_ms": Column("ms", right=True),
    "attempts": Column("attempts", right=True),
    "fetched_at": Column("fetched"),
}
_REJECT = {
    "page": Column("page", right=True),
    "reason": Column("reason", shrinks=True, words=True),
    "raw": Column("row", shrinks=True),
}

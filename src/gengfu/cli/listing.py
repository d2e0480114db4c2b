"""The command of every mirrored list: bring its mirror up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, ClassVar

import click

from gengfu.cli.base import INTERRUPTED, BaseCommand
from gengfu.errors import UsageError
from gengfu.language import tr
from gengfu.schedule.policy import RunRequest
from gengfu.services.json import to_json

if TYPE_CHECKING:
    from gengfu import Resource
    from gengfu.services.following import Step
    from gengfu.services.runs import Run, RunStart

HOW_TO_END = (
    click.Option(["--wait"], is_flag=True, help="Follow the run to its end; exit 0 only if it is complete."),
    click.Option(["--now"], is_flag=True, help="Do it in this process; exit 0 only if it is complete."),
)


class ListCommand(BaseCommand):
    """Brings the mirror of one list up to date; a subclass names the list."""

    resource: ClassVar[str]
    """The name of the list."""
    title: ClassVar[str]
    """What people call it."""
    first_scope: ClassVar[str] = "all"
    """The scope that is meant where none is named."""
    options: ClassVar[Sequence[click.Parameter]] = HOW_TO_END
    creates = True

    @classmethod
    def mirrors(cls, options: Mapping[str, Any]) -> tuple[str, str] | None:
        return cls.resource, cls._scope(options.get("scope"))

    @classmethod
    def queues(cls, options: Mapping[str, Any]) -> RunRequest | None:
        if options.get("wait") or options.get("now"):
            return None
        return RunRequest(cls.resource, cls._scope(options.get("scope")), cls.title)

    def handle(self, wait: bool, now: bool, scope: str | None = None) -> int:
        if wait and now:
            raise UsageError("--wait and --now cannot be combined: one leaves the work to a worker, the other does it")
        code, told = self.bring_up_to_date(scope, wait=wait, now=now)
        self.out.answer(told)
        return code

    @classmethod
    def _scope(cls, scope: str | None) -> str:
        return scope if scope is not None else cls.first_scope

    def bring_up_to_date(
        self, scope: str | None = None, *, wait: bool = False, now: bool = False
    ) -> tuple[int, dict[str, Any]]:
        """Starts a run, unless one is active, and sees it through if asked to. The exit code, and what JSON tells."""
        start = self.app.runs.start(self.resource, self._scope(scope))
        if not self.app.settings.api_verify_tls:
            self.out.note("warning: API_VERIFY_TLS is false: the vendor's certificate is not verified")
        self._announce(start)
        if not now and (problem := self.app.runs.notify(self.resource, start)) is not None:
            self.out.note(
                tr(
                    "warning: no worker could be told ({problem}); the next one finds job {start.job} by itself",
                    problem=problem,
                    start=start,
                )
            )
        if not (wait or now):
            return 0, to_json(start)
        return self._ended(start, self._seen_through(start, now=now))

    def _announce(self, start: RunStart) -> None:
        if start.job is not None:
            self.out.say(
                tr(
                    "Run {start.run} of the {title} accepted (scope {start.scope}, job {start.job}).",
                    start=start,
                    title=tr(self.title),
                )
            )
        else:
            self.out.say(
                tr(
                    "Skipped: run {start.run} is active since {since}; {start.progress}.",
                    start=start,
                    since=self.out.moment(start.since),
                )
            )

    def _seen_through(self, start: RunStart, *, now: bool) -> Run | None:
        """The run as it ended; None when a person looked away first."""
        runs = self.app.runs
        try:
            with self.out.progress(tr("run {start.run}", start=start), "pages") as bar:

                def tell(step: Step) -> None:
                    if step.warning is not None:
                        self.out.note(step.warning)
                    else:
                        bar.show(step.done, step.total, step.words)

                return runs.perform(start.run, tell) if now else runs.follow(start.run, tell)
        except KeyboardInterrupt:
            self.out.note(
                tr("stopped; what run {start.run} has read is kept, and the next worker goes on with it", start=start)
                if now
                else tr("stopped watching; run {start.run} goes on (gengfu run:show {start.run})", start=start)
            )
            return None

    def _ended(self, start: RunStart, run: Run | None) -> tuple[int, dict[str, Any]]:
        if run is None:
            return INTERRUPTED, {**to_json(start), "verdict": None, "interrupted": True}
        from gengfu.cli.wording import run_summary
        from gengfu.services.runs import Verdict

        for line in run_summary(run):
            self.out.say(line)
        if run.verdict == Verdict.HELD:
            self.out.note(
                tr(
                    "nothing was marked as gone; decide with: gengfu device:approve {run.id}, or device:discard",
                    run=run,
                )
            )
        return 0 if run.verdict == Verdict.COMPLETE else 1, {**to_json(start), **to_json(run)}


def list_command(resource: Resource) -> type[ListCommand]:
    """The command of a list that was declared, and nothing more."""
    about = """Bring the mirror of the {title} up to date

    Works like device:list, into the table {resource.name}.

    Examples:
      gengfu {resource.command}
      gengfu {resource.command} --wait
    """
    members = {
        "__doc__": tr(cleandoc(about), title=tr(resource.title), resource=resource),
        "__module__": __name__,
        "name": resource.command,
        "log_file": f"{resource.queue}.log",
        "schedule": resource.schedule,
        "resource": resource.name,
        "title": resource.title,
        "first_scope": resource.scopes[0].name,
    }
    return type(resource.job.removesuffix("Job"), (ListCommand,), members)

"""The command of every mirrored list: bring its mirror up to date."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import click

from gengfu.cli.base import INTERRUPTED, BaseCommand
from gengfu.errors import UsageError
from gengfu.schedule.policy import RunRequest

if TYPE_CHECKING:
    from gengfu.mirror.resource import Resource
    from gengfu.store.doorstep import Accepted
    from gengfu.store.run_rows import Run

log = logging.getLogger("gengfu.cli.list")

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

    @classmethod
    def mirrors(cls, options: Mapping[str, Any]) -> tuple[str, str] | None:
        return cls.resource, cls._scope(options.get("scope"))

    @classmethod
    def queues(cls, options: Mapping[str, Any]) -> RunRequest | None:
        if options.get("wait") or options.get("now"):
            return None
        return RunRequest(cls.resource, cls._scope(options.get("scope")), cls.title)

    def under_way(self, *_: Any, scope: str | None = None, **options: Any) -> str | None:
        from gengfu.store.doorstep import active_run

        active = active_run(self.app.light_db, self.app.source, self.resource, self._scope(scope))
        if active is None:
            return None
        return f"run {active.run_id} is still active, {active.progress}, since {self.out.moment(active.since)}"

    def cancel(self, *_: Any, scope: str | None = None, **options: Any) -> None:
        from gengfu.store.doorstep import active_run
        from gengfu.store.runs import RunStore

        active = active_run(self.app.light_db, self.app.source, self.resource, self._scope(scope))
        if active is not None:
            RunStore(self.app.db, self.app.clock).abort(active.run_id, "cancelled for a later start")

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
        scope = self._scope(scope)
        self.app.settings.api()
        if not self.app.settings.api_verify_tls:
            self.out.note("warning: API_VERIFY_TLS is false: the vendor's certificate is not verified")
        accepted = self.app.accept_list(self.resource, scope)
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
            self.out.say(f"Run {accepted.run_id} of the {self.title} accepted (scope {scope}, job {accepted.job_id}).")
        else:
            since = self.out.moment(accepted.since)
            self.out.say(f"Skipped: run {accepted.run_id} is active since {since}; {accepted.progress}.")

    def _nudge(self, job_id: int) -> None:
        from gengfu.store.doorstep import list_queue

        problem = self.app.nudge(list_queue(self.resource), job_id)
        if problem is not None:
            log.warning("workers could not be told", extra={"job": job_id, "error": problem})
            self.out.note(f"warning: no worker could be told ({problem}); the next one finds job {job_id} by itself")

    def _follow(self, accepted: Accepted) -> Run | None:
        """The run as it ended; None when a person looked away first."""
        from gengfu.cli.parts.following import Follower
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
        from gengfu.cli.parts.following import Follower
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
        from gengfu.cli.parts import views
        from gengfu.store.run_rows import Verdict

        if run is None:
            return INTERRUPTED, {**told, "verdict": None, "interrupted": True}
        for line in views.run_summary(run):
            self.out.say(line)
        if run.verdict == Verdict.HELD:
            self.out.note(f"nothing was marked as gone; decide with: gengfu device:approve {run.id}, or device:discard")
        return 0 if run.verdict == Verdict.COMPLETE else 1, {**told, **views.run_json(run)}


def list_command(resource: Resource) -> type[ListCommand]:
    """The command of a list that was declared, and nothing more."""
    about = f"""Bring the mirror of the {resource.title} up to date

    Works like device:list, into the table {resource.name}.

    Examples:
      gengfu {resource.command}
      gengfu {resource.command} --wait
    """
    members = {
        "__doc__": about,
        "__module__": __name__,
        "name": resource.command,
        "log_file": f"{resource.queue}.log",
        "schedule": resource.schedule,
        "resource": resource.name,
        "title": resource.title,
        "first_scope": resource.scopes[0].name,
    }
    return type(resource.job.removesuffix("Job"), (ListCommand,), members)

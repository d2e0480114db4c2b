"""The commands around the queue: a worker, and what became of jobs."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import UsageError
from gengfu.language import tr
from gengfu.services.times import seconds
from gengfu.services.workers import GRACE

if TYPE_CHECKING:
    from gengfu.services.jobs import AttemptRecord
    from gengfu.settings import Settings

log = logging.getLogger("gengfu.cli.queue")

LOG = "queue_worker.log"


class QueueWork(BaseCommand):
    """Serve queues until told to stop

    SIGTERM or Ctrl-C: takes no new job, lets running ones end within the grace
    period, gives back the rest, exits 0. Twice: at once. Without --queue all
    queues are served.

    Examples:
      gengfu queue:work
      gengfu queue:work --queue device_list --tries 3 --sleep 3
      gengfu queue:work --queue urgent,device_list --processes 2 --memory 256
      gengfu queue:work --stop-when-empty
    """

    name = "queue:work"
    creates = True
    options = (
        click.Option(["--queue", "queues"], multiple=True, metavar="A,B", help="Which, in order of priority."),
        click.Option(["--tries"], type=int, help="Tries for each job, in place of its own number."),
        click.Option(
            ["--sleep"], type=float, default=3.0, show_default=True, help="Seconds between looks into the ledger."
        ),
        click.Option(["--once"], is_flag=True, help="End after one job."),
        click.Option(["--stop-when-empty"], is_flag=True, help="End when there is nothing left to do."),
        click.Option(["--max-jobs"], type=int, metavar="N", help="End after so many jobs."),
        click.Option(["--max-time"], type=float, metavar="SECONDS", help="End after so many seconds."),
        click.Option(["--memory"], type=int, metavar="MB", help="End when the process has grown beyond this."),
        click.Option(["--timeout"], type=float, metavar="SECONDS", help="The most for one job."),
        click.Option(
            ["--concurrency"],
            type=click.IntRange(max=256),
            default=2,
            show_default=True,
            help="Jobs at once in a process.",
        ),
        click.Option(
            ["--processes"], type=click.IntRange(max=99), default=1, show_default=True, help="How many processes."
        ),
        click.Option(["--grace"], type=float, default=GRACE, show_default=True, help="Seconds to end what runs."),
    )
    log_file = LOG

    def handle(self, queues: tuple[str, ...], **given: Any) -> int:
        from gengfu.services.workers import WorkerOptions

        named = [name.strip() for part in queues for name in part.split(",")]
        if "" in named:
            raise UsageError("--queue names an empty queue; for example: --queue urgent,device_list")
        options = WorkerOptions(queues=tuple(dict.fromkeys(named)), **given)
        app = self.app
        app.settings.api()
        broken = app.catalogue.broken
        for each in broken:
            log.warning("user code cannot be used", extra=each.told())
        # As this process was started: by its script, or by -m with whatever else Python was told.
        program = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
        child = (sys.executable, *program, self.name, *_switches(options.queues, given))
        code = app.work(options, child)
        self.out.answer({"status": "ended", "exit_code": code, "broken": [each.told() for each in broken]})
        return code

    @classmethod
    def logs_to_stderr(cls, settings: Settings) -> bool:
        return not cls.stderr_is_its_log(settings)


def _switches(queues: tuple[str, ...], given: dict[str, Any]) -> list[str]:
    """The command line of one child with these options."""
    found = ["--queue", ",".join(queues)] if queues else []
    for name, value in {**given, "processes": 1}.items():
        switch = f"--{name.replace('_', '-')}"
        if value is True:
            found.append(switch)
        elif value is not None and value is not False:
            found += [switch, str(value)]
    return found


class QueueFailed(BaseCommand):
    """List the jobs that failed for good, or show one

    Examples:
      gengfu queue:failed
      gengfu queue:failed 34
    """

    name = "queue:failed"
    options = (
        click.Argument(["job_id"], metavar="[ID]", type=int, required=False),
        click.Option(["--limit"], type=click.IntRange(1), default=100, show_default=True, help="The most rows."),
    )

    def handle(self, job_id: int | None, limit: int) -> int:
        return self._list(limit) if job_id is None else self._show(job_id)

    def _list(self, limit: int) -> int:
        jobs = self.app.queue.failed(limit)
        columns = [Column("job", right=True), Column("name"), Column("for"), Column("attempts", right=True)]
        columns += [Column("failed"), Column("cause", shrinks=True, words=True)]
        rows = [[job.id, job.name, job.subject, job.attempts, job.finished_at, job.cause] for job in jobs]
        if rows:
            self.out.table(columns, rows)
        else:
            self.out.note("no job has failed")
        self.out.answer({"jobs": jobs, "count": len(jobs)})
        return 0

    def _show(self, job_id: int) -> int:
        found = self.app.queue.one(job_id)
        self.out.record([(tr("job"), found.job.id), *((name, getattr(found.job, name)) for name in _SHOWN)])
        if found.history:
            self.out.say()
            columns = [Column("attempt", right=True), Column("worker"), Column("outcome", words=True)]
            columns += [Column("started"), Column("seconds", right=True), Column("cause", wraps=True, words=True)]
            self.out.table(columns, map(_attempt, found.history))
        self.out.answer(found)
        return 0


_SHOWN = (
    *(tr("queue"), tr("name"), tr("args"), tr("subject"), tr("state"), tr("tries"), tr("attempts"), tr("worker")),
    *(tr("available_at"), tr("cause"), tr("note"), tr("created_at"), tr("started_at"), tr("finished_at")),
)


def _attempt(attempt: AttemptRecord) -> list[object]:
    took = seconds(attempt.started_at, attempt.finished_at)
    outcome = attempt.outcome or tr("running")
    return [attempt.attempt, attempt.worker, outcome, attempt.started_at, took, attempt.cause]


class QueueRetry(BaseCommand):
    """Send failed jobs again, one or all

    Examples:
      gengfu queue:retry 34
      gengfu queue:retry all
    """

    name = "queue:retry"
    options = (click.Argument(["job"], metavar="ID|all"),)

    def handle(self, job: str) -> int:
        if job != "all" and not (job.isascii() and job.isdigit()):
            raise UsageError(
                tr("{job!r} is neither a job's number nor the word all; see: gengfu queue:failed", job=job)
            )
        sent = self.app.queue.retry_all() if job == "all" else self.app.queue.retry(int(job))
        if sent:
            self.out.say(tr("Sent again: {sent}.", sent=[*map(str, sent)]))
        else:
            self.out.note("no job has failed")
        self.out.answer({"retried": sent, "count": len(sent)})
        return 0


class QueueStatus(BaseCommand):
    """Count the jobs by queue and state

    Example:
      gengfu queue:status
    """

    name = "queue:status"

    def handle(self) -> int:
        queues = self.app.queue.status()
        if queues:
            columns = [Column("queue"), *(Column(str(state), right=True) for state in queues[0].jobs)]
            self.out.table(columns, [[queue.queue, *queue.jobs.values()] for queue in queues])
        else:
            self.out.note("the ledger holds no job")
        self.out.answer({"queues": queues, "count": len(queues)})
        return 0

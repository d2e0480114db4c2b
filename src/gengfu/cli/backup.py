"""The commands around backups: make one, list them, put one back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.cli.wording import span_words
from gengfu.errors import UsageError
from gengfu.language import tr
from gengfu.schedule.policy import CatchUp, JobRequest, Schedule
from gengfu.services.json import to_json

if TYPE_CHECKING:
    from gengfu.backup.making import MadeBackup
    from gengfu.backup.streams import Progress
    from gengfu.cli.output import Output
    from gengfu.services.backups import Listed, RestorePlan, RestoreResult

log = logging.getLogger("gengfu.cli.backup")

LOG = "backup_data.log"


@contextmanager
def _showing(out: Output, label: str) -> Iterator[Progress]:
    """Shows on stderr how far the work is."""
    from gengfu.services.backups import Progress

    with out.progress(label, "rows") as bar:
        yield Progress(lambda what, done, total: bar.show(done, total, what))


class BackupData(BaseCommand):
    """Copy all tables into one packed file, and read it back

    Workers may go on writing: the copy is of one moment. Outdated backups are
    removed afterwards. A second one at the same time is skipped.

    Examples:
      gengfu backup:data            in this process
      gengfu backup:data --queue    leave it to a worker
    """

    name = "backup:data"
    options = (click.Option(["--queue"], is_flag=True, help="Leave it to a worker, in the queue `backup`."),)
    log_file = LOG
    schedule = Schedule("0 2 * * *", catch_up=CatchUp.LATEST, grace=600.0, timeout=10_800.0)

    @classmethod
    def queues(cls, options: Mapping[str, Any]) -> JobRequest | None:
        if not options.get("queue"):
            return None
        from gengfu.backup.job import SUBJECT, BackupDataJob

        return JobRequest(BackupDataJob.__name__, BackupDataJob.queue, BackupDataJob.tries, SUBJECT, "Backup")

    def handle(self, queue: bool) -> int:
        return self._hand_over() if queue else self._make()

    def _make(self) -> int:
        from gengfu.services.backups import Busy

        try:
            with _showing(self.out, "backup") as progress:
                made = self.app.backups.make(progress)
        except Busy as busy:
            log.info("backup skipped", extra={"why": str(busy)})
            self.out.say(tr("Skipped: {busy}.", busy=busy))
            self.out.answer({"status": "skipped", "reason": str(busy)})
            return 0
        self.out.say(tr("Backup {made.words}.", made=made))
        if made.foreign_tables:
            self.out.note(
                tr(
                    "not in it, since neither Gengfu nor app/migrations makes them: {strangers}",
                    strangers=made.foreign_tables,
                )
            )
        if made.removed:
            self.out.say(tr("Removed as outdated: {removed}.", removed=made.removed))
        self.out.answer(to_json(made))
        return 0

    def _hand_over(self) -> int:
        from gengfu.services.backups import queue_backup

        queued = queue_backup(self.app.light_db, self.app.clock())
        if not queued.is_new:
            self.out.say(tr("Skipped: job {queued.job} is to make a backup already.", queued=queued))
        else:
            problem = self.app.notify(queued.queue, queued.job)
            if problem is not None:
                self.out.note(
                    tr(
                        "warning: no worker could be told ({problem}); the next one finds job {queued.job} by itself",
                        problem=problem,
                        queued=queued,
                    )
                )
            self.out.say(tr("Backup accepted (job {queued.job}).", queued=queued))
        self.out.answer(to_json(queued))
        return 0


class BackupList(BaseCommand):
    """List the backups there are

    `checked` is yes for those that were read back when they were made, and whose
    size is still the same. --check reads all of them again; exit 1 if one is bad.

    Examples:
      gengfu backup:list
      gengfu backup:list --check
    """

    name = "backup:list"
    options = (click.Option(["--check"], is_flag=True, help="Read each of them back now."),)

    def handle(self, check: bool) -> int:
        backups = self.app.backups
        found = backups.list()
        if check and found:
            with _showing(self.out, "check") as progress:
                found = backups.verify(progress)
        if found:
            self._show(found)
        else:
            self.out.note(tr("there is no backup in {backups.folder}; make one: gengfu backup:data", backups=backups))
        told = [to_json(listed) for listed in found]
        self.out.answer({"folder": str(backups.folder), "backups": told, "count": len(told)})
        return 1 if check and any(listed.problem for listed in found) else 0

    def _show(self, found: Sequence[Listed]) -> None:
        from gengfu.backup.folder import megabytes

        columns = [Column("backup", wraps=True), Column("age", right=True), Column("size", right=True)]
        columns += [Column("rows", right=True), Column("schema"), Column("checked", wraps=True, words=True)]
        rows = []
        for listed in found:
            backup, told = listed.backup, listed.backup.manifest
            of = [told.rows, told.schema_version] if told else [None, None]
            rows.append(
                [
                    backup.path.name,
                    span_words(timedelta(seconds=listed.age)),
                    megabytes(backup.size),
                    *of,
                    listed.problem or tr("yes"),
                ]
            )
        self.out.table(columns, rows)


class BackupRestore(BaseCommand):
    """Put a backup in place of what the database holds

    Reads the backup first, refuses while workers or schedulers are at the
    database, and makes a safety copy of what is there. All of it happens or
    nothing. A backup of another kind of database does as well. FILE is a name
    from backup:list, a path, or latest.

    Examples:
      gengfu backup:restore latest
      gengfu backup:restore gengfu-sqlite-20261122T020000Z.jsonl.gz --yes
    """

    name = "backup:restore"
    begins = True
    options = (
        click.Argument(["file"], metavar="FILE|latest"),
        click.Option(["--yes"], is_flag=True, help="Do not ask."),
        click.Option(["--force"], is_flag=True, help="Also while workers or schedulers are at the database."),
    )
    log_file = LOG

    def handle(self, file: str, yes: bool, force: bool) -> int:
        from pathlib import Path

        backups = self.app.backups
        with _showing(self.out, "restore") as progress:
            plan = backups.plan_restore(file, Path.cwd(), progress, force=force)
        if not self._agreed(plan, yes):
            self.out.say("Nothing was changed.")
            self.out.answer({"status": "declined", "file": plan.backup.path.name})
            return 1
        with _showing(self.out, "restore") as progress:
            done = backups.restore(plan, progress, self._tell_safety)
        self._tell(done)
        return 0

    def _agreed(self, plan: RestorePlan, yes: bool) -> bool:
        file = plan.backup.path.name
        if yes:
            return True
        there = tr("no tables") if plan.present is None else tr("{plan.present} rows", plan=plan)
        made = self.out.moment(plan.backup.name.moment)
        answer = self.out.confirm(
            tr(
                "Replace what {plan.where} holds ({there}) by {file} of {made} ({plan.rows} rows)?",
                plan=plan,
                there=there,
                file=file,
                made=made,
            )
        )
        if answer is None:
            raise UsageError("there is no terminal to ask on; to restore without being asked: --yes")
        return answer

    def _tell_safety(self, safety: MadeBackup) -> None:
        from gengfu.backup.folder import megabytes

        told = safety.manifest
        self.out.say(
            tr("Safety copy {told.file}: {told.rows} rows, {megabytes}.", told=told, megabytes=megabytes(told.size))
        )

    def _tell(self, done: RestoreResult) -> None:
        self.out.table([Column("table"), Column("rows", right=True)], sorted(done.tables.items()))
        self.out.say(
            tr(
                "Restored {done.file}: {number} tables, {sum} rows.",
                done=done,
                number=len(done.tables),
                sum=sum(done.tables.values()),
            )
        )
        if done.upgraded:
            self.out.say(tr("Its tables were upgraded: {upgraded}.", upgraded=done.upgraded))
        self.out.answer(to_json(done))

"""The commands around backups: make one, list them, put one back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import BackupError, UsageError
from gengfu.schedule.policy import CatchUp, JobRequest, Schedule

if TYPE_CHECKING:
    from pathlib import Path

    from gengfu.backup.kinds import Contents
    from gengfu.backup.making import Made
    from gengfu.backup.restoring import Restored, Restorer
    from gengfu.backup.shelf import Backup
    from gengfu.backup.streams import Progress
    from gengfu.cli.output import Output

log = logging.getLogger("gengfu.cli.backup")

LOG = "backup_data.log"
MB = 1_000_000


@contextmanager
def _showing(out: Output, label: str) -> Iterator[Progress]:
    """Shows on stderr how far the work is."""
    from gengfu.backup.streams import Progress

    with out.progress(label, "MB") as bar:

        def show(what: str, done: int, total: int | None) -> None:
            more = what if total is not None else f"{what}, {done // MB} MB"
            bar.show(done // MB, None if total is None else -(-total // MB), more)

        yield Progress(show)


class BackupData(BaseCommand):
    """Copy the whole database into one packed file, and read it back

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

    def under_way(self, **_: Any) -> str | None:
        from gengfu.backup.shelf import Shelf

        return Shelf(self.app.settings.backups).busy()

    def handle(self, queue: bool) -> int:
        return self._hand_over() if queue else self._make()

    def _make(self) -> int:
        from gengfu.backup.making import Maker
        from gengfu.backup.shelf import Busy

        app = self.app
        try:
            with _showing(self.out, "backup") as progress:
                made = Maker(app.bare_db, app.settings, app.clock, progress).make()
        except Busy as busy:
            log.info("backup skipped", extra={"why": str(busy)})
            self.out.say(f"Skipped: {busy}.")
            self.out.answer({"status": "skipped", "reason": str(busy)})
            return 0
        self.out.say(f"Backup {made.words}.")
        if made.removed:
            self.out.say(f"Removed as outdated: {', '.join(made.removed)}.")
        self.out.answer({"status": "done", **_made_json(made), "removed": list(made.removed)})
        return 0

    def _hand_over(self) -> int:
        from gengfu.backup.job import SUBJECT, BackupDataJob
        from gengfu.store.doorstep import new_job
        from gengfu.store.light import Executor, transact

        now = self.app.clock()
        job = BackupDataJob

        def work(execute: Executor) -> tuple[int | None, bool]:
            live = "SELECT id FROM job WHERE subject = :subject AND state IN ('queued', 'running')"
            row = execute.one(live, {"subject": SUBJECT})
            if row is not None:
                return row["id"], False
            given: dict[str, Any] = {"queue": job.queue, "tries": job.tries, "subject": SUBJECT}
            return execute.insert("job", new_job(job.__name__, {}, now=now, available_at=now, **given)), True

        job_id, is_new = transact(self.app.light_db, work)
        assert job_id is not None
        if not is_new:
            self.out.say(f"Skipped: job {job_id} is to make a backup already.")
            self.out.answer({"status": "skipped", "job": job_id})
            return 0
        problem = self.app.nudge(job.queue, job_id)
        if problem is not None:
            self.out.note(f"warning: no worker could be told ({problem}); the next one finds job {job_id} by itself")
        log.info("backup queued", extra={"job": job_id})
        self.out.say(f"Backup accepted (job {job_id}).")
        self.out.answer({"status": "accepted", "job": job_id})
        return 0


def _made_json(made: Made) -> dict[str, Any]:
    told = made.manifest
    return {
        "file": told.file,
        "path": str(made.path),
        "database": told.kind,
        "schema_version": told.schema_version,
        "tables": dict(told.tables),
        "rows": told.rows,
        "bytes": told.size,
        "sha256": told.sha256,
        "started_at": told.started_at,
        "finished_at": told.finished_at,
    }


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
        from gengfu.backup.shelf import Shelf

        shelf = Shelf(self.app.settings.backups)
        backups = shelf.backups()
        problems = {backup.path: backup.problem for backup in backups}
        if check and backups:
            problems = self._check(shelf.scratch, backups)
        self._show(backups, problems)
        told = [self._json(backup, problems[backup.path]) for backup in backups]
        self.out.answer({"folder": str(shelf.folder), "backups": told, "count": len(told)})
        return 1 if check and any(problems.values()) else 0

    def _check(self, scratch: Any, backups: list[Backup]) -> dict[Path, str | None]:
        from gengfu.backup.restoring import check

        found: dict[Path, str | None] = {}
        with _showing(self.out, "check") as progress:
            for backup in backups:
                try:
                    check(backup, scratch(), progress)
                    found[backup.path] = None
                except BackupError as error:
                    found[backup.path] = str(error)
        return found

    def _show(self, backups: list[Backup], problems: dict[Path, str | None]) -> None:
        from gengfu.backup.shelf import megabytes

        if not backups:
            self.out.note(f"there is no backup in {self.app.settings.backups}; make one: gengfu backup:data")
            return
        columns = [Column("backup", wraps=True), Column("age", right=True), Column("size", right=True)]
        columns += [Column("rows", right=True), Column("schema"), Column("checked", wraps=True)]
        now = self.app.clock()
        rows = []
        for backup in backups:
            told = backup.manifest
            age = _age((now - backup.name.moment).total_seconds())
            of = [told.rows, told.schema_version] if told else [None, None]
            state = problems[backup.path] or "yes"
            rows.append([backup.path.name, age, megabytes(backup.size), *of, state])
        self.out.table(columns, rows)

    def _json(self, backup: Backup, problem: str | None) -> dict[str, Any]:
        told = backup.manifest
        return {
            "file": backup.path.name,
            "database": backup.name.kind,
            "made_at": backup.name.moment,
            "age_seconds": round((self.app.clock() - backup.name.moment).total_seconds()),
            "before_restore": bool(backup.name.label),
            "bytes": backup.size,
            "rows": told.rows if told else None,
            "schema_version": told.schema_version if told else None,
            "program": told.program if told else None,
            "checked": problem is None,
            "problem": problem,
        }


def _age(seconds: float) -> str:
    """How long ago that was, in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class BackupRestore(BaseCommand):
    """Put a backup in place of what the database holds

    Reads the backup first, refuses while workers or schedulers are at the
    database, and makes a safety copy of what is there. On SQLite and PostgreSQL
    all of it happens or nothing. FILE is a name from backup:list, a path, or
    latest.

    Examples:
      gengfu backup:restore latest
      gengfu backup:restore gengfu-sqlite-20261122T020000Z.sqlite.gz --yes
    """

    name = "backup:restore"
    options = (
        click.Argument(["file"], metavar="FILE|latest"),
        click.Option(["--yes"], is_flag=True, help="Do not ask."),
        click.Option(["--force"], is_flag=True, help="Also while workers or schedulers are at the database."),
    )
    log_file = LOG

    def handle(self, file: str, yes: bool, force: bool) -> int:
        from pathlib import Path

        from gengfu.backup.shelf import Shelf
        from gengfu.backup.usage import tell_unless_free

        app = self.app
        shelf = Shelf(app.settings.backups)
        backup = shelf.find(file, app.bare_db.kind, Path.cwd())
        with shelf.alone("a restore", app.clock()), self._restoring(backup) as restorer:
            contents = restorer.examine()
            present = restorer.present_rows()
        if present is not None and not force:
            tell_unless_free(app.bare_db)
        if not self._agreed(backup, contents, present, yes):
            self.out.say("Nothing was changed.")
            self.out.answer({"status": "declined", "file": backup.path.name})
            return 1
        with shelf.alone("a restore", app.clock()):
            safety = self._save(backup) if present is not None else None
            with self._restoring(backup) as restorer:
                done = restorer.restore(contents, safety)
        self._tell(backup, done, safety)
        return 0

    @contextmanager
    def _restoring(self, backup: Backup) -> Iterator[Restorer]:
        """What restores it, with a bar for the time of the block."""
        from gengfu.backup.making import Maker
        from gengfu.backup.restoring import Restorer

        app = self.app
        with _showing(self.out, "restore") as progress:
            yield Restorer(app.bare_db, Maker(app.bare_db, app.settings, app.clock, progress), backup, progress)

    def _agreed(self, backup: Backup, contents: Contents, present: int | None, yes: bool) -> bool:
        if backup.manifest is None:
            self.out.note(
                f"warning: {backup.path.name} has no manifest beside it; it is whole, but nothing vouches for it"
            )
        if yes:
            return True
        rows, there = sum(contents.tables.values()), "no tables" if present is None else f"{present} rows"
        made = self.out.moment(backup.name.moment)
        where = self.app.bare_db.where
        answer = self.out.confirm(
            f"Replace what {where} holds ({there}) by {backup.path.name} of {made} ({rows} rows)?"
        )
        if answer is None:
            raise UsageError("there is no terminal to ask on; to restore without being asked: --yes")
        return answer

    def _save(self, backup: Backup) -> Made:
        from gengfu.backup.shelf import megabytes

        with self._restoring(backup) as restorer:
            safety = restorer.save_present()
        told = safety.manifest
        self.out.say(f"Safety copy {told.file}: {told.rows} rows, {megabytes(told.size)}.")
        if told.kind == "mysql":
            self.out.note(
                "MySQL and MariaDB replace one table after the other; if this ends on the way, "
                f"go back with: gengfu backup:restore {told.file}"
            )
        return safety

    def _tell(self, backup: Backup, done: Restored, safety: Made | None) -> None:
        tables = dict(done.contents.tables)
        self.out.table([Column("table"), Column("rows", right=True)], sorted(tables.items()))
        self.out.say(f"Restored {backup.path.name}: {len(tables)} tables, {sum(tables.values())} rows.")
        if done.upgraded:
            self.out.say(f"Its tables were upgraded: {', '.join(done.upgraded)}.")
        if done.pending:
            self.out.note("its tables are of an older version; now run: gengfu db:upgrade")
        self.out.answer(
            {
                "status": "done",
                "file": backup.path.name,
                "tables": tables,
                "rows": sum(tables.values()),
                "safety_copy": safety.manifest.file if safety else None,
                "upgraded": list(done.upgraded),
                "pending": list(done.pending),
            }
        )

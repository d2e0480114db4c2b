"""Scaffolding: write new commands, jobs, lists of the vendor and migrations into the working folder."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from gengfu.errors import AnswerError, FileError, NotFound, UsageError
from gengfu.language import tr
from gengfu.queue.options import QUEUE_NAME
from gengfu.scaffold import code_files, names
from gengfu.scaffold.writing import write_new
from gengfu.services.json import to_json
from gengfu.services.user_code import own_jobs

if TYPE_CHECKING:
    from gengfu.mirror.resource import Resource
    from gengfu.queue.job import Job
    from gengfu.scaffold.probing import Ask, Sample
    from gengfu.settings import Settings
    from gengfu.store.database import Database
    from gengfu.vendor.client import VendorClient
    from gengfu.vendor.paging import Paging

Vendor = Callable[[], "VendorClient"]

_RECORDED = 5
"""Rows of the page that the test of a list keeps."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written into the working folder."""

    files: Sequence[str]
    what: Mapping[str, Any]
    """What they are about, as JSON."""
    next: Sequence[str]
    """Command lines to go on with."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person says of a list; the rest is recognised."""

    key: str | None = None
    """The field that identifies a row."""
    schedule: str | None = None
    fields: Sequence[str] = ()
    """Which fields get a column; all where none is named."""
    recorded: Path | None = None
    """A recorded page; the vendor is not asked then."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A list as it was recognised."""

    resource: Resource
    rows: Sequence[Mapping[str, Any]]
    """Those of its first page."""
    is_guess: bool
    """How it comes in pages was guessed and not tried."""

    @property
    def paging(self) -> str:
        """How it comes in pages."""
        return type(self.resource.listing.paging).__name__


@to_json.register
def _written(written: Written) -> dict[str, Any]:
    return {"status": "written", "files": list(written.files), **written.what, "next": list(written.next)}


class ScaffoldService:
    """Writes files into one working folder; none that is there is overwritten unless that is asked for."""

    def __init__(
        self,
        settings: Settings,
        find_command: Callable[[str], type[Any] | None],
        user_jobs: Callable[[], Mapping[str, type[Job]]],
        all_jobs: Callable[[], Container[str]],
    ) -> None:
        """`find_command`: the command of a name, if there is one; `user_jobs`: the jobs in user code; `all_jobs`: the
        names of all that workers know."""
        self._settings = settings
        self._find_command = find_command
        self._user_jobs = user_jobs
        self._all_jobs = all_jobs

    def command(self, name: str, schedule: str | None, job: str | None, *, force: bool) -> Written:
        """A new command; with `job` one that queues that job, which is written too unless it is there.

        Raises:
            UsageError, ConfigError: a name or the schedule cannot be used.
            FileError: a file is there already, or cannot be written.
        """
        stem = names.command_stem(name)
        if schedule is not None:
            from gengfu.schedule.cron import Cron

            schedule = " ".join(Cron(schedule, "UTC").expression.split())
        self._refuse_taken(name, f"app/commands/{stem}.py")
        files: dict[str, str] = {}
        steps = [f"gengfu {name}", "pytest app/tests"]
        job_class = None
        if job is None:
            files = code_files.command_files(name, stem, schedule)
        else:
            job_class, job_stem = self._job_names(job)
            known = self._user_jobs().get(job_class)
            if known is None:
                files = code_files.job_files(job_class, job_stem, "default")
            module = known.__module__ if known else f"app.jobs.{job_stem}"
            files |= code_files.command_files(name, stem, schedule, job_class, module)
            steps.insert(1, "gengfu queue:work --stop-when-empty")
        if schedule is not None:
            steps.append("gengfu schedule:list")
        what = {"command": name, "class": names.class_name(stem), "schedule": schedule, "job": job_class}
        return self._write(files, what, steps, force=force)

    def job(self, name: str, queue: str, *, force: bool) -> Written:
        """A new job.

        Raises:
            UsageError: a name cannot be used.
            FileError: a file is there already, or cannot be written.
        """
        if not QUEUE_NAME.fullmatch(queue):
            raise UsageError(
                tr("--queue names {queue!r}; a queue's name is a letter, then letters, digits, _ and -", queue=queue)
            )
        job_class, stem = self._job_names(name)
        known = self._user_jobs().get(job_class)
        if known is not None and known.__module__ != f"app.jobs.{stem}":
            raise FileError(
                tr(
                    "the job {job_class} is there already, in {module}; change it there",
                    job_class=job_class,
                    module=known.__module__,
                )
            )
        steps = [
            f"gengfu make:command {stem.replace('_', ':', 1)} --job {stem}",
            "pytest app/tests",
        ]
        files = code_files.job_files(job_class, stem, queue)
        return self._write(files, {"job": job_class, "queue": queue}, steps, force=force)

    def probe(self, name: str, path: str | None, wanted: Wanted, known: Container[str], vendor: Vendor) -> Probed:
        """Recognises a list of the vendor: by its answers, or by a recorded page.

        Args:
            path: below the vendor's address, with what is always asked for.
            known: the names of the lists there are.

        Raises:
            UsageError: it cannot be recognised, or the name is taken.
            VendorError: the vendor refuses.
        """
        from gengfu.mirror.resource import Resource
        from gengfu.scaffold import probing
        from gengfu.vendor.paging import Listing

        if name in known and not (self._settings.home / "app" / "resources" / f"{name}.py").exists():
            raise UsageError(tr("there is a list {name} already; choose another name", name=name))
        if path is None and wanted.recorded is None:
            raise UsageError("PATH is missing: which list of the vendor? Or give a recorded page with --from")
        path = path or f"api/{name}/list"
        if "://" in path:
            raise UsageError(tr("{path!r} is not below API_WECHAT_URL; for example: api/Material/page", path=path))
        bare, _, text = path.strip().lstrip("/").partition("?")
        query = tuple(parse_qsl(text, keep_blank_values=True))
        is_recorded = wanted.recorded is not None
        ask = _recorded(wanted.recorded) if wanted.recorded is not None else self._asking(vendor, bare, query)
        first = ask(())
        rows, _ = probing.rows_of(first)
        key = probing.key_of(rows, wanted.key)
        paging = probing.paging_of(ask, bare, query, first, key, trusting=is_recorded)
        later, _ = probing.rows_of(ask(()))
        columns = probing.fields_of(rows, later, key, wanted.fields)
        listing = Listing(bare, _without_paging(query, paging), paging)
        resource = Resource(name=name, listing=listing, key=key, fields=columns, schedule=wanted.schedule)
        assert resource.table is not None  # made now, so that a name that is taken is refused
        return Probed(resource, rows, is_recorded or len(rows) < probing.FEW)

    def _asking(self, vendor: Vendor, path: str, query: tuple[tuple[str, str], ...]) -> Ask:
        """Asks the vendor, by the rules and with the login that all calls share."""
        from gengfu.scaffold.probing import Sample
        from gengfu.store.tables import json_value
        from gengfu.vendor.paging import Listing, Unknown

        def ask(more: Sequence[tuple[str, str]]) -> Sample:
            given = dict(query) | dict(more)
            (page,) = vendor().walk(Listing(path, tuple(given.items()), Unknown()), 1)
            body = json_value(bytes(page.rows[0]).decode("utf-8", "replace"))
            return Sample(body, str(page.more) if page.more is not None else None)

        self._settings.api()
        return ask

    def resource(self, probed: Probed, *, force: bool) -> Written:
        """The files of a list: its declaration, its migration, and a test with the first rows, where there are any.

        Raises:
            FileError: a file is there already, or cannot be written.
        """
        from gengfu.scaffold import resource_files

        resource, rows = probed.resource, probed.rows[:_RECORDED]
        steps = [
            "gengfu db:upgrade",
            f"gengfu {resource.command} --now",
            *(["pytest app/tests"] if rows else []),
        ]
        columns = [
            {"field": each.name, "column": each.column, "kind": str(each.kind), "volatile": each.volatile}
            for each in resource.fields
        ]
        what: dict[str, Any] = {"resource": resource.name, "path": resource.listing.path, "paging": probed.paging}
        what |= {"key": resource.key, "fields": columns}
        return self._write(resource_files.all_of(resource, rows), what, steps, force=force)

    def migration(
        self, name: str, resources: Mapping[str, Resource], open_db: Callable[[], Database]
    ) -> Written | None:
        """The migration that a list's table needs; None where it has all that it needs.

        Raises:
            NotFound: user code has no list of that name.
            UsageError: an earlier one has not been run yet.
        """
        from gengfu.scaffold import resource_files
        from gengfu.store import app_schema, table_check
        from gengfu.store.tables import metadata

        resource = resources.get(name)
        if resource is None or name in metadata.tables:
            raise NotFound(tr("there is no list {name} in app/resources", name=name))
        home, db = self._settings.home, open_db()
        waiting = [step for step in app_schema.pending(db, home) if step[:-5] == name]
        if waiting:
            raise UsageError(
                tr("app/migrations/{waiting}.py has not been run yet; run: gengfu db:upgrade", waiting=waiting[0])
            )
        there, lacking = table_check.state(db, resource.table)
        if not lacking:
            return None
        number = len(app_schema.revisions(home).get(name, ())) + 1
        text = resource_files.migration(resource, number, lacking if there else None)
        file = f"app/migrations/{name}_{number:04}.py"
        return self._write({file: text}, {"resource": name, "file": file}, ["gengfu db:upgrade"], force=False)

    def _job_names(self, job: str) -> tuple[str, str]:
        job_class, stem = names.job_names(job, {own.__name__ for own in own_jobs()})
        if job_class in self._all_jobs() and job_class not in self._user_jobs():
            raise names.taken(job, stem)
        return job_class, stem

    def _refuse_taken(self, command: str, file: str) -> None:
        found = self._find_command(command)
        if found is None:
            return
        if not found.__module__.startswith("app."):
            raise UsageError(
                tr(
                    "the command {command} is there already ({module}); choose another name",
                    command=command,
                    module=found.__module__,
                )
            )
        there = found.__module__.replace(".", "/") + ".py"
        if there != file:
            raise FileError(
                tr("the command {command} is there already, in {there}; change it there", command=command, there=there)
            )

    def _write(
        self, files: Mapping[str, str], what: Mapping[str, Any], steps: Sequence[str], *, force: bool
    ) -> Written:
        write_new(self._settings.home, files, force=force)
        return Written(list(files), what, steps)


def _without_paging(query: tuple[tuple[str, str], ...], paging: Paging) -> tuple[tuple[str, str], ...]:
    """The query without what asks for a page."""
    own = {getattr(paging, name, None) for name in ("number", "name", "size")}
    return tuple(pair for pair in query if pair[0] not in own)


def _recorded(path: Path) -> Ask:
    """Gives the recorded page to the first question; a file cannot tell what other pages would hold."""
    from gengfu.scaffold.probing import Sample
    from gengfu.store.tables import json_value

    try:
        body = json_value(path.read_text("utf-8"))
    except OSError as error:
        raise FileError(tr("{path} cannot be read: {error.strerror}", path=path, error=error)) from error
    except (ValueError, RecursionError) as error:
        raise FileError(tr("{path} is no JSON: {error}", path=path, error=error)) from error

    def ask(more: Sequence[tuple[str, str]]) -> Sample:
        if more:
            raise AnswerError("only one page was recorded")
        return Sample(body)

    return ask

"""Runs: start one and see it through, list them, tell what one did, and decide on one that is held."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengfu.clock import Clock
from gengfu.errors import NotFound, RunError
from gengfu.language import tr
from gengfu.services.json import object_of, to_json
from gengfu.services.times import seconds
from gengfu.store.enqueue import RunStart, enqueue
from gengfu.store.names import list_queue, run_subject
from gengfu.store.run_rows import PageRow, RejectRow, Run, RunState, Verdict, WindowRow

if TYPE_CHECKING:
    from gengfu.mirror.mirror import Mirror
    from gengfu.services.following import Step
    from gengfu.services.lists import ListService, Row
    from gengfu.settings import Settings
    from gengfu.store.changes import Change
    from gengfu.store.database import Database
    from gengfu.store.jobs import JobRecord
    from gengfu.store.runs import RunStore
    from gengfu.store.sources import Source

__all__ = [
    "Decided",
    "HeldRun",
    "Run",
    "RunDetail",
    "RunService",
    "RunStart",
    "Verdict",
    "WindowRow",
]

log = logging.getLogger("gengfu.services.runs")

CHANGES_SHOWN = 20
"""So many changes of a run are told where not all are asked for."""


@dataclass(frozen=True, slots=True)
class PageTimes:
    """How long the vendor took for a page, in milliseconds."""

    median: int
    longest: int


@dataclass(frozen=True, slots=True)
class RunDetail:
    """All that is known of a run. As JSON it is the run itself with the rest beside it."""

    run: Run
    windows: Sequence[WindowRow]
    pages: Sequence[PageRow]
    rejects: Sequence[RejectRow]
    waiting: Sequence[JobRecord]
    """Its jobs that were put off, each with the cause, the next one first."""
    changed_fields: Mapping[str, int]
    """How often each field changed, the most frequent first."""
    changes: Sequence[Change]
    """The first ones by row, or all."""

    @property
    def page_times(self) -> PageTimes | None:
        """None where no page was read."""
        took = sorted(page.took_ms for page in self.pages)
        return PageTimes(took[len(took) // 2], took[-1]) if took else None

    @property
    def more_changes(self) -> int:
        """How many changes were found beyond those that are told."""
        return sum(self.changed_fields.values()) - len(self.changes)


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A held run with what is at stake: so many rows would be marked as gone; the first of them are told."""

    run: Run
    number: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Decided:
    """What a person's word on a held run did."""

    run: int
    status: str
    """`approved` or `discarded`."""
    gone: int
    """How many rows were marked as gone."""


@dataclass(frozen=True, slots=True)
class RunDependencies:
    """What runs need of the program; each part is made when it is used, since queueing a run needs few."""

    source: Source
    light_db: Callable[[], Database | Path]
    db: Callable[[], Database]
    mirror: Callable[[], Mirror]
    notify: Callable[[str, int], str | None]
    """Tells the workers of a queue of a job; why they could not be told."""
    inline: Callable[[str], AbstractContextManager[None]]
    """Does the jobs of a subject in this process, as long as the block lasts."""
    rows: Callable[[str], ListService]
    """The rows of the list of that name."""


class RunService:
    """Runs of one source. Starting one, and asking for one that is active, needs no toolkit on SQLite."""

    def __init__(self, settings: Settings, clock: Clock, needs: RunDependencies) -> None:
        self._settings = settings
        self._clock = clock
        self._needs = needs

    def start(self, resource: str, scope: str) -> RunStart:
        """Records a run of that list with its job, unless one of that scope is active.

        Raises:
            ConfigError: the vendor's address or the credentials are not set.
            StoreError: the database cannot do it.
        """
        from gengfu.mirror.job import ListJob

        self._settings.api()
        source, now = self._needs.source, self._clock()
        start = enqueue(
            self._needs.light_db(), lambda work: work.start_run(source, resource, scope, ListJob.tries, now)
        )
        log.info("run %s", start.status, extra={"run": start.run, "scope": scope})
        return start

    def notify(self, resource: str, start: RunStart) -> str | None:
        """Tells the workers of a run that was accepted. Where they cannot be told, why: the next one finds it then."""
        if start.job is None:
            return None
        problem = self._needs.notify(list_queue(resource), start.job)
        if problem is not None:
            log.warning("workers could not be told", extra={"job": start.job, "error": problem})
        return problem

    def follow(self, run_id: int, tell: Callable[[Step], None]) -> Run:
        """The run as workers ended it; `tell` hears how it goes.

        Raises:
            StoreError: the database has been away for a minute.
            RunError: there is no such run, or nobody is left to work for it.
        """
        from gengfu.services.following import Follower

        run = Follower(self._store(), tell, self._clock, elsewhere=True).follow(run_id)
        log.info("run closed", extra={"run": run.id, "verdict": run.verdict, "why": run.reason or ""})
        return run

    def perform(self, run_id: int, tell: Callable[[Step], None]) -> Run:
        """The run as this process, or one that was at it already, ended it; `tell` hears how it goes.

        Raises:
            StoreError, RunError: as `follow`.
        """
        from gengfu.services.following import Follower

        follower = Follower(self._needs.mirror().runs, tell, self._clock, elsewhere=False)
        with self._needs.inline(run_subject(run_id)):
            return follower.follow(run_id)

    def latest(
        self, limit: int = 20, *, resource: str | None = None, scope: str | None = None, verdict: Verdict | None = None
    ) -> list[Run]:
        """The newest runs, newest first; of that list and scope, with that verdict."""
        return self._store().latest(limit, scope, verdict, resource, self._needs.source.name)

    def get(self, run_id: int) -> Run:
        """The run of that id.

        Raises:
            NotFound: there is none.
        """
        run = self._store().get(run_id)
        if run is None:
            raise NotFound(tr("there is no run {run_id}; see: gengfu run:list", run_id=run_id))
        return run

    def detail(self, run_id: int, changes: int | None = CHANGES_SHOWN) -> RunDetail:
        """What a run read, decided and changed; `changes` of its changes, or all for None.

        Raises:
            NotFound: there is no such run.
        """
        from gengfu.store.changes import ChangeStore
        from gengfu.store.windows import WindowStore

        run, read = self.get(run_id), WindowStore(self._needs.db(), self._clock)
        log = ChangeStore(self._needs.db(), run.source_id)
        found = log.of_run(run_id, changes)
        windows, pages, rejects = read.windows(run_id), read.pages(run_id), read.rejects(run_id)
        waiting = [job for job in self._store().jobs(run_id) if job.cause and job.available_at > self._clock()]
        return RunDetail(run, windows, pages, rejects, waiting, log.fields_of_run(run_id), found)

    def held(self, run_id: int, limit: int = 20) -> HeldRun:
        """The held run, and the first `limit` of the rows that wait for a decision.

        Raises:
            NotFound: there is no such run.
            RunError: it is not held.
        """
        run = self.get(run_id)
        if run.state != RunState.HELD:
            raise RunError(run.why_not_held)
        number, rows = self._needs.rows(run.resource).held_back(run_id, limit)
        return HeldRun(run, number, rows)

    def approve(self, run_id: int, by: str) -> Decided:
        """Marks what is still missing since a held run as gone, on that person's word.

        Raises:
            RunError: the run is not held.
        """
        return Decided(run_id, "approved", self._needs.mirror().approve(run_id, by))

    def discard(self, run_id: int, by: str) -> Decided:
        """Closes a held run without marking anything, on that person's word.

        Raises:
            RunError: the run is not held.
        """
        self._needs.mirror().discard(run_id, by)
        return Decided(run_id, "discarded", 0)

    def _store(self) -> RunStore:
        from gengfu.store.runs import RunStore

        return RunStore(self._needs.db(), self._clock)


_INTERNAL = ("id", "pass_number", "active_key", "fence", "closer", "source_id", "tick_id")


@to_json.register(RunStart)
def _start(start: RunStart) -> dict[str, Any]:
    return {"status": start.status, **object_of(start)}


@to_json.register(Run)
def _run(run: Run) -> dict[str, Any]:
    told = object_of(run, without=_INTERNAL)
    took = seconds(run.created_at, run.finished_at)
    return {"run": run.id, "active": run.active, "seconds": took, "pass": run.pass_number, "tick": run.tick_id, **told}


@to_json.register(RunDetail)
def _detail(detail: RunDetail) -> dict[str, Any]:
    row = "device_id" if detail.run.resource == "device" else "row_id"
    changes = [
        {row: change["row_id"], **{name: change[name] for name in ("field", "old", "new", "changed_at")}}
        for change in map(object_of, detail.changes)
    ]
    told = to_json({name: getattr(detail, name) for name in ("windows", "changed_fields", "rejects")})
    told["waiting"] = [
        {"job": job.id, "cause": job.cause, "until": to_json(job.available_at)} for job in detail.waiting
    ]
    return {**to_json(detail.run), **told, "changes": changes, "pages_read": to_json(detail.pages)}

"""Puts the program together; the only file that knows every floor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from gengfu.clock import Clock, utcnow
from gengfu.discovery import version_of
from gengfu.errors import ConfigError, NotFound
from gengfu.language import tr
from gengfu.queue.registry import JobRegistry, make, unimportable
from gengfu.services.user_code import UserCode
from gengfu.settings import Settings, is_working_folder, load_settings, no_working_folder

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from gengfu.mirror.mirror import Mirror
    from gengfu.mirror.resource import Resource
    from gengfu.process.monitor import Monitor
    from gengfu.queue.job import Job, Jobs
    from gengfu.queue.ledger import Ledger
    from gengfu.queue.notify import Notifier
    from gengfu.queue.options import WorkerOptions
    from gengfu.queue.redis_server import RedisServer
    from gengfu.schedule.scheduler import Scheduler
    from gengfu.services.backups import BackupService
    from gengfu.services.database import DatabaseService
    from gengfu.services.devices import DeviceService
    from gengfu.services.doctor.checks import DoctorReport
    from gengfu.services.health import HealthService
    from gengfu.services.jobs import JobService
    from gengfu.services.lists import ListService
    from gengfu.services.runs import RunService
    from gengfu.services.scaffolding import ScaffoldService
    from gengfu.services.schedule import ScheduleService, Tick
    from gengfu.services.status import StatusService
    from gengfu.store.database import Database
    from gengfu.store.sources import Source
    from gengfu.vendor.auth import AuthService
    from gengfu.vendor.client import VendorClient

log = logging.getLogger("gengfu.app")

AnyListService = TypeVar("AnyListService", bound="ListService")


class App:
    """Owns what a process needs; each part is made when first asked for, so who only queues a run pays for no more.

    Parts import their libraries when they are made, since the program is started every few minutes.
    """

    def __init__(self, settings: Settings, catalogue: UserCode | None = None, clock: Clock = utcnow) -> None:
        """`catalogue`: the user code there is, and the commands that the schedule may run."""
        self.settings = settings
        self.catalogue = catalogue or UserCode(settings.home)
        self.clock = clock
        self._opening = threading.Lock()
        self._monitor: Monitor | None = None

    @cached_property
    def db(self) -> Database:
        """The database, with its tables up to date.

        Raises:
            StoreError: it cannot be used, or needs `gengfu db:upgrade`.
        """
        from gengfu.store import app_schema, schema

        db = self.bare_db
        schema.ensure(db)
        app_schema.ensure(db, self.settings.home)
        return db

    @cached_property
    def bare_db(self) -> Database:
        """The database, whatever the state of its tables."""
        from gengfu.store.database import Database

        return Database(self.settings.database_url, self.settings.home)

    def attach(self, monitor: Monitor | None) -> None:
        """Has what this process works on be held under the lease of that monitor, whose life is the caller's care."""
        self._monitor = monitor

    def lease(self) -> int:
        """The id of this process's lease. A process that nobody watches gets a monitor, which `close` ends.

        Raises:
            StoreError: the database cannot give one.
        """
        with self._opening:
            monitor = self._monitor or self._console_monitor
        return monitor.lease()

    @cached_property
    def _console_monitor(self) -> Monitor:
        from gengfu.process.monitor import Monitor
        from gengfu.process.pids import process_name

        monitor = Monitor(self.db, "console", process_name(), {}, clock=self.clock)
        monitor.start()
        return monitor

    @cached_property
    def ledger(self) -> Ledger:
        """The record of jobs."""
        from gengfu.queue.ledger import Ledger

        return Ledger(self.db, self.clock)

    @cached_property
    def notifier(self) -> Notifier:
        """What tells workers of jobs."""
        from gengfu.queue.notify import Notifier

        return Notifier(self.settings)

    @cached_property
    def auth(self) -> AuthService:
        """The shared login."""
        from gengfu.store.logins import Logins
        from gengfu.vendor.auth import AuthService

        return AuthService(self.settings, Logins(self.db, self.clock), self.lease, self.clock, load_settings)

    @cached_property
    def vendor(self) -> VendorClient:
        """The vendor's API."""
        from gengfu.vendor.client import VendorClient

        return VendorClient(self.settings, self.auth, self.clock)

    @cached_property
    def mirror(self) -> Mirror:
        """The mirror of the vendor's lists."""
        from gengfu.mirror.mirror import Mirror
        from gengfu.mirror.window_jobs import WindowJobs

        lists = list(self.resources.values())
        return Mirror(self.db, self.vendor, WindowJobs(self.ledger, self.notifier), self.settings, lists, self.clock)

    @cached_property
    def runs(self) -> RunService:
        """Runs: started, followed, told of, decided on."""
        from gengfu.services.runs import RunDependencies, RunService

        return RunService(
            self.settings,
            self.clock,
            RunDependencies(
                self.source,
                lambda: self.light_db,
                lambda: self.db,
                lambda: self.mirror,
                self.notify,
                self._inline,
                self.rows,
            ),
        )

    @contextmanager
    def _inline(self, subject: str) -> Iterator[None]:
        from gengfu.queue.inline import Inline

        with Inline(self.db, self.jobs, subject, self.clock) as inline:
            self.attach(inline.monitor)
            try:
                yield
            finally:
                self.attach(None)

    @property
    def devices(self) -> DeviceService:
        """The mirror's devices: searched, shown, exported."""
        from gengfu.mirror.device import DEVICE
        from gengfu.services.devices import DeviceService

        return self._rows(DeviceService, DEVICE)

    def rows(self, name: str) -> ListService:
        """The rows of the mirrored list of that name: searched, shown, exported.

        Raises:
            NotFound: there is no such list.
        """
        from gengfu.services.lists import ListService

        if name == "device":
            return self.devices
        if name not in self.resources:
            raise NotFound(
                tr("there is no list {name!r}; there are: {resources}", name=name, resources=sorted(self.resources))
            )
        return self._rows(ListService, self.resources[name])

    def _rows(self, service: type[AnyListService], resource: Resource) -> AnyListService:
        zone = self.settings.gengfu_timezone
        return service(resource, self.db, self.source_id, zone, self.clock, lambda: self.runs)

    @cached_property
    def queue(self) -> JobService:
        """The jobs: what became of them, and once more for those that failed."""
        from gengfu.services.jobs import JobService

        return JobService(self.ledger, lambda: self.jobs, self.notify)

    @cached_property
    def schedule(self) -> ScheduleService:
        """The schedule: told of, paused, played."""
        from gengfu.services.schedule import ScheduleService

        return ScheduleService(self.settings, self.catalogue, self.clock, lambda: self.light_db)

    def scheduler(self, show: Callable[[datetime], str], on_over: Callable[[Tick], None]) -> Scheduler:
        """A scheduler on the database; see `gengfu.schedule.scheduler.Scheduler`.

        Raises:
            StoreError: the database cannot be used.
        """
        from gengfu.schedule.enqueue import Enqueuer
        from gengfu.schedule.entries import EntryReader, load_entries
        from gengfu.schedule.open_ticks import ScheduleContext
        from gengfu.schedule.running import Running
        from gengfu.schedule.scheduler import PATIENCE, Scheduler
        from gengfu.schedule.server_clock import ServerClock
        from gengfu.store.ticks import TickStore

        db, settings = self.light_db, self.settings
        clock, enqueuer = ServerClock(TickStore(db, PATIENCE), self.clock), Enqueuer(load_settings, show, self.clock)
        context = ScheduleContext(enqueuer, clock, show, self.notify, on_over)
        entries = EntryReader(settings.home, lambda: load_entries(settings, self.catalogue))
        return Scheduler(db, entries, Running(settings), context, version_of(settings.home))

    @cached_property
    def scaffold(self) -> ScaffoldService:
        """New commands, jobs and lists of user code."""
        from gengfu.services.scaffolding import ScaffoldService

        catalogue = self.catalogue
        return ScaffoldService(self.settings, catalogue.command, lambda: catalogue.jobs, lambda: self.jobs)

    @cached_property
    def backups(self) -> BackupService:
        """The backups."""
        from gengfu.services.backups import BackupService

        return BackupService(self.settings, self.clock, lambda: self.bare_db)

    @cached_property
    def database(self) -> DatabaseService:
        """The database, brought to this program's version."""
        from gengfu.services.database import DatabaseService

        return DatabaseService(self.bare_db, self.settings.home)

    @cached_property
    def health(self) -> HealthService:
        """Whether all is well."""
        from gengfu.services.health import HealthService, HealthSources

        server, settings = self.notifier.server, self.settings

        def probe(server: RedisServer) -> None:
            server.probe(each.queue for each in self.resources.values())

        sources = HealthSources(
            self.clock,
            lambda: self.light_db,
            lambda: self.schedule.entries().entries,
            lambda: self.auth.status(),
            partial(probe, server) if server is not None else None,
            (settings.home, settings.var, settings.logs),
            lambda: version_of(settings.home),
        )
        return HealthService(sources)

    @cached_property
    def status(self) -> StatusService:
        """Whether all is well, and what there is to do."""
        from gengfu.services.status import StatusService

        names = ["device", *(name for name in self.resources if name != "device")]
        return StatusService(
            self.health,
            lambda: [self.rows(name) for name in names],
            self.runs,
            lambda: self.queue,
            self.schedule,
            self.clock,
            self.settings.gengfu_timezone,
        )

    def examine(self, tell: Callable[[str], None], *, fix: bool, log_in: bool) -> DoctorReport:
        """What is wrong with this installation. `fix` corrects what is safe to correct; `log_in` tries a login; `tell`
        is told what is waited for."""
        from gengfu.services.doctor.checks import DoctorReport, examine
        from gengfu.services.doctor.findings import DoctorContext

        context = DoctorContext(
            self.settings,
            self.clock,
            lambda: self.bare_db,
            self.notifier.server,
            lambda: self.auth,
            lambda: self.schedule.entries(),
            lambda: self.catalogue.broken,
            tell,
            log_in,
        )
        return DoctorReport(list(examine(context, fix=fix)))

    def work(self, options: WorkerOptions, child_argv: Sequence[str]) -> int:
        """Serves queues until an option or a signal ends it; the exit code.

        Args:
            child_argv: the command line of a worker with one process.

        Raises:
            BrokerRefused: Redis refuses, at the start of who was not started by `up`, which has looked itself.
        """
        from gengfu.process.notify_socket import is_child
        from gengfu.queue.worker import run_worker

        if not is_child():
            self.notifier.check()
        return run_worker(
            options,
            db=self.db,
            jobs=self.jobs,
            notifier=self.notifier,
            clock=self.clock,
            child_argv=child_argv,
            attach=self.attach,
            code=version_of(self.settings.home),
        )

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        """The vendor lists that are mirrored, by name."""
        from gengfu.mirror.lists import BUILT_IN

        return {**self.catalogue.resources, **BUILT_IN}

    @property
    def jobs(self) -> Jobs:
        """The jobs that workers know, by name. User code is imported when one of its jobs is asked for, or all are."""
        from gengfu.backup.job import BackupDataJob
        from gengfu.mirror.lists import BUILT_IN

        backup: Jobs = {BackupDataJob.__name__: lambda: BackupDataJob(self.bare_db, self.settings, self.clock)}
        return JobRegistry({**backup, **self._list_jobs(BUILT_IN)}, self._user_jobs)

    def _list_jobs(self, resources: Mapping[str, Resource]) -> Jobs:
        return {each.job: partial(self._list_job, each) for each in resources.values()}

    def _list_job(self, resource: Resource) -> Job:
        from gengfu.mirror.job import ListJob

        return ListJob(self.mirror, resource)

    def _user_jobs(self) -> Jobs:
        broken, jobs = self.catalogue.broken_jobs, self.catalogue.jobs
        unknown: Jobs = {name: partial(unimportable, str(why)) for name, why in broken.items()}
        known: Jobs = {name: partial(make, job, self) for name, job in jobs.items()}
        return {**unknown, **self._list_jobs(self.catalogue.resources), **known}

    def require_working_folder(self, *, creates: bool) -> None:
        """Raises ConfigError where nothing says that this is a working folder, so that an empty database is not made,
        and told of, in any folder that somebody happens to stand in.

        Args:
            creates: whether it is enough that the environment holds settings.
        """
        from gengfu.store.address import sqlite_path

        home = self.settings.home
        if is_working_folder(home):
            return
        path = sqlite_path(self.settings.database_url, home)
        if not self.settings.by_environment or not (creates or path is None or path.exists()):
            raise ConfigError(no_working_folder(home))

    @property
    def light_db(self) -> Database | Path:
        """The database for a few statements: as a file where it is SQLite and up to date, since that needs no toolkit.

        Raises:
            StoreError: it cannot be used, or needs `gengfu db:upgrade`.
        """
        from gengfu.store import schema
        from gengfu.store.address import sqlite_path

        path = sqlite_path(self.settings.database_url, self.settings.home)
        return path if path is not None and schema.quick_version(path) == schema.HEAD else self.db

    @cached_property
    def source(self) -> Source:
        """The login that is meant where none is named."""
        from gengfu.store.sources import default_source

        return default_source(self.settings)

    @cached_property
    def source_id(self) -> int:
        """Its number.

        Raises:
            StoreError: the database cannot tell.
        """
        from gengfu.store.sources import source_id

        return source_id(self.light_db, self.source)

    def dispatch(self, job: type[Job], /, *, subject: str | None = None, delay: float = 0.0, **args: Any) -> int:
        """Queues a job and returns its id.

        Args:
            subject: what it works for, as `queue:failed` shows it.
            delay: seconds until it may start, at most 900.
            args: what `Job.fire` is called with; goes through JSON.

        Raises:
            StoreError: the database cannot do it.
        """
        from gengfu.store.enqueue import enqueue, new_job

        name, queue, tries = job.__name__, job.queue, job.tries
        row = new_job(name, args, queue=queue, tries=tries, subject=subject, now=self.clock(), delay=delay)
        job_id = enqueue(self.light_db, lambda work: work.add_job(row))
        log.info("job queued", extra={"job": job_id, "job_name": name, "queue": queue})
        problem = self.notify(queue, job_id) if not delay else None
        if problem is not None:
            log.warning("no worker could be told; the next one finds it", extra={"job": job_id, "error": problem})
        return job_id

    def notify(self, queue: str, job_id: int) -> str | None:
        """Tells the workers of a job just recorded; the reason if those of other processes could not be told.

        The job is not lost then: the next worker finds it in the ledger.
        """
        return self.notifier.notify(queue, [job_id])

    def close(self) -> None:
        """Gives back connections and the lease. Parts that were never made stay unmade."""
        made = self.__dict__
        parts = (
            ("vendor", "close"),
            ("auth", "close"),
            ("notifier", "close"),
            ("_console_monitor", "end"),
            ("bare_db", "dispose"),
        )
        for name, release in parts:
            part = made.pop(name, None)
            if part is not None:
                getattr(part, release)()

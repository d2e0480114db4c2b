"""A worker process: starts its parts, waits for a reason to end, and ends so that no job is lost or counted twice."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from gengfu.clock import Clock, monotonic, utcnow
from gengfu.language import tr
from gengfu.process.child import AT_ONCE
from gengfu.process.liveness import SLOW_AFTER
from gengfu.process.monitor import Monitor
from gengfu.process.pids import process_name
from gengfu.process.supervisor import MISUSE, Next, Role, Supervisor
from gengfu.process.wakeup import Wakeup
from gengfu.queue.dispatcher import LONGEST, Dispatcher, DispatchOptions
from gengfu.queue.executor import Executor
from gengfu.queue.job import Jobs
from gengfu.queue.ledger import Ledger
from gengfu.queue.notify import Listener, Notifier
from gengfu.queue.options import WorkerOptions
from gengfu.queue.outcomes import Stopping
from gengfu.retry import Patience
from gengfu.store.jobs import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from gengfu.store.database import Database

log = logging.getLogger("gengfu.queue.worker")

STOP_GRACE = 5.0
"""Seconds that a job has, once told to stop, before it is given back without its consent."""
GIVE_BACK = 5.0
"""Seconds for recording what is left when the process must not wait."""


def run_worker(
    options: WorkerOptions,
    *,
    db: Database,
    jobs: Jobs,
    notifier: Notifier,
    clock: Clock = utcnow,
    child_argv: Sequence[str] = (),
    attach: Callable[[Monitor], None] = lambda _: None,
    code: str = "",
) -> int:
    """Works until an option or a signal ends it, and returns the exit code: 0, or 1 when a new process should follow.
    To be called from the main thread. When a job does not heed its end, the process ends here and does not return.

    Args:
        child_argv: the command line of a worker with one process; needed for `options.processes` above 1.
        attach: told the monitor under whose lease the process works.
        code: the version of user code, see `gengfu.discovery.version_of`.
    """
    if options.processes > 1:
        role = Role("worker", tuple(child_argv), options.processes, lambda code, _: after(code, options), options.grace)
        return Supervisor([role]).run()
    worker = WorkerProcess(options, db=db, jobs=jobs, notifier=notifier, clock=clock, code=code)
    attach(worker.monitor)
    return worker.run()


def after(code: int, options: WorkerOptions) -> Next:
    """What follows the end of a worker that `queue:work --processes` started, by its exit code, negative for a
    signal."""
    if code == MISUSE:
        return Next.GIVE_UP
    if code != 0:
        return Next.REPLACE_LATER
    ends_by_itself = options.stop_when_empty or options.jobs_limit is not None or options.max_time is not None
    return Next.REPLACE if options.memory is not None and not ends_by_itself else Next.REST


@dataclass(frozen=True, slots=True)
class WorkerEnd:
    """Why a worker ends, with which exit code, and how many seconds running jobs get."""

    why: str
    code: int
    grace: float
    hung: bool = False
    """Whether the dispatcher is stuck, so that there is no waiting for its end."""


class WorkerProcess:
    """One process: a dispatcher takes jobs, an executor does them, a monitor watches. In order: `start` them, `wait`
    for a reason to end, `stop`.

    To stop is to take no more jobs; to let running ones end within the grace period; to tell the rest to stop; to give
    back what is left, without counting the try. A second signal cuts all waiting short.
    """

    def __init__(
        self,
        options: WorkerOptions,
        *,
        db: Database,
        jobs: Jobs,
        notifier: Notifier,
        clock: Clock = utcnow,
        code: str = "",
    ) -> None:
        self._options = options
        self._wakeup = Wakeup()
        self._end: WorkerEnd | None = None
        self._signals = 0
        self._is_memory_settled = False
        self._name = process_name()
        self._jobs = jobs
        self._ledger = Ledger(db, clock)
        self._end_at = monotonic() + options.max_time if options.max_time is not None else None
        details = {"queues": list(options.queues), "concurrency": options.concurrency, "code": code}
        self.monitor = Monitor(
            db, "worker", self._name, details, self.progress, clock, on_lost=self._lost, look=self._look
        )
        dispatching = DispatchOptions(
            Selection(options.queues), self._name, options.interval, options.tries, options.jobs_limit
        )

        def listener(wake: Callable[[], None]) -> Listener | None:
            notifier.also_wake(wake)
            return Listener(notifier.server, self._queues, wake) if notifier.server is not None else None

        self._dispatcher = Dispatcher(self._ledger, db, dispatching, self.monitor.lease, clock, listener)
        self._executor = Executor(jobs, options.concurrency, options.timeout, self._dispatcher.wake)

    def run(self) -> int:
        """Works until there is a reason to end; returns the exit code."""
        before = {number: signal.signal(number, self._signalled) for number in (signal.SIGTERM, signal.SIGINT, AT_ONCE)}
        try:
            self.start()
            return self.stop(self.wait())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> None:
        """Starts the threads."""
        self._executor.start()
        self._dispatcher.serve(self._executor)
        self.monitor.start()
        log.info("worker ready", extra={"worker": self._name, "queues": ",".join(self._options.queues) or "all"})

    def wait(self) -> WorkerEnd:
        """Waits for a reason to end."""
        while self._end is None:
            self._wakeup.wait(1.0)
        return self._end

    def stop(self, end: WorkerEnd) -> int:
        """Ends the worker and returns its exit code, or ends the process if a job does not heed its end."""
        self._dispatcher.quiet()
        self.monitor.stopping()
        running = len(self._executor.in_flight())
        log.info("worker ends", extra={"worker": self._name, "reason": end.why, "running": running})
        if not self._empty_within(end.grace):
            self._executor.stop_all(Stopping.SHUTDOWN)
            self._empty_within(STOP_GRACE)
        if self._executor.in_flight() or end.code or end.hung:
            self._executor.give_back_all()
            self._empty_within(GIVE_BACK, heeds_signals=False)
            self._leave(end.code)
        self._dispatcher.end()
        self._executor.end()
        self._dispatcher.join(STOP_GRACE)
        self.monitor.end()
        log.info("worker ended", extra={"worker": self._name})
        return end.code

    def progress(self) -> str | None:
        """None while the dispatcher makes progress, else the sentence that says that it does not. One that waits for
        the database is stuck only where the database answers others."""
        seconds = self._dispatcher.liveness.seconds()
        if seconds > SLOW_AFTER <= self.monitor.answered_for():
            return tr("its dispatcher has made no progress for {seconds:.0f} seconds", seconds=seconds)
        return None

    def _queues(self) -> list[str]:
        """The queues to listen to, in order."""
        return list(self._options.queues) or sorted(self._declared | self._dispatcher.queues)

    @cached_property
    def _declared(self) -> set[str]:
        return {make().queue for make in self._jobs.values()}

    def _look(self) -> None:
        """What the monitor asks for a few times a second."""
        if self._executor.keep_limits():
            self._ends(WorkerEnd("a job does not stop at its time limit", 1, self._options.grace))
        elif self._end is None and (end := self._reason()) is not None:
            self._ends(end)
        if not self._is_memory_settled and self._dispatcher.taken and not self._executor.in_flight():
            self._is_memory_settled = True
            settle_memory()

    def _reason(self) -> WorkerEnd | None:
        options, dispatcher = self._options, self._dispatcher
        if dispatcher.liveness.seconds() > LONGEST:
            hung = tr(
                "its dispatcher has made no progress for {seconds:.0f} seconds", seconds=dispatcher.liveness.seconds()
            )
            log.error("worker is stuck; it ends so that another one can follow", extra={"cause": hung})
            return WorkerEnd(hung, 1, 0.0, hung=True)
        why = None
        if options.jobs_limit is not None and dispatcher.taken >= options.jobs_limit and not self._executor.in_flight():
            why = "it has done as many jobs as it may"
        elif self._end_at is not None and monotonic() >= self._end_at:
            why = "its time is over"
        elif options.memory is not None and resident_megabytes() > options.memory:
            why = "it has grown beyond its memory limit"
        elif options.stop_when_empty and dispatcher.is_empty:
            why = "there is nothing left to do"
        return WorkerEnd(why, 0, options.grace) if why is not None else None

    def _ends(self, end: WorkerEnd) -> None:
        """The first reason counts."""
        self._end = self._end or end
        self._wakeup.wake()

    def _lost(self) -> None:
        for running in self._executor.in_flight():
            log.warning("job may have passed to another worker; told to stop here", extra={"job": running.leased.id})
        self._executor.stop_all(Stopping.LOST)

    def _empty_within(self, seconds: float, *, heeds_signals: bool = True) -> bool:
        """Waits until no job runs, for at most so many seconds, or until the second signal."""
        patience = Patience(seconds, 0.05, 0.05, self._wakeup.wait)
        while self._executor.in_flight():
            if (heeds_signals and self._signals > 1) or not patience.lasts():
                return False
        return True

    def _leave(self, code: int) -> NoReturn:
        """Ends the process without waiting for threads that do not end."""
        self.monitor.end()
        log.warning("worker ended with threads still running", extra={"worker": self._name})
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number == AT_ONCE:
            self._signals = 2
        elif not (self.monitor.is_child and self._signals):
            self._signals += 1
        self._ends(WorkerEnd("told to stop", 0, self._options.grace))


def settle_memory() -> None:
    """Exempts what is in memory now from the search for garbage, to be called when the first job has brought in all
    that jobs need: else that search now and then stops all threads for long, in the middle of a job. What jobs make is
    searched less often, since the rows between two commits are many and none of them is garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)


def resident_megabytes() -> float:
    """The memory that this process holds; where the system does not tell, the most it ever held."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6

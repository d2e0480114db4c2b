"""A worker process: starts its threads, watches over them, and ends them so that no job is lost or counted twice."""

from __future__ import annotations

import gc
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from dramatiq.actor import Actor
from dramatiq.worker import Worker as Threads

from gengfu.clock import Clock, monotonic, utcnow
from gengfu.errors import GengfuError
from gengfu.process.child import AT_ONCE
from gengfu.process.liveness import SLOW_AFTER, Pulse, is_deaf
from gengfu.process.monitor import Monitor
from gengfu.process.notify_socket import Parent
from gengfu.process.pids import process_name
from gengfu.process.supervisor import Supervisor
from gengfu.queue.broker import ALL_LANES, LaneBroker, connect
from gengfu.queue.door import Desk, Door, Running, Stopping
from gengfu.queue.endings import Endings
from gengfu.queue.job import Jobs
from gengfu.queue.keeper import Keeper
from gengfu.queue.ledger import Ledger
from gengfu.queue.options import WorkerOptions
from gengfu.queue.perform import Performer
from gengfu.queue.sweeper import Sweeper, with_new
from gengfu.queue.wire import ACTOR, Wire, check_server
from gengfu.queue.worker_role import worker_role

if TYPE_CHECKING:
    from gengfu.store.database import Database

log = logging.getLogger("gengfu.queue.worker")

LOOK = 0.25
"""Seconds between two looks at the limits."""
LAST_WORDS = 5.0
"""Seconds that a job has, once told to stop, before it is given back without its consent."""
GIVE_BACK = 5.0
"""Seconds for giving jobs back when the process must not wait."""


def run_worker(
    options: WorkerOptions,
    *,
    db: Database,
    jobs: Jobs,
    address: Callable[[], str],
    clock: Clock = utcnow,
    child_argv: Sequence[str] = (),
    attach: Callable[[Monitor], None] = lambda _: None,
) -> int:
    """Works until an option or a signal ends it, and returns the exit code: 0, or 1 when a new process should follow.
    To be called from the main thread. When a job does not heed its end, the process ends here and does not return.

    Args:
        address: the URL of Redis, the same each time; called again whenever Redis may have to be brought back.
        child_argv: the command line of a worker with one process; needed for `options.processes` above 1.
        attach: told the monitor under whose lease the process works.

    Raises:
        BrokerError: Redis is not there at the start, or may evict messages.
    """
    check_broker(address)
    if options.processes > 1:
        return Supervisor([worker_role(child_argv, options)]).run()
    worker = WorkerProcess(options, db=db, jobs=jobs, address=address, clock=clock)
    attach(worker.monitor)
    return worker.run()


def check_broker(address: Callable[[], str]) -> None:
    """Refuses a Redis that cannot be trusted with messages.

    Raises:
        BrokerError: it is not there, or may evict messages.
    """
    wire = Wire(address)
    try:
        warning = check_server(wire)
    finally:
        wire.close()
    if warning:
        log.warning(warning)


@dataclass(frozen=True, slots=True)
class End:
    """Why a worker ends, with which exit code, and how many seconds running jobs get."""

    why: str
    code: int
    grace: float
    hung: bool = False
    """Whether a thread of the worker itself is stuck, so that there is no waiting for its end."""


class WorkerProcess:
    """One process with its threads. In order: `start` the threads, `wait` for a reason to end, `stop`.

    To stop is to shut the door to messages; to let running jobs end within the grace period; to tell the rest to stop;
    to give back what is left, without counting the try. A second signal cuts all waiting short.
    """

    def __init__(
        self, options: WorkerOptions, *, db: Database, jobs: Jobs, address: Callable[[], str], clock: Clock = utcnow
    ) -> None:
        self._options = options
        self._inbox: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._signals = 0
        self._stuck = False
        self._parent = Parent.take()
        self._name = process_name()
        self._ledger = Ledger(db, lambda: Wire(address), clock)
        self._door = Door(options.concurrency, options.jobs_limit)
        self._desk = Desk()
        lanes = options.queues or with_new(
            tuple(dict.fromkeys(make().queue for make in jobs.values())), self._ledger.queues()
        )
        self._broker = LaneBroker(connect(address()), lanes, self._door)
        wake = threading.Event()
        self._endings = Endings(self._ledger, jobs, wake)
        told = self._tell
        performer = Performer(self._ledger, self._endings, self._desk, self._door, options, self._name, told)
        Actor(performer, broker=self._broker, actor_name=ACTOR, queue_name=ALL_LANES, priority=0, options={})
        self._threads = Threads(self._broker, worker_timeout=200, worker_threads=options.concurrency)
        self._keeper = Keeper(self._ledger, self._endings, self._desk, self._door, self._job_is_stuck)
        self._sweeper = Sweeper(
            self._ledger,
            self._endings,
            self._desk,
            self._broker,
            lambda: Wire(address),
            queues=options.queues or None,
            interval=options.interval,
            worker=self._name,
            wake=wake,
        )
        self._end_at = monotonic() + options.max_time if options.max_time is not None else None
        self._watching = Pulse("main loop", longest=SLOW_AFTER)
        details = {"queues": list(options.queues), "concurrency": options.concurrency}
        self.monitor = Monitor(db, "worker", self._name, details, self.progress, clock)

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
        logging.getLogger("dramatiq").setLevel(logging.WARNING)
        self._keeper.start()
        self._threads.start()
        self._sweeper.start()
        self.monitor.start()
        log.info("worker ready", extra={"worker": self._name, "queues": ",".join(self._broker.lanes)})

    def wait(self) -> End:
        """Waits for a reason to end."""
        is_settled = False
        while (end := self._reason()) is None:
            self._listen(LOOK)
            if not is_settled and self._door.has_served:
                settle_memory()
                is_settled = True
        return end

    def stop(self, end: End) -> int:
        """Ends the worker and returns its exit code, or ends the process if a job does not heed its end."""
        self._door.shut()
        self.monitor.stopping()
        log.info("worker ends", extra={"worker": self._name, "reason": end.why, "running": self._door.inside})
        if not self._empty_within(end.grace):
            for running in self._desk.held():
                running.stop(Stopping.SHUTDOWN)
            self._empty_within(LAST_WORDS)
        if self._door.inside or self._stuck or end.hung:
            self._give_back_all()
            self._leave(end.code)
        self._sweeper.end()
        self._threads.stop(timeout=5000)
        self._sweeper.join(LAST_WORDS)
        self._keeper.end()
        self._broker.client.close()
        self.monitor.end()
        log.info("worker ended", extra={"worker": self._name})
        return end.code

    def _reason(self) -> End | None:
        options = self._options
        if self._signals:
            return End("told to stop", 0, options.grace)
        if self._stuck:
            return End("a job does not stop at its time limit", 1, options.grace)
        if (hung := self._hung()) is not None:
            log.error("worker is stuck; it ends so that another one can follow", extra={"cause": hung})
            return End(hung, 1, 0.0, hung=True)
        if self._door.used_up:
            return End("it has done as many jobs as it may", 0, options.grace)
        if self._end_at is not None and monotonic() >= self._end_at:
            return End("its time is over", 0, options.grace)
        if options.memory is not None and resident_megabytes() > options.memory:
            return End("it has grown beyond its memory limit", 0, options.grace)
        if self._parent.is_gone():
            return End("its parent is gone", 0, options.grace)
        if options.stop_when_empty and self._is_empty():
            return End("there is nothing left to do", 0, options.grace)
        return None

    def progress(self) -> str | None:
        """None while all loops turn, else which one does not. What waits for the database is stuck only where the
        database answers others."""
        answered = self.monitor.answered_for()
        loops = [(self._watching, SLOW_AFTER), (self._broker.reading, SLOW_AFTER)]
        for pulse, known in [*loops, (self._keeper.pulse, answered), (self._sweeper.pulse, answered)]:
            if pulse.seconds() > SLOW_AFTER <= known:
                return f"its {pulse.name} has not turned for {pulse.seconds():.0f} seconds"
        return self._deaf()

    def _hung(self) -> str | None:
        for pulse in (self._broker.reading, self._keeper.pulse, self._sweeper.pulse):
            if pulse.stuck:
                return f"its {pulse.name} has not turned for {pulse.seconds():.0f} seconds"
        return self._deaf()

    def _deaf(self) -> str | None:
        if is_deaf(self._broker.answered.seconds(), self._sweeper.answered_for()):
            return f"it heard nothing from Redis for {self._broker.answered.seconds():.0f} seconds, though others do"
        return None

    def _is_empty(self) -> bool:
        try:
            return not (self._door.inside or self._ledger.has_due(self._options.queues or None) or self._door.inside)
        except GengfuError as error:
            log.warning("the ledger cannot be read", extra={"error": str(error)})
            return False

    def _empty_within(self, seconds: float) -> bool:
        """Waits until no job runs, for at most so many seconds, or until the second signal."""
        deadline = monotonic() + seconds
        while self._door.inside:
            if self._signals > 1 or monotonic() >= deadline:
                return False
            self._listen(0.1)
        return True

    def _give_back_all(self) -> None:
        """In a thread of its own, since a database that hangs must not keep the process."""
        left = [running.claimed for running in self._desk.held() if running.claimed.spent is None]

        def give_back() -> None:
            for claimed in left:
                self._endings.give_back(claimed, patience=GIVE_BACK / 2)

        helper = threading.Thread(target=give_back, daemon=True)
        helper.start()
        helper.join(GIVE_BACK)

    def _leave(self, code: int) -> NoReturn:
        """Ends the process without waiting for threads that do not end."""
        self.monitor.end()
        log.warning("worker ended with threads still running", extra={"worker": self._name})
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _listen(self, seconds: float) -> None:
        self._watching.turn()
        try:
            self._inbox.get(timeout=seconds)
        except queue.Empty:
            pass

    def _tell(self) -> None:
        self._inbox.put(None)

    def _job_is_stuck(self, running: Running) -> None:
        self._stuck = True
        self._tell()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number == AT_ONCE:
            self._signals = 2
        elif not (self._parent.pid and self._signals):
            self._signals += 1
        self._tell()


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

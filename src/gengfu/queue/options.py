"""What a worker was asked to do, as one frozen object."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gengfu.errors import UsageError
from gengfu.language import tr

GRACE = 30.0
"""Seconds that a worker told to stop gives its running jobs; what has not ended then goes back into the queue."""

QUEUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of `queue:work`; limits count for each process."""

    queues: tuple[str, ...] = ()
    """In order of priority: as long as an earlier one has messages, no later one is served. Empty means all."""
    tries: int | None = None
    """Tries for every job, in place of the job's own."""
    sleep: float = 3.0
    """Seconds an idle worker waits before it looks into the ledger itself for work whose message never came; 0.2 to 3
    are in effect, whatever is asked."""
    once: bool = False
    """End after one job."""
    stop_when_empty: bool = False
    """End when no job is due in these queues and none runs here."""
    max_jobs: int | None = None
    max_time: float | None = None
    """Seconds after which no further job is taken."""
    memory: int | None = None
    """Megabytes of resident memory above which no further job is taken."""
    timeout: float | None = None
    """Seconds for one job, where the job's own limit is not shorter."""
    concurrency: int = 2
    """Jobs at once in one process."""
    processes: int = 1
    grace: float = GRACE
    """Seconds that running jobs get to end when the worker is told to stop."""

    def __post_init__(self) -> None:
        for name in ("tries", "max_jobs", "max_time", "memory", "timeout", "concurrency", "processes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(
                    tr("--{name} is {value}; it must be more than 0", name=name.replace("_", "-"), value=value)
                )
        for name in ("sleep", "grace"):
            if getattr(self, name) < 0:
                raise UsageError(tr("--{name} is {value}; it must be 0 or more", name=name, value=getattr(self, name)))
        for queue in self.queues:
            if not QUEUE_NAME.fullmatch(queue):
                raise UsageError(
                    tr(
                        "--queue names {queue!r}; a queue's name is a letter, then letters, digits, _ and -",
                        queue=queue,
                    )
                )
        if self.once and self.processes > 1:
            raise UsageError("--once runs one job, so it cannot be combined with --processes")

    @property
    def jobs_limit(self) -> int | None:
        """How many jobs one process may take."""
        return 1 if self.once else self.max_jobs

    @property
    def interval(self) -> float:
        """Seconds between two looks into the ledger."""
        return min(max(self.sleep, 0.2), 3.0)

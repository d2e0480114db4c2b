"""What `queue:work --processes` keeps running."""

from __future__ import annotations

from collections.abc import Sequence

from gengfu.process.supervisor import MISUSE, Next, Role
from gengfu.queue.options import WorkerOptions


def after(code: int, options: WorkerOptions, stopping: bool) -> Next:
    """What follows the end of a worker that `queue:work --processes` started.

    Args:
        code: its exit code, negative for a signal.
        stopping: whether all were told to stop.
    """
    if stopping:
        return Next.REST
    if code == MISUSE:
        return Next.GIVE_UP
    if code != 0:
        return Next.REPLACE_LATER
    ends_by_itself = options.stop_when_empty or options.jobs_limit is not None or options.max_time is not None
    return Next.REPLACE if options.memory is not None and not ends_by_itself else Next.REST


def worker_role(argv: Sequence[str], options: WorkerOptions) -> Role:
    """The workers of `queue:work --processes`."""
    return Role(
        "worker", tuple(argv), options.processes, lambda code, _: after(code, options, stopping=False), options.grace
    )

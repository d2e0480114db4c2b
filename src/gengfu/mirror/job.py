"""The job of every mirrored list: one worker's part in bringing it up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gengfu.queue.job import Job, JobContext
from gengfu.store.doorstep import run_subject

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.mirror.mirror import Mirror
    from gengfu.mirror.resource import Resource
    from gengfu.queue.ledger import Ledger
    from gengfu.queue.notify import Notifier


class ListJob(Job):
    """Fetches what there is to fetch of a run, and closes it if nobody else has anything left to do for it.

    The ledger knows it by the resource's own name for it, such as `DeviceListJob`, in the resource's own queue.
    """

    tries = 3
    timeout = 900.0
    backoff = (2.0, 10.0)

    def __init__(self, mirror: Mirror, resource: Resource) -> None:
        self._mirror = mirror
        self.queue = resource.queue

    def fire(self, context: JobContext, *_: Any, **args: Any) -> str | None:
        """Works for the run `run`."""
        return self._mirror.work(args["run"], context)

    def failed(self, job_id: int, cause: str, *_: Any, **args: Any) -> None:
        """Leaves what is missing to the next run."""
        self._mirror.give_up(args["run"], job_id, cause)

    def again(self, *_: Any, **args: Any) -> None:
        """Makes the run active again, unless a newer one has taken its place."""
        self._mirror.reopen(args["run"])


class WindowJobs:
    """Queues a job for each further window of a run."""

    def __init__(self, ledger: Ledger, notifier: Notifier) -> None:
        self._ledger = ledger
        self._notifier = notifier

    def add(self, connection: Connection, resource: Resource, run_id: int) -> int:
        """Records a job for the run of that list in the open transaction and gives its id."""
        return self._ledger.add(
            connection,
            resource.job,
            {"run": run_id},
            queue=resource.queue,
            tries=ListJob.tries,
            subject=run_subject(run_id),
        )

    def notify(self, resource: Resource, job_ids: Sequence[int]) -> None:
        """Tells the workers, after the commit."""
        if job_ids:
            self._notifier.notify(resource.queue, job_ids)

"""The job of every mirrored list: one worker's part in bringing it up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gengfu.mirror.window_jobs import TRIES
from gengfu.queue.job import Job, JobContext

if TYPE_CHECKING:
    from gengfu.mirror.mirror import Mirror
    from gengfu.mirror.resource import Resource
    from gengfu.store.database import Transaction


class ListJob(Job):
    """Fetches what there is to fetch of a run, and closes it if nobody else has anything left to do for it.

    The ledger knows it by the resource's own name for it, such as `DeviceListJob`, in the resource's own queue.
    """

    tries = TRIES
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

    def again(self, transaction: Transaction, *_: Any, **args: Any) -> None:
        """Makes the run active again, unless a newer one has taken its place."""
        self._mirror.reopen(transaction, args["run"])

"""How further windows of a run come to be worked on: a job for each, which any worker may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gengfu.store.names import run_subject

if TYPE_CHECKING:
    from gengfu.mirror.resource import Resource
    from gengfu.queue.ledger import Ledger
    from gengfu.queue.notify import Notifier
    from gengfu.store.database import Transaction

TRIES = 3
"""So often is a job of a run tried."""


class WindowJobs:
    """Queues a job for each further window of a run."""

    def __init__(self, ledger: Ledger, notifier: Notifier) -> None:
        self._ledger = ledger
        self._notifier = notifier

    def add(self, transaction: Transaction, resource: Resource, run_id: int) -> int:
        """Records a job for the run of that list in the open transaction and gives its id."""
        subject = run_subject(run_id)
        return self._ledger.add(
            transaction, resource.job, {"run": run_id}, queue=resource.queue, tries=TRIES, subject=subject
        )

    def notify(self, resource: Resource, job_ids: Sequence[int]) -> None:
        """Tells the workers, after the commit."""
        if job_ids:
            self._notifier.notify(resource.queue, job_ids)

"""Jobs: what became of them, and once more for those that failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gengfu.errors import NotFound
from gengfu.language import tr
from gengfu.services.json import object_of, to_json
from gengfu.services.times import seconds
from gengfu.store.jobs import AttemptRecord, JobRecord, JobState

if TYPE_CHECKING:
    from gengfu.queue.job import Jobs
    from gengfu.queue.ledger import Ledger
    from gengfu.store.database import Transaction

__all__ = ["AttemptRecord", "JobDetail", "JobRecord", "JobService", "JobState", "QueueCounts"]


@dataclass(frozen=True, slots=True)
class JobDetail:
    """A job and all its attempts, the first one first. As JSON it is the job with its `history`."""

    job: JobRecord
    history: Sequence[AttemptRecord]


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs of a queue are in each state."""

    queue: str
    jobs: Mapping[JobState, int]


class JobService:
    """The ledger's jobs."""

    def __init__(self, ledger: Ledger, jobs: Callable[[], Jobs], notify: Callable[[str, int], str | None]) -> None:
        """
        Args:
            jobs: those that this program knows.
            notify: tells the workers of a queue of a job.
        """
        self._ledger = ledger
        self._jobs = jobs
        self._notify = notify

    def failed(self, limit: int = 100) -> list[JobRecord]:
        """The jobs that failed for good, the newest first."""
        return self._ledger.failed_jobs(limit)

    def one(self, job_id: int) -> JobDetail:
        """A job with its attempts.

        Raises:
            NotFound: the ledger has none of that id.
        """
        found = self._ledger.show(job_id)
        if found is None:
            raise NotFound(tr("there is no job {job_id} in the ledger; see: gengfu queue:failed", job_id=job_id))
        return JobDetail(*found)

    def retry(self, job_id: int) -> list[int]:
        """Sends a failed job again, with all its tries; the ids of those sent.

        Raises:
            NotFound: there is no such job, or it has not failed.
        """
        job = self.one(job_id).job
        if job.state is not JobState.FAILED:
            raise NotFound(tr("job {job_id} has not failed; it is {job.state}", job_id=job_id, job=job))
        return self._again(job)

    def call_back(self) -> int:
        """Makes jobs due at once that the vendor's wait has put off; how many they are."""
        found = self._ledger.call_back()
        for number, queue in found:
            self._notify(queue, number)
        return len(found)

    def retry_all(self) -> list[int]:
        """Sends every failed job again, the oldest first; their ids."""
        return [number for job in reversed(self.failed(100_000)) for number in self._again(job)]

    def _again(self, job: JobRecord) -> list[int]:
        """Queues it, and does what the job itself has to do for that, in one transaction."""
        sent = self._ledger.retry(job.id, self._prepare)
        for number, queue in sent:
            self._notify(queue, number)
        return [number for number, _ in sent]

    def _prepare(self, transaction: Transaction, failed: JobRecord) -> None:
        make = self._jobs().get(failed.name)
        if make is not None:
            make().again(transaction, **failed.args)

    def status(self) -> list[QueueCounts]:
        """The queues by name."""
        counts = self._ledger.counts()
        queues = sorted({queue for queue, _ in counts})
        return [QueueCounts(queue, {state: counts.get((queue, state), 0) for state in JobState}) for queue in queues]


@to_json.register(JobRecord)
def _job(job: JobRecord) -> dict[str, Any]:
    return {"job": job.id, **object_of(job, without=("id", "fence", "lease_id"))}


@to_json.register(AttemptRecord)
def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    told = object_of(attempt, without=("job_id", "fence"))
    return {**told, "seconds": seconds(attempt.started_at, attempt.finished_at)}


@to_json.register(JobDetail)
def _detail(detail: JobDetail) -> dict[str, Any]:
    return {**to_json(detail.job), "history": to_json(detail.history)}


@to_json.register(QueueCounts)
def _counts(counts: QueueCounts) -> dict[str, Any]:
    return {"queue": counts.queue, **to_json(counts.jobs)}

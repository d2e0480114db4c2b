"""What a dispatcher does with jobs at the moment at which its worker ends."""

from __future__ import annotations

from collections.abc import Callable

from gengfu.clock import utcnow
from gengfu.queue.dispatcher import Dispatcher, DispatchOptions
from gengfu.queue.executor import Executor
from gengfu.queue.job import LeasedJob
from gengfu.queue.ledger import LeaseRequest, Ledger
from gengfu.store.database import Database
from gengfu.store.jobs import JobState, Outcome, Selection
from ledgers import Worker, add
from stage import wait_for


class Interrupted(Ledger):
    """A ledger that does something between a lease and its return."""

    meanwhile: Callable[[], None]

    def lease_due(self, request: LeaseRequest) -> list[LeasedJob]:
        leased = super().lease_due(request)
        if leased:
            self.meanwhile()
        return leased


def test_a_job_that_is_leased_while_its_worker_ends_is_given_back(database: Database) -> None:
    ledger = Interrupted(database)
    worker = Worker(ledger, database)
    dispatcher = Dispatcher(ledger, database, DispatchOptions(Selection(), "one", 3.0), lambda: worker.lease, utcnow)
    executor = Executor({}, 1, None, dispatcher.wake)

    def end() -> None:
        dispatcher.end()
        executor.end()

    ledger.meanwhile = end
    job_id = add(ledger, database)
    executor.start()
    dispatcher.serve(executor)
    wait_for(lambda: not dispatcher.is_alive())
    found = ledger.show(job_id)
    assert found is not None
    job, attempts = found
    assert (job.state, job.attempts, job.lease_id) == (JobState.QUEUED, 0, None)
    assert [attempt.outcome for attempt in attempts] == [Outcome.RELEASED]

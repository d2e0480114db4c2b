"""Jobs that failed are sent again by a person: the job and all that it needs for that, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from gengfu.errors import NotFound
from gengfu.queue.job import Job
from gengfu.queue.ledger import Ledger
from gengfu.services.jobs import JobService
from gengfu.store.database import Database, Transaction
from gengfu.store.jobs import JobState, Outcome
from gengfu.store.tables import job
from ledgers import Hands, Worker, load, settle


class Prepared(Job):
    """Notes in the open transaction that it was told; breaks where it is to."""

    def again(self, transaction: Transaction, *_: Any, **args: Any) -> None:
        transaction.execute(update(job).values(note="told"))
        if args["run"] == 13:
            raise RuntimeError("it cannot be prepared")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, Hands())


def fail(ledger: Ledger, database: Database, run: int, name: str = "Prepared") -> int:
    job_id = database.write(lambda c: ledger.add(c, name, {"run": run}, queue="default", tries=1))
    settle(ledger, Worker(ledger, database, f"worker of {run}").take_one(), Outcome.FAILED, "broken")
    return job_id


def test_a_job_prepares_itself_in_the_transaction_that_sends_it_again(ledger: Ledger, database: Database) -> None:
    told: list[tuple[str, int]] = []
    jobs = JobService(ledger, lambda: {"Prepared": Prepared}, lambda queue, number: told.append((queue, number)))
    good, bad = fail(ledger, database, 1), fail(ledger, database, 13)
    with pytest.raises(RuntimeError):
        jobs.retry(bad)
    assert [(load(ledger, each).state, load(ledger, each).note) for each in (good, bad)] == [
        (JobState.FAILED, None)
    ] * 2
    assert jobs.retry(good) == [good]
    assert [(load(ledger, each).state, load(ledger, each).note) for each in (good, bad)] == [
        (JobState.QUEUED, "told"),
        (JobState.FAILED, "told"),
    ]
    assert told == [("default", good)]


def test_all_are_sent_oldest_first_also_those_that_nobody_knows(ledger: Ledger, database: Database) -> None:
    jobs = JobService(ledger, lambda: {"Prepared": Prepared}, lambda queue, number: None)
    ids = [fail(ledger, database, 1), fail(ledger, database, 2, "Unknown")]
    assert jobs.retry_all() == ids
    assert jobs.retry_all() == []
    with pytest.raises(NotFound, match="has not failed; it is queued"):
        jobs.retry(ids[0])
    with pytest.raises(NotFound, match="there is no job 99"):
        jobs.one(99)

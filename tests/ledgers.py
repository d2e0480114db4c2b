"""What tests do with a ledger, in short words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gengfu.clock import utcnow
from gengfu.process.pids import host_name
from gengfu.queue.job import LeasedJob
from gengfu.queue.ledger import ALL, LeaseRequest, Ledger
from gengfu.queue.outcomes import Ending
from gengfu.store.database import Database
from gengfu.store.jobs import JobRecord, Outcome, Selection
from gengfu.store.leases import Leases, ProcessInfo


class Hands:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


def add(
    ledger: Ledger,
    database: Database,
    name: str = "shown",
    *,
    queue: str = "default",
    tries: int = 3,
    delay: float = 0.0,
    subject: str | None = None,
) -> int:
    given = {"queue": queue, "tries": tries, "delay": delay, "subject": subject}
    return database.write(lambda c: ledger.add(c, name, {"run": 7, "text": "设备"}, **given))


class Worker:
    """A process with a lease, in the eyes of a ledger."""

    def __init__(self, ledger: Ledger, database: Database, name: str = "one") -> None:
        self.ledger = ledger
        self.name = name
        self._leases = Leases(database)
        self.lease = self._leases.open(ProcessInfo("worker", name, host_name(), 1, "", {}), utcnow())

    def asks(self, room: int = 1, wanted: Selection = ALL, tries: int | None = None) -> LeaseRequest:
        return LeaseRequest(wanted, room, self.lease, self.name, tries)

    def take(self, room: int = 1, wanted: Selection = ALL, tries: int | None = None) -> list[LeasedJob]:
        return self.ledger.lease_due(self.asks(room, wanted, tries))

    def take_one(self, tries: int | None = None) -> LeasedJob:
        (job,) = self.take(tries=tries)
        return job

    def die(self) -> None:
        """Others take it for dead."""
        (seen,) = [seen for seen in self._leases.all() if seen.id == self.lease]
        assert self._leases.lose(seen, utcnow())


def settle(
    ledger: Ledger, job: LeasedJob, outcome: Outcome, text: str | None = None, again_in: float | None = None
) -> bool:
    """Whether the end of that attempt was recorded."""
    return not ledger.settle([Ending(job, outcome, text, again_in)])


def done(ledger: Ledger, job: LeasedJob, note: str | None = None) -> bool:
    return settle(ledger, job, Outcome.DONE, note)


def load(ledger: Ledger, job_id: int) -> JobRecord:
    shown = ledger.show(job_id)
    assert shown is not None
    return shown[0]


def outcomes(ledger: Ledger, job_id: int) -> list[Outcome | None]:
    shown = ledger.show(job_id)
    assert shown is not None
    return [attempt.outcome for attempt in shown[1]]

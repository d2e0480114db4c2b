"""What tests do with a ledger, in short words; its messages go nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gengfu.clock import Clock, utcnow
from gengfu.queue.claim import Claimed
from gengfu.queue.ledger import Ledger
from gengfu.queue.wire import Wire
from gengfu.store.database import Database
from gengfu.store.jobs import Beating, JobRecord, Outcome

NOWHERE = "unix:///nowhere/gengfu-test"


class Hands:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


def make_ledger(database: Database, clock: Clock = utcnow) -> Ledger:
    return Ledger(database, lambda: Wire(NOWHERE), clock)


def add(
    ledger: Ledger,
    database: Database,
    name: str = "shown",
    *,
    queue: str = "default",
    tries: int = 3,
    delay: float = 0.0,
) -> int:
    return database.write(
        lambda c: ledger.add(c, name, {"run": 7, "text": "设备"}, queue=queue, tries=tries, delay=delay)
    )


def claim(ledger: Ledger, job_id: int, worker: str = "one/1", tries: int | None = None) -> Claimed:
    claimed = ledger.claim(job_id, worker, tries)
    assert isinstance(claimed, Claimed)
    return claimed


def load(ledger: Ledger, job_id: int) -> JobRecord:
    shown = ledger.show(job_id)
    assert shown is not None
    return shown[0]


def outcomes(ledger: Ledger, job_id: int) -> list[Outcome | None]:
    shown = ledger.show(job_id)
    assert shown is not None
    return [attempt.outcome for attempt in shown[1]]


def seen(ledger: Ledger, job_id: int) -> Beating:
    (found,) = [beating for beating in ledger.look(None).running if beating.id == job_id]
    return found

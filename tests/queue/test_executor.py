"""What an executor makes of jobs that return or raise what nobody expects."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from gengfu.errors import Fenced, Postpone, StoreError
from gengfu.queue.executor import FAILED_AGAIN_IN, Executor
from gengfu.queue.job import Job, JobContext, LeasedJob
from gengfu.queue.ledger import Ledger
from gengfu.queue.outcomes import Ending
from gengfu.store.database import Database
from gengfu.store.jobs import Outcome
from ledgers import Worker, add


class Odd(Job):
    backoff: Any = (0.0,)

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work

    def fire(self, context: JobContext, *_: Any, **args: Any) -> str | None:
        return self.work()


class WithoutBackoff(Odd):
    backoff = ("soon",)


class WithoutJudgement(Odd):
    def fatal(self, error: Exception) -> bool:
        raise TypeError("no idea")


class FailingGoodbye(Odd):
    def __init__(self, work: Callable[[], Any], error: Exception) -> None:
        super().__init__(work)
        self.error = error

    def failed(self, job_id: int, cause: str, *_: Any, **args: Any) -> None:
        raise self.error


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


def ended(make: Callable[[], Job], leased: LeasedJob) -> Ending:
    """How the executor, which must live on, ends that job."""
    changed = threading.Event()
    executor = Executor({leased.name: make}, 1, None, changed.set)
    executor.start()
    try:
        executor.submit([leased])
        assert changed.wait(10)
        (ending,) = executor.endings()
        executor.recorded([ending])
        assert (executor.free, executor.in_flight()) == (1, [])
        changed.clear()
        executor.submit([LeasedJob(leased.id + 1, 1, "q", "unknown", {}, 3, 3)])
        assert changed.wait(10)
        return ending
    finally:
        executor.end()


@pytest.mark.parametrize(
    ("make", "outcome", "text"),
    [
        (lambda: Odd(lambda: 7), Outcome.DONE, "7"),
        (lambda: Odd(raising(KeyboardInterrupt())), Outcome.FAILED, "KeyboardInterrupt: "),
        (lambda: Odd(raising(GeneratorExit())), Outcome.FAILED, "GeneratorExit: "),
        (lambda: Odd(raising(Postpone("later", float("inf")))), Outcome.POSTPONED, "later"),
        (lambda: Odd(raising(Postpone("later", float("nan")))), Outcome.POSTPONED, "later"),
        (lambda: Odd(raising(Postpone("later", "soon"))), Outcome.FAILED, "ValueError: could not convert"),  # type: ignore[arg-type]
        (lambda: WithoutBackoff(raising(OSError("cut"))), Outcome.FAILED, "TypeError"),
        (lambda: WithoutJudgement(raising(OSError("cut"))), Outcome.FAILED, "TypeError: no idea"),
        (raising(ImportError("broken")), Outcome.FAILED, "ImportError: broken"),
    ],
)
def test_whatever_a_job_does_ends_as_the_ledger_can_record(
    make: Callable[[], Job], outcome: Outcome, text: str, sqlite_database: Database
) -> None:
    ledger = Ledger(sqlite_database)
    add(ledger, sqlite_database)
    ending = ended(make, Worker(ledger, sqlite_database).take_one())
    assert ending.outcome is outcome
    assert str(ending.text).startswith(text)
    assert ledger.settle([ending]) == set()


@pytest.mark.parametrize(
    ("error", "again_in"),
    [(StoreError("away"), FAILED_AGAIN_IN), (Fenced("passed on"), FAILED_AGAIN_IN), (OSError(), None)],
)
def test_a_job_that_could_not_be_told_that_it_failed_is_told_again_where_that_can_help(
    error: Exception, again_in: float | None
) -> None:
    last = LeasedJob(1, 3, "q", "odd", {}, 3, 3)
    ending = ended(lambda: FailingGoodbye(raising(OSError("cut")), error), last)
    assert (ending.outcome, ending.text, ending.again_in) == (Outcome.FAILED, "OSError: cut", again_in)

"""Planning a pass: the list is cut into windows, and each of them is given a job."""

from __future__ import annotations

import threading

from gengfu.mirror.read_strategy import PassPlan, strategy_of
from gengfu.mirror.run_context import RunContext
from gengfu.store.database import Transaction


def first_pass(context: RunContext, stop: threading.Event) -> PassPlan:
    """How the first pass of a queued run reads its list.

    Raises:
        VendorError: the vendor does not answer.
    """
    return strategy_of(context.listing).begin(context, stop)


def begin(context: RunContext, plan: PassPlan, job_id: int) -> bool:
    """Has the run be read from now on: its first window by this job; False if another job began it first."""

    def work(transaction: Transaction) -> list[int] | None:
        begun = context.runs.start(
            transaction, context.run.id, page_size=plan.page_size, pages=plan.pages, total=plan.total
        )
        return _add_windows(transaction, context, plan, context.run.pass_number, job_id) if begun else None

    added = context.db.write(work)
    if added is None:
        return False
    context.jobs.notify(context.resource, added)
    return True


def read_again(context: RunContext, total: int, job_id: int, stop: threading.Event) -> None:
    """Sends a closing run back to reading, over `total` rows.

    Raises:
        VendorError: the vendor does not answer.
        Fenced: another worker closes it.
    """
    run = context.run
    plan = strategy_of(context.listing).again(context, total, stop)

    def work(transaction: Transaction) -> list[int]:
        context.runs.next_pass(transaction, run, page_size=plan.page_size, pages=plan.pages)
        return _add_windows(transaction, context, plan, run.pass_number + 1, job_id)

    context.jobs.notify(context.resource, context.db.write(work))


def _add_windows(
    transaction: Transaction, context: RunContext, plan: PassPlan, pass_number: int, job_id: int
) -> list[int]:
    """The first window is this job's; the ids of the jobs that were added for the others."""
    added = [context.jobs.add(transaction, context.resource, context.run.id) for _ in plan.windows[1:]]
    owners = [job_id, *added]
    windows = [(owner, first, last) for owner, (first, last) in zip(owners, plan.windows, strict=True)]
    context.windows.add(transaction, context.run.id, pass_number, windows)
    return added

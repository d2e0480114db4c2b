"""What a unit of queued work is: the class that jobs extend, and what a running one is handed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gengfu.errors import ConfigError, LoginRefused

if TYPE_CHECKING:
    from gengfu.store.database import Transaction


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a running job is handed. The job is this worker's until `stop` is set: at the time limit, at the end of the
    worker, or when others took the worker for dead. From then on nothing that the job writes may count."""

    job_id: int
    attempt: int
    """Which try this is, from 1."""
    fence: int
    """Grows each time the job changes hands."""
    stop: threading.Event


class Job:
    """A unit of work that may be started more than once, so whatever it does must bear being done again.

    It is started when a worker is free, again after a failure as long as it has tries left, and again when its worker
    died. When it is out of tries, `failed` is called, and the ledger keeps the cause.
    """

    queue = "default"
    """A letter or an underscore, then letters, digits, underscores and dashes."""
    tries = 3
    timeout = 600.0
    """Seconds until the context's `stop` is set; ten seconds later the attempt counts as over."""
    backoff: tuple[float, ...] = (2.0, 10.0, 30.0)
    """The most seconds to wait after the first failed attempt, the second, and so on; the wait is a random share."""

    def __init__(self, app: Any = None) -> None:
        """`app`: the `App`, for jobs of user code, which are made anew for each attempt. `app.db` is the database,
        `app.vendor` the vendor's API, `app.auth` the shared login, `app.settings` the settings."""
        self.app = app

    def fire(self, context: JobContext, *_: Any, **args: Any) -> str | None:
        """Does the work; returns a note for the ledger. An error means a failed attempt.

        Raises:
            Postpone: to be taken up later, without counting as a try.
            Stopped: `context.stop` was set.
        """
        raise NotImplementedError

    def failed(self, job_id: int, cause: str, *_: Any, **args: Any) -> None:
        """The job is out of tries. May be called again if the worker dies meanwhile, so it must bear that; it is to be
        quick. A `StoreError` raised here means that it is called again later."""

    def again(self, transaction: Transaction, *_: Any, **args: Any) -> None:
        """The job failed for good and is sent once more by a person. What is written in this transaction happens with
        that, or neither does; it may be run again from the start."""

    def fatal(self, error: Exception) -> bool:
        """Whether no further try can help after this error."""
        return isinstance(error, (LoginRefused, ConfigError))


Jobs = Mapping[str, Callable[[], Job]]
"""The jobs that this program knows: by name, how to make one."""


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """A job in the hands of one worker. `fence` is the fencing number: once another holds the job, every write under
    this one is refused."""

    id: int
    fence: int
    queue: str = field(compare=False)
    name: str = field(compare=False)
    args: dict[str, Any] = field(compare=False, repr=False)
    attempt: int = field(compare=False)
    tries: int = field(compare=False)
    cause: str | None = field(compare=False, default=None)
    """Why the latest attempt failed, if one did."""
    spent: bool = field(compare=False, default=False)
    """No try is left: there is no attempt, and all that is to be done is to call `Job.failed`."""

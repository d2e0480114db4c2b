"""What a unit of queued work is: the class that jobs extend, and the hold under which one runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gengfu.errors import ConfigError, LoginRefused


@dataclass(frozen=True, slots=True)
class Hold:
    """A worker's hold on a job. It lasts until `stop` is set: at the time limit, at the end of the worker, or when the
    job passed to another worker. From then on nothing that the job writes may count."""

    job_id: int
    attempt: int
    """Which try this is, from 1."""
    claim: int
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
    """Seconds until the hold's `stop` is set; ten seconds later the attempt counts as over."""
    backoff: tuple[float, ...] = (2.0, 10.0, 30.0)
    """The most seconds to wait after the first failed attempt, the second, and so on; the wait is a random share."""

    def __init__(self, app: Any = None) -> None:
        """`app`: the `App`, for jobs of user code, which are made anew for each attempt. `app.db` is the database,
        `app.vendor` the vendor's API, `app.auth` the shared login, `app.settings` the settings."""
        self.app = app

    def fire(self, hold: Hold, *_: Any, **args: Any) -> str | None:
        """Does the work; returns a note for the ledger. An error means a failed attempt.

        Raises:
            Postpone: to be taken up later, without counting as a try.
            Stopped: `hold.stop` was set.
        """
        raise NotImplementedError

    def failed(self, job_id: int, cause: str, *_: Any, **args: Any) -> None:
        """The job is out of tries. May be called again if the worker dies meanwhile, so it must bear that; it is to be
        quick. A `StoreError` or `BrokerError` raised here means that it is called again later."""

    def again(self, *_: Any, **args: Any) -> None:
        """The job failed for good and is about to be sent once more by a person."""

    def fatal(self, error: Exception) -> bool:
        """Whether no further try can help after this error."""
        return isinstance(error, (LoginRefused, ConfigError))


Jobs = Mapping[str, Callable[[], Job]]
"""The jobs that this program knows: by name, how to make one."""

"""Makes jobs by name: the program's own, and those of user code, which must not take a worker along when they break."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from gengfu.errors import Postpone
from gengfu.language import tr
from gengfu.queue.job import Job, JobContext, Jobs

PATIENCE = 300.0
"""Seconds between two looks at a job whose code cannot be imported."""


class JobRegistry(Mapping[str, Callable[[], Job]]):
    """The program's own jobs, which win, and further ones, which are looked for only when they are needed."""

    def __init__(self, own: Jobs, further: Callable[[], Jobs]) -> None:
        self._own = own
        self._find_further = further

    @cached_property
    def _further(self) -> Jobs:
        return self._find_further()

    def __getitem__(self, name: str) -> Callable[[], Job]:
        return self._own[name] if name in self._own else self._further[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._further, **self._own})

    def __len__(self) -> int:
        return len({**self._further, **self._own})


def make(job: type[Job], app: object) -> Job:
    """A job of user code, made with the program's parts. Where it cannot be made, one that fails with the reason."""
    try:
        return job(app)
    except Exception as error:
        return BrokenJob(error, job)


class BrokenJob(Job):
    """Stands for a job that cannot be used: each try raises the error, as if the job had raised it."""

    def __init__(self, error: Exception, job: type[Job] = Job) -> None:
        """`job`: whose queue, tries, time limit and backoff it has."""
        super().__init__()
        self.queue, self.tries, self.timeout, self.backoff = job.queue, job.tries, job.timeout, job.backoff
        self._error = error

    def fire(self, context: JobContext, *_: Any, **args: Any) -> str | None:
        """Raises the error."""
        raise self._error


def unimportable(reason: str) -> Job:
    """Stands for a job whose code cannot be imported: it stays queued, without losing a try, until a worker that can
    import the code takes it."""
    return BrokenJob(Postpone(tr("its code cannot be used: {reason}", reason=reason), PATIENCE))

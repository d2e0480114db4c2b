"""The jobs and the vendor lists that user code brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengfu.discovery import APP, Broken, Finder
from gengfu.language import tr
from gengfu.queue.job import Job
from gengfu.queue.options import QUEUE_NAME

if TYPE_CHECKING:
    from gengfu.mirror.resource import Resource


class UserCode:
    """All jobs and lists of the working folder and of packages, found without registration, and what is broken of
    them. The commands are the console's to find: `gengfu.cli.catalogue.Catalogue` knows these too."""

    def __init__(self, home: Path | None = None) -> None:
        """`home`: the working folder; None leaves user code out."""
        self._home = home

    @property
    def folder(self) -> Path | None:
        """The folder of user code in the working folder."""
        return None if self._home is None else self._home / APP

    def command(self, name: str) -> Any:
        """The command of that name; None where there is none."""
        return self.commands.get(name)

    @property
    def commands(self) -> Mapping[str, Any]:
        """All commands, by name."""
        return {}

    @property
    def jobs(self) -> Mapping[str, type[Job]]:
        """The jobs of user code by the names of their classes, which are their names in the ledger."""
        return self._jobs.all

    @property
    def resources(self) -> Mapping[str, Resource]:
        """The resources of user code, by name."""
        return self._resources.all

    @property
    def broken(self) -> Sequence[Broken]:
        """What of user code cannot be used, each with file, line and reason."""
        return list(dict.fromkeys([*self._jobs.broken, *self._resources.broken]))

    @property
    def broken_jobs(self) -> Mapping[str, Broken]:
        """By name, the jobs that a file seems to define which cannot be imported."""
        return self._jobs.hidden

    @cached_property
    def _jobs(self) -> Finder[type[Job]]:
        return Finder(
            self._home,
            "job",
            pick=_job,
            name_of=lambda job: job.__name__,
            wrong=_wrong_with_job,
            built_in=lambda name: name in _built_in_jobs(),
        )

    @cached_property
    def _resources(self) -> Finder[Resource]:
        return Finder(
            self._home,
            "resource",
            pick=_resource,
            name_of=lambda resource: resource.name,
            wrong=lambda resource: None if resource.name else "a resource without a name",
            built_in=lambda name: name in own_lists(),
        )


def _job(thing: object) -> type[Job] | None:
    """A job that stands for itself."""
    if isinstance(thing, type) and issubclass(thing, Job) and thing is not Job:
        return thing if thing.__name__[0] != "_" else None
    return None


def _wrong_with_job(job: type[Job]) -> str | None:
    if not QUEUE_NAME.fullmatch(str(job.queue)):
        return tr(
            "the job {job} names the queue {queue!r}; a queue is named like 'reports'",
            job=job.__name__,
            queue=job.queue,
        )
    return None


def own_jobs() -> tuple[type[Job], ...]:
    """The classes of the program's own jobs."""
    from gengfu.backup.job import BackupDataJob
    from gengfu.mirror.job import ListJob

    return BackupDataJob, ListJob


def _built_in_jobs() -> set[str]:
    """The names of the program's own jobs."""
    return {resource.job for resource in own_lists().values()} | {job.__name__ for job in own_jobs()}


def _resource(thing: object) -> Resource | None:
    """A resource; one of the program's own, imported to be varied, is none of user code."""
    from gengfu.mirror.resource import Resource

    own = isinstance(thing, Resource) and any(thing is each for each in own_lists().values())
    return thing if isinstance(thing, Resource) and not own else None


def own_lists() -> Mapping[str, Resource]:
    """The lists that the program brings along, by name."""
    from gengfu.mirror.lists import BUILT_IN

    return BUILT_IN

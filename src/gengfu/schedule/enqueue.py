"""Queues the work of entries that do nothing else, in the transaction that records their tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gengfu.clock import Clock
from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.mirror.job import ListJob
from gengfu.schedule.plan import Action, FormatMoment, decide
from gengfu.schedule.policy import Entry, JobRequest, RunRequest
from gengfu.settings import Settings
from gengfu.store.enqueue import Enqueuing, new_job
from gengfu.store.names import list_queue
from gengfu.store.sources import Source, default_source
from gengfu.store.ticks import Queued, Tick, TickEnd, Ticks, TickState


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a tick that only queues."""

    tick: Tick
    ending: TickEnd
    queued: Queued | None = None
    """What workers are to be told of."""


class Enqueuer:
    """Decides what becomes of ticks that only queue, by the overlap policy of their entry, and queues their work; knows
    what run an earlier start of any entry's command has left to the workers.

    All of it is in one transaction of the caller's: there is no tick without its job, and no job without its tick.
    """

    def __init__(self, read_settings: Callable[[], Settings], show: FormatMoment, clock: Clock) -> None:
        """
        Args:
            read_settings: reads them anew, since a scheduler runs for long.
            clock: that of the host, by which jobs are due.
        """
        self._read_settings = read_settings
        self._show = show
        self._clock = clock

    def under_way(self, ticks: Ticks, entry: Entry) -> str | None:
        """The run that keeps an entry's command from beginning a new one, for people; None where there is none."""
        run = self._run_of(entry)
        return run.under_way(ticks.work, self._show) if run is not None else None

    def cancel(self, ticks: Ticks, entry: Entry) -> None:
        """Ends that run."""
        run = self._run_of(entry)
        if run is not None:
            run.cancel(ticks.work, self._clock())

    def _run_of(self, entry: Entry) -> _Run | None:
        if entry.mirrors is None:
            return None
        return _Run(RunRequest(*entry.mirrors, title=""), default_source(self._read_settings()))

    def settle(self, ticks: Ticks, tick: Tick, entry: Entry, scheduler: str) -> Settled | None:
        """Ends the tick, with its work queued where that is the decision; None where it stays open, or was changed by
        another scheduler meanwhile."""
        try:
            request = self._checked(entry.queues)
        except ConfigError as error:
            return self._end(ticks, tick, TickEnd(TickState.FAILED, str(error)))
        earlier = ticks.earlier(tick)
        under_way = None if earlier else request.under_way(ticks.work, self._show)
        decision = decide(tick, entry.schedule.overlap, earlier, (), under_way, self._show)
        fenced = ticks.fence(tick) if decision.action is not Action.LEAVE else None
        if fenced is None:
            return None
        reason = decision.reason or ""
        if decision.action is Action.CANCEL and earlier:
            return self._cancel_ticks(ticks, fenced, entry, scheduler, earlier, reason)
        if decision.action is Action.CANCEL:
            request.cancel(ticks.work, self._clock())
        if decision.action in (Action.RUN, Action.CANCEL):
            return self._enqueue(ticks, fenced, request, scheduler)
        if decision.action is Action.SKIP:
            return self._end(ticks, fenced, TickEnd(TickState.SKIPPED, reason))
        if decision.action is Action.WAIT:
            ticks.wait(fenced, reason)
        return None

    def _cancel_ticks(
        self, ticks: Ticks, tick: Tick, entry: Entry, scheduler: str, earlier: list[Tick], reason: str
    ) -> Settled | None:
        """Ends what waits of the earlier ticks, and asks for the end of what runs: then this one stays open."""
        waiting = [other for other in earlier if other.state is TickState.WAITING]
        for other in waiting:
            ticks.end(other, TickEnd(TickState.CANCELLED, reason), self._clock())
        for other in earlier:
            if other not in waiting:
                ticks.ask_to_end(other)
        return self.settle(ticks, tick, entry, scheduler) if len(waiting) == len(earlier) else None

    def _checked(self, request: RunRequest | JobRequest | None) -> _Run | _Job:
        """The work that is asked for.

        Raises:
            ConfigError: it could not be done as the settings are.
        """
        if isinstance(request, JobRequest):
            return _Job(request)
        assert request is not None
        settings = self._read_settings()
        settings.api()
        return _Run(request, default_source(settings))

    def _enqueue(self, ticks: Ticks, tick: Tick, request: _Run | _Job, scheduler: str) -> Settled | None:
        now = self._clock()
        queued = request.enqueue(ticks.work, tick, now)
        if queued is None:
            return self._end(ticks, tick, TickEnd(TickState.SKIPPED, request.under_way(ticks.work, self._show)))
        ending = TickEnd(TickState.DONE, None, None, f"{queued.text}\n")
        ticks.queued(tick, queued, ending, scheduler, now)
        begun = replace(tick, scheduler=scheduler, run_id=queued.run_id, job_id=queued.job_id, started_at=now)
        return Settled(begun, ending, queued)

    def _end(self, ticks: Ticks, tick: Tick, ending: TickEnd) -> Settled | None:
        return Settled(tick, ending) if ticks.end(tick, ending, self._clock()) else None


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of a list."""

    request: RunRequest
    source: Source

    def under_way(self, work: Enqueuing, show: FormatMoment) -> str | None:
        """What an earlier start has left under way, for people."""
        active = work.active_run(self.source, self.request.resource, self.request.scope)
        if active is None:
            return None
        return tr(
            "run {active.run} is still active, {active.progress}, since {since}",
            active=active,
            since=show(active.since),
        )

    def cancel(self, work: Enqueuing, now: datetime) -> None:
        """Ends that."""
        active = work.active_run(self.source, self.request.resource, self.request.scope)
        if active is not None:
            work.abort_run(active.run, "cancelled for a later start", now)

    def enqueue(self, work: Enqueuing, tick: Tick, now: datetime) -> Queued | None:
        """None where another run of that list is active."""
        resource, scope = self.request.resource, self.request.scope
        made = work.start_run(self.source, resource, scope, ListJob.tries, now, tick.id)
        if made.job is None:
            return None
        text = tr(
            "Run {made.run} of the {title} accepted (scope {scope}, job {made.job}).",
            made=made,
            title=self.request.title,
            scope=scope,
        )
        return Queued(list_queue(resource), made.job, made.run, text)


@dataclass(frozen=True, slots=True)
class _Job:
    """A job that stands alone."""

    request: JobRequest

    def under_way(self, work: Enqueuing, show: FormatMoment) -> str | None:
        """What an earlier start has left under way, for people."""
        job_id = work.live_job(self.request.subject)
        return tr("job {job_id} is queued or running already", job_id=job_id) if job_id is not None else None

    def cancel(self, work: Enqueuing, now: datetime) -> None:
        """Does nothing: a job goes on to its end."""

    def enqueue(self, work: Enqueuing, tick: Tick, now: datetime) -> Queued | None:
        """None where one for the same subject is queued or runs."""
        made = self.request
        if work.live_job(made.subject) is not None:
            return None
        row = new_job(made.job, {}, queue=made.queue, tries=made.tries, subject=made.subject, now=now)
        job_id = work.add_job(row)
        return Queued(made.queue, job_id, None, tr("{made.title} accepted (job {job_id}).", made=made, job_id=job_id))

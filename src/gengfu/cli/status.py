"""The command that answers on one screen whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.language import joined, tr

if TYPE_CHECKING:
    from gengfu.services.jobs import QueueCounts
    from gengfu.services.lists import ListStatus
    from gengfu.services.status import Status as Told

MOST = 3
"""So much of what there is to do, and so many runs and queues, fit on a screen of 24 lines."""
LONGEST = 140
"""Characters of what there is to do, so that it takes two lines of a narrow terminal."""


class Status(BaseCommand):
    """Tell on one screen whether all is well, and what to do: exit 0, or 1

    What health finds, the devices, the last run of each list, queues, workers and
    what the schedule does next. All is well only where health says so, the last
    run of each list was complete, and the devices have been read.

    Examples:
      gengfu status
      gengfu status --json | jq .to_do
    """

    name = "status"

    def handle(self) -> int:
        told = self.app.status.look(self.out.note)
        if told.ok:
            self.out.say("All is well.")
        else:
            self.out.say(tr("Not all is well; to do: {number}", number=len(told.to_do)))
        for what in told.to_do[:MOST]:
            self.out.say(tr("- {what}", what=what if len(what) <= LONGEST else f"{what[:LONGEST]}..."))
        if len(told.to_do) > MOST:
            self.out.say(tr("- and {number} more; see: gengfu health", number=len(told.to_do) - MOST))
        self.out.say()
        self._show(told)
        self.out.answer(told)
        return 0 if told.ok else 1

    def _show(self, told: Told) -> None:
        from gengfu.services.health import NO_SCHEDULER

        schedule = next((part.text for part in told.health.components if part.name == "schedule"), None)
        up = tr(
            "{workers} workers, {schedulers} schedulers", workers=told.up("worker"), schedulers=told.up("scheduler")
        )
        pairs: list[tuple[str, object]] = [(tr("up"), up)]
        if told.devices is not None:
            pairs = [*self._devices(told.devices), *pairs]
        if told.queues:
            waiting = [text for each in told.queues if (text := _queue(each)) is not None]
            pairs.append((tr("queues"), joined("; ", waiting[:MOST] or [tr("nothing waits")])))
        if schedule is not None:
            pairs.append((tr("schedule"), tr(schedule)))
        if told.next:
            ticks = [
                tr("{moment} {entry}", moment=self.out.moment(tick.due_at), entry=tick.entry) for tick in told.next
            ]
            pairs.append((tr("next"), joined(", ", ticks)))
        elif schedule == NO_SCHEDULER:
            pairs.append((tr("next"), tr("nothing by itself; start it by: gengfu up, or gengfu deploy")))
        self.out.record(pairs)
        if told.runs:
            self.out.say()
            columns = [Column("run", right=True), Column("list", shrinks=True), Column("scope")]
            columns += [Column("verdict", words=True), Column("ended"), Column("seen", right=True)]
            lines = [
                [run.id, run.resource, run.scope, run.verdict or run.state, run.finished_at, run.seen]
                for run in sorted(told.runs, key=lambda run: -run.id)[: 2 * MOST]
            ]
            self.out.table(columns, lines)

    def _devices(self, found: ListStatus) -> list[tuple[str, object]]:
        from gengfu.cli.wording import span_words

        numbers = [(state, number) for state, number in found.states.items() if number or state == "online"]
        states = [tr("{number} {state}", number=number, state=tr(state)) for state, number in numbers]
        counts = tr("{present}: {states}", present=found.present, states=joined(", ", states))
        if found.as_of is None:
            return [(tr("devices"), counts), (tr("as of"), tr("no run was complete yet"))]
        ago = span_words(self.app.clock() - found.as_of)
        return [
            (tr("devices"), counts),
            (tr("as of"), tr("{moment}, {ago} ago", moment=self.out.moment(found.as_of), ago=ago)),
        ]


def _queue(counts: QueueCounts) -> str | None:
    """What is in a queue that is not done; None where nothing is."""
    open_jobs = [(state, number) for state, number in counts.jobs.items() if number and state != "done"]
    told = [tr("{number} {state}", number=number, state=tr(state)) for state, number in open_jobs]
    return tr("{queue}: {jobs}", queue=counts.queue, jobs=joined(", ", told)) if told else None

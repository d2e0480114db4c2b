"""The command by which probes and watchdogs learn whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import GengfuError

if TYPE_CHECKING:
    from gengfu.services.health import Component
    from gengfu.services.restart import Ended

PATIENCE = 5.0
"""Seconds for the database, and for Redis."""


class Health(BaseCommand):
    """Tell whether all is well: exit 0, or 1

    One line for each component: database, redis, schedule, every worker and
    scheduler, queues with due jobs, runs that the schedule asks for. Where a beat
    seems old it is watched for up to 12 s before anything is said against it.
    With --restart, what hangs on this host is ended, so that whoever supervises
    it starts it anew.

    Examples:
      gengfu health
      gengfu health --json
      gengfu health --quiet --restart
    """

    name = "health"
    options = (
        click.Option(["--quiet"], is_flag=True, help="Print only what is wrong."),
        click.Option(["--restart"], is_flag=True, help="End the processes of this host that hang."),
    )

    def handle(self, quiet: bool, restart: bool) -> int:
        from gengfu.process.pids import host_name

        components = [self._redis(), *self._recorded()]
        ended: list[Ended] = []
        if restart and not all(component.ok for component in components):
            from gengfu.services.restart import end_hung

            ended = end_hung(components, host_name())
        well = all(component.ok for component in components)
        shown = [component for component in components if not (quiet and component.ok)]
        if shown:
            columns = [Column("state"), Column("component"), Column("what", wraps=True)]
            self.out.table(columns, [[str(part.condition), part.name, part.text] for part in shown])
        for done in ended:
            self.out.say(f"{done.process.kind} {done.process.name}: {done.text}")
        self.out.answer(
            {
                "ok": well,
                "components": [{"name": part.name, "ok": part.ok, "text": part.text} for part in components],
                "ended": [{"name": done.process.name, "pid": done.process.pid, "text": done.text} for done in ended],
            }
        )
        return 0 if well else 1

    def _recorded(self) -> list[Component]:
        """The database, and what it shows; no more than the database where that is not well."""
        from gengfu.process.pids import host_name
        from gengfu.services.health import Component, Condition, examine
        from gengfu.services.health_snapshot import Sight, look
        from gengfu.services.within import within

        clock = self.app.clock
        try:
            db = within(PATIENCE, "the database", lambda: self.app.light_db)
            entries = self.app.schedule.entries().entries

            def seen() -> Sight:
                return within(PATIENCE, "the database", lambda: look(db, entries, clock()))

            found = examine(seen, host_name(), clock)
        except GengfuError as error:
            return [Component("database", Condition.WRONG, str(error))]
        return [Component("database", Condition.OK, "answers"), *found]

    def _redis(self) -> Component:
        from gengfu.queue.wire import Wire
        from gengfu.services.health import Component, Condition
        from gengfu.services.within import within

        def ping() -> None:
            wire = Wire(self.app.redis_address, timeout=PATIENCE)
            try:
                wire.command("PING")
            finally:
                wire.close()

        try:
            within(PATIENCE, "Redis", ping)
        except GengfuError as error:
            return Component("redis", Condition.WRONG, str(error))
        return Component("redis", Condition.OK, "answers")

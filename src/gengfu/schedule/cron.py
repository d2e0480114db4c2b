"""Cron expressions: when they are due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from gengfu.errors import ConfigError

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Cron:
    """An expression in a zone; its due moments ascend and none comes twice."""

    def __init__(self, expression: str, zone: str) -> None:
        """Raises ConfigError where it cannot be read."""
        self._expression = _NAMED.get(expression, expression)
        self._zone = ZoneInfo(zone)
        try:
            CronSim(self._expression, datetime.now(UTC))
        except CronSimError as error:
            raise ConfigError(f"the cron expression {expression!r}: {error}; for example: */5 * * * *") from None

    def after(self, moment: datetime) -> datetime | None:
        """The next due moment, in UTC."""
        for local in CronSim(self._expression, moment.astimezone(self._zone)):
            found = local.astimezone(UTC)
            if found > moment:
                return found
        return None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The due moments in (after, until], in UTC, ascending."""
        last = after
        for local in CronSim(self._expression, after.astimezone(self._zone)):
            found = local.astimezone(UTC)
            if found > until:
                return
            if found > last:
                last = found
                yield found

    @property
    def is_fixed(self) -> bool:
        """Whether minute and hour are both without '*'."""
        minute, hour = self._expression.split()[-5:-3]
        return "*" not in minute and "*" not in hour

    def words(self) -> str:
        """In words."""
        return CronSim(self._expression, datetime.now(UTC)).explain()

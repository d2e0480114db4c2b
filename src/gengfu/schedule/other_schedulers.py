"""Which ticks other schedulers have in their hands, which of those schedulers are dead, and what they left running."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Mapping

from gengfu.clock import monotonic
from gengfu.process.pids import is_here, lives
from gengfu.schedule.running import KILL_AFTER
from gengfu.store.leases import Lease
from gengfu.store.ticks import Tick, TickState


class OtherSchedulers:
    """What is known of the schedulers that hold ticks, by their leases alone."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        """By lease, its renewals when it was seen first."""
        self._leases: Mapping[int, Lease] = {}
        self._kill_at: dict[int, float] = {}

    def look(self, leases: Collection[Lease], ticks: Collection[Tick]) -> None:
        """Takes in the leases and the open ticks as they stand in the database."""
        self._leases = {lease.id: lease for lease in leases}
        self._first = {lease.id: self._first.get(lease.id, lease.renewals) for lease in leases}
        open_now = {tick.id for tick in ticks}
        self._kill_at = {key: at for key, at in self._kill_at.items() if key in open_now}

    @property
    def held(self) -> Collection[int | None]:
        """The leases that count."""
        return {lease.id for lease in self._leases.values() if lease.lost_at is None}

    def is_orphan(self, tick: Tick) -> bool:
        """Whether nobody who lives has it in its hands."""
        return tick.state is not TickState.WAITING and tick.lease_id not in self.held

    def is_known(self, tick: Tick) -> bool:
        """Whether its scheduler has renewed its lease since it was first seen."""
        lease = self._leases.get(tick.lease_id or 0)
        return lease is not None and lease.lost_at is None and lease.renewals != self._first[lease.id]

    def end_command(self, tick: Tick) -> bool:
        """Ends what an orphan's dead scheduler has left running on this machine: by SIGTERM and, called again
        `KILL_AFTER` seconds later, by SIGKILL. True once nothing is left that could be ended from here."""
        if tick.pid is None or tick.birth is None or not is_here(tick.birth) or not lives(tick.pid, tick.birth):
            return True
        is_first = tick.id not in self._kill_at
        kill_at = self._kill_at.setdefault(tick.id, monotonic() + KILL_AFTER)
        try:
            if is_first:
                os.killpg(tick.pid, signal.SIGTERM)
            elif monotonic() >= kill_at:
                os.killpg(tick.pid, signal.SIGKILL)
        except ProcessLookupError:
            return True
        except PermissionError:
            return True  # another user's
        return False

"""The thread that walks the ledger: sends messages that never came, and has jobs taken from workers that died."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from gengfu.clock import monotonic
from gengfu.errors import BrokerError, GengfuError
from gengfu.process.liveness import Pulse, Watch
from gengfu.queue.claim import Sight
from gengfu.queue.door import Desk
from gengfu.queue.endings import Endings
from gengfu.queue.ledger import Ledger
from gengfu.queue.rescue import Rescue
from gengfu.queue.wire import NAMESPACE, Wire
from gengfu.store.jobs import Waiting

if TYPE_CHECKING:
    from gengfu.queue.broker import LaneBroker

log = logging.getLogger("gengfu.queue.sweeper")

SHORTEST_PAUSE = 0.02
BATCH = 500
PRUNE_EVERY = 3600.0


def spacing(nudges: int) -> float:
    """Seconds to wait, after that many messages for a job, before one more is sent."""
    return float(min(60.0, 2.0 * 2 ** min(nudges - 1, 10)))


class Sweeper(threading.Thread):
    """Sees to it that no job waits for ever: one whose message was lost is sent again, one whose delay ended is sent,
    one whose worker died is taken from it, and one without tries is buried. Any number of sweepers may walk at once.

    It also brings the embedded server back, looks for new queues, and removes what was done long ago.
    """

    def __init__(
        self,
        ledger: Ledger,
        endings: Endings,
        desk: Desk,
        broker: LaneBroker,
        wire_factory: Callable[[], Wire],
        *,
        queues: Sequence[str] | None,
        interval: float,
        worker: str,
        wake: threading.Event,
    ) -> None:
        super().__init__(name="gengfu-sweeper", daemon=True)
        self.pulse = Pulse("sweeper", longest=300.0)
        self._answered_since: float | None = None
        self._away = False
        self._ledger = ledger
        self._rescue = Rescue(
            ledger,
            endings,
            desk,
            f"{worker}/sweeper",
            step=self.pulse.turn,
            queued=lambda job_id: ledger.nudge([job_id]),
        )
        self._broker = broker
        self._wire_factory = wire_factory
        self._queues = queues
        self._interval = interval
        self._wake = wake
        self._ended = False
        self._unread = Watch()
        self._next_prune = monotonic() + random.uniform(60.0, 600.0)

    def run(self) -> None:
        """Turns until `end` is called."""
        while not self._ended:
            self.pulse.turn()
            try:
                pause = self.turn()
            except GengfuError as error:
                log.warning("the ledger could not be swept; trying on", extra={"error": str(error)})
                pause = self._interval
            except Exception:
                log.exception("the sweeper stumbled; it goes on")
                pause = self._interval
            self._wake.wait(max(pause, SHORTEST_PAUSE))
            self._wake.clear()

    def end(self) -> None:
        """Stops the thread."""
        self._ended = True
        self._wake.set()

    def answered_for(self) -> float:
        """Seconds for which Redis has answered every new connection."""
        since = self._answered_since
        return monotonic() - since if since is not None else 0.0

    def turn(self) -> float:
        """One walk; returns the seconds until the next one is due.

        Raises:
            StoreError: the database is away.
        """
        sight = self._ledger.look(self._queues, BATCH)
        if self._queues is None:
            self._broker.lanes = with_new(self._broker.lanes, sight.queues)
        pauses = [self._interval, self._remind(sight), self._rescue.turn(sight.running) or self._interval]
        if sight.next_due is not None:
            pauses.append(sight.next_due)
        if len(sight.unsent) == BATCH:
            pauses.append(0.0)
        if monotonic() >= self._next_prune:
            self._next_prune = monotonic() + PRUNE_EVERY
            log.info("old jobs removed", extra={"jobs": self._ledger.prune(step=self.pulse.turn)})
        return min(pauses)

    def _remind(self, sight: Sight) -> float:
        try:
            lost, pause = self._lost_messages(sight)
        except BrokerError as error:
            if not self._away:
                log.warning("Redis cannot be reached; messages are sent later", extra={"error": str(error)})
            self._away, self._answered_since = True, None
            return self._interval
        mine = self._ledger.take_nudges([*sight.unsent, *lost]) if sight.unsent or lost else []
        self._ledger.nudge(mine)
        if again := sorted({waiting.id for waiting in lost} & set(mine)):
            log.info("messages sent again", extra={"jobs": again[:10], "count": len(again)})
        return pause

    def _lost_messages(self, sight: Sight) -> tuple[list[Waiting], float]:
        """The jobs whose message seems to be lost, and the seconds until there may be more of them. A queue that holds
        as many messages as it has jobs has lost none."""
        suspects: list[Waiting] = []
        wire = self._wire_factory()
        try:
            wire.command("PING")
            self._away, self._answered_since = False, self._answered_since or monotonic()
            for queue, jobs in sight.sent.items():
                missing = jobs - int(wire.command("LLEN", f"{NAMESPACE}:{queue}"))
                if missing > 0:
                    suspects += self._ledger.sent(queue, min(missing, BATCH))
        finally:
            wire.close()
        silent = self._unread.look(monotonic(), {waiting.id: (waiting.claim, waiting.nudges) for waiting in suspects})
        left = {waiting: spacing(waiting.nudges) - silent[waiting.id] for waiting in suspects}
        return [waiting for waiting in suspects if left[waiting] <= 0], _shortest(left.values(), self._interval)


def _shortest(pauses: Iterable[float], otherwise: float) -> float:
    return min((pause for pause in pauses if pause > 0), default=otherwise)


def with_new(lanes: tuple[str, ...], queues: Iterable[str]) -> tuple[str, ...]:
    """The lanes with the queues that are not among them at their end."""
    return lanes + tuple(sorted(set(queues) - set(lanes)))

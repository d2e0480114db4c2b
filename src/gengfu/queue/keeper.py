"""The thread that shows, while jobs run, that their worker lives, and ends those whose time is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gengfu.clock import monotonic
from gengfu.errors import GengfuError
from gengfu.process.liveness import Pulse
from gengfu.queue.door import Desk, Door, Running, Stopping
from gengfu.queue.endings import Endings
from gengfu.queue.ledger import Ledger
from gengfu.queue.perform import timed_out
from gengfu.store.jobs import Outcome

log = logging.getLogger("gengfu.queue.worker")

BEAT = 2.5
"""Seconds between two beats."""
LAST_WORDS = 10.0
"""Seconds between a job's time limit, when it is told to stop, and the moment at which it is given up."""
TURN = 0.2


class Keeper(threading.Thread):
    """Lets the beat of every job on the desk grow, tells a job whose claim passed on to stop, and keeps time limits.

    A thread cannot be killed. So an attempt that does not heed its limit is closed in the ledger, from which moment
    nothing that it writes counts, and `stuck` is called: the process is to end and leave the rest to its successor.
    """

    def __init__(
        self, ledger: Ledger, endings: Endings, desk: Desk, door: Door, stuck: Callable[[Running], None]
    ) -> None:
        super().__init__(name="gengfu-keeper", daemon=True)
        self.pulse = Pulse("keeper", longest=60.0)
        self._ledger = ledger
        self._endings = endings
        self._desk = desk
        self._door = door
        self._stuck = stuck
        self._ended = threading.Event()

    def run(self) -> None:
        """Turns until `end` is called."""
        next_beat = 0.0
        while not self._ended.wait(TURN):
            self.pulse.turn()
            try:
                if monotonic() >= next_beat:
                    next_beat = monotonic() + BEAT
                    self._beat()
                self._keep_limits(monotonic())
            except Exception:
                log.exception("the keeper of running jobs stumbled; it goes on")

    def end(self) -> None:
        """Stops the thread."""
        self._ended.set()

    def _beat(self) -> None:
        held = {running.claimed: running for running in self._desk.held()}
        try:
            lost = self._ledger.beat(held.keys())
        except GengfuError as error:
            log.warning("the beat of running jobs could not be written", extra={"error": str(error)})
            return
        for running in (held[claimed] for claimed in lost):
            if not running.returned and running.stopping is None:
                log.warning("job passed to another worker; told to stop here", extra={"job": running.claimed.job_id})
                running.stop(Stopping.LOST)

    def _keep_limits(self, now: float) -> None:
        for running in self._desk.held():
            if running.deadline is None or now < running.deadline:
                continue
            running.stop(Stopping.TIMEOUT)
            if now >= running.deadline + LAST_WORDS:
                self._give_up(running)

    def _give_up(self, running: Running) -> None:
        self._door.shut()
        cause = f"{timed_out(running)} and did not stop when told to"
        log.error("job does not stop; this process ends", extra={"job": running.claimed.job_id, "cause": cause})
        self._endings.fail(running.claimed, self._endings.job(running.claimed), cause, Outcome.TIMEOUT)
        self._desk.put_down(running, then=lambda: self._door.leave(counted=True))
        self._stuck(running)

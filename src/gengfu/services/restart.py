"""Ends processes that hang, so that whoever supervises them starts new ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from gengfu.language import tr
from gengfu.process.pids import birth_of
from gengfu.retry import Patience
from gengfu.store.leases import Lease

TERM_GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
KILL_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class EndedProcess:
    """What was done about a process that hung."""

    process: Lease
    text: str


def end_hung(processes: Sequence[Lease], host: str) -> list[EndedProcess]:
    """Ends those of the processes that are of this host; those that are gone already, and other hosts', are let be. A
    process id that has passed to another program since is not touched."""
    hung = [process for process in processes if _is_there(process, host)]
    for process in hung:
        _signal(process, signal.SIGTERM)
    heeded = [process for process in hung if process not in _left_after(hung, TERM_GRACE)]
    ignoring = [process for process in hung if process not in heeded]
    for process in ignoring:
        _signal(process, signal.SIGKILL)
    survivors = _left_after(ignoring, KILL_GRACE)
    done = []
    for process in hung:
        how = "by SIGTERM" if process in heeded else "by SIGKILL"
        text = "it does not end, not even by SIGKILL" if process in survivors else tr("ended {how}", how=how)
        done.append(EndedProcess(process, text))
    return done


def _is_there(process: Lease, host: str) -> bool:
    return process.host == host and birth_of(process.pid) == process.birth


def _signal(process: Lease, number: signal.Signals) -> None:
    if birth_of(process.pid) == process.birth:
        try:
            os.kill(process.pid, number)
        except OSError:
            pass


def _left_after(processes: Sequence[Lease], seconds: float) -> list[Lease]:
    """Those that are still there when all are gone or the time is over."""
    patience = Patience(seconds, longest=0.1)
    while left := [process for process in processes if birth_of(process.pid) == process.birth]:
        if not patience.lasts():
            break
    return left

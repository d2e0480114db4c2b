"""Prints what the queue costs: pick-up of a job by an idle worker, jobs a second, processor time while idle.

Run by hand: PYTHONPATH=src:tests python tests/measure_queue.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from servers import migrate, sqlite_url, valkey_binary
from stage import Nursery, Stage, wait_for

JOBS = 100


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(stage: Stage) -> None:
    """Starts one worker and prints the figures."""
    worker = stage.start().ready()
    server = int(stage.redis.info("server")["process_id"])
    time.sleep(1.0)
    before = [processor_seconds(pid) for pid in (worker.pid, server)]
    time.sleep(10.0)
    idle = [(processor_seconds(pid) - spent) * 10.0 for pid, spent in zip((worker.pid, server), before)]
    print(f"idle: worker {idle[0]:.1f} % of a processor, Redis {idle[1]:.1f} %")

    waits = []
    for _ in range(JOBS):
        sent_at = time.monotonic()
        waits.append((stage.await_started(stage.add("shown"))["at"] - sent_at) * 1000)
        time.sleep(0.03)
    waits.sort()
    print(f"from add to start: median {statistics.median(waits):.1f} ms, 95 % {waits[int(JOBS * 0.95)]:.1f} ms")

    ids = [stage.add("shown", nudge=False) for _ in range(5 * JOBS)]
    began = time.monotonic()
    stage.ledger.nudge(ids)
    wait_for(lambda: len(stage.journal.read("ended")) == JOBS + len(ids), timeout=60.0)
    print(f"short jobs: {len(ids) / (time.monotonic() - began):.0f} a second")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = sqlite_url(Path(folder) / "gengfu.db")
        migrate(url)
        binary, nursery = valkey_binary(), Nursery()
        assert binary is not None
        stage = Stage(Path(folder), url, binary, nursery)
        try:
            measure(stage)
        finally:
            stage.clear()
            nursery.close()

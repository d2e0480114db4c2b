"""What hostile answers cost: the memory of a process that is sent nothing else, many at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

from benchmarks.figures import Figure, Size
from gengfu_simulator.testing import Simulator
from gengfu_simulator.values import FaultKind

MORE_MEMORY = 150.0
"""Megabytes beyond the ordinary run."""

PAGES = 16
"""As many as are asked for at once."""

KINDS = (FaultKind.HUGE_TOTAL, FaultKind.LARGE_TOTAL, FaultKind.BOMB, FaultKind.MEMBERS, FaultKind.ENDLESS)
MORE_KINDS = (*KINDS, FaultKind.BACKSLASHES, FaultKind.NESTED, FaultKind.NUMBERS, FaultKind.HEADERS)


def measure(size: Size) -> Iterator[Figure]:
    """An ordinary run of a short list, and one of which every answer is of that kind."""
    with TemporaryDirectory(prefix="gengfu-bench-") as folder, Simulator(devices=PAGES * 100) as sim:
        environ = os.environ | {
            "GENGFU_HOME": folder,
            "API_WECHAT_URL": sim.url,
            "API_USERNAME": sim.username,
            "API_PASSWORD": sim.password,
        }
        _run(environ)
        _, ordinary = _run(environ)
        yield Figure("an ordinary run: memory", ordinary, " MB")
        for kind in MORE_KINDS if size.databases else KINDS:
            sim.control(pin=[f"all:{kind}"])
            seconds, peak = _run(environ)
            yield Figure(f"{kind} ({kind.sentence}): seconds", seconds, " s")
            yield Figure(f"{kind}: more memory than an ordinary run", peak - ordinary, " MB", MORE_MEMORY)


def _run(environ: dict[str, str]) -> tuple[float, float]:
    """How long a run took, and the most memory that its process had, in MB, as the kernel counts it since it began."""
    started, peak = perf_counter(), 0.0
    command = [sys.executable, "-m", "gengfu", "device:list", "--now", "--json"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max([peak, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))])
            sleep(0.02)
    return perf_counter() - started, peak

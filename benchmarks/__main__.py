"""Runs the benchmarks by name, all by default, and prints what was measured beside what was asked for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from time import perf_counter

from benchmarks.figures import QUICK, Figure, Size, table

NAMES = ("startup", "latency", "throughput", "speed", "limits", "hostile", "scale")


def main(arguments: Sequence[str]) -> int:
    """Returns 0 whatever the figures say: a busy machine is no fault of the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--skip-huge", action="store_true", help="leave out the million devices")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    size = QUICK if given.quick else Size()
    if given.skip_huge:
        size = replace(size, huge=0)
    found = {name: measure(name, size) for name in given.names or NAMES}
    if given.json is not None:
        told = {name: [figure.record() for figure in figures] for name, figures in found.items()}
        given.json.write_text(json.dumps(told, indent=2) + "\n")
    missed = [figure for figures in found.values() for figure in figures if figure.met is False]
    print(f"\n{len(missed)} missed" if missed else "\nall met")
    return 0


def measure(name: str, size: Size) -> list[Figure]:
    """Runs one benchmark and prints its figures."""
    print(f"\n{name} ...", file=sys.stderr, flush=True)
    started = perf_counter()
    figures = list(import_module(f"benchmarks.{name}").measure(size))
    print(f"\n{name} ({perf_counter() - started:.0f} s)\n{table(figures)}", flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

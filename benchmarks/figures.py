"""What the benchmarks show: figures, beside what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    devices: int = 10_000
    repetitions: int = 5
    big: int = 100_000
    """Devices of the large fleet."""
    huge: int = 1_000_000
    """Devices of the largest; 0 leaves it out."""
    jobs: int = 4_000
    """Jobs that a queue is drained of."""
    seconds: float = 4.0
    """How long the vendor's limits are tried, each time."""
    databases: bool = True
    """Whether the database servers of this machine are measured too."""


QUICK = Size(devices=2_000, repetitions=3, big=20_000, huge=0, jobs=1_000, seconds=1.5, databases=False)
"""Enough to see that everything works; ratios of short runs say little."""


@dataclass(frozen=True)
class Figure:
    """One measured value; the median, where it was measured several times."""

    what: str
    value: float
    unit: str = ""
    asked: float | None = None
    at_least: bool = False
    """Whether `asked` is the least, and not the most."""
    samples: tuple[float, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the value is as asked; None where nothing was."""
        if self.asked is None:
            return None
        return self.value >= self.asked if self.at_least else self.value <= self.asked

    def cells(self) -> tuple[str, str, str, str]:
        """What, measured, asked, and whether it was met, as a person reads it."""
        bound = "" if self.asked is None else f"{'≥' if self.at_least else '≤'} {_number(self.asked)}{self.unit}"
        spread = f"  ({_number(min(self.samples))} to {_number(max(self.samples))})" if len(self.samples) > 1 else ""
        met = {None: "", True: "met", False: "missed"}[self.met]
        return self.what, f"{_number(self.value)}{self.unit}{spread}", bound, met

    def record(self) -> dict[str, Any]:
        """As JSON."""
        names = ("what", "value", "unit", "asked", "at_least", "met", "samples")
        return {name: getattr(self, name) for name in names}


def middle(what: str, samples: Sequence[float], unit: str = " s", asked: float | None = None) -> Figure:
    """The median of samples."""
    return Figure(what, median(samples), unit, asked, samples=tuple(samples))


def percentile(what: str, samples: Sequence[float], share: float, unit: str, asked: float | None = None) -> Figure:
    """The value that so large a share of the samples does not exceed."""
    ordered = sorted(samples)
    return Figure(what, ordered[min(len(ordered) - 1, int(len(ordered) * share))], unit, asked)


def ratio(
    what: str, above: Sequence[float], below: Sequence[float], asked: float | None = None, *, at_least: bool = False
) -> Figure:
    """How many times the median of the one is that of the other."""
    return Figure(what, median(above) / median(below), "×", asked, at_least)


def interleaved(repetitions: int, **ways: Callable[[], float]) -> dict[str, list[float]]:
    """The values of each way, taken by turns, so that a disturbance of the machine meets them all."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            found[name].append(way())
    return found


def table(figures: Sequence[Figure]) -> str:
    """The figures in aligned columns."""
    lines = [("", "measured", "asked", ""), *(figure.cells() for figure in figures)]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    return "\n".join("  " + "  ".join(cell.ljust(widths[i]) for i, cell in enumerate(line)).rstrip() for line in lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"

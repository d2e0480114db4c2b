"""The benchmarks run, at sizes that say nothing about speed."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from benchmarks.__main__ import NAMES, main
from benchmarks.figures import Figure, Size, ratio, table

TINY = Size(devices=250, repetitions=1, big=500, huge=700, jobs=50, seconds=0.2, databases=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_gives_figures(name: str) -> None:
    figures = list(import_module(f"benchmarks.{name}").measure(TINY))
    assert any(figure.asked is not None for figure in figures)
    assert all(figure.what in table(figures) for figure in figures)


@pytest.mark.parametrize(
    ("value", "asked", "at_least", "met"),
    [(1.5, 1.6, False, True), (1.7, 1.6, False, False), (21.0, 20.0, True, True), (19.0, 20.0, True, False)],
)
def test_a_figure_says_whether_it_is_as_asked(value: float, asked: float, at_least: bool, met: bool) -> None:
    assert Figure("it", value, asked=asked, at_least=at_least).met is met


def test_a_figure_of_which_nothing_was_asked_is_neither_met_nor_missed() -> None:
    assert Figure("it", 1.0).met is None


def test_a_ratio_is_one_of_medians() -> None:
    assert ratio("it", [4.0, 100.0, 6.0], [2.0, 3.0, 0.0]).value == 3.0


def test_the_figures_are_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.startup.measure", lambda size: iter([Figure("it", 1.0, " s", 2.0)]))
    assert main(["startup", "--quick", "--json", str(tmp_path / "figures.json")]) == 0
    [told] = json.loads((tmp_path / "figures.json").read_text())["startup"]
    assert (told["what"], told["value"], told["asked"], told["met"]) == ("it", 1.0, 2.0, True)


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speeed"])
    assert "no benchmark 'speeed'" in capsys.readouterr().err

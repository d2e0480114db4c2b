"""Template files: names on a line, names that stand for lines, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gengfu import templates


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Renders a text as if it were the file of a room."""
    monkeypatch.setattr(templates, "files", lambda package: tmp_path / package)

    def render(text: str, **values: object) -> str:
        (tmp_path / "room" / "templates").mkdir(parents=True, exist_ok=True)
        (tmp_path / "room" / "templates" / "file").write_text(text, "utf-8")
        return templates.render("room", "file", **values)

    return render


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("a $lines b\n", "x", "a x b\n"),
        ("$lines\nend\n", "", "end\n"),
        ("$lines\nend\n", "one\ntwo", "one\ntwo\nend\n"),
        ("$lines\nend\n", "one\ntwo\n", "one\ntwo\nend\n"),
        ("$lines\n", "costs $5", "costs $5\n"),
        ("a=$$b ${lines}_c\n", "x", "a=$b x_c\n"),
    ],
)
def test_a_name_alone_on_its_line_stands_for_lines(
    rendered: Callable[..., str], text: str, lines: str, expected: str
) -> None:
    assert rendered(text, lines=lines) == expected


def test_a_value_that_is_missing_is_no_empty_text(rendered: Callable[..., str]) -> None:
    with pytest.raises(KeyError):
        rendered("a $missing b\n")

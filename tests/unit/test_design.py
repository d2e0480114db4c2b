"""The words and rooms of docs/design.md are those of the code, in both languages."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gengfu
from documents import ROOT, chinese, rows
from gengfu.store.tables import metadata

PACKAGES = (Path(gengfu.__file__).parent, Path(gengfu.__file__).parent.with_name("gengfu_simulator"))
PAGE = ROOT / "docs" / "design.md"
ENGLISH, CHINESE = rows(PAGE, 5), rows(chinese(PAGE), 5)


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def names() -> dict[str, set[str]]:
    """Every name that the code gives to a module, class, function, argument, variable or column, with its places."""
    found = defaultdict(set)
    for path in (path for package in PACKAGES for path in package.rglob("*.py")):
        found[path.stem].add(path.name)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for name in _given(node):
                found[name].add(f"{path.name}:{getattr(node, 'lineno', 0)}")
    for table in metadata.tables.values():
        for name in (table.name, *table.columns.keys()):
            found[name].add(f"table {table.name}")
    return found


def _given(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name
        case ast.arg():
            yield node.arg
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.Attribute(ctx=ast.Store()):
            yield node.attr


def words(name: str) -> set[str]:
    """The words of a name: `RateLimiter` and `rate_limiter` are both `rate` and `limiter`."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("row", ENGLISH[1:], ids=lambda row: row[0])
def test_a_word_is_in_the_code(row: list[str]) -> None:
    kind = re.search(r"table `|columns? `", row[3])
    for span in spans(row[3]):
        if span.startswith("gengfu."):
            importlib.import_module(span)
        elif span[0].isupper():
            assert span in names(), f"there is no class {span}"
        else:
            assert kind, f"{span} is called neither a table nor a column"
            columns = {column.name for table in metadata.tables.values() for column in table.columns}
            assert span in (metadata.tables if kind[0] == "table `" else columns)


@pytest.mark.parametrize("word", [word for row in ENGLISH[1:] for word in spans(row[4])])
def test_a_word_that_is_not_used_names_nothing(word: str) -> None:
    assert {name: sorted(places) for name, places in names().items() if word in words(name)} == {}


def test_both_languages_have_the_same_words() -> None:
    def told(page: list[list[str]]) -> list[tuple[str, str, list[str], list[str]]]:
        return [(row[0], row[1], spans(row[3]), spans(row[4])) for row in page[1:]]

    assert told(CHINESE) == told(ENGLISH)


@pytest.mark.parametrize("page", [PAGE, chinese(PAGE)], ids=lambda page: page.name)
def test_the_rooms_are_those_that_the_linter_knows(page: Path) -> None:
    floors = {room: int(row[0]) for row in rows(page, 3) if row[0].isdecimal() for room in spans(row[1])}
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in config if contract["id"] == "floors")
    depths = {
        room: depth for depth, layer in enumerate(layers) for room in re.findall(r"\w+", re.sub(r"\(\w+\)", "", layer))
    }
    assert depths.keys() - {"__main__", "testing"} == floors.keys()
    wrong = [
        (high, low) for high in floors for low in floors if floors[high] > floors[low] and depths[high] >= depths[low]
    ]
    assert wrong == []

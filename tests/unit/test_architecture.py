"""The house stands as drawn: imports point down, each file says what it is for, and starting costs little."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gengfu

PACKAGE = Path(gengfu.__file__).parent
ROOT = Path(__file__).parents[2]
SOURCES = sorted([*PACKAGE.rglob("*.py"), *PACKAGE.with_name("gengfu_simulator").rglob("*.py")])
HEAVY = ("aiohttp", "alembic", "msgspec", "psycopg", "pymysql", "redis", "rich", "sqlalchemy", "xlsxwriter")


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


def imported(path: Path) -> Iterator[str]:
    """The modules that a file names in its imports, wherever they stand in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """The functions or classes of the package, each with its place."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, kinds):
                yield f"{name(path)}:{node.lineno}", node


def test_imports_point_down_only() -> None:
    # A process of its own, since the linter sets up logging for the whole process.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_simulator_imports_nothing_of_the_program() -> None:
    wrong = {
        name(path): module
        for path in SOURCES
        for module in imported(path)
        if path.is_relative_to(PACKAGE.parent / "gengfu_simulator")
        and module.split(".")[0] == "gengfu"
        and not module.startswith("gengfu_simulator")
    }
    assert wrong == {}


def test_a_file_opens_with_a_sentence_on_what_it_is_for() -> None:
    docstrings = {name(path): ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "" for path in SOURCES}
    first = {path: docstring.partition("\n")[0] for path, docstring in docstrings.items()}
    assert {path: line for path, line in first.items() if not line.endswith((".", ";", ":"))} == {}


def test_a_function_fits_on_a_screen() -> None:
    # A revision is a list of tables, which is as long as it is.
    functions = nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    long = [place for place, node in functions if node.end_lineno - node.lineno >= 50]
    assert [place for place in long if "/migrations/versions/" not in place] == []


def test_a_class_says_what_it_guarantees() -> None:
    classes = nodes(ast.ClassDef)
    assert [place for place, node in classes if not node.name.startswith("_") and not ast.get_docstring(node)] == []


@pytest.mark.parametrize(
    "module",
    [
        *(
            "cli.console",
            "settings",
            "logs",
            "store.schema",
            "store.enqueue",
            "store.ticks",
            "queue.notify",
            "services.runs",
        ),
        *(
            "cli.device_list",
            "cli.schedule",
            "services.runs",
            "services.schedule",
            "schedule.entries",
            "schedule.plan",
            "schedule.scheduler",
        ),
        *("schedule.running", "schedule.server_clock"),
    ],
)
def test_what_a_queueing_command_imports_is_light(module: str) -> None:
    code = f"import sys, gengfu.{module}; print(*{set(HEAVY)} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_the_locks_pin_every_dependency_with_hashes_and_name_no_registry() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    tools = project["dependency-groups"]["dev"]
    running, testing = _pinned("requirements.lock"), _pinned("requirements-dev.lock")
    assert _names(needed) <= set(running)
    assert _names(tools) <= set(testing)
    # Who only runs the program gets none of the tools, and who tests it tests what runs.
    assert not _names(tools) & set(running)
    assert {name: running[name] for name in running if name in testing} == {
        name: testing[name] for name in testing if name in running
    }


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in requirements}


def _pinned(file: str) -> dict[str, str]:
    """The version of each package in the lock file, all of which must have hashes."""
    lock = (ROOT / file).read_text("utf-8")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)[^\\\n]*\\\n    --hash=sha256:", lock, re.MULTILINE))
    assert len(pinned) == len(re.findall(r"^[^\s#]", lock, re.MULTILINE))
    assert "://" not in lock
    return pinned

"""What user code imports from `gengfu` is there, and costs nothing before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gengfu


@pytest.mark.parametrize("name", gengfu.__all__)
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(gengfu, name).__name__ == name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(gengfu.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen) == sorted(gengfu.__all__)


def test_importing_the_package_imports_no_part_of_it() -> None:
    code = "import sys, gengfu; print([name for name in sys.modules if name.startswith('gengfu.') or name == 'click'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        gengfu.nothing  # noqa: B018

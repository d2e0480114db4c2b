"""Renders the table of docs/dependencies.md from what is installed: `python tests/dependencies.py` writes it into both
languages, a test compares it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "dependencies.md", ROOT / "docs" / "dependencies.zh-CN.md")
LOCKS = {"requirements.lock": "`make install`", "requirements-dev.lock": "`make tools`"}
OTHER_SYSTEMS = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause"}
"""What is locked for other systems or Pythons alone, and so not installed here."""


def packages() -> dict[str, str]:
    """The locked packages, with what installs each."""
    found: dict[str, str] = {}
    for lock, maker in LOCKS.items():
        for name in re.findall(r"(?m)^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==", (ROOT / lock).read_text("utf-8")):
            found.setdefault(name.lower(), maker)
    return dict(sorted(found.items()))


def licence_of(package: str) -> str:
    """What the installed package says of its licence."""
    try:
        told = metadata(package)
    except PackageNotFoundError:
        return OTHER_SYSTEMS[package]
    if expression := told.get("License-Expression"):
        return expression
    named = [line.split(" :: ")[-1] for line in told.get_all("Classifier") or () if line.startswith("License :: ")]
    return ", ".join(named) or str(told.get("License")).partition(" (")[0]


def rows() -> list[str]:
    """The lines of the table."""
    return [f"| {name} | {licence_of(name)} | {maker} |" for name, maker in packages().items()]


def rows_of(page: Path) -> list[str]:
    """The lines that a page has."""
    return [line for line in page.read_text("utf-8").splitlines() if re.match(r"\| [a-z]", line)]


if __name__ == "__main__":
    for page in PAGES:
        kept = [line for line in page.read_text("utf-8").splitlines() if line not in rows_of(page)]
        place = next(number for number, line in enumerate(kept) if line.startswith("|---")) + 1
        page.write_text("\n".join([*kept[:place], *rows(), *kept[place:]]) + "\n", "utf-8")
        print(f"{page} written")

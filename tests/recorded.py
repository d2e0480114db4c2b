"""What the program prints, held against a record of it: what differs from one start to the next is a marker there."""

from __future__ import annotations

import difflib
import getpass
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gengfu import __version__

RECORDING = "GENGFU_TEST_RECORD"
"""Set to 1 in the environment, records are written anew instead of compared."""

NUMBERS = frozenset({"seconds", "age_seconds", "expires_in", "took_ms", "calls", "bytes", "pid"})
"""Keys whose numbers differ from one start to the next, wherever they stand."""

WORDS = {
    "schema_version": "<version>",
    "version": "<version>",
    "program": "<version>",
    "day": "<day>",
    "sha256": "<hash>",
    "account": "<hash>",
}
"""Keys whose texts are of no account."""

_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?")
_TABLES = re.compile(r"\bversion \d{4}\b")
_STAMP = re.compile(r"\d{8}T\d{6}Z")
_DURATION = re.compile(r"\b\d+(\.\d+)? (ms|s|min|h|d|days?)(?![\w/])")


class Record:
    """A folder of records for what one test does; `check` compares, `close` tells all differences at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()
        self._differences: list[str] = []

    def check(self, name: str, text: str) -> None:
        """Holds a text against the record of that name, or makes it the record."""
        assert name not in self._seen, f"{name} is recorded twice"
        self._seen.add(name)
        path = self._folder / name
        if os.environ.get(RECORDING) == "1":
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            return
        if not path.exists():
            self._differences.append(f"there is no record {path.name}; it would be:\n{text}")
            return
        known = path.read_text("utf-8")
        if known != text:
            lines = difflib.unified_diff(
                known.splitlines(), text.splitlines(), f"recorded/{name}", f"now/{name}", lineterm=""
            )
            self._differences.append("\n".join(lines))

    def close(self) -> None:
        """Fails the test if anything differs, or if a record stands for nothing any more."""
        left = {path.name for path in self._folder.glob("*")} - self._seen
        if os.environ.get(RECORDING) == "1":
            for name in left:
                (self._folder / name).unlink()
            return
        self._differences += [f"the record {name} stands for nothing any more" for name in sorted(left)]
        if self._differences:
            told = "\n\n".join(self._differences)
            how = f"{RECORDING}=1 .venv/bin/pytest tests/cli/test_golden.py"
            pytest.fail(
                f"{told}\n\nWhat people and scripts see is not as recorded. If that is meant, record it anew: {how}",
                pytrace=False,
            )


class Markers:
    """Puts markers in the place of what depends on the moment, the machine and the folder.

    A moment before yesterday comes from the made-up fleet, or was asked for, and stays.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        host = socket.gethostname()
        program = Path(sys.executable).with_name("gengfu")
        named = {
            **places,
            str(program): "<program>",
            f"{sys.executable} -m gengfu": "<program>",
            sys.executable: "<python>",
            f"{getpass.getuser()}@{host}": "<user>@<host>",
        }
        # The longest first, so that none is cut by another that it begins with.
        ordered = sorted(named.items(), key=lambda pair: -len(pair[0]))
        self._simple: list[tuple[str, str]] = [(text, marker) for text, marker in ordered if text]
        self._process = re.compile(rf"\b{re.escape(host)}:\d+:[0-9a-f]+")
        self._version = re.compile(rf"\b{re.escape(__version__)}\b")
        self._volatile_from = datetime.now(UTC) - timedelta(days=1)

    def text(self, value: str) -> str:
        for found, marker in self._simple:
            value = value.replace(found, marker)
        value = self._process.sub("<process>", value)
        value = self._version.sub("<version>", value)
        value = _TABLES.sub("version <version>", value)
        value = _STAMP.sub("<stamp>", value)
        value = _MOMENT.sub(self._moment, value)
        return _DURATION.sub("<duration>", value)

    def value(self, value: Any, also: Mapping[str, object]) -> Any:
        """`also`: what stands for the values of further keys, whatever they are."""
        if isinstance(value, Mapping):
            return {self.text(key): self._of_key(key, inner, also) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, also) for inner in value]
        if isinstance(value, str):
            marked = self.text(value)
            # One line a line, so that a difference can be read.
            return {"<lines>": marked.splitlines()} if "\n" in marked else marked
        return value

    def _of_key(self, key: str, value: Any, also: Mapping[str, object]) -> Any:
        if value is None:
            return None
        if key in also:
            return also[key]
        if key in NUMBERS and isinstance(value, (int, float)) and not isinstance(value, bool):
            return "<number>"
        if key in WORDS and isinstance(value, str):
            return WORDS[key]
        return self.value(value, also)

    def _moment(self, found: re.Match[str]) -> str:
        year, month, day = (int(found[number]) for number in (1, 2, 3))
        return "<time>" if (year, month, day) >= self._volatile_from.timetuple()[:3] else found[0]


def as_record(command: str, code: int, answer: Any) -> str:
    """What a run of the program came to, as a record holds it."""
    told = {"command": command, "exit": code, "json": answer}
    return json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


Change = Callable[[Any], Any]


def without_machine(names: Collection[str]) -> Change:
    """For the answer of doctor: the checks of these names keep their names alone, since they tell of the machine."""

    def change(answer: Any) -> Any:
        for check in answer["checks"]:
            if check["check"] in names:
                check.update({key: f"<{key}>" for key in check.keys() - {"check"}})
        return answer

    return change

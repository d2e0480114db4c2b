"""One function turns what services answer with into JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from gengfu.services.json import object_of, to_json


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    number: int
    moment: datetime | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    parts: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (None, None),
        (True, True),
        (0.5, 0.5),
        ("更夫", "更夫"),
        (Colour.RED, "red"),
        (Path("/a/b"), "/a/b"),
        (datetime(2026, 1, 2, 11, tzinfo=timezone(timedelta(hours=8))), "2026-01-02T03:00:00+00:00"),
        (
            Outer("x", (Inner(1, datetime(2026, 1, 2, tzinfo=UTC)), Inner(2))),
            {
                "name": "x",
                "parts": [{"number": 1, "moment": "2026-01-02T00:00:00+00:00"}, {"number": 2, "moment": None}],
            },
        ),
        (
            {Colour.RED: [Inner(1)], "other": {"deep": (Path("c"),)}},
            {"red": [{"number": 1, "moment": None}], "other": {"deep": ["c"]}},
        ),
    ],
)
def test_a_result_becomes_what_json_knows(result: object, told: Any) -> None:
    assert to_json(result) == told
    assert json.loads(json.dumps(to_json(result))) == told


def test_what_is_for_the_program_alone_is_left_out() -> None:
    assert object_of(Inner(1), without=("moment",)) == {"number": 1}


def test_what_has_no_form_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json({"a": object()})
    with pytest.raises(TypeError, match="bytes has no JSON form"):
        to_json([b"raw"])

"""What a person means by a time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gengfu.errors import UsageError
from gengfu.services.times import moment_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", "2026-03-04T03:36:07"),
        ("24h", "2026-03-03T05:06:07"),
        ("2w", "2026-02-18T05:06:07"),
        ("13:06", "2026-03-04T05:06:00"),
        ("13:07", "2026-03-03T05:07:00"),
        ("13:06:08", "2026-03-03T05:06:08"),
        ("2026-01-31", "2026-01-30T16:00:00"),
        (" 2026-01-31 10:05 ", "2026-01-31T02:05:00"),
        ("2026-01-31T10:05+01:00", "2026-01-31T09:05:00"),
    ],
)
def test_a_time_is_read_in_the_zone_of_people(text: str, moment: str) -> None:
    assert moment_of(text, "Asia/Shanghai", NOW) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [("2026-03-29 02:30", "2026-03-29T01:00:00"), ("2026-10-25 02:30", "2026-10-25T00:30:00")],
    ids=["in a skipped hour", "in a repeated hour"],
)
def test_a_time_that_is_there_never_or_twice(text: str, moment: str) -> None:
    assert moment_of(text, "Europe/Berlin", NOW) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "7y", "999999w", "2026-02-30", "0001-01-01"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no time; for example: 90m, 7d, 10:05"):
        moment_of(text, "UTC", NOW)

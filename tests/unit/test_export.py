"""What a spreadsheet makes of a file: nothing in it is a formula, phones stay whole, and every text comes back."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gengfu import read_csv
from gengfu.services.export import Format, copy, writer

ZONE = ZoneInfo("Asia/Shanghai")
SIGNS = "=+-@＝＋－＠﹦﹢﹣﹫"
UNSEEN = ' \t\r\n\x00\x07\x1b\u00a0\u3000\ufeff\u200b\u2028\u202e"'
texts = st.text(st.sampled_from(SIGNS + UNSEEN + "';,|a1电0") | st.characters(codec="utf-8"), max_size=12)


def write(path: Path, *rows: list[Any]) -> Path:
    """A file of those rows, in the format of its ending."""
    columns = [f"c{number}" for number in range(len(rows[0]))]
    copy(rows, writer(Format(path.suffix[1:]), path, columns, ZONE, "rows"), lambda done: None)
    return path


def cells(path: Path, delimiter: str) -> list[str]:
    """What a spreadsheet that splits there finds."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [cell for row in csv.reader(file, delimiter=delimiter) for cell in row]


def is_taken(cell: str) -> bool:
    """Whether a spreadsheet might run it."""
    return re.sub(r'^[\s"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*', "", cell)[:1] in tuple(
        SIGNS
    )


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["=1+1", "a;=1+1", "x\t@SUM(1)"])
@example(["'=1", "''", "a;'b"])
@example(['";=1', "a\r\n=1", "\ufeff \u3000＝1"])
@given(st.lists(texts, min_size=3, max_size=3))
def test_no_cell_of_csv_is_a_formula_and_every_text_comes_back(tmp_path: Path, row: list[str]) -> None:
    path = write(tmp_path / "x.csv", row)
    assert list(read_csv(path)) == [dict(zip(("c0", "c1", "c2"), row, strict=True))]
    for delimiter in ",;\t":
        assert [cell for cell in cells(path, delimiter) if is_taken(cell)] == []
    for cell in cells(path, ","):
        assert cell[:1] not in ("\t", "\r", "\n")


@pytest.mark.parametrize(
    "text",
    ["13800138000", "867000000000001", "00123", "8613800138000", "1E5", "12e3", "1234567890123456789"],
)
def test_phones_and_imeis_stay_text_in_csv_for_people(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "x.csv", [text, [{"id": text}], int(text) if text.isdigit() and len(text) > 15 else 7])
    assert f"'{text}" in cells(path, ",")
    row = next(read_csv(path))
    assert row["c0"] == text
    assert not is_taken(row["c1"])


def test_a_short_number_is_left_alone(tmp_path: Path) -> None:
    assert cells(write(tmp_path / "x.csv", ["42", -5, 1.5]), ",")[3:] == ["42", "-5", "1.5"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["=1+1", "{=1}", "http://x", "_x0041_", "\x01"])
@given(st.lists(texts, min_size=5, max_size=5))
def test_every_text_of_xlsx_is_a_text(tmp_path: Path, row: list[str]) -> None:
    sheet = openpyxl.load_workbook(write(tmp_path / "x.xlsx", row)).active
    assert sheet is not None
    for cell, text in zip(sheet[2] if sheet.max_row > 1 else [], row, strict=False):
        assert cell.value is None or cell.data_type == "s"
        assert cell.hyperlink is None
        assert (cell.value or "").replace("_x000D_", "\r") == text or not text.isprintable() or "_x" in text


def test_imeis_of_any_length_are_whole_in_xlsx(tmp_path: Path) -> None:
    row = ["867000000000001", 12345678901234567, 7, None]
    sheet = openpyxl.load_workbook(write(tmp_path / "x.xlsx", row)).active
    assert sheet is not None
    assert [cell.value for cell in sheet[2]][:3] == ["867000000000001", "12345678901234567", 7]


@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl"])
@pytest.mark.parametrize(
    "moment",
    [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(1899, 12, 31, tzinfo=UTC)],
)
def test_no_moment_of_the_calendar_ends_a_file(tmp_path: Path, ending: str, moment: datetime) -> None:
    assert write(tmp_path / f"x.{ending}", [moment]).stat().st_size > 0

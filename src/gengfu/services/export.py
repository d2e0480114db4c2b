"""Files of rows for people and other programs: CSV, xlsx and JSON lines, written row by row."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol

from gengfu.clock import in_zone
from gengfu.errors import UsageError
from gengfu.language import tr

XLSX_ROWS = 1_048_575
"""The rows that a sheet holds below its titles."""
XLSX_TEXT = 32_767
"""The characters that a cell holds."""
_NARROWEST, _WIDEST = 6, 50
"""The widths of columns, in characters."""
_EXACT = 10**15
"""A spreadsheet keeps fifteen digits of a number; a longer one is written as text."""
_FIRST_YEAR = 1900
"""A spreadsheet knows no time before the end of it."""
_json = json.JSONEncoder(ensure_ascii=False).encode


class Format(StrEnum):
    """What a file of devices is written as."""

    CSV = "csv"
    """Commas and quotes, UTF-8; in files with the mark by which spreadsheets know it."""
    XLSX = "xlsx"
    """A workbook with one sheet."""
    JSONL = "jsonl"
    """One JSON object a line."""


def format_of(path: Path, asked: str | None) -> Format:
    """The format asked for, or else the one that the ending names.

    Raises:
        UsageError: it names none.
    """
    name = asked or path.suffix.lower().removeprefix(".")
    if name not in list(Format):
        raise UsageError(tr("{path} ends with none of .csv, .xlsx and .jsonl; name it so, or give --format", path=path))
    return Format(name)


class Writer(Protocol):
    """Takes rows one by one; `close` makes the file whole."""

    notes: list[str]
    """What was not written as it is."""

    def write(self, row: Sequence[Any]) -> None: ...

    def add_sheet(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        """A further sheet, where the format has sheets."""
        return

    def close(self) -> None: ...


def writer(kind: Format, place: Path | IO[bytes], columns: Sequence[str], zone: tzinfo, sheet: str) -> Writer:
    """A writer of that format, to a file or an open stream; `sheet` is what a sheet of rows is called.

    Raises:
        UsageError: the format cannot go to a stream.
        OSError: the file cannot be opened.
    """
    if kind is Format.XLSX:
        if not isinstance(place, Path):
            raise UsageError("xlsx cannot be written to stdout or a pipe; name a file, or give --format csv")
        return _Xlsx(place, columns, zone, sheet)
    stream = place.open("wb") if isinstance(place, Path) else place
    if kind is Format.JSONL:
        return _JsonLines(stream, columns, zone)
    return _Csv(stream, columns, zone, for_people=isinstance(place, Path))


def copy(
    rows: Iterable[Sequence[Any]],
    to: Writer,
    each: Callable[[int], None],
    sheet: tuple[str, Callable[[], Iterable[Sequence[Any]]]] | None = None,
) -> int:
    """Writes all rows, then the further sheet with what it tells, and makes the file whole; `each` is told the number
    now and then. How many rows there were."""
    number = 0
    for row in rows:
        to.write(row)
        number += 1
        if number % 500 == 0:
            each(number)
    if sheet is not None:
        to.add_sheet(sheet[0], sheet[1]())
    to.close()
    each(number)
    return number


MARK = "'"
"""What stands before a text in CSV that a spreadsheet would take for something else: by it, it stays text."""

# A cell begins where the text does; and, where a spreadsheet splits at semicolons or tabs, after each of these, and
# after what ends a line. What does not show is passed over before a formula, and so are quotes.
_CELL = r"(?:^|(?<=[;\t\r\n]))"
_PASSED_OVER = r"[\s\x00-\x1f\x7f-\x9f\u00ad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\"]*"
_FORMULA = r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
_TAKEN = re.compile(rf"{_CELL}(?={MARK}|{_PASSED_OVER}{_FORMULA})|^(?=[\t\r\n])")
_MARKED = re.compile(rf"{_CELL}{MARK}")
_NUMBER = re.compile(r"0\d+|\d{8,}|\d+[eE]\d+", re.ASCII)
"""What a spreadsheet would show as another number: a phone, an IMEI, an id with zeros in front."""


def marked(text: str, *, numbers: bool) -> str:
    """The text of a cell of CSV as a spreadsheet takes it for text.

    Args:
        numbers: whether phones and IMEIs are to stay text, too.
    """
    text = _TAKEN.sub(MARK, text)
    return MARK + text if numbers and _NUMBER.fullmatch(text) else text


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file that an export wrote, by the names of its columns, with each text as it was.

    Raises:
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: _MARKED.sub("", text) for name, text in row.items()}


class _Csv(Writer):
    """Text that a spreadsheet would take for a formula gets a mark in front, and in files phones and IMEIs too."""

    def __init__(self, stream: IO[bytes], columns: Sequence[str], zone: tzinfo, *, for_people: bool) -> None:
        self.notes: list[str] = []
        self._zone = zone
        self._for_people = for_people
        self._text = io.TextIOWrapper(stream, "utf-8-sig" if for_people else "utf-8", newline="", write_through=False)
        self._writer = csv.writer(self._text, lineterminator="\r\n" if for_people else "\n")
        self._writer.writerow(columns)

    def write(self, row: Sequence[Any]) -> None:
        self._writer.writerow([self._cell(value) for value in row])

    def _cell(self, value: Any) -> Any:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, datetime):
            return in_zone(value, self._zone).replace(tzinfo=None).isoformat(" ", "seconds")
        if isinstance(value, (dict, list)):
            value = _json(value)
        if isinstance(value, int) and abs(value) >= _EXACT:
            value = str(value)
        return marked(value, numbers=self._for_people) if isinstance(value, str) else value

    def close(self) -> None:
        _finish(self._text)


class _JsonLines(Writer):
    def __init__(self, stream: IO[bytes], columns: Sequence[str], zone: tzinfo) -> None:
        self.notes: list[str] = []
        self._stream = stream
        self._columns = columns
        self._zone = zone

    def write(self, row: Sequence[Any]) -> None:
        line = json.dumps(dict(zip(self._columns, row, strict=True)), ensure_ascii=False, default=self._moment)
        self._stream.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def _moment(self, value: Any) -> str:
        assert isinstance(value, datetime)
        return in_zone(value, self._zone).isoformat()

    def close(self) -> None:
        _finish(self._stream)


class _Xlsx(Writer):
    """Every text is written as text, so a cell never is a formula or a link. Columns are as wide as what stands in
    them, and the titles filter."""

    def __init__(self, path: Path, columns: Sequence[str], zone: tzinfo, name: str) -> None:
        import xlsxwriter

        self.notes: list[str] = []
        self._zone = zone
        self._path = path
        # Its own temporary file would be in /tmp, which may be small.
        self._book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "tmpdir": str(path.parent)})
        self._time = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._title = self._book.add_format({"bold": True})
        self._shortened = 0
        self._begin(name)
        self._first = self._sheet
        self._sheet.freeze_panes(1, 1)
        self._line(columns, self._title)

    def _begin(self, name: str) -> None:
        self._sheet = self._book.add_worksheet(name)
        self._row = -1
        self._widths: list[int] = []

    def write(self, row: Sequence[Any]) -> None:
        if self._row >= XLSX_ROWS:
            raise UsageError(too_many_rows(self._row + 1))
        self._line(row)

    def add_sheet(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        self._finish()
        self._begin(name)
        for row in rows:
            self._line(row)

    def _finish(self) -> None:
        if self._sheet is self._first:
            self._sheet.autofilter(0, 0, self._row, len(self._widths) - 1)
        for place, width in enumerate(self._widths):
            self._sheet.set_column(place, place, min(max(width, _NARROWEST), _WIDEST) + 2)

    def _line(self, row: Sequence[Any], form: Any = None) -> None:
        self._row += 1
        self._widths += [0] * (len(row) - len(self._widths))
        for place, value in enumerate(row):
            if value is not None:
                self._widths[place] = max(self._widths[place], self._cell(place, value, form))

    def _cell(self, place: int, value: Any, form: Any = None) -> int:
        """Writes a value; how many columns of text it takes."""
        if isinstance(value, bool):
            self._sheet.write_boolean(self._row, place, value)
            return 5
        if isinstance(value, datetime) and value.year > _FIRST_YEAR:
            local = in_zone(value, self._zone).replace(tzinfo=None)
            self._sheet.write_datetime(self._row, place, local, self._time)
            return 19
        if isinstance(value, int) and abs(value) < _EXACT:
            self._sheet.write_number(self._row, place, value)
            return len(str(value))
        text = _json(value) if isinstance(value, (dict, list)) else str(value)
        if len(text) > XLSX_TEXT:
            text = text[: XLSX_TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"
            self._shortened += 1
        self._sheet.write_string(self._row, place, text, form)
        return _WIDEST if len(text) >= _WIDEST else sum(1 if each < "\u1100" else 2 for each in text)

    def close(self) -> None:
        from xlsxwriter.exceptions import FileCreateError

        if self._shortened:
            self.notes.append(
                tr(
                    "{shortened} cells were longer than {xlsx_text} characters and are cut short",
                    shortened=self._shortened,
                    xlsx_text=XLSX_TEXT,
                )
            )
        self._finish()
        try:
            self._book.close()
        except FileCreateError as error:
            raise error.args[0] from None


def too_many_rows(number: int) -> str:
    """Why so many rows cannot be a sheet."""
    return tr(
        "an xlsx sheet holds {xlsx_rows} rows, and there are {number}; filter them, or write a .csv or .jsonl",
        xlsx_rows=XLSX_ROWS,
        number=number,
    )


def _finish(stream: IO[Any]) -> None:
    """stdout is flushed and stays open."""
    stream.flush()
    if isinstance(stream, io.TextIOWrapper) and stream.buffer is sys.stdout.buffer:
        stream.detach()
    elif stream is not sys.stdout.buffer:
        stream.close()

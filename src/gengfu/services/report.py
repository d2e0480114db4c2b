"""A list as people pass it on: Chinese titles, states in words, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gengfu.mirror.resource import Field, Kind

if TYPE_CHECKING:
    from gengfu.services.lists import Row

STATES = {"online": "在线", "offline": "离线", "unknown": "未知", "present": "在册", "gone": "已下架"}
"""The states of rows, in Chinese."""
YES, NO = "是", "否"
DETAIL, SUMMARY = "明细", "汇总"
"""The sheets of a report."""


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column of a report: its title, and what stands in it for a row and a part of it."""

    title: str
    value: Callable[[Row, Any], Any]


def column_of(field: Field) -> ReportColumn:
    """A field as a report shows it."""
    if field.kind is Kind.FLAG:
        words = {True: YES, False: NO, None: None}
        return ReportColumn(field.zh, lambda row, _: words[row.fields[field.column]])
    return ReportColumn(field.zh, lambda row, _: row.fields[field.column])


ID = ReportColumn("编号", lambda row, _: row.id)
STATE = ReportColumn("状态", lambda row, _: STATES[row.state])


@dataclass
class Report:
    """Turns rows into the lines of a report, and counts them for its summary as they go by."""

    columns: Sequence[ReportColumn]
    parts: Callable[[Row], Sequence[Any]]
    """What has a line of its own in a row."""
    counted: Mapping[str, str]
    """The columns whose values the summary counts, with their titles."""
    as_of: datetime | None
    """When the last complete run ended."""
    made_at: datetime
    states: Counter[str] = field(default_factory=Counter)
    shares: dict[str, Counter[tuple[Any, str]]] = field(default_factory=dict)

    @property
    def titles(self) -> list[str]:
        """Those of the columns."""
        return [column.title for column in self.columns]

    def lines(self, rows: Iterable[Row]) -> Iterator[tuple[Any, ...]]:
        """The lines of these rows."""
        for row in rows:
            self.states[row.state] += 1
            for name in self.counted:
                self.shares.setdefault(name, Counter())[row.fields[name], row.state] += 1
            for part in self.parts(row):
                yield tuple(column.value(row, part) for column in self.columns)

    def summary(self) -> list[list[Any]]:
        """The lines of the summary, once all rows went by."""
        states = [state for state in STATES if self.states[state]]
        lines: list[list[Any]] = [["数据截至", self.as_of], ["导出时间", self.made_at], ["合计", self.states.total()]]
        lines += [[STATES[state], self.states[state]] for state in states]
        for name, title in self.counted.items():
            shares = self.shares.get(name, Counter())
            totals: Counter[Any] = Counter()
            for (value, _), number in shares.items():
                totals[value] += number
            lines += [[], [title, "合计", *(STATES[state] for state in states)]]
            for value, total in sorted(totals.items(), key=lambda each: (-each[1], str(each[0]))):
                lines.append([value or "（无）", total, *(shares[value, state] for state in states)])
        return lines

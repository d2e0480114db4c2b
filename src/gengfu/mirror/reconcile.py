"""The decisions of a run: how many pages, whether the list held still, what vanished, and when a person must look."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, pairwise
from operator import itemgetter

from gengfu.language import tr
from gengfu.store.run_rows import Verdict

MAX_PASSES = 4
"""How often a list that shifts is read before the run ends as drifted."""

SORT_AT_ONCE = 20_000
"""How many keys are sorted at once, in some 2 MB."""

WINDOW_PAGES = 128
"""The most pages in one window. A shorter list is one window, read by the job that planned it."""

MOST_WINDOWS = 1_000
"""A list that would be cut into more has larger ones."""

MOST_PAGES = 1_000_000
"""Nobody reads a list of more."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the passes of a run have shown, when all of its pages are read."""

    pass_number: int
    """From 1; odd passes read from the first page to the last, even ones backwards."""
    totals: Sequence[int]
    """The `total` of each page of the latest pass, in the order in which the pass reads."""
    rows: int
    """Rows listed in the latest pass, repeated and unreadable ones included."""
    distinct: int
    """Different keys over all passes."""
    fresh: int
    """Keys that the latest pass was the first to list."""
    unreadable: int
    """Rows of the latest pass without a usable key."""
    doubled: int
    """Rows of the latest pass that had come in it before."""
    past_end: int
    """Rows on the page past the end, in the latest pass."""
    shifted: bool
    """Whether the run was interrupted, or a page that was read again at the end listed other rows."""
    slack: int
    """How many pages may have been answered out of order."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and its reason, or no verdict: read the list once more, because of `reason`."""

    verdict: Verdict | None
    reason: str | None = None


def judge(evidence: Evidence) -> Judgement:
    """Whether every row that existed throughout the run was read.

    Reading forwards misses rows when others vanish before them (the rest moves up, across a border already read);
    reading backwards misses rows when others appear. So a pass that saw the list only move in its harmless direction
    has missed nothing, and two passes in opposite directions settle every list that shifts one way.
    """
    last = evidence.totals[-1]
    steady = min(evidence.totals) == max(evidence.totals)
    counted = evidence.distinct + evidence.unreadable
    found_nothing_new = steady and not evidence.fresh and evidence.rows >= last
    if evidence.pass_number == 1:
        complaint = _complaint(evidence, last, counted, steady)
        return Judgement(None, complaint) if complaint else Judgement(Verdict.COMPLETE)
    enough = counted >= last or found_nothing_new
    harmless = _never_rises(evidence.totals, evidence.slack, falling=evidence.pass_number % 2 == 0)
    if enough and harmless:
        return Judgement(Verdict.COMPLETE, _settled(evidence.pass_number, max(0, last - counted)))
    if not enough:
        reason = tr("{missing} of {last} rows were never seen", missing=last - counted, last=last)
    else:
        reason = tr(
            "`total` moved between {least} and {most}",
            least=min(evidence.totals),
            most=max(evidence.totals),
        )
    if evidence.pass_number < MAX_PASSES:
        return Judgement(None, reason)
    return Judgement(Verdict.DRIFTED, tr("{reason}, after {passes} passes", reason=reason, passes=MAX_PASSES))


def judge_walk(evidence: Evidence, pages: Sequence[bytes]) -> Judgement:
    """The same for a list that was read one page after the other to its end; `pages` are those of the latest pass.

    Nothing but its end tells its length. A row on two pages shows that the list moved under the reader.
    """
    twice = sum(len(set(array("q", page))) for page in pages) - len(distinct(pages))
    number = evidence.pass_number
    if not twice:
        return Judgement(Verdict.COMPLETE, _settled(number, 0) if number > 1 else None)
    if number > 1 and not evidence.fresh:
        return Judgement(Verdict.COMPLETE, _settled(number, twice))
    reason = tr("{twice} rows came on more than one page", twice=twice)
    if number < MAX_PASSES:
        return Judgement(None, reason)
    return Judgement(Verdict.DRIFTED, tr("{reason}, after {passes} passes", reason=reason, passes=MAX_PASSES))


def _settled(number: int, repetitions: int) -> str:
    told = tr("; {repetitions} rows of the list are repetitions", repetitions=repetitions) if repetitions else ""
    return tr("the list shifted while it was read; settled in pass {number}{told}", number=number, told=told)


def _complaint(evidence: Evidence, last: int, counted: int, steady: bool) -> str | None:
    if not steady:
        return tr(
            "`total` moved between {least} and {most}",
            least=min(evidence.totals),
            most=max(evidence.totals),
        )
    if counted != last:
        return tr("{counted} different rows where `total` is {last}", counted=counted, last=last)
    if evidence.past_end:
        return tr("the page past the end held {evidence.past_end} rows", evidence=evidence)
    if evidence.shifted:
        return "its pages are of different states of the list"
    return None


def _never_rises(totals: Sequence[int], slack: int, *, falling: bool) -> bool:
    """Whether no total is above one that was read clearly before it (below, for `falling=False`).

    Pages are read concurrently, so neighbours up to `slack` apart say nothing about order.
    """
    series = totals if falling else [-total for total in totals]
    lowest: int | None = None
    for position, total in enumerate(series):
        if position > slack:
            earlier = series[position - slack - 1]
            lowest = earlier if lowest is None else min(lowest, earlier)
        if lowest is not None and total > lowest:
            return False
    return True


def page_size(asked: int, rows: int, distinct: int, total: int) -> int:
    """The size of the vendor's pages, from the first one, of which so many rows are `distinct`: a server may cap it
    silently, or give more than it is asked for. A row that comes twice makes no page larger."""
    is_capped = 0 < rows < asked and total > rows
    return distinct if is_capped or distinct > asked else asked


def page_count(total: int, size: int) -> int:
    """How many pages to read: those that hold `total` rows, and the one past the end, which must be empty."""
    return -(-total // size) + 1


def echoes(pages: int) -> tuple[int, ...]:
    """The pages to read once more at the end of a pass over `pages` pages: the first, and the last that holds rows."""
    return (0, pages - 2) if pages > 2 else (0,)


def cut(pages: int) -> list[tuple[int, int]]:
    """Pages 0 to `pages` - 1 as windows of nearly equal length: (first, last), both included."""
    count = min(-(-pages // WINDOW_PAGES), MOST_WINDOWS)
    borders = [pages * i // count for i in range(count + 1)]
    return [(first, after - 1) for first, after in pairwise(borders)]


def too_many(amiss: int, rows: int, percent: float, minimum: int) -> bool:
    """Whether so many of the rows vanished at once, or could not be read, that the list is to be doubted rather than
    believed."""
    return amiss >= max(minimum, 1) and amiss * 100 > rows * percent


def pack(keys: Iterable[int]) -> bytes:
    """Keys as 8 bytes each."""
    return array("q", keys).tobytes()


def unpacked(page: bytes) -> array[int]:
    """The keys of a packed page."""
    return array("q", page)


def distinct(pages: Iterable[bytes]) -> array[int]:
    """The different keys of packed pages, ascending."""
    # Most lists come in the order of their keys, or in the opposite one; then nothing has to be merged.
    parts = _joined(sorted(_joined(_sorted_parts(pages))))
    return parts[0] if len(parts) == 1 else array("q", map(itemgetter(0), groupby(merge(*parts))))


def _joined(parts: Iterable[array[int]]) -> list[array[int]]:
    """The same keys in fewer parts: each that lies above the one before is added to it."""
    found: list[array[int]] = []
    for part in parts:
        if found and found[-1][-1] < part[0]:
            found[-1].extend(part)
        else:
            found.append(part)
    return found


def _sorted_parts(pages: Iterable[bytes]) -> Iterator[array[int]]:
    """The keys of the pages in sorted parts, as few as their sorting fits into little memory."""
    part: array[int] = array("q")
    for page in pages:
        part.frombytes(page)
        if len(part) >= SORT_AT_ONCE:
            yield array("q", sorted(set(part)))
            part = array("q")
    if part:
        yield array("q", sorted(set(part)))


def sift(live: Iterable[Sequence[int]], listed: array[int], *, listed_ones: bool) -> Iterator[int]:
    """The live keys that `listed` holds, or those that it lacks; all ascending, `live` in parts."""
    start = 0
    for part in live:
        start = bisect_left(listed, part[0], start)
        end = bisect_right(listed, part[-1], start)
        there = listed[start:end]
        if listed_ones or there != array("q", part):
            among = set(there)
            yield from (key for key in part if (key in among) is listed_ones)
        start = end


def repetition(pages: Iterable[tuple[int, bytes, int | None]]) -> tuple[int, int] | None:
    """A page of at least two rows that lists exactly what another lists, with that other; None if there is none. Pages
    come with the `total` that they told, if the list tells one: where it differs, the list has shifted in between."""
    first: dict[tuple[bytes, int | None], int] = {}
    for page, ids, total in pages:
        if len(ids) >= 16:
            earlier = first.setdefault((ids, total), page)
            if earlier != page:
                return page, earlier
    return None

"""The decisions of a run, case by case, and against a model of a list that will not hold still."""

from __future__ import annotations

import dataclasses
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gengfu.mirror import reconcile
from gengfu.mirror.reconcile import Evidence, judge
from gengfu.store.run_rows import Verdict

STILL = Evidence(
    pass_number=1,
    totals=[250, 250, 250, 250],
    rows=250,
    distinct=250,
    fresh=250,
    unreadable=0,
    doubled=0,
    past_end=0,
    shifted=False,
    slack=0,
)


def seen(**changes: object) -> Evidence:
    return dataclasses.replace(STILL, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (seen(), Verdict.COMPLETE),
        (seen(totals=[250, 250, 249, 249]), None),
        (seen(distinct=249), None),
        (seen(distinct=249, unreadable=1), Verdict.COMPLETE),
        (seen(past_end=1), None),
        (seen(shifted=True), None),
        (seen(totals=[0], rows=0, distinct=0, fresh=0), Verdict.COMPLETE),
        # the second pass reads backwards: falling totals cannot hide a row from it, rising ones can
        (seen(pass_number=2, totals=[250, 249, 248, 248], fresh=3), Verdict.COMPLETE),
        (seen(pass_number=2, totals=[250, 250, 251, 251], distinct=251), None),
        (seen(pass_number=3, totals=[250, 250, 251, 251], distinct=251), Verdict.COMPLETE),
        (seen(pass_number=3, totals=[250, 249, 248, 248]), None),
        (seen(pass_number=4, totals=[250, 249, 251, 250]), Verdict.DRIFTED),
        (seen(pass_number=4, totals=[250, 250, 251, 251]), Verdict.DRIFTED),
        # two passes over a still list that count fewer keys than rows: the list repeats rows
        (seen(pass_number=2, distinct=245, fresh=0), Verdict.COMPLETE),
        (seen(pass_number=2, distinct=245, fresh=1), None),
        (seen(pass_number=4, distinct=245, rows=245, fresh=0), Verdict.DRIFTED),
    ],
)
def test_what_a_pass_has_shown_decides_the_verdict(evidence: Evidence, verdict: Verdict | None) -> None:
    judgement = judge(evidence)
    assert judgement.verdict == verdict
    assert judgement.reason or verdict == Verdict.COMPLETE


def test_pages_answered_out_of_order_are_no_rise_within_the_slack() -> None:
    jumbled = seen(pass_number=2, totals=[250, 248, 249, 247, 248, 246], slack=2)
    assert judge(jumbled).verdict == Verdict.COMPLETE
    assert judge(dataclasses.replace(jumbled, slack=0)).verdict is None


@settings(max_examples=200, deadline=None)
@given(
    start=st.integers(0, 60),
    size=st.integers(1, 12),
    moves=st.lists(st.integers(0, 10_000), max_size=80),
    grows=st.booleans(),
)
def test_a_complete_run_has_every_row_that_existed_throughout(
    start: int, size: int, moves: list[int], grows: bool
) -> None:
    """The list loses (or gains) rows anywhere, between any two pages, for as long as `moves` says."""
    rows = list(range(start))
    survivors = set(rows)
    left = iter(moves)
    fresh_id = iter(range(1_000_000, 2_000_000))

    def shift() -> None:
        move = next(left, None)
        if move is None or move % 3 == 0:
            return
        if grows:
            rows.insert(move % (len(rows) + 1), next(fresh_id))
        elif rows:
            survivors.discard(rows.pop(move % len(rows)))

    found: set[int] = set()
    verdict = None
    number = 0
    pages = reconcile.page_count(len(rows), size)
    while verdict is None:
        number += 1
        before = set(found)
        totals: list[int] = []
        listed = 0
        past_end = 0
        order = range(pages) if number % 2 else range(pages - 1, -1, -1)
        for page in order:
            part = rows[page * size : (page + 1) * size]
            totals.append(len(rows))
            found |= set(part)
            listed += len(part)
            if page == pages - 1:
                past_end = len(part)
            shift()
        verdict = judge(
            Evidence(number, totals, listed, len(found), len(found - before), 0, 0, past_end, shifted=False, slack=0)
        ).verdict
        pages = reconcile.page_count(len(rows), size)
    assert verdict == Verdict.DRIFTED or survivors <= found


@pytest.mark.parametrize("pages", [reconcile.WINDOW_PAGES * reconcile.MOST_WINDOWS + 1, reconcile.MOST_PAGES])
def test_the_longest_list_is_cut_into_few_windows(pages: int) -> None:
    windows = reconcile.cut(pages)
    assert len(windows) == reconcile.MOST_WINDOWS
    assert (windows[0][0], windows[-1][1]) == (0, pages - 1)


@given(st.integers(1, 5_000))
def test_windows_cover_all_pages_once_in_order_and_are_about_equal(pages: int) -> None:
    windows = reconcile.cut(pages)
    assert [page for first, last in windows for page in range(first, last + 1)] == list(range(pages))
    lengths = [last - first + 1 for first, last in windows]
    assert max(lengths) <= reconcile.WINDOW_PAGES
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("asked", "rows", "distinct", "total", "size"),
    [
        (100, 100, 100, 1000, 100),
        (500, 100, 100, 1000, 100),
        (100, 7, 7, 7, 100),
        (100, 0, 0, 0, 100),
        (100, 0, 0, 50, 100),
        (100, 60, 60, 80, 60),
        (100, 101, 100, 1000, 100),
        (100, 100, 99, 1000, 100),
        (100, 200, 100, 1000, 100),
        (100, 200, 200, 1000, 200),
        (100, 201, 200, 1000, 200),
        (100, 150, 150, 150, 150),
        (100, 31, 30, 250, 30),
    ],
)
def test_the_first_page_shows_the_size_that_the_server_grants(
    asked: int, rows: int, distinct: int, total: int, size: int
) -> None:
    assert reconcile.page_size(asked, rows, distinct, total) == size


@pytest.mark.parametrize(
    ("vanished", "live", "held"),
    [
        (0, 0, False),
        (9, 9, False),
        (10, 10, True),
        (10, 50, False),
        (11, 50, True),
        (2_001, 10_000, True),
        (0, 100, False),
    ],
)
def test_the_guard_holds_above_its_share_and_its_minimum(vanished: int, live: int, held: bool) -> None:
    assert reconcile.too_many(vanished, live, 20, 10) is held


KEYS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)


@given(
    pages=st.lists(KEYS | st.lists(st.integers(-50, 50)), max_size=6),
    live=st.sets(st.integers(-50, 50)),
    data=st.data(),
)
def test_keys_are_merged_and_compared_as_sets(pages: list[list[int]], live: set[int], data: st.DataObject) -> None:
    union = {key for page in pages for key in page}
    with patch.object(reconcile, "SORT_AT_ONCE", data.draw(st.sampled_from([1, 30, 100_000]))):
        listed = reconcile.distinct([reconcile.pack(page) for page in pages])
    assert list(listed) == sorted(union)
    size = data.draw(st.integers(1, 60))
    parts = [sorted(live)[i : i + size] for i in range(0, len(live), size)]
    assert list(reconcile.sift(parts, listed, listed_ones=False)) == sorted(live - union)
    assert list(reconcile.sift(parts, listed, listed_ones=True)) == sorted(live & union)


def test_a_page_that_repeats_another_is_named() -> None:
    full, other = reconcile.pack([1, 2]), reconcile.pack([3, 4])
    assert reconcile.repetition([(0, full, 6), (1, other, 6), (2, full, 6)]) == (2, 0)
    assert reconcile.repetition([(0, full, None), (1, full, None)]) == (1, 0)
    assert reconcile.repetition([(0, reconcile.pack([1]), 2), (1, reconcile.pack([1]), 2)]) is None
    assert reconcile.repetition([(0, b"", 0), (1, b"", 0)]) is None


def test_a_page_that_repeats_another_because_the_list_grew_in_between_is_none() -> None:
    full = reconcile.pack([1, 2])
    assert reconcile.repetition([(0, full, 6), (1, full, 8)]) is None

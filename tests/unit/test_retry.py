"""Patience: pauses that grow, and a last try before the time is over."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gengfu import retry
from gengfu.retry import Patience


def test_pauses_grow_to_the_longest_and_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(retry, "monotonic", lambda: now[0])
    patience = Patience(10.0, first=0.1, longest=1.0, sleep=sleep)
    while patience.lasts():
        pass
    assert 9.0 <= now[0] <= 10.0
    assert 0.05 <= pauses[0] <= 0.1
    assert all(0.5 <= pause <= 1.0 for pause in pauses[4:])
    assert all(later > earlier / 2 for earlier, later in pairwise(pauses))


def test_an_event_loop_goes_on_between_two_tries() -> None:
    async def tries() -> list[str]:
        done: list[str] = []

        async def other() -> None:
            done.append("other work")

        task = asyncio.create_task(other())
        patience = Patience(0.05, first=0.02, longest=0.02)
        while await patience.lasts_async():
            done.append("a try")
        await task
        return done

    assert asyncio.run(tries())[:2] == ["other work", "a try"]


def test_without_time_there_is_no_second_try() -> None:
    assert not Patience(0.0).lasts()

"""When a silent worker counts as dead, and when the silence has another cause."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import event

from gengfu.errors import StoreError
from gengfu.queue import rescue
from gengfu.queue.door import Desk
from gengfu.queue.endings import Endings
from gengfu.queue.rescue import DEAD_AFTER, Rescue
from gengfu.store.database import Database
from gengfu.store.jobs import JobState
from ledgers import add, claim, load, make_ledger, seen


class Scene:
    """A job in the hands of a worker, and another worker that watches it, by a clock that the test moves."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(rescue, "monotonic", lambda: self.now)
        self.ledger = make_ledger(database)
        self.job_id = add(self.ledger, database)
        self.claimed = claim(self.ledger, self.job_id, "one/1")
        self.queued: list[int] = []
        endings = Endings(self.ledger, {}, threading.Event())
        self.rescue = Rescue(self.ledger, endings, Desk(), "two/sweeper", queued=self.queued.append)
        self.look(0)

    def look(self, seconds: int) -> None:
        """Looks, and once more after each of so many seconds."""
        running = [seen(self.ledger, self.job_id)]
        self.rescue.turn(running)
        for _ in range(seconds):
            self.now += 1.0
            self.rescue.turn(running)

    @property
    def state(self) -> JobState:
        return load(self.ledger, self.job_id).state


@pytest.fixture
def scene(database: Database, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(database, monkeypatch)


def test_a_job_whose_worker_is_silent_is_taken_and_told_of(scene: Scene) -> None:
    scene.look(int(DEAD_AFTER) - 1)
    assert (scene.state, scene.queued) == (JobState.RUNNING, [])
    scene.look(1)
    assert (scene.state, scene.queued) == (JobState.QUEUED, [scene.job_id])


def test_a_late_beat_is_a_beat(scene: Scene) -> None:
    for _ in range(3):
        scene.look(int(DEAD_AFTER) - 1)
        assert scene.ledger.beat([scene.claimed]) == set()
    assert scene.state is JobState.RUNNING


def test_a_file_that_nobody_can_write_makes_no_worker_look_dead(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    event.listen(sqlite_database.engine, "connect", lambda made, _: made.execute("PRAGMA busy_timeout = 20"))
    sqlite_database.engine.dispose()
    scene = Scene(sqlite_database, monkeypatch)
    scene.look(4)
    assert sqlite_database.path is not None
    with closing(sqlite3.connect(sqlite_database.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        for _ in range(3 * int(DEAD_AFTER)):
            scene.now += 1.0
            with pytest.raises(StoreError, match="locked"):
                scene.look(0)
        foreign.execute("ROLLBACK")
    scene.look(1)
    assert scene.state is JobState.RUNNING
    assert scene.ledger.beat([scene.claimed]) == set()
    scene.look(int(DEAD_AFTER) - 1)
    assert scene.state is JobState.RUNNING
    scene.look(1)
    assert scene.state is JobState.QUEUED

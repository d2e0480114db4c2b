"""Entries that only queue: run or job, and tick, in one transaction, and no process for them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from gengfu.schedule.policy import Entry, JobRequest, Overlap, RunRequest, Schedule
from gengfu.store import enqueue
from gengfu.store.tables import job, lease, sync_run
from schedulers import NOON, Rig

DEVICES = RunRequest("device", "0", "device list")
BACKUP = JobRequest("BackupDataJob", "backup", 3, "backup:data", "Backup")


def queueing(request: RunRequest | JobRequest = DEVICES, **schedule: Any) -> Entry:
    return Entry("tock", ("no:such",), Schedule("* * * * *", timezone="UTC", **schedule), "test", queues=request)


def rows_of(rig: Rig, table: Any) -> list[Any]:
    with rig.database.read() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)).all())


def close_run(rig: Rig, run_id: int) -> None:
    closed = {"state": "closed", "verdict": "complete", "active_key": None}
    rig.database.write(lambda c: c.execute(update(sync_run).where(sync_run.c.id == run_id).values(**closed)))


def test_a_tick_queues_its_run_and_is_done_without_a_process_or_a_lease(rig: Rig) -> None:
    rig.add(queueing())
    assert rig.run_at("12:00") == ["12:00 done"]
    (tick,), (run,), (queued,) = rig.rows(), rows_of(rig, sync_run), rows_of(rig, job)
    assert (run.resource, run.scope, run.state, run.tick_id) == ("device", "0", "queued", tick.id)
    assert (queued.name, queued.queue, queued.subject) == ("DeviceListJob", "device_list", f"run:{run.id}")
    assert (tick.run_id, tick.job_id, tick.pid, tick.lease_id) == (run.id, queued.id, None, None)
    line = f"Run {run.id} of the device list accepted (scope 0, job {queued.id})."
    assert tick.output == line + "\n"
    assert (rig.home / "logs" / "tock.log").read_text().endswith(f"INFO {line} tick={tick.id}\n")
    assert rig.notified == [("device_list", queued.id)]
    assert (rig.over[0].state, rig.over[0].run_id) == ("done", run.id)
    # The number of a lease is never given twice, so there was none.
    rig.database.write(lambda c: c.execute(lease.insert().values(**_lease())))
    assert rows_of(rig, lease)[0].id == 1


def _lease() -> dict[str, Any]:
    who = {"kind": "scheduler", "name": "a", "host": "other", "pid": 1, "birth": "x", "details": {}, "renewals": 0}
    return who | {"started_at": NOON, "renewed_at": NOON}


def test_many_schedulers_at_once_queue_one_run(rig: Rig) -> None:
    rig.add(queueing())
    threads = [threading.Thread(target=rig.scheduler().run_once, args=(5,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rig.brief() == ["12:00 done"]
    assert len(rows_of(rig, sync_run)) == len(rows_of(rig, job)) == len(rig.notified) == 1


def test_a_run_that_is_still_active_is_the_reason_of_a_skip(rig: Rig) -> None:
    rig.add(queueing())
    rig.run_at("12:00")
    assert rig.run_at("12:01") == ["12:00 done", "12:01 skipped"]
    assert rig.rows()[1].reason == "run 1 is still active, no worker has taken it yet, since 12:00:01"
    close_run(rig, 1)
    assert rig.run_at("12:02")[-1] == "12:02 done"


def test_one_tick_waits_for_the_run_to_end(rig: Rig) -> None:
    rig.add(queueing(overlap=Overlap.QUEUE_ONE))
    for minute in ("00", "01", "02"):
        rig.run_at(f"12:{minute}")
    assert rig.brief() == ["12:00 done", "12:01 waiting", "12:02 skipped"]
    assert rig.rows()[1].reason == "waited: run 1 is still active, no worker has taken it yet, since 12:00:01"
    close_run(rig, 1)
    assert rig.run_at("12:02") == ["12:00 done", "12:01 done", "12:02 skipped"]
    assert [row.tick_id for row in rows_of(rig, sync_run)] == [1, 2]


def test_a_run_is_cancelled_for_the_next_one_where_the_policy_says_so(rig: Rig) -> None:
    rig.add(queueing(overlap=Overlap.CANCEL_RUNNING))
    rig.run_at("12:00")
    assert rig.run_at("12:01") == ["12:00 done", "12:01 done"]
    first, second = rows_of(rig, sync_run)
    assert (first.state, first.verdict, first.reason) == ("closed", "failed", "cancelled for a later start")
    assert (second.state, second.tick_id) == ("queued", 2)


def test_a_job_is_queued_once(rig: Rig) -> None:
    rig.add(queueing(BACKUP))
    rig.run_at("12:00")
    assert rig.run_at("12:01") == ["12:00 done", "12:01 skipped"]
    assert rig.rows()[1].reason == "job 1 is queued or running already"
    (queued,) = rows_of(rig, job)
    assert (queued.name, queued.queue, queued.subject, queued.tries) == ("BackupDataJob", "backup", "backup:data", 3)
    assert rig.notified == [("backup", 1)]


@pytest.mark.parametrize("scheduler", [None, "other:1:a"])
def test_a_tick_that_was_left_open_is_settled_by_the_next_scheduler(light: Rig, scheduler: str | None) -> None:
    light.add(queueing(overlap=Overlap.QUEUE_ONE))
    light.write(entry="tock", due_at=NOON, state="claimed", scheduler=scheduler)
    assert light.run_at("12:00") == ["12:00 done"]
    light.write(entry="tock", due_at=NOON - timedelta(hours=1), state="waiting", scheduler=scheduler)
    close_run(light, 1)
    light.run_at("12:00")
    assert [row.state for row in light.rows()] == ["done", "done"]
    assert len(rows_of(light, sync_run)) == 2


def test_what_the_settings_lack_is_the_reason_of_a_failure(light: Rig) -> None:
    light.add(queueing())
    light.settings = type(light.settings)(home=light.home, gengfu_timezone="UTC")
    assert light.run_at("12:00") == ["12:00 failed"]
    assert "API_WECHAT_URL" in light.rows()[0].reason
    assert rows_of(light, sync_run) == []


def test_there_is_no_tick_without_its_job_and_no_job_without_its_tick(
    light: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    light.add(queueing())
    light.run_at("12:00")
    close_run(light, 1)
    new_job = enqueue.new_job

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the plug was pulled")

    monkeypatch.setattr(enqueue, "new_job", broken)
    with pytest.raises(RuntimeError):
        light.run_at("12:01")
    assert light.brief() == ["12:00 done"]
    with light.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(sync_run)) == 1
    monkeypatch.setattr(enqueue, "new_job", new_job)
    assert light.run_at("12:01") == ["12:00 done", "12:01 done"]

"""The program as a whole: commands, workers, embedded broker and databases as real processes, against the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gengfu.store.jobs import JobState, Outcome
from gengfu.store.run_rows import RunState, Verdict
from stage import wait_for
from system import PASSWORD, SMALL_PAGES, System
from truth import assert_true_copy, mirrored

ODD_ROWS = ["no-imei", "empty-imei", "big-extra", "emoji", "nul", "surrogate", "deep-extra", "text-flag", "zero-time"]


def test_the_main_path_mirrors_the_fleet_and_every_change(
    empty_database_url: str, database_kind: str, open_system: Callable[..., System]
) -> None:
    odd = [f"{kind}:{100_010 + place}" for place, kind in enumerate(ODD_ROWS)]
    sim = {"devices": 500, "deleted": 8, "row": [*odd, "text-id:100030"]}
    system = open_system(sim, database_url=empty_database_url)
    if database_kind != "sqlite":
        assert "gengfu db:upgrade" in system.tell("device:list", code=1).err
        system.tell("db:upgrade")
    worker = system.worker().ready()
    told = system.ask("device:list", "--wait")
    assert (told["status"], told["verdict"]) == ("accepted", "complete")
    system.assert_complete(told["run"], new=500)

    changed = system.sim.fleet("change", count=7, pick="random", fields={"memo": "换机"})
    added = system.sim.fleet("add", count=3)
    deleted = system.sim.fleet("delete", count=4, pick="front")
    told = system.ask("device:list", "--wait")
    kept = set(changed) - set(deleted)
    system.assert_complete(told["run"], new=len(added), changed=len(kept), gone=len(deleted))
    assert mirrored(system.db, live=False).keys() == set(deleted)
    assert system.ask("device:show", str(min(kept)))["device"]["memo"] == "换机"
    assert system.ask("queue:failed")["count"] == 0
    assert worker.told_to_stop() == 0


@contextmanager
def closed_gate(system: System, processes: list[int]) -> Iterator[None]:
    """Nobody can start a run while the block lasts; it ends when all these processes stand before the gate."""
    with system.db.engine.connect() as connection:
        if system.db.kind == "sqlite":
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
            wait_for(lambda: all(has_open(pid, system.db.path) for pid in processes), 60)
            return
        postgres = system.db.kind == "postgresql"
        connection.execute(text("LOCK TABLE sync_run" if postgres else "LOCK TABLES sync_run WRITE"))
        yield
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            if postgres
            else "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND state LIKE '%lock%'"
        )
        wait_for(lambda: look(system, waiting) == len(processes), 60)
        if not postgres:
            connection.execute(text("UNLOCK TABLES"))


def look(system: System, query: str) -> Any:
    with system.db.engine.connect() as connection:
        return connection.scalar(text(query))


def has_open(pid: int, path: Path) -> bool:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if link.readlink() == path:
                return True
        except FileNotFoundError:  # closed since it was listed
            continue
    return False


def test_eight_starts_in_one_instant_are_one_run(database_url: str, open_system: Callable[..., System]) -> None:
    system = open_system({"devices": 200}, database_url=database_url)
    system.tell("device:find", "nothing")  # whoever comes first records the source, and others wait for that too
    processes: list[int] = []
    with closed_gate(system, processes):
        starts = [system.start("device:list", "--json") for _ in range(8)]
        processes.extend(start.pid for start in starts)
    told = [json.loads(start.communicate(timeout=60)[0]) for start in starts]
    assert [start.returncode for start in starts] == [0] * 8
    assert sorted(one["status"] for one in told) == ["accepted"] + ["skipped"] * 7
    run_id = told[0]["run"]
    assert {one["run"] for one in told} == {run_id}
    system.tell("queue:work", "--stop-when-empty")
    system.assert_complete(run_id, new=200)
    assert (len(system.rows()["sync_run"]), len(system.rows()["job"])) == (1, 1)


def test_starts_in_an_empty_folder_make_its_database_once(open_system: Callable[..., System]) -> None:
    system = open_system({"devices": 200}, fresh=True)
    starts = [system.start("device:list", "--json") for _ in range(4)]
    told = [json.loads(start.communicate(timeout=60)[0]) for start in starts]
    assert sorted(one["status"] for one in told) == ["accepted"] + ["skipped"] * 3
    system.tell("queue:work", "--stop-when-empty")
    system.assert_complete(told[0]["run"], new=200)


def test_a_wrong_password_costs_one_login_whatever_is_started(open_system: Callable[..., System]) -> None:
    system = open_system(API_PASSWORD=f"wrong {PASSWORD}")
    workers = [system.worker().ready() for _ in range(2)]
    for _ in range(3):
        told = system.ask("device:list", "--wait", code=1)
        assert told["verdict"] == "failed"
        assert "refused" in told["reason"]
    workers[0].kill()
    assert workers[1].told_to_stop() == 0
    restarted = system.worker().ready()
    assert system.ask("device:list", "--wait", code=1)["verdict"] == "failed"
    assert system.ask("device:list", "--now", code=1)["verdict"] == "failed"
    system.tell("auth:login", code=1)
    assert system.ask("auth:status")["state"] == "refused"
    assert system.sim.state()["logins"] == 1
    assert {job["attempts"] for job in system.ask("queue:failed")["jobs"]} == {1}

    system.set(API_PASSWORD=PASSWORD)
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=600)
    assert restarted.alive
    assert system.sim.state()["logins"] == 2


def test_a_refused_login_is_tried_again_when_a_person_says_so(open_system: Callable[..., System]) -> None:
    system = open_system()
    system.worker().ready()
    system.assert_complete(system.ask("device:list", "--wait")["run"])
    system.sim.control(password="another", revoke=True, reset=True)
    for _ in range(2):
        told = system.ask("device:list", "--wait", code=1)
        assert told["verdict"] == "failed"
    assert system.sim.state()["logins"] == 1
    assert_true_copy(system.sim, system.db)
    system.sim.control(password=PASSWORD)
    assert system.ask("device:list", "--wait", code=1)["verdict"] == "failed"
    assert system.ask("auth:reset")["was_refused"] is True
    system.assert_complete(system.ask("device:list", "--wait")["run"])
    assert system.sim.state()["logins"] == 2


def test_a_token_that_dies_after_each_request_or_in_the_middle_is_renewed_once(
    open_system: Callable[..., System],
) -> None:
    system = open_system({"devices": 300, "revoke_every": 1, "dead_login": "mixed"}, **SMALL_PAGES, API_CONCURRENCY="2")
    system.worker().ready()
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=300)
    state = system.sim.state()
    assert state["logins"] <= state["device_calls"]

    system.sim.control(clear=True)
    system.sim.control(token_lifetime="400ms", expires_in=7200, latency="80ms", reset=True, revoke=True)
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=0)
    state = system.sim.state()
    assert 1 < state["logins"] <= state["span"] / 0.4 + 1


def test_a_storm_of_429_is_waited_out_and_costs_no_try(open_system: Callable[..., System]) -> None:
    system = open_system({"devices": 2_600, "rate": 200, "burst": 10}, **SMALL_PAGES)
    workers = [system.worker("--concurrency", "1").ready() for _ in range(2)]
    system.sim.control(pin=["device:429:2"])
    run_id = system.accept()
    run = system.assert_complete(run_id, new=2_600)
    assert run.throttled >= 2
    assert system.outcomes(run_id) == [[Outcome.DONE]] * 3
    assert all("job started" in worker.log for worker in workers)


def test_a_server_that_answers_nothing_for_a_while_costs_a_try_and_no_more(open_system: Callable[..., System]) -> None:
    system = open_system({"pin": ["device:stall"]}, API_READ_TIMEOUT="0.2")
    worker = system.worker().ready()
    run_id = system.accept()
    wait_for(lambda: "attempt failed" in worker.log, 60)
    assert "fell silent" in (system.jobs(run_id)[0].cause or "")
    system.sim.control(clear=True)
    system.assert_complete(run_id, new=600)
    assert system.outcomes(run_id) == [[Outcome.FAILED, Outcome.DONE]]


def test_a_server_that_stalls_or_cuts_its_answers_is_asked_again(open_system: Callable[..., System]) -> None:
    faults = ["stall", "stall-body", "drip", "cut", "reset", "close", "half", "html", "empty-body", "empty", "no-total"]
    pins = [f"{page}:{kind}:1" for page, kind in enumerate(faults, 3)]
    system = open_system({"pin": pins}, **SMALL_PAGES, API_READ_TIMEOUT="0.5", API_TOTAL_TIMEOUT="2")
    system.worker().ready()
    run = system.assert_complete(system.ask("device:list", "--wait")["run"], new=600)
    assert run.retries >= len(faults)


def test_a_page_that_fails_for_ever_leaves_a_partial_run_that_can_be_sent_again(
    open_system: Callable[..., System],
) -> None:
    system = open_system(**SMALL_PAGES)
    system.worker("--tries", "2").ready()
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=600)
    system.sim.fleet("purge", count=5, pick="end")
    changed = system.sim.fleet("change", ids=[100_002], fields={"memo": "neu"})
    system.sim.control(pin=["7:500"])
    told = system.ask("device:list", "--wait", code=1)
    assert told["verdict"] == "partial"
    assert "pageIndex=7" in told["reason"]
    assert len(mirrored(system.db)) == 600
    assert mirrored(system.db)[changed[0]]["memo"] == "neu"
    failed = system.ask("queue:failed")["jobs"]
    assert [(job["attempts"], job["subject"]) for job in failed] == [(2, f"run:{told['run']}")]
    assert "answered 500" in failed[0]["cause"]
    assert system.ask("queue:failed", str(failed[0]["job"]))["history"][-1]["outcome"] == "failed"

    system.sim.control(clear=True)
    assert system.ask("queue:retry", "all")["retried"] == [failed[0]["job"]]
    run = system.await_end(told["run"])
    assert (run.verdict, run.absent) == (Verdict.COMPLETE, 5)
    assert system.ask("queue:failed")["count"] == 0
    system.assert_complete(system.ask("device:list", "--wait")["run"], gone=5)


def test_told_to_stop_in_the_middle_of_a_run_a_worker_gives_it_back(open_system: Callable[..., System]) -> None:
    system = open_system({"latency": "100ms"}, **SMALL_PAGES, API_CONCURRENCY="2")
    worker = system.worker("--grace", "0.3").ready()
    run_id = system.accept()
    wait_for(lambda: system.run(run_id).pages_done)
    assert worker.told_to_stop() == 0
    run = system.run(run_id)
    assert run.state == RunState.READING
    assert [(record.state, record.attempts) for record in system.jobs(run_id)] == [(JobState.QUEUED, 0)]
    system.sim.control(latency=0)
    system.worker().ready()
    system.assert_complete(run_id, new=600, shifted=True)
    assert system.outcomes(run_id) == [[Outcome.RELEASED, Outcome.DONE]]
    assert system.jobs(run_id)[0].attempts == 1


@pytest.mark.parametrize(
    "drift",
    [
        {"shrink_every": 9},
        {"grow_front_every": 9},
        {"shrink_every": 11, "shrink_purges": True, "grow_end_every": 11},
        {"move_every": 9},
    ],
    ids=str,
)
def test_two_workers_read_a_list_that_shifts(open_system: Callable[..., System], drift: dict[str, Any]) -> None:
    system = open_system({"devices": 2_600, "latency": "5ms"}, **SMALL_PAGES)
    workers = [system.worker("--concurrency", "1").ready() for _ in range(2)]
    before = system.sim.snapshot("unDeleted").keys()
    system.sim.control(**drift, drift_limit=40)
    run = system.await_end(system.accept())
    throughout = before & system.sim.snapshot("unDeleted").keys()
    assert run.verdict in (Verdict.COMPLETE, Verdict.DRIFTED), (run, system.logs())
    assert system.sim.state()["drifts"] > 0
    assert all("job started" in worker.log for worker in workers)
    if run.verdict == Verdict.COMPLETE:
        assert throughout <= mirrored(system.db).keys()
    assert not throughout & mirrored(system.db, live=False).keys()
    system.sim.control(clear=True)
    for _ in range(2):
        calm = system.await_end(system.accept())
        assert calm.verdict == Verdict.COMPLETE, calm
    system.assert_complete(calm.id)


def test_now_finishes_what_a_killed_predecessor_left(open_system: Callable[..., System]) -> None:
    system = open_system({"latency": "100ms"}, **SMALL_PAGES, API_CONCURRENCY="4")
    first = system.start("device:list", "--now", "--json")
    wait_for(lambda: system.rows()["sync_run"] and system.run(1).pages_done, 30)
    first.kill()
    system.sim.control(latency=0)
    told = system.ask("device:list", "--now")
    assert (told["status"], told["run"], told["verdict"]) == ("skipped", 1, "complete")
    system.assert_complete(1, new=600, shifted=True)
    assert system.outcomes(1) == [[Outcome.LOST, Outcome.DONE]]
    assert system.run(1).finished_at is not None

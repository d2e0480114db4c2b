"""Runs against the real vendor client and the simulator: whatever the list does, the copy is whole or says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from gengfu.errors import Fenced, GengfuError, Stopped
from gengfu.store.run_rows import Verdict
from gengfu.store.tables import job
from mirrors import World, context_of


def test_a_first_run_mirrors_every_device_with_every_field(open_world: Callable[..., World], database_url: str) -> None:
    world = open_world(database_url)
    run = world.run()
    assert (run.verdict, run.new, run.seen, run.total_last, run.pages_done) == (
        Verdict.COMPLETE,
        1_000,
        1_000,
        1_000,
        11,
    )
    world.assert_true_copy()
    assert world.changes(run) == []


def test_each_changed_field_is_one_change_and_a_heartbeat_is_none(
    open_world: Callable[..., World], database_url: str
) -> None:
    world = open_world(database_url)
    world.run()
    before = world.rows()
    changed = world.sim.fleet("change", count=3, pick="random", fields={"memo": "新", "brand": "X"})
    beaten = world.sim.fleet("heartbeat", count=200, pick="end")
    added = world.sim.fleet("add", count=2)
    run = world.run()
    assert (run.verdict, run.changed, run.new, run.gone) == (Verdict.COMPLETE, 3, 2, 0)
    assert sorted(world.changes(run)) == sorted(
        (key, column, before[key][column], value)
        for key in changed
        for column, value in (("memo", "新"), ("brand", "X"))
    )
    world.assert_true_copy()
    after = world.rows()
    only_beaten = set(beaten) - set(changed)
    assert all(after[key]["updated_at"] == before[key]["updated_at"] for key in only_beaten)
    assert {key for key in after if after[key]["first_seen_at"] > run.created_at} == set(added)


def test_a_run_asks_for_all_pages_at_once_if_the_last_one_tells_how_many_there_are(world: World) -> None:
    world.run()
    seen = len(world.sim.calls())
    world.sim.control(latency="200ms")
    run = world.run()
    calls = world.sim.calls()[seen:]
    first = next(call for call in calls if call["page"] == 0)
    assert len([call for call in calls if call["at"] < first["at"] + first["took"]]) > 10
    assert (run.verdict, run.calls, run.pages_done) == (Verdict.COMPLETE, 13, 11)


@pytest.mark.parametrize(
    "change", [{"add": 150}, {"delete": 150}, {"page_cap": 50}], ids=lambda change: next(iter(change))
)
def test_a_list_of_another_length_than_last_time_is_read_whole(world: World, change: dict[str, int]) -> None:
    world.run()
    for verb, count in change.items():
        if verb == "page_cap":
            world.sim.control(page_cap=count)
        else:
            world.sim.fleet(verb, count=count, pick="end")
    assert [world.run().verdict for _ in range(2)] == [Verdict.COMPLETE] * 2
    world.assert_true_copy()


def test_a_run_without_news_writes_no_row(world: World) -> None:
    world.run()
    before = world.rows()
    run = world.run()
    assert (run.verdict, run.unchanged, run.changed, run.new, run.heartbeat) == (Verdict.COMPLETE, 1_000, 0, 0, 0)
    assert world.rows() == before


def test_shuffled_keys_are_no_change(world: World) -> None:
    world.run()
    world.sim.control(shuffle_keys=True)
    run = world.run()
    assert (run.verdict, run.changed, world.changes(run)) == (Verdict.COMPLETE, 0, [])


def test_a_device_that_the_vendor_lists_as_deleted_is_gone_at_once_and_comes_back(
    open_world: Callable[..., World], database_url: str
) -> None:
    world = open_world(database_url)
    world.run()
    deleted = world.sim.fleet("delete", count=3, pick="random")
    stopped = world.sim.fleet("stop", count=2, pick="end")
    run = world.run()
    assert (run.verdict, run.gone, run.absent) == (Verdict.COMPLETE, 5, 0)
    assert world.rows(live=False).keys() == {*deleted, *stopped}
    assert {(key, column, old) for key, column, old, _ in world.changes(run)} == {
        (key, "gone_at", None) for key in (*deleted, *stopped)
    }
    world.sim.fleet("restore", ids=deleted)
    run = world.run()
    assert (run.verdict, run.returned, run.gone) == (Verdict.COMPLETE, 3, 0)
    assert [change[3] for change in world.changes(run) if change[1] == "gone_at"] == [None] * 3
    world.assert_true_copy()


def test_a_device_that_merely_vanished_is_gone_after_two_complete_runs(
    open_world: Callable[..., World], database_url: str
) -> None:
    world = open_world(database_url)
    world.run()
    purged = world.sim.fleet("purge", count=4, pick="random")
    run = world.run()
    assert (run.verdict, run.gone, run.absent) == (Verdict.COMPLETE, 0, 4)
    assert world.absent() == set(purged)
    assert world.rows(live=False) == {}
    run = world.run()
    assert (run.verdict, run.gone, run.absent) == (Verdict.COMPLETE, 4, 0)
    assert world.rows(live=False).keys() == set(purged)
    assert world.absent() == set()


def test_a_device_seen_between_two_absences_is_not_gone(world: World) -> None:
    world.run()
    purged = world.sim.fleet("purge", count=2)
    world.run()
    world.sim.fleet("restore", ids=purged)
    world.run()
    world.sim.fleet("purge", ids=purged)
    run = world.run()
    assert (run.gone, run.absent) == (0, 2)


def test_a_partial_run_marks_nothing_and_keeps_what_it_read(world: World) -> None:
    world.run()
    world.sim.fleet("purge", count=2)
    world.run()
    changed = world.sim.fleet("change", ids=[100_950], fields={"memo": "neu"})
    world.sim.control(pin=["3:500"])
    run = world.run()
    assert run.verdict == Verdict.PARTIAL
    assert "page 3" in (run.reason or "")
    assert "500" in (run.reason or "")
    assert world.rows(live=False) == {}
    assert world.rows()[changed[0]]["memo"] == "neu"


def test_only_the_missing_pages_are_fetched_again(world: World) -> None:
    world.sim.control(pin=["3:404:1"])
    run = world.run()
    assert run.verdict == Verdict.COMPLETE
    pages = world.sim.state()["pages"]
    assert pages["3"] >= 2
    assert run.pass_number == 2, "pages of different times are read once more"
    world.assert_true_copy()


@pytest.mark.parametrize(
    "drift",
    [
        {"shrink_every": 3},
        {"shrink_every": 3, "shrink_purges": True},
        {"grow_front_every": 3},
        {"grow_end_every": 3},
        {"shrink_every": 4, "order": "desc"},
        {"shrink_every": 5, "grow_end_every": 5},
        {"move_every": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_a_list_that_shifts_while_it_is_read_is_whole_or_called_drifted(
    open_world: Callable[..., World], sqlite_database_url: str, drift: dict[str, Any], cold: bool
) -> None:
    world = open_world(sqlite_database_url, settings={"api_concurrency": 4}, latency="2ms")
    if not cold:
        world.run()
    before = world.sim.snapshot("unDeleted").keys()
    world.sim.control(**drift, drift_limit=60)
    run = world.run()
    throughout = before & world.sim.snapshot("unDeleted").keys()
    assert run.verdict in (Verdict.COMPLETE, Verdict.DRIFTED)
    assert world.sim.state()["drifts"] > 0
    if run.verdict == Verdict.COMPLETE:
        assert throughout <= world.rows().keys()
    else:
        assert run.reason
        assert world.rows(live=False) == {}
    assert not throughout & world.rows(live=False).keys()
    world.sim.control(clear=True)
    world.run()
    assert world.run().verdict == Verdict.COMPLETE
    world.assert_true_copy()


def test_a_half_list_is_held_until_a_person_approves(open_world: Callable[..., World], database_url: str) -> None:
    world = open_world(database_url)
    world.run()
    before = world.rows()
    world.sim.control(visible=0.5)
    run = world.run()
    assert (run.verdict, run.absent, run.gone) == (Verdict.HELD, 500, 0)
    assert world.rows() == before
    again = world.run()
    assert again.verdict == Verdict.HELD
    assert world.app.mirror.approve(again.id, "root@hall") == 500
    assert len(world.rows()) == 500
    assert (world.get(again.id).verdict, world.get(again.id).gone) == (Verdict.COMPLETE, 500)
    with pytest.raises(GengfuError, match=f"run {again.id} has taken its place"):
        world.app.mirror.approve(run.id, "root@hall")


def test_a_held_run_that_is_discarded_leaves_everything_alive(world: World) -> None:
    world.run()
    world.sim.control(visible=0.5)
    run = world.run()
    world.app.mirror.discard(run.id, "root@hall")
    assert world.absent() == set()
    with pytest.raises(GengfuError, match=f"run {run.id} was discarded already"):
        world.app.mirror.approve(run.id, "root@hall")
    world.sim.control(visible=1)
    assert world.run().verdict == Verdict.COMPLETE
    world.assert_true_copy()


def test_what_came_back_after_a_run_was_held_is_not_marked_by_its_approval(world: World) -> None:
    world.run()
    world.sim.control(visible=0.5)
    run = world.run()
    world.sim.control(visible=1)
    later = world.run()
    with pytest.raises(GengfuError, match=f"run {later.id} has taken its place"):
        world.app.mirror.approve(run.id, "root@hall")
    world.assert_true_copy()


def test_the_deleted_lists_confirm_and_never_revive(open_world: Callable[..., World], database_url: str) -> None:
    world = open_world(database_url)
    world.run()
    run = world.run("1")
    assert (run.verdict, run.new, run.gone) == (Verdict.COMPLETE, 30, 0)
    assert world.rows(live=False).keys() == world.sim.snapshot("deleted").keys()
    deleted = world.sim.fleet("delete", count=2)
    run = world.run("1")
    assert (run.verdict, run.gone, run.returned) == (Verdict.COMPLETE, 2, 0)
    assert world.rows(live=False).keys() >= set(deleted)
    assert world.run("2").new == 10
    assert world.run().gone == 0
    world.assert_true_copy()


@pytest.mark.parametrize(("asked", "cap"), [(500, 100), (100, 30), (7, 0), (1_000, 0)])
def test_a_page_size_that_the_server_caps_silently_is_noticed(
    open_world: Callable[..., World], sqlite_database_url: str, asked: int, cap: int
) -> None:
    world = open_world(sqlite_database_url, settings={"api_page_size": asked}, devices=250, page_cap=cap)
    run = world.run()
    assert (run.verdict, run.page_size) == (Verdict.COMPLETE, min(asked, cap) if cap else asked)
    world.assert_true_copy()


@pytest.mark.parametrize("kind", ["empty", "short", "no-results", "negative-total", "html", "half", "bare-array"])
@pytest.mark.parametrize("page", ["0", "4"])
def test_a_faulty_page_is_read_again_and_never_believed(world: World, kind: str, page: str) -> None:
    world.sim.control(pin=[f"{page}:{kind}:2"])
    assert world.run().verdict == Verdict.COMPLETE
    world.assert_true_copy()
    world.sim.control(pin=[f"{page}:{kind}"])
    run = world.run(tries=1)
    if (page, kind) == ("0", "short"):
        assert run.page_size == 50, "half a page at the front looks like a cap, and is read as one"
    else:
        assert run.verdict in (Verdict.PARTIAL, Verdict.FAILED)
    world.assert_true_copy()


def test_a_server_that_does_not_turn_the_pages_is_found_out(world: World) -> None:
    world.run()
    world.sim.control(repeat_from=0)
    run = world.run(tries=1)
    assert run.verdict == Verdict.PARTIAL
    assert "repeats" in (run.reason or "")
    world.assert_true_copy()


def test_rows_that_cannot_be_read_are_set_aside_and_the_run_goes_on(world: World) -> None:
    kinds = ["null", "text", "number", "list", "no-id", "null-id", "word-id", "float-id", "huge-id", "bool-id"]
    world.sim.control(row=[f"{kind}:{100_010 + i}" for i, kind in enumerate(kinds)] + ["text-id:100001"])
    run = world.run()
    assert (run.verdict, run.rejected, run.seen) == (Verdict.COMPLETE, len(kinds), 1_000 - len(kinds))
    assert 100_001 in world.rows()
    reasons = [reject.reason for reject in world.app.mirror.windows.rejects(run.id)]
    assert len(reasons) == len(kinds)
    assert all(reasons)


def test_a_run_with_unreadable_rows_is_no_witness_against_missing_devices(world: World) -> None:
    world.run()
    world.sim.control(row=["null:100150", "no-id:100151"])
    purged = world.sim.fleet("purge", ids=[100_200])
    for _ in range(3):
        run = world.run()
        assert (run.verdict, run.rejected, run.gone) == (Verdict.COMPLETE, 2, 0)
    world.sim.control(row=[])
    assert world.run().absent == 1
    assert world.run().gone == 1
    assert world.rows(live=False).keys() == set(purged)


def test_a_list_that_repeats_rows_is_complete_with_each_device_once(world: World) -> None:
    world.sim.control(row=["twice:100005", "echo:100500"])
    run = world.run()
    assert (run.verdict, run.seen) == (Verdict.COMPLETE, 1_000)
    assert "repetitions" in (run.reason or "")
    world.assert_true_copy()


def test_strange_devices_are_kept_whole(open_world: Callable[..., World], database_url: str) -> None:
    kinds = ["no-imei", "null-imei", "empty-imei", "same-imei", "big-extra", "text-extra", "emoji", "nul", "surrogate"]
    kinds += ["long-name", "number-name", "deep-extra", "odd-time", "text-flag", "huge-group", "zero-time"]
    world = open_world(database_url, devices=120, row=[f"{kind}:{100_010 + i}" for i, kind in enumerate(kinds)])
    run = world.run()
    assert (run.verdict, run.reason, run.rejected, run.seen) == (Verdict.COMPLETE, None, 0, 120)
    rows = world.rows()
    assert "\u2400" in "".join(filter(None, (rows[100_017][name] for name in ("user_name", "nickname", "real_name"))))
    assert rows[100_022]["other"]
    run = world.run()
    assert (run.verdict, run.changed, run.unchanged) == (Verdict.COMPLETE, 0, 120)


def test_a_refused_login_ends_the_run_and_is_not_tried_again(world: World) -> None:
    world.sim.control(password="another", revoke=True)
    run = world.run()
    assert run.verdict == Verdict.FAILED
    assert "refused" in (run.reason or "")
    assert world.run().verdict == Verdict.FAILED
    assert world.sim.state()["logins"] == 1


def test_a_token_that_dies_after_every_request_costs_time_alone(world: World) -> None:
    world.sim.control(revoke_every=1)
    assert world.run().verdict == Verdict.COMPLETE
    world.assert_true_copy()


def test_a_storm_of_faults_is_ridden_out(open_world: Callable[..., World], sqlite_database_url: str) -> None:
    world = open_world(sqlite_database_url, settings={"api_read_timeout": 0.3})
    storm = ["500:0.03", "html:0.02", "half:0.02", "cut:0.02", "reset:0.03", "429:0.03", "stall:0.01", "dead:0.02"]
    world.sim.control(fail=storm, retry_after="0", heartbeat=0.5)
    run = world.run()
    assert run.verdict == Verdict.COMPLETE
    world.sim.control(clear=True)
    assert world.rows().keys() == world.sim.snapshot("unDeleted").keys()


def test_a_stopped_run_goes_on_where_it_was(open_world: Callable[..., World], sqlite_database_url: str) -> None:
    world = open_world(sqlite_database_url, settings={"api_concurrency": 2}, devices=3_000, latency="150ms")
    run_id, context = world.accept()

    def stop_when_under_way() -> None:
        while not world.get(run_id).pages_done:
            time.sleep(0.01)
        context.stop.set()

    watcher = threading.Thread(target=stop_when_under_way)
    watcher.start()
    with pytest.raises(Stopped):
        world.app.mirror.work(run_id, context)
    watcher.join()
    run = world.get(run_id)
    assert run.active
    assert 0 < run.pages_done < 31
    read = run.pages_done
    world.sim.control(reset=True, latency=0)
    world.app.mirror.work(run_id, context_of(context.job_id))
    run = world.get(run_id)
    assert (run.verdict, run.shifted, run.pass_number) == (Verdict.COMPLETE, True, 2)
    assert world.sim.state()["device_calls"] == (31 - read) + 31
    world.assert_true_copy()


def test_a_zombie_cannot_write_once_its_window_was_taken_up_again(world: World) -> None:
    run_id, context = world.accept()
    world.sim.control(pin=["5:404"])
    with pytest.raises(GengfuError):
        world.app.mirror.work(run_id, context)
    windows = world.app.mirror.windows
    zombie = windows.take(run_id, context.job_id)
    heir = windows.take(run_id, context.job_id)
    assert zombie is not None
    assert heir is not None
    with pytest.raises(Fenced):
        world.app.db.write(lambda transaction: windows.lock(transaction, zombie))
    world.app.db.write(lambda transaction: windows.lock(transaction, heir))


def test_a_long_list_is_cut_into_windows_that_any_worker_may_take(
    open_world: Callable[..., World], sqlite_database_url: str
) -> None:
    world = open_world(sqlite_database_url, settings={"api_page_size": 10}, devices=3_000)
    run = world.run()
    assert (run.verdict, run.pages, run.windows) == (Verdict.COMPLETE, 301, 3)
    world.assert_true_copy()


def test_a_given_up_window_can_be_sent_again(open_world: Callable[..., World], sqlite_database_url: str) -> None:
    world = open_world(sqlite_database_url, settings={"api_page_size": 10}, devices=3_000, pin=["5:404", "250:404"])
    run_id, _ = world.accept()
    world.work_off(tries=1)
    assert world.get(run_id).verdict == Verdict.PARTIAL
    world.sim.control(pin=[])
    with world.app.db.read() as connection:
        ids = list(connection.scalars(select(job.c.id).order_by(job.c.id)))
    for job_id in ids:
        world.app.db.write(partial(world.app.mirror.reopen, run_id=run_id))
        world.app.mirror.work(run_id, context_of(job_id))
    world.work_off()
    assert world.get(run_id).verdict == Verdict.COMPLETE
    world.assert_true_copy()


def test_a_run_that_a_newer_one_has_replaced_stays_closed(world: World) -> None:
    world.sim.control(pin=["5:404"])
    old = world.run(tries=1)
    world.sim.control(pin=[])
    world.run()
    assert not world.app.db.write(partial(world.app.mirror.reopen, run_id=old.id))
    assert world.get(old.id).verdict == Verdict.PARTIAL

"""The commands against a simulated vendor, with real workers: what they do, say and leave behind."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from gengfu.mirror.device import DEVICE
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from gengfu.store.logins import Logins
from gengfu_simulator.testing import Simulator
from servers import sqlite_url
from terminal import Home, read_terminal, read_until

PASSWORD = "pass word/+%41"
ODD = {
    100001: {"memo": "=HYPERLINK(1)", "realName": "张三丰", "phone": "+8613800000000", "nickname": "@all"},
    100002: {"memo": "-1+1", "realName": "Ünal 100%", "nickname": 'say "hi",\nthen\tgo'},
    100003: {"memo": "\x1b[31mred\x1b[0m 😀", "realName": "under_score", "extra": {"big": "x" * 40_000}},
}
GONE = (100010, 100011, 100012)
COLUMNS = (*DEVICE.columns, "first_seen_at", "updated_at", "gone_at")


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(120, username="operator", password=PASSWORD) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def fleet(vendor: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A working folder whose mirror holds 117 devices and three that are gone; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("API_", "GENGFU_")) and "_TEST_" not in name]:
            patch.delenv(name)
        home = Home(tmp_path_factory.mktemp("fleet"), **settings_for(vendor))
        assert home.ask("device:list", "--now").code == 0
        for key, fields in ODD.items():
            vendor.fleet("change", ids=[key], fields=fields)
        vendor.fleet("delete", ids=GONE)
        assert home.ask("device:list", "--now").code == 0
    return home


@pytest.fixture
def own(home: Path) -> Iterator[tuple[Home, Simulator]]:
    """A working folder and a vendor of the test's own."""
    with Simulator(120, username="operator", password=PASSWORD) as simulator:
        yield Home(home, **settings_for(simulator)), simulator


def settings_for(vendor: Simulator, **more: str) -> dict[str, str]:
    account = {"API_USERNAME": vendor.username, "API_PASSWORD": vendor.password}
    return {"API_WECHAT_URL": vendor.url} | account | more


def test_a_run_is_queued_followed_and_skipped_while_it_is_active(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    queued = home.run("device:list", "--json")
    assert queued.code == 0
    assert {name: queued.json[name] for name in ("status", "run", "job", "scope")} == {
        "status": "accepted",
        "run": 1,
        "job": 1,
        "scope": "0",
    }
    skipped = home.run("device:list")
    assert skipped.code == 0
    assert re.fullmatch(r"Skipped: run 1 is active since [-0-9: ]{19}; no worker has taken it yet\.\n", skipped.out)
    assert home.run("device:list", "--json").json["status"] == "skipped"
    with home.worker():
        followed = home.run("device:list", "--wait", "--json")
    assert followed.code == 0
    assert (followed.json["run"] == 1) is (followed.json["status"] == "skipped")
    assert (followed.json["verdict"], followed.json["seen"]) == ("complete", 120)
    assert "run accepted run=1 scope=0" in home.logged("device_list.log")
    assert "worker ready" in home.logged("queue_worker.log")


def test_following_prints_what_was_new_changed_and_gone(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    with home.worker():
        first = home.run("device:list", "--wait")
        vendor.fleet("change", count=4)
        vendor.fleet("delete", count=3)
        vendor.fleet("add", count=2)
        second = home.run("device:list", "--wait")
    assert (first.code, second.code) == (0, 0)
    assert "new 120  changed 0  gone 0  returned 0  unchanged 0" in first.out
    assert "new 2  changed 1  gone 3  returned 0  unchanged 116" in second.out
    assert re.search(r"^Run 2: complete\. 119 devices seen in \d+\.\d\d s\.$", second.out, re.MULTILINE)


def test_in_this_process_a_run_needs_no_worker(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    done = home.ask("device:list", "--now", "--json")
    assert done.code == 0
    assert (done.json["status"], done.json["verdict"], done.json["new"]) == ("accepted", "complete", 120)
    deleted = home.ask("device:list", "--now", "--is-del", "1", "--json")
    assert (deleted.json["scope"], deleted.json["verdict"]) == ("1", "complete")


def test_in_this_process_does_all_windows_of_a_long_list(home: Path) -> None:
    with Simulator(450) as vendor:
        place = Home(home, **settings_for(vendor, API_PAGE_SIZE="1"))
        done = place.ask("device:list", "--now", "--json")
        assert (done.code, done.json["seen"]) == (0, 450)
        windows = place.ask("run:show", "1", "--json").json["windows"]
    assert len(windows) > 1
    assert {window["state"] for window in windows} == {"done"}


def test_in_this_process_takes_over_a_run_that_waits(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    assert home.ask("device:list").code == 0
    done = home.ask("device:list", "--now", "--json")
    assert done.code == 0
    assert (done.json["status"], done.json["run"], done.json["verdict"]) == ("skipped", 1, "complete")


def test_in_this_process_takes_over_a_run_whose_worker_was_killed(
    own: tuple[Home, Simulator], wait_until: Callable[..., None]
) -> None:
    home, vendor = own
    vendor.control(latency="30s")
    with home.worker() as worker:
        home.run("device:list")
        wait_until(lambda: "job started" in home.logged("queue_worker.log"), timeout=30)
        worker.kill()
        worker.wait()
    vendor.control(clear=True)
    done = home.run("device:list", "--now", "--json")
    assert done.code == 0
    assert (done.json["run"], done.json["verdict"], done.json["seen"]) == (1, "complete", 120)


def test_ctrl_c_in_this_process_keeps_what_was_read(
    own: tuple[Home, Simulator], wait_until: Callable[..., None]
) -> None:
    home, vendor = own
    vendor.control(latency="30s")
    process = home.start("device:list", "--now", "--json")
    wait_until(lambda: (home.folder / "logs").exists() and "job started" in home.logged("device_list.log"), timeout=30)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert json.loads(out)["interrupted"] is True
    vendor.control(clear=True)
    assert home.run("queue:status", "--json").json["queues"][0]["queued"] == 1
    assert home.run("device:list", "--now", "--json").json["run"] == 1


def test_ctrl_c_while_following_leaves_the_run_going(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    process, master = home.start_on_terminal("device:list", "--wait")
    said = read_until(master, "no worker has taken the run yet; start one with: gengfu queue:work")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    said += read_terminal(master)
    assert "stopped watching; run 1 goes on" in said
    assert home.run("device:list", "--json").json["status"] == "skipped"


def test_a_broker_that_is_away_only_delays(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    home.set(**settings_for(vendor, REDIS_URL="redis://127.0.0.1:1/0"))
    queued = home.ask("device:list", "--json")
    assert queued.code == 0
    assert queued.json["status"] == "accepted"
    assert "gengfu: warning: no worker could be told (Redis at redis://127.0.0.1:1/0 cannot be used" in queued.err


def test_a_database_that_is_away_is_one_sentence(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    home.set(**settings_for(vendor, DATABASE_URL="postgresql://u:hidden@127.0.0.1:1/x"))
    failed = home.ask("run:list", "--json")
    assert failed.code == 1
    assert failed.json["error"]["type"] == "StoreError"
    assert failed.err.count("\n") == 1
    assert "hidden" not in failed.err + failed.out


def test_switching_verification_off_warns_on_every_run(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    home.set(**settings_for(vendor, API_VERIFY_TLS="false"))
    for _ in range(2):
        assert home.ask("device:list").err.count("API_VERIFY_TLS is false") == 1


def test_a_terminal_shows_a_bar_and_a_pipe_does_not(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    shown = home.on_terminal("device:list", "--now")
    assert shown.code == 0
    assert "3/3 pages" in shown.out
    assert "━" in shown.out
    piped = home.run("device:list", "--now")
    assert "pages" not in piped.out + piped.err
    assert "\x1b" not in piped.out + piped.err


def test_a_device_is_shown_with_its_fields_and_changes(fleet: Home) -> None:
    shown = fleet.ask("device:show", "100001", "--json").json
    assert shown["status"] == "present"
    assert shown["device"]["real_name"] == "张三丰"
    assert set(shown["device"]) == set(COLUMNS)
    assert {change["field"]: change["new"] for change in shown["changes"]} == {
        "memo": "=HYPERLINK(1)",
        "real_name": "张三丰",
        "phone": "+8613800000000",
        "nickname": "@all",
    }
    assert all(change["run_id"] == 2 for change in shown["changes"])
    assert "+00:00" in shown["device"]["first_seen_at"]


def test_times_are_printed_in_the_zone_of_the_settings(fleet: Home) -> None:
    moment = datetime.fromisoformat(fleet.ask("device:show", "100001", "--json").json["device"]["first_seen_at"])
    for zone in ("Asia/Shanghai", "America/New_York"):
        rows = dict(row for row in fleet.ask("device:show", "100001", GENGFU_TIMEZONE=zone).rows if len(row) == 2)
        assert rows["first seen"] == moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


def test_a_gone_device_says_so(fleet: Home) -> None:
    shown = fleet.ask("device:show", str(GONE[0]), "--json").json
    assert shown["status"] == "gone"
    assert shown["device"]["gone_at"] is not None
    assert [change["field"] for change in shown["changes"]] == ["gone_at"]


def test_a_device_that_is_not_there_is_exit_code_1(fleet: Home) -> None:
    missing = fleet.ask("device:show", "7", "--json")
    assert missing.code == 1
    assert missing.json["error"]["type"] == "NotFound"
    assert "there is no device 7" in missing.err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("张三丰", [100001]),
        ("ünal 100%", [100002]),
        ("100%", [100002]),
        ("r_s", [100003]),
        ("100003", [100003]),
        ("hyperlink", [100001]),
        ("8613800", [100001]),
        ("😀", [100003]),
        ("'; DROP TABLE device; --", []),
    ],
)
def test_devices_are_found_by_part_of_a_name_memo_or_number(fleet: Home, text: str, found: list[int]) -> None:
    told = fleet.ask("device:find", "--json", "--", text).json
    assert [device["id"] for device in told["devices"]] == found
    assert told["count"] == len(found)
    assert told["more"] is False


def test_a_search_is_cut_at_its_limit_and_says_so(fleet: Home) -> None:
    found = fleet.ask("device:find", "1", "--limit", "5", "--json")
    assert (found.json["count"], found.json["more"]) == (5, True)
    assert "there are more: --after" in found.err


def test_gone_devices_are_found_when_asked_for(fleet: Home) -> None:
    text = str(GONE[1])
    plain = fleet.ask("device:find", text)
    assert plain.out == ""
    assert f"one that is gone is {text}, see --all" in plain.err
    assert fleet.ask("device:find", text, "--gone").rows[1][-1] == "gone"
    assert fleet.ask("device:find", text, "--all", "--json").json["count"] == 1
    assert fleet.ask("device:find", "张三丰", "--gone", "--json").json["count"] == 0


def test_a_pipe_gets_tabs_and_no_colour_or_box(fleet: Home) -> None:
    found = fleet.ask("device:find", "红", FORCE_COLOR="1")
    red = fleet.ask("device:find", "[31mred")
    assert red.rows[0] == ["id", "name", "IMEI", "phone", "memo", "group", "state"]
    assert [len(row) for row in red.rows] == [7, 7]
    assert red.rows[1][4] == "\\x1b[31mred\\x1b[0m 😀"
    assert "\x1b" not in red.out + found.out


def test_a_terminal_gets_a_table_that_fits(fleet: Home) -> None:
    shown = fleet.on_terminal("device:find", "1", "--limit", "30")
    assert "────" in shown.out
    assert "\t" not in shown.out
    bare = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.out)
    wide = [sum(2 if ord(c) > 0x2E7F else 1 for c in line) for line in bare.splitlines()]
    assert max(wide) <= 80
    assert "\x1b[31m" not in shown.out


def test_no_color_and_columns_are_honoured(fleet: Home) -> None:
    shown = fleet.on_terminal("device:find", "1", "--limit", "30", NO_COLOR="1", COLUMNS="60")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown.out)
    assert max(map(len, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.out).splitlines())) <= 60


def test_csv_comes_back_as_it_was_and_no_cell_is_a_formula(fleet: Home, vendor: Simulator) -> None:
    done = fleet.ask("device:export", "fleet.csv", "--json")
    assert done.json["count"] == 117
    raw = (fleet.folder / "fleet.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfid,imei,")
    rows = {int(row["id"]): row for row in csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))}
    assert rows.keys() == vendor.snapshot().keys()
    assert rows[100001]["real_name"] == "张三丰"
    assert rows[100001]["memo"] == "'=HYPERLINK(1)"
    assert (rows[100001]["phone"], rows[100001]["nickname"]) == ("'+8613800000000", "'@all")
    assert rows[100002]["memo"] == "'-1+1"
    assert rows[100002]["nickname"] == 'say "hi",\nthen\tgo'
    assert json.loads(rows[100003]["extra"]) == ODD[100003]["extra"]
    assert not [cell for row in rows.values() for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    created = vendor.snapshot()[100001]["createTime"]
    assert rows[100001]["create_time"] == created.replace("T", " ").partition(".")[0]


def test_xlsx_comes_back_as_it_was(fleet: Home, vendor: Simulator) -> None:
    done = fleet.ask("device:export", "fleet.xlsx")
    assert done.out == "117 devices written to fleet.xlsx.\n"
    assert "1 cells were longer than 32767 characters and are cut short" in done.err
    sheet = openpyxl.load_workbook(fleet.folder / "fleet.xlsx", read_only=True).active
    assert sheet is not None
    titles, *lines = sheet.iter_rows(values_only=True)
    assert titles == COLUMNS
    rows = {line[0]: dict(zip(COLUMNS, line, strict=True)) for line in lines}
    assert rows.keys() == vendor.snapshot().keys()
    assert rows[100001]["memo"] == "=HYPERLINK(1)"
    assert rows[100001]["real_name"] == "张三丰"
    assert rows[100001]["imei"] == vendor.snapshot()[100001]["imei"]
    created = datetime.fromisoformat(vendor.snapshot()[100001]["createTime"])
    assert rows[100001]["create_time"].replace(microsecond=0) == created.replace(microsecond=0)
    assert isinstance(rows[100001]["alive"], bool)


def test_a_sheet_is_not_begun_that_cannot_hold_all_rows(fleet: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gengfu.services.export.XLSX_ROWS", 100)
    refused = fleet.ask("device:export", "many.xlsx")
    assert refused.code == 2
    assert "an xlsx sheet holds 100 rows, and there are 117" in refused.err
    assert not list(fleet.folder.glob("*many*"))


def test_json_lines_come_back_as_they_were(fleet: Home, vendor: Simulator) -> None:
    done = fleet.ask("device:export", "-", "--format", "jsonl", "--all")
    assert done.code == 0
    assert done.err == "gengfu: 120 devices written\n"
    rows = {row["id"]: row for row in map(json.loads, done.out.splitlines())}
    assert len(rows) == 120
    for key, row in vendor.snapshot().items():
        extra = json.loads(row["extra"]) if isinstance(row.get("extra"), str) else row.get("extra")
        assert (rows[key]["real_name"], rows[key]["extra"]) == (row.get("realName"), extra)
    assert rows[GONE[0]]["gone_at"].endswith("+08:00")


def test_filters_choose_what_is_written(fleet: Home, vendor: Simulator) -> None:
    def ids(*filters: str) -> set[int]:
        done = fleet.ask("device:export", "-", "--format", "csv", "--columns", "id", *filters)
        return {int(line) for line in done.out.splitlines()[1:]}

    rows = vendor.snapshot()
    group = rows[100020]["groupName"]
    assert ids("--group", group) == {key for key, row in rows.items() if row["groupName"] == group}
    assert ids("--group", str(rows[100020]["groupId"])) == ids("--group", group)
    assert ids("--brand", rows[100020]["brand"]) == {k for k, r in rows.items() if r["brand"] == rows[100020]["brand"]}
    assert ids("--dead") == {key for key, row in rows.items() if row["alive"] is False}
    assert ids("--gone") == set(GONE)
    assert ids("--changed-since", "2h", "--all") == rows.keys() | set(GONE)
    assert ids("--changed-since", "2999-01-01") == set()


def test_a_file_is_not_overwritten_unless_forced(fleet: Home) -> None:
    kept = fleet.folder / "kept.jsonl"
    kept.write_text("mine")
    refused = fleet.ask("device:export", "kept.jsonl")
    assert refused.code == 2
    assert "give --force" in refused.err
    assert kept.read_text() == "mine"
    assert fleet.ask("device:export", "kept.jsonl", "--force").code == 0
    assert len(kept.read_text("utf-8").splitlines()) == 117


def test_a_file_that_cannot_be_written_leaves_nothing(fleet: Home) -> None:
    failed = fleet.ask("device:export", "no/such/folder/fleet.csv")
    assert failed.code == 1
    assert "fleet.csv cannot be written: No such file or directory" in failed.err
    full = fleet.ask("device:export", "/dev/full/fleet.csv")
    assert full.code == 1
    assert not list(fleet.folder.glob(".*.csv*"))


def test_a_reader_that_goes_away_in_the_middle_is_no_error(fleet: Home) -> None:
    process = fleet.start("device:export", "-", "--format", "jsonl")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_runs_are_listed_and_shown(fleet: Home) -> None:
    listed = fleet.ask("run:list", "--json").json
    assert [run["run"] for run in listed["runs"]] == [2, 1]
    assert listed["count"] == 2
    assert fleet.ask("run:list", "--verdict", "held", "--json").json["count"] == 0
    assert fleet.ask("run:list", "--scope", "0").rows[1][:3] == ["2", "device", "0"]
    shown = fleet.ask("run:show", "2", "--pages", "--json").json
    assert (shown["verdict"], shown["gone"], shown["changed"]) == ("complete", 3, 3)
    assert [window["state"] for window in shown["windows"]] == ["done"]
    assert [page["page"] for page in shown["pages_read"]] == list(range(shown["pages"]))
    assert shown["changed_fields"]["gone_at"] == 3
    assert {change["device_id"] for change in shown["changes"]} == {*GONE, *ODD}
    assert shown["rejects"] == []
    text = fleet.ask("run:show", "2").out
    assert text.startswith("Run 2: complete. 117 devices seen in ")
    assert "\nWindows\n" in text
    assert "\nChanges\n" in text


def test_a_run_with_rows_set_aside_shows_them(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    vendor.control(row=["word-id:100007"])
    assert home.ask("device:list", "--now").code == 0
    shown = home.ask("run:show", "1")
    assert "\nRows set aside\n" in shown.out
    assert shown.out.splitlines()[-1].startswith("0\t")


@pytest.fixture
def held(own: tuple[Home, Simulator]) -> tuple[Home, Simulator]:
    """Half of the devices vanished at once."""
    home, vendor = own
    assert home.ask("device:list", "--now").code == 0
    vendor.control(visible=0.5)
    ended = home.ask("device:list", "--now", "--json")
    assert ended.code == 1
    assert ended.json["verdict"] == "held"
    assert "gengfu device:approve 2, or device:discard" in ended.err
    return home, vendor


def test_a_held_run_is_approved_by_a_person(held: tuple[Home, Simulator]) -> None:
    home, _ = held
    unasked = home.ask("device:approve", "2")
    assert unasked.code == 2
    assert "without a terminal, give --yes" in unasked.err
    declined = home.on_terminal("device:approve", "2", typed="n\n")
    assert declined.code == 1
    assert "Mark these 60 rows as gone? [y/N]" in declined.out
    assert "... and 40 more." in declined.out
    assert home.ask("device:export", "-", "--format", "csv", "--gone").err == "gengfu: 0 devices written\n"
    approved = home.on_terminal("device:approve", "2", typed="y\n")
    assert approved.code == 0
    assert "Run 2 approved: 60 devices marked as gone." in approved.out
    assert home.ask("device:export", "-", "--format", "csv", "--gone").err == "gengfu: 60 devices written\n"
    again = home.ask("device:approve", "2", "--yes", "--json")
    assert again.code == 1
    assert again.json["error"] == {"type": "RunError", "message": "run 2 was approved already; see: gengfu run:show 2"}


def test_a_held_run_is_discarded_by_a_person(held: tuple[Home, Simulator]) -> None:
    home, vendor = held
    discarded = home.ask("device:discard", "2", "--yes", "--json")
    assert discarded.json == {"run": 2, "status": "discarded", "gone": 0}
    vendor.control(clear=True)
    assert home.ask("device:list", "--now", "--json").json["seen"] == 120
    assert home.ask("device:export", "-", "--format", "csv", "--gone").err == "gengfu: 0 devices written\n"
    assert home.ask("device:discard", "9", "--yes").code == 1


def test_a_failed_job_is_shown_and_sent_again(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    assert home.ask("queue:failed", "--json").json == {"jobs": [], "count": 0}
    home.set(**settings_for(vendor) | {"API_PASSWORD": "wrong"})
    assert home.ask("device:list").code == 0
    assert home.run("queue:work", "--stop-when-empty").code == 0
    failed = home.ask("queue:failed", "--json").json
    assert [(job["job"], job["attempts"]) for job in failed["jobs"]] == [(1, 1)]
    assert "refused the login" in failed["jobs"][0]["cause"]
    one = home.ask("queue:failed", "1", "--json").json
    assert [attempt["outcome"] for attempt in one["history"]] == ["failed"]
    assert home.ask("run:show", "1", "--json").json["verdict"] == "failed"
    assert home.ask("queue:failed", "99").code == 1
    home.set(**settings_for(vendor))
    assert home.ask("queue:retry", "99").code == 1
    assert home.ask("queue:retry", "all", "--json").json == {"retried": [1], "count": 1}
    assert home.ask("queue:retry", "1").code == 1
    assert home.run("queue:work", "--once").code == 0
    assert home.ask("run:show", "1", "--json").json["verdict"] == "complete"
    assert home.ask("queue:status", "--json").json["queues"] == [
        {"queue": "device_list", "queued": 0, "running": 0, "done": 1, "failed": 0}
    ]
    assert home.ask("queue:retry", "all", "--json").json == {"retried": [], "count": 0}


def test_a_worker_with_several_processes_serves_and_ends(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    assert home.run("device:list").code == 0
    done = home.run("queue:work", "--processes", "2", "--queue", "device_list", "--stop-when-empty", "--tries", "2")
    assert done.code == 0
    assert home.run("run:show", "1", "--json").json["verdict"] == "complete"


def test_a_worker_whose_stderr_is_its_log_file_writes_each_line_once(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    (home.folder / "logs").mkdir()
    with (home.folder / "logs" / "queue_worker.log").open("ab") as log:
        assert home.start("queue:work", "--stop-when-empty", stdout=log, stderr=log).wait(60) == 0
    assert home.logged("queue_worker.log").count("worker ready") == 1


def test_the_login_is_tested_refused_and_reset(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    assert home.ask("auth:status", "--json").json["state"] == "none"
    good = home.ask("auth:login", "--json")
    assert good.code == 0
    assert good.json["state"] == "valid"
    home.set(**settings_for(vendor) | {"API_PASSWORD": "wrong"})
    bad = home.ask("auth:login", "--json")
    assert (bad.code, bad.json["error"]["type"]) == (1, "LoginRefused")
    tried = vendor.state()["logins"]
    again = home.ask("auth:login")
    assert again.code == 1
    assert "auth:reset" in again.err
    assert vendor.state()["logins"] == tried
    status = home.ask("auth:status")
    assert dict(row for row in status.rows)["login"] == "refused"
    assert home.ask("auth:reset", "--json").json["was_refused"] is True
    assert home.ask("auth:login").code == 1
    assert vendor.state()["logins"] == tried + 1
    home.set(**settings_for(vendor))
    assert home.ask("auth:login").code == 0


def test_a_wait_that_the_vendor_asked_for_is_shown_and_lifted(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    home.set(**settings_for(vendor))
    account = home.ask("auth:status", "--json").json["account"]
    db = Database(Secret(sqlite_url(home.folder / "var" / "gengfu.db")), home.folder)
    Logins(db).close_gate(account, "the vendor asks for a wait of 900 s", 900)
    db.dispose()
    status = dict(home.ask("auth:status").rows)
    assert status["because"] == "the vendor asks for a wait of 900 s"
    told = home.ask("auth:status", "--json").json
    until = datetime.fromisoformat(told["gate_until"])
    assert timedelta(minutes=13) < until - datetime.now(UTC) <= timedelta(minutes=15)
    assert home.ask("auth:reset", "--json").json == {"was_refused": False, "jobs": 0}
    assert "gate_until" not in home.ask("auth:status", "--json").json
    assert home.ask("device:list", "--now").code == 0


def test_a_run_that_waits_says_why_and_goes_on_at_once_when_the_wait_is_lifted(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    home.set(**settings_for(vendor))
    vendor.control(pin=["0:429:1"], retry_after="99999")
    cause = "the vendor asks for a wait of 99999 s, of which 900 s are kept"
    with home.worker(), home.start("device:list", "--wait") as following:
        assert following.stderr is not None
        said = iter(line.decode() for line in following.stderr)
        warned = next(line for line in said if "try 1 of 3" in line)
        assert re.fullmatch(rf"gengfu: {cause}; try 1 of 3 in (8\d\d|900) s\n", warned)
        told = home.ask("run:show", "1", "--json").json["waiting"]
        assert [job["cause"] for job in told] == [cause]
        shown = dict(row[:2] for row in home.ask("run:show", "1").rows if len(row) > 1)
        assert shown["because"] == cause
        assert home.ask("auth:reset", "--json").json == {"was_refused": False, "jobs": 1}
        assert not [line for line in said if "no worker" in line]
        assert following.wait() == 0


def test_no_secret_is_ever_shown_or_logged(own: tuple[Home, Simulator], redis_url: str) -> None:
    home, vendor = own
    home.set(**settings_for(vendor, REDIS_URL=redis_url, LOG_LEVEL="debug"))
    seen = []
    with home.worker():
        for words in (["auth:login"], ["auth:status"], ["device:list", "--wait"], ["run:show", "1"], ["queue:failed"]):
            plain, told = home.ask(*words), home.ask(*words, "--json")
            seen += [plain.out, plain.err, told.out, told.err]
    with closing(sqlite3.connect(home.folder / "var" / "gengfu.db")) as file:
        tokens = [str(value) for (value,) in file.execute("SELECT value FROM login_token")]
    vendor.control(revoke=True)
    home.set(**settings_for(vendor, REDIS_URL=redis_url) | {"API_PASSWORD": "wrong word"})
    refused = home.run("device:list", "--now", "--json")
    seen += [refused.out, refused.err]
    seen += [path.read_text("utf-8") for path in (home.folder / "logs").iterdir()]
    assert refused.code == 1
    assert len(tokens) == 1
    for secret in (PASSWORD, "pass+word", "pass%20word", "wrong word", *tokens):
        assert not [text for text in seen if secret in text]


def test_a_database_is_upgraded_once_and_then_takes_runs(home: Path, empty_database_url: str, redis_url: str) -> None:
    account = {"API_WECHAT_URL": "http://127.0.0.1:9", "API_USERNAME": "operator", "API_PASSWORD": "secret"}
    place = Home(home, **account, DATABASE_URL=empty_database_url, REDIS_URL=redis_url)
    if not empty_database_url.startswith("sqlite"):
        early = place.ask("device:list", "--json")
        assert early.code == 1
        assert "run: gengfu db:upgrade" in early.json["error"]["message"]
    first = place.ask("db:upgrade", "--json")
    assert first.code == 0
    assert first.json["applied"] == list(schema.REVISIONS)
    second = place.ask("db:upgrade")
    assert second.out.endswith(f"is up to date ({schema.HEAD}).\n")
    assert second.err == ""
    assert [place.ask("device:list", "--json").json["status"] for _ in range(2)] == ["accepted", "skipped"]
    assert place.ask("queue:status", "--json").json["queues"][0]["queued"] == 1

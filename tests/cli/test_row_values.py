"""What people ask the mirror of any list: who is offline, whose WeChat is where, what changed, how many there are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from gengfu_simulator.testing import Simulator
from terminal import Home

WENT_OFFLINE = (100001, 100002, 100003, 100005)
CAME_BACK = (100001, 100002)
LEFT = (100020, 100021)
WECHAT = {
    100030: [{"wechatId": "Xing_A", "nickname": "老王", "online": True}, {"wechatId": "wxid_b", "nickname": "小李"}],
    100031: [{"id": 77, "nickName": "老王", "alive": 0}],
    100032: "no list at all",
    100033: [None, 5, {}, {"other": 1}, {"WeChat_ID": "wxid_c", "is_online": "1"}],
}


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(120, username="operator", password="secret") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def fleet(vendor: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A mirror after three runs: four phones went offline, two of them came back, two vanished; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("API_", "GENGFU_")) and "_TEST_" not in name]:
            patch.delenv(name)
        login = {"API_USERNAME": vendor.username, "API_PASSWORD": vendor.password}
        home = Home(tmp_path_factory.mktemp("fleet"), API_WECHAT_URL=vendor.url, **login)
        for key, accounts in WECHAT.items():
            vendor.fleet("change", ids=[key], fields={"wechatAccounts": accounts})
        vendor.fleet("change", ids=WENT_OFFLINE, fields={"alive": True})
        for command in ("device:list", "account:list", "device_group:list"):
            assert home.ask(command, "--now").code == 0
        vendor.fleet("change", ids=WENT_OFFLINE, fields={"alive": False})
        vendor.fleet("delete", ids=LEFT)
        assert home.ask("device:list", "--now").code == 0
        vendor.fleet("change", ids=CAME_BACK, fields={"alive": 1})
        vendor.fleet("change", ids=[100001], fields={"memo": "borrowed"})
        assert home.ask("device:list", "--now").code == 0
    return home


def told(fleet: Home, *words: str) -> Any:
    done = fleet.ask(*words, "--json")
    assert done.code == 0, done.err
    return done.json


def ids(answer: Any) -> list[int]:
    return [row["id"] for row in answer["devices"]]


def pages(fleet: Home, key: str, number: str, *words: str) -> list[Any]:
    """All rows of a command, page by page."""
    found: list[Any] = []
    after: list[str] = []
    while True:
        answer = told(fleet, *words, "--limit", number, *after)
        found += answer[key]
        assert answer["more"] is (answer["next"] is not None)
        if not answer["more"]:
            return found
        after = ["--after", str(answer["next"])]


def test_phones_that_went_offline_are_told_apart_from_those_that_always_were(fleet: Home, vendor: Simulator) -> None:
    for since in ("昨天", "yesterday", "3天前", "2h"):
        found = told(fleet, "device:offline", "--since", since)
        assert sorted(row["device"]["id"] for row in found["devices"]) == sorted(set(WENT_OFFLINE) - set(CAME_BACK))
        assert {row["known_by"] for row in found["devices"]} == {"change"}
    every = told(fleet, "device:offline")
    offline = {key for key, row in vendor.snapshot().items() if row["alive"] in (False, 0)}
    assert {row["device"]["id"] for row in every["devices"]} == offline
    assert every["total"] == len(offline)
    assert found["unknown"] == sum(row["known_by"] == "first_seen" for row in every["devices"])
    plain = fleet.ask("device:offline", "--since", "昨天")
    assert plain.out.startswith("2 devices went offline since ")
    assert "more are offline, but not known since when" in plain.err


def test_phones_that_are_offline_for_longer_are_told(fleet: Home) -> None:
    assert told(fleet, "device:offline", "--longer-than", "3天")["total"] == 0
    assert fleet.ask("device:offline", "--longer-than", "3天").out == "0 devices are offline for longer than 3天.\n"
    assert told(fleet, "device:offline", "--longer-than", "0s")["unknown"] == 0


def test_phones_that_came_back_are_told(fleet: Home) -> None:
    found = told(fleet, "device:offline", "--back")
    assert sorted(row["device"]["id"] for row in found["devices"]) == list(CAME_BACK)
    assert fleet.ask("device:offline", "--back", "--since", "今天").out.startswith("2 devices came back online since ")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (
            ("device:offline", "--since", "某天"),
            "'某天' is no time; for example: 90m, 7d, 10:05, yesterday, 昨天 09:00",
        ),
        (("device:offline", "--longer-than", "long"), "'long' is no length of time; for example: 90m, 36h, 3d"),
        (("device:offline", "--back", "--longer-than", "3d"), "--back and --longer-than cannot be combined"),
        (("device:find", "--sort", "colour"), "there is no column 'colour'; there are: id, imei"),
        (("device:find", "--sort", "extra"), "rows cannot be sorted by extra"),
        (("device:find", "x" * 1_001), "the text to search for has 1001 characters"),
        (("device:find", "--account", ""), "the text to search for is empty"),
        (("device:changes", "--field", "colour"), "there is no column 'colour'"),
        (("device:changes", "--kind", "lost"), "'lost' is not one of"),
        (("account:show", "7"), "there is no row 7 in the mirror; search with: gengfu account:find TEXT"),
    ],
    ids=str,
)
def test_what_cannot_be_understood_is_one_sentence(fleet: Home, words: tuple[str, ...], wrong: str) -> None:
    failed = fleet.ask(*words)
    assert failed.code == (1 if "show" in words[0] else 2)
    assert wrong in failed.err
    assert failed.err.count("\n") == 1


def test_wechat_accounts_are_listed_one_a_row_whatever_their_form(fleet: Home, vendor: Simulator) -> None:
    def accounts(device: int) -> list[tuple[Any, ...]]:
        rows = told(fleet, "device:accounts", "--device", str(device))["accounts"]
        return [(row["wechat_id"], row["wechat_nickname"], row["wechat_online"]) for row in rows]

    assert accounts(100030) == [("Xing_A", "老王", True), ("wxid_b", "小李", None)]
    assert accounts(100031) == [("77", "老王", False)]
    assert accounts(100032) == []
    assert accounts(100033) == [("wxid_c", None, True)]
    every = pages(fleet, "accounts", "7", "device:accounts")
    plain = {key: row["wechatAccounts"] for key, row in vendor.snapshot().items() if key not in WECHAT}
    expected = Counter({key: len(accounts or []) for key, accounts in plain.items()}) + Counter(
        {100030: 2, 100031: 1, 100033: 1}
    )
    assert Counter(row["device_id"] for row in every) == expected
    assert fleet.ask("device:accounts", "--device", "100032").err == "gengfu: no WeChat account found\n"


def test_devices_are_found_by_whose_wechat_is_on_them(fleet: Home) -> None:
    assert ids(told(fleet, "device:find", "--wechat", "老王")) == [100030, 100031]
    assert ids(told(fleet, "device:find", "--wechat", "XING_a", "--limit", "1")) == [100030]
    assert ids(told(fleet, "device:find", "--wechat", "老王", "--wechat-offline")) == [100031]
    assert ids(told(fleet, "device:find", "--wechat", "老王", "--after", "100030")) == [100031]
    assert ids(told(fleet, "device:find", "--wechat", "小李", "--wechat-online")) == []
    (row,) = told(fleet, "device:accounts", "--nickname", "小李")["accounts"]
    assert (row["device_id"], row["wechat_id"]) == (100030, "wxid_b")


def test_devices_are_found_by_the_customer_service_that_has_them(fleet: Home, vendor: Simulator) -> None:
    account = str(vendor.snapshot()[100040]["currentAccountId"])
    (known,) = told(fleet, "account:find", account)["rows"]
    for word in (account, known["user_name"], known["user_name"].upper()):
        assert ids(told(fleet, "device:find", "--account", word)) == [100040]
    assert 100040 in ids(told(fleet, "device:find", "--account", known["real_name"]))
    assert ids(told(fleet, "device:find", "--account", "nobody")) == []
    for row in told(fleet, "device:accounts", "--account", account)["accounts"]:
        assert (row["account_id"], row["account_name"]) == (account, known["real_name"])


def test_filters_sorting_and_pages_fit_together(fleet: Home, vendor: Simulator) -> None:
    rows = vendor.snapshot()
    offline = {key for key, row in rows.items() if row["alive"] in (False, 0)}
    found = pages(fleet, "devices", "3", "device:find", "--offline", "--sort", "-手机号")
    assert {row["id"] for row in found} == offline
    assert [row["phone"] for row in found] == sorted((row["phone"] for row in found), reverse=True)
    assert [row["id"] for row in pages(fleet, "devices", "50", "device:find")] == sorted(rows)
    group = rows[100040]["groupName"]
    both = {key for key in offline if rows[key]["groupName"] == group}
    assert set(ids(told(fleet, "device:find", "--group", group, "--offline"))) == both
    assert sorted(ids(told(fleet, "device:find", "--gone"))) == list(LEFT)


def test_changes_are_told_by_time_field_device_and_kind(fleet: Home) -> None:
    alive = told(fleet, "device:changes", "--since", "昨天", "--field", "alive")["changes"]
    assert [(row["device_id"], row["new"]) for row in alive] == [
        *((key, True) for key in reversed(CAME_BACK)),
        *((key, False) for key in reversed(WENT_OFFLINE)),
    ]
    assert [row["device_id"] for row in told(fleet, "device:changes", "--kind", "gone")["changes"]] == [*LEFT][::-1]
    one = told(fleet, "device:changes", "--device", "100001", "--oldest-first")["changes"]
    assert [(row["kind"], row["field"]) for row in one] == [
        ("created", None),
        ("changed", "alive"),
        ("changed", "memo"),
        ("changed", "alive"),
    ]
    every = pages(fleet, "changes", "40", "device:changes", "--oldest-first")
    assert [row["seq"] for row in every] == sorted({row["seq"] for row in every})
    assert len(every) == 120 + 2 + 4 + 2 + 1
    assert told(fleet, "device:changes", "--since", "tomorrow")["changes"] == []


def test_the_status_of_a_list_counts_its_rows(fleet: Home, vendor: Simulator) -> None:
    rows = vendor.snapshot()
    found = told(fleet, "device:status", "--values", "100")
    online = sum(row["alive"] in (True, 1) for row in rows.values())
    assert found["states"] == {
        "online": online,
        "offline": len(rows) - online,
        "unknown": 0,
        "gone": len(LEFT),
        "missing": 0,
        "held": 0,
    }
    assert found["as_of"] is not None
    brands = Counter(row["brand"] for row in rows.values())
    assert {share["value"]: share["rows"] for share in found["totals"]["brand"]} == brands
    assert sum(share["online"] for share in found["totals"]["group_name"]) == online
    accounts = told(fleet, "account:status")
    assert accounts["states"] == {"present": 260, "gone": 0, "missing": 0, "held": 0}
    assert sum(share["rows"] for share in accounts["totals"]["department_id"]) == 260


def test_every_list_can_be_asked_in_the_same_way(fleet: Home) -> None:
    assert told(fleet, "device_group:find", "一组")["rows"][0]["group_name"].endswith("一组")
    assert len(pages(fleet, "rows", "100", "account:find", "--sort", "real_name")) == 260
    assert {row["department_id"] for row in told(fleet, "account:find", "--department-id", "2")["rows"]} == {"2"}
    assert told(fleet, "account:show", "700001")["row"]["user_name"] == "kefu001"
    assert told(fleet, "account:changes", "--kind", "created", "--limit", "1")["changes"][0]["row_id"] > 700_000
    done = fleet.ask("device_group:export", "-", "--format", "csv", "--columns", "编号,分组")
    assert done.out.splitlines()[0] == "id,group_name"
    assert len(done.out.splitlines()) == 17


def test_a_list_of_ones_own_is_asked_by_what_its_description_says(home: Path, vendor: Simulator) -> None:
    place = Home(home, API_WECHAT_URL=vendor.url, API_USERNAME=vendor.username, API_PASSWORD=vendor.password)
    resources = home / "app" / "resources"
    resources.mkdir(parents=True)
    (resources / "helper.py").write_text(
        "from gengfu import Field, Kind, Listing, Resource\n"
        "HELPER = Resource(name='helper', title='list of helpers', names=('realName',), shown=('userName',),\n"
        "    listing=Listing('api/Account/myTenantPageAccounts'), online='departmentId',\n"
        "    fields=(Field('userName', searched=True), Field('realName', en='who', zh='谁'),\n"
        "        Field('departmentId', kind=Kind.FLAG), Field('tenantId', filtered=True)))\n"
    )
    assert place.ask("make:migration", "helper").code == 0
    assert place.ask("helper:list", "--now").code == 0
    found = place.ask("helper:find", "kefu001")
    assert found.rows[0] == ["id", "name", "user name", "state"]
    assert found.rows[1][2] == "kefu001"
    assert place.ask("helper:find", "--tenant-id", "1001", "--sort", "谁", "--json").json["count"] == 50
    assert place.ask("helper:offline").code == 0
    assert place.ask("helper:status", "--json").json["states"]["online"] > 0
    help_text = place.ask("helper:find", "--help").out
    assert "Find rows of the list of helpers" in help_text
    assert "--tenant-id TEXT" in help_text


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ("names=('nick',)", "the list helper has no fitting field 'nick', which its names names"),
        ("online='userName'", "the list helper has no fitting field 'userName', which its online names"),
    ],
)
def test_a_description_that_names_no_such_field_is_refused(home: Path, more: str, wrong: str) -> None:
    (home / "app" / "resources").mkdir(parents=True)
    (home / "app" / "resources" / "helper.py").write_text(
        "from gengfu import Field, Listing, Resource\n"
        f"HELPER = Resource(name='helper', listing=Listing('x'), fields=(Field('userName'),), {more})\n"
    )
    assert wrong in Home(home).ask("helper:list").err + Home(home).ask("--help").out


def sheets(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    book = openpyxl.load_workbook(path)
    assert book["明细"].auto_filter.ref == book["明细"].dimensions
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


def test_a_report_has_chinese_titles_words_for_states_and_a_summary(fleet: Home, vendor: Simulator) -> None:
    rows = vendor.snapshot()
    assert fleet.ask("device:export", "report.xlsx", "--preset", "report", "--all").code == 0
    found = sheets(fleet.folder / "report.xlsx")
    titles, *lines = found["明细"]
    assert titles[:6] == ("编号", "状态", "IMEI", "姓名", "昵称", "手机号")
    told = {line[0]: dict(zip(titles, line, strict=True)) for line in lines}
    assert told.keys() == rows.keys() | set(LEFT)
    for key, row in rows.items():
        assert told[key]["状态"] == {True: "在线", False: "离线"}[bool(row["alive"])]
        assert (told[key]["手机号"], told[key]["姓名"]) == (row["phone"], row.get("realName"))
        assert told[key]["客服账号"] == str(row["currentAccountId"])
        assert told[key]["客服"]
    assert {told[key]["状态"] for key in LEFT} == {"已下架"}
    assert told[100030]["微信"] == "老王（Xing_A，在线）；小李（wxid_b，未知）"
    summary = {line[0]: line[1:] for line in found["汇总"]}
    online = sum(bool(row["alive"]) for row in rows.values())
    assert [summary[name][0] for name in ("合计", "在线", "离线", "已下架")] == [120, online, 118 - online, 2]
    assert summary["分组"] == ("合计", "在线", "离线", "已下架")
    assert summary["数据截至"][0] is not None


def test_a_report_may_have_a_line_for_each_wechat_account(fleet: Home) -> None:
    done = fleet.ask("device:export", "accounts.xlsx", "--preset", "report", "--per-account", "--force")
    assert done.code == 0
    titles, *lines = sheets(fleet.folder / "accounts.xlsx")["明细"]
    told = [dict(zip(titles, line, strict=True)) for line in lines]
    chosen = [(row["微信号"], row["微信昵称"], row["微信状态"]) for row in told if row["编号"] in (100030, 100031)]
    assert chosen == [("Xing_A", "老王", "在线"), ("wxid_b", "小李", None), ("77", "老王", "离线")]
    assert len({row["编号"] for row in told}) == 118
    assert done.out == f"{len(told)} devices written to accounts.xlsx.\n"


def test_a_report_takes_columns_by_any_of_their_names(fleet: Home) -> None:
    words = ("--preset", "report", "--format", "csv", "--columns", "编号，状态,phone,realName,last online")
    done = fleet.ask("device:export", "-", *words, "--account", "nobody")
    assert done.out == "编号,状态,手机号,姓名,最后在线\n"
    assert fleet.ask("account:export", "-", "--preset", "report", "--format", "csv").out.startswith(
        "编号,下架时间,租户编号"
    )


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("report.jsonl", "--preset", "report"), "a report is for people: write it as .xlsx or .csv"),
        (("plain.xlsx", "--per-account"), "--per-account goes with --preset report"),
    ],
)
def test_what_is_no_report_is_refused(fleet: Home, words: tuple[str, ...], wrong: str) -> None:
    refused = fleet.ask("device:export", *words)
    assert (refused.code, wrong in refused.err) == (2, True)
    assert not (fleet.folder / words[0]).exists()


def test_sheets_are_as_wide_as_what_stands_in_them(fleet: Home) -> None:
    assert fleet.ask("device_group:export", "groups.xlsx", "--force").code == 0
    sheet = openpyxl.load_workbook(fleet.folder / "groups.xlsx").active
    assert sheet is not None
    assert sheet.title == "device_group"
    widths = {row[0].value: sheet.column_dimensions[row[0].column_letter].width for row in sheet.iter_cols(max_row=1)}
    assert widths["group_name"] > max(2 * len(str(cell.value)) for cell in sheet["C"][1:])
    assert widths["create_time"] >= 19

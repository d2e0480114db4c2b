"""The simulator keeps the wire contract: login, device list, other lists."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest

from gengfu_simulator.answers import DEAD_LOGIN
from gengfu_simulator.faults import Faults
from gengfu_simulator.fleet import Fleet, ListName
from gengfu_simulator.logins import Logins
from simulated import PATH, Client, query


def test_a_login_gives_a_token_with_its_lifetime(client: Client) -> None:
    status, answer = client.login()
    assert status == 200
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 7200
    assert answer["refresh_token"]
    assert client.page()[1] > 0


@pytest.mark.parametrize(("content_type", "status"), [("text/plain", 200), ("application/json", 400)])
def test_a_login_is_read_as_a_form_whatever_its_text_type(client: Client, content_type: str, status: int) -> None:
    assert client.login(Content_Type=content_type)[0] == status


def test_a_login_needs_the_client_header(client: Client) -> None:
    status, answer = client.login(client="browser")
    assert (status, answer) == (400, {"error": "invalid_client"})


@pytest.mark.parametrize(
    ("how", "status", "key"), [("invalid-grant", 400, "error"), ("no-token", 200, "code")], ids=["400", "200"]
)
def test_wrong_credentials_are_refused_in_either_way(client: Client, how: str, status: int, key: str) -> None:
    client.sim.control(wrong_login=how)
    answer = client.login(password="wrong")
    assert answer[0] == status
    assert key in answer[1]
    assert "access_token" not in answer[1]


def test_an_account_is_locked_after_so_many_wrong_logins(client: Client) -> None:
    client.sim.control(lock_after=3)
    for _ in range(2):
        client.login(password="wrong")
    assert client.login()[0] == 200
    for _ in range(3):
        client.login(password="wrong")
    assert client.login()[0] == 400
    state = client.sim.state()
    assert (state["locked"], state["logins"], state["logins_ok"], state["logins_wrong"]) == (True, 7, 1, 5)
    client.sim.control(unlock=True)
    assert client.login()[0] == 200


def test_credentials_change_while_it_runs(client: Client) -> None:
    client.sim.control(password="new", revoke=True)
    assert client.login()[0] == 400
    assert client.raw()[2].decode() == DEAD_LOGIN
    assert client.login(password="new")[0] == 200
    assert client.raw()[0] == 200


@pytest.mark.parametrize(
    ("word", "found"),
    [("missing", "absent"), ("null", None), ("text", "7200"), ("30", 30), ("0.5", 0.5), ("honest", 7200)],
)
def test_a_login_says_of_its_lifetime_what_it_is_told(client: Client, word: str, found: object) -> None:
    client.sim.control(expires_in=word, no_refresh_token=True)
    answer = client.login()[1]
    assert answer.get("expires_in", "absent") == found
    assert "refresh_token" not in answer


def test_a_token_dies_after_its_lifetime() -> None:
    now = [100.0]
    logins = Logins("demo", "demo", lambda: now[0])
    faults = Faults().changed({"token_lifetime": 5})
    token = logins.login("demo", "demo", faults)[1]["access_token"]
    assert logins.use(f"Bearer {token}", faults)
    assert not logins.use(f"basic {token}", faults)
    now[0] += 5
    assert not logins.use(f"bearer {token}", faults)


def test_a_token_dies_after_so_many_calls(client: Client) -> None:
    client.sim.control(revoke_every=2)
    client.login()
    assert [client.raw()[2].decode() == DEAD_LOGIN for _ in range(4)] == [False, False, True, True]
    client.login()
    assert client.raw()[2].decode() != DEAD_LOGIN


def test_a_dead_token_is_answered_with_text_or_401_or_both_by_turns(client: Client) -> None:
    client.token = "never issued"
    status, headers, body = client.raw()
    assert (status, body.decode(), headers.get_content_type()) == (200, DEAD_LOGIN, "text/plain")
    client.sim.control(dead_login="401")
    assert client.raw()[0] == 401
    client.sim.control(dead_login="mixed")
    assert sorted(client.raw()[0] for _ in range(4)) == [200, 200, 401, 401]
    assert client.sim.state()["injected"] == {"dead-login": 6}


@pytest.mark.parametrize("headers", [{}, {"client": "system"}, {"authorization": "bearer {token}"}])
def test_a_call_without_its_headers_is_a_dead_login(client: Client, headers: dict[str, str]) -> None:
    sent = {name: value.format(token=client.token) for name, value in headers.items()}
    assert client.send("GET", f"{PATH}?{query(0, 100)}", sent)[2].decode() == DEAD_LOGIN


def test_an_unknown_path_is_answered_as_the_vendor_does(client: Client) -> None:
    assert client.get("//token")[2].decode() == DEAD_LOGIN
    assert client.get("/api/device/other")[2].decode() == DEAD_LOGIN


def test_pages_add_up_to_the_list_and_are_empty_after_it(client: Client) -> None:
    truth = client.sim.snapshot()
    found = []
    for index in range(4):
        rows, total = client.page(index)
        assert total == len(truth)
        found += rows
    assert found == sorted(truth.values(), key=lambda row: row["id"])
    assert client.page(9) == ([], len(truth))


def test_a_page_holds_a_hundred_unless_said_otherwise(client: Client) -> None:
    body = client.get(f"{PATH}?pageIndex=0&pageSize=")[2]
    assert len(json.loads(body)["results"]) == 100
    assert len(client.page(0, 7)[0]) == 7


@pytest.mark.parametrize("part", ["pageIndex=x", "pageIndex=-1", "pageSize=0&pageIndex=0", "deleteType=gone"])
def test_a_query_that_makes_no_sense_is_refused(client: Client, part: str) -> None:
    assert client.get(f"{PATH}?{part}")[0] == 400


def test_the_same_seed_makes_the_same_fleet() -> None:
    assert Fleet(3, seed=5).rows([100001]) == Fleet(900, seed=5).rows([100001])
    assert Fleet(3, seed=5).rows([100001]) != Fleet(3, seed=6).rows([100001])


def test_devices_are_as_uneven_as_real_ones() -> None:
    rows = [json.loads(row) for row in Fleet(3000).rows(range(100001, 103001))]
    assert len({row["id"] for row in rows}) == 3000
    assert all(re.fullmatch(r"\d{15}", row["imei"]) for row in rows if row["imei"])
    assert {type(row.get("extra")) for row in rows} == {dict, str, type(None)}
    assert all(isinstance(json.loads(row["extra"]), dict) for row in rows if isinstance(row.get("extra"), str))
    assert {str(row["alive"]) for row in rows} == {"True", "False", "1", "0"}
    assert any("memo" not in row for row in rows)
    assert any(row.get("memo", "") is None for row in rows)
    assert any("signalStrength" in row for row in rows)
    assert any(row["imei"] in ("", None) for row in rows)
    assert len({row["imei"] for row in rows}) < 3000
    assert any(isinstance(row["wechatAccounts"], list) and row["wechatAccounts"] for row in rows)
    assert any(re.search("[一-鿿]", row["realName"] or "") for row in rows)
    times = [row["createTime"] for row in rows]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", text) for text in times)
    assert len({len(text) for text in times}) > 1
    assert any(row.get("lastAliveTime") == "0001-01-01T00:00:00" for row in rows)


def test_a_million_devices_are_made_when_they_are_read() -> None:
    fleet = Fleet(1_000_000)
    last = fleet.ids(ListName.LIVE)[-1]
    assert fleet.device(last)["id"] == last
    imei = fleet.device(last - 1)["imei"]
    assert last - 1 in fleet.find(ListName.LIVE, {"imei": imei})


def test_filters_find_what_they_name(client: Client) -> None:
    truth = client.sim.snapshot()
    device = next(row for row in truth.values() if row["realName"] and row["imei"])
    assert device["id"] in client.ids(imei=device["imei"])
    assert all(row["imei"] == device["imei"] for row in client.page(imei=device["imei"])[0])
    assert client.page(imei="860000000000001") == ([], 0)
    rows, total = client.page(keyword=device["realName"])
    assert device["id"] in [row["id"] for row in rows]
    assert total == len(rows) < len(truth)
    assert all(device["realName"] in json.dumps(row, ensure_ascii=False) for row in rows)
    brand = [row for row in truth.values() if row["brand"] == "HUAWEI"]
    assert client.page(brand="HUAWEI")[1] == len(brand)
    assert client.page(alive="0")[1] == len([row for row in truth.values() if not row["alive"]])
    assert client.page(hasWechat="true")[1] == len([row for row in truth.values() if row["wechatAccounts"]])


def test_deleted_and_stopped_devices_have_lists_of_their_own(client: Client) -> None:
    deleted, stopped = client.sim.snapshot("deleted"), client.sim.snapshot("deletedAndStop")
    assert len(deleted) >= 12
    assert client.ids(deleteType="deleted") == list(deleted)
    assert client.ids(deleteType="deletedAndStop") == list(stopped)
    assert all(
        row["isDeleted"] is True and row["deletedAndStop"] is False and row["deleteTime"] for row in deleted.values()
    )
    assert all(row["deletedAndStop"] is True for row in stopped.values())
    imei = next(row["imei"] for row in deleted.values() if row["imei"])
    assert client.page(imei=imei, deleteType="deleted")[1] >= 1
    assert client.page(imei=imei)[1] == 0


def test_the_other_lists_page_in_their_own_ways(client: Client) -> None:
    groups = json.loads(client.get("/api/DeviceGroup/list")[2])
    assert set(groups[0]) == {"id", "tenantId", "groupName", "groupMemo", "count", "createTime"}
    accounts = json.loads(client.get("/api/Account/myTenantPageAccounts?pageIndex=2&pageSize=100")[2])
    assert (len(accounts["results"]), accounts["total"]) == (60, 260)
    after, friends = 0, []
    while batch := json.loads(client.get(f"/api/WechatFriend/list?preFriendId={after}&count=100")[2]):
        friends += batch
        after = batch[-1]["id"]
    assert len({row["id"] for row in friends}) == len(friends) == 330
    assert client.sim.state()["lists"] == {"groups": 1, "accounts": 1, "friends": 5}


@pytest.mark.parametrize(
    ("target", "path"),
    [("groups", "DeviceGroup/list"), ("accounts", "Account/myTenantPageAccounts"), ("friends", "WechatFriend/list")],
)
def test_the_other_lists_share_login_and_faults(client: Client, target: str, path: str) -> None:
    client.sim.control(pin=[f"{target}:500:1", f"{target}:empty:1"])
    assert client.get(f"/api/{path}")[0] == 500
    assert json.loads(client.get(f"/api/{path}")[2]) in ([], {"results": [], "total": 260})
    assert client.get(f"/api/{path}?pageIndex=x&preFriendId=x")[0] == (200 if target == "groups" else 400)
    client.token = "dead"
    assert client.get(f"/api/{path}")[2].decode() == DEAD_LOGIN


def test_a_keyword_is_read_in_percent_and_plus_notation(client: Client) -> None:
    (device_id,) = client.sim.fleet("add", fields={"memo": "双 卡+移动"})
    for written in (quote("双 卡+移动"), quote("双") + "+" + quote("卡+移动")):
        body = client.get(f"{PATH}?keyword={written}")[2]
        assert [row["id"] for row in json.loads(body)["results"]] == [device_id]

"""Each fault of the simulator is what its switch says."""

from __future__ import annotations

import http.client
import json
import socket
import time
import zlib

import pytest

from gengfu_simulator.answers import DEAD_LOGIN
from gengfu_simulator.bad_rows import RowKind
from gengfu_simulator.fault_injector import FaultInjector
from gengfu_simulator.faults import Faults
from gengfu_simulator.values import FaultKind
from simulated import Client, request_text, until


def test_the_list_shrinks_as_it_is_read(client: Client) -> None:
    before = client.ids()
    client.sim.control(shrink_every=2)
    totals = [client.page(index, 10)[1] for index in range(5)]
    assert [total - totals[0] for total in totals] == [0, 0, -1, -1, -2]
    assert client.ids(0, 10) == before[2:12]
    assert set(before[:2]) <= set(client.sim.snapshot("deleted"))
    assert client.sim.state()["drifts"] >= 2


def test_what_shrinks_away_can_be_gone_entirely_and_the_drift_can_end(client: Client) -> None:
    before = client.ids()
    client.sim.control(shrink_every=1, shrink_purges=True, drift_limit=3)
    for _ in range(6):
        client.page()
    assert client.ids()[0] == before[3]
    assert not set(before[:3]) & set(client.sim.snapshot("deleted"))
    assert client.sim.state()["drifts"] == 3


def test_the_list_grows_at_both_ends_and_moves(client: Client) -> None:
    before = list(client.sim.snapshot())
    client.sim.control(grow_front_every=2, grow_end_every=3)
    for _ in range(6):
        client.page()
    now = list(client.sim.snapshot())
    assert now[3:-2] == before
    client.sim.control(clear=True, move_every=1)
    client.page()
    assert list(client.sim.snapshot()) == [*now[1:], now[0]]


def test_a_list_that_loses_and_gains_keeps_its_total(client: Client) -> None:
    client.sim.control(shrink_every=1, grow_end_every=1)
    assert len({client.page()[1] for _ in range(5)}) == 1
    assert client.sim.state()["drifts"] == 10


def test_the_newest_come_first_when_the_order_is_reversed(client: Client) -> None:
    ids = list(client.sim.snapshot())
    client.sim.control(order="desc")
    assert client.ids(0, 10) == ids[::-1][:10]
    assert client.ids(1, 10) == ids[::-1][10:20]
    client.sim.control(grow_front_every=1)
    client.page()
    assert client.ids(0, 2)[1] == ids[-1]
    assert client.ids(0, 2)[0] > ids[-1]


def test_the_page_size_is_capped_without_a_word(client: Client) -> None:
    client.sim.control(page_cap=40)
    ids = list(client.sim.snapshot())
    assert client.ids(1, 100) == ids[40:80]
    assert client.ids(1, 20) == ids[20:40]


def test_a_page_repeats_for_ever(client: Client) -> None:
    ids = list(client.sim.snapshot())
    client.sim.control(repeat_from=0)
    assert client.ids(5, 10) == client.ids(99, 10) == ids[:10]
    client.sim.control(repeat_from=2)
    assert client.ids(1, 10) == ids[10:20]
    assert client.ids(77, 10) == ids[20:30]


def test_half_a_list_agrees_with_itself(client: Client) -> None:
    ids = list(client.sim.snapshot())
    half = len(ids) // 2
    client.sim.control(visible=0.5)
    rows, total = client.page(half // 10, 10)
    assert total == half
    assert [row["id"] for row in rows] == ids[half // 10 * 10 : half]
    assert client.page(half // 10 + 1, 10) == ([], half)
    assert len(client.sim.snapshot()) == len(ids)


def test_a_total_can_be_off(client: Client) -> None:
    total = client.page()[1]
    client.sim.control(total_offset=-7)
    assert client.page()[1] == total - 7


@pytest.mark.parametrize("name", ["imei", "all"])
def test_a_filter_is_ignored_or_fails_or_finds_nothing(client: Client, name: str) -> None:
    truth = client.sim.snapshot()
    imei = next(row["imei"] for row in truth.values() if row["imei"])
    client.sim.control(broken_filter=[f"{name}:ignored"])
    assert client.page(imei=imei)[1] == len(truth)
    client.sim.control(broken_filter=[f"{name}:empty"])
    assert client.page(imei=imei) == ([], 0)
    client.sim.control(broken_filter=[f"{name}:error"])
    assert client.raw(imei=imei)[0] == 500
    assert client.page()[1] == len(truth)


def test_the_list_of_deleted_devices_can_be_broken_too(client: Client) -> None:
    truth = client.sim.snapshot()
    client.sim.control(broken_filter="deleteType:ignored")
    assert client.page(deleteType="deleted")[1] == len(truth)
    client.sim.control(broken_filter="deleteType:error")
    assert client.raw(deleteType="deleted")[0] == 500
    assert client.raw(deleteType="unDeleted")[0] == 200


def test_broken_rows_are_broken_on_the_wire_alone(client: Client) -> None:
    truth = client.sim.snapshot()
    ids = list(truth)
    kinds = [
        "null",
        "text",
        "number",
        "list",
        "no-id",
        "null-id",
        "word-id",
        "text-id",
        "float-id",
        "huge-id",
        "bool-id",
    ]
    client.sim.control(row=[f"{kind}:{device_id}" for kind, device_id in zip(kinds, ids, strict=False)])
    rows, total = client.page()
    without_id = {k: v for k, v in truth[ids[4]].items() if k != "id"}
    assert rows[:5] == [None, "设备", 42, [1, 2], without_id]
    odd = [row["id"] for row in rows[5:11]]
    assert odd == [None, "abc", str(ids[7]), ids[8], 2**70, True]
    assert isinstance(odd[3], float)
    assert [row["id"] for row in rows[11:]] == ids[11:100]
    assert total == len(truth)
    assert client.sim.snapshot() == truth


def test_rows_come_twice_in_a_page_and_across_pages(client: Client) -> None:
    ids = list(client.sim.snapshot())
    client.sim.control(row=[f"twice:{ids[1]}", f"echo:{ids[2]}"])
    rows, total = client.page(0, 5)
    assert [row["id"] for row in rows] == [ids[0], ids[1], ids[1], ids[2], ids[3]]
    assert total == len(ids) + 2
    assert client.ids((total - 1) // 5, 5)[-1] == ids[2]


def test_odd_devices_are_odd_in_truth(client: Client) -> None:
    before = client.sim.snapshot()
    kinds = [kind for kind in RowKind if list(RowKind).index(kind) >= list(RowKind).index(RowKind.NO_IMEI)]
    ids = dict(zip(kinds, before, strict=False))
    client.sim.control(row=[f"{kind}:{device_id}" for kind, device_id in ids.items()])
    found = {row["id"]: row for row in client.page()[0]}
    truth = client.sim.snapshot()
    odd = {kind: found[device_id] for kind, device_id in ids.items()}
    assert all(found[device_id] == truth[device_id] for device_id in ids.values())
    assert "imei" not in odd[RowKind.NO_IMEI]
    assert odd[RowKind.NULL_IMEI]["imei"] is None
    assert odd[RowKind.EMPTY_IMEI]["imei"] == ""
    assert len(odd[RowKind.BIG_EXTRA]["extra"]["log"]) == 1 << 20
    assert "📱" in odd[RowKind.EMOJI]["userName"]
    assert "\x00" in odd[RowKind.NUL]["userName"]
    assert "\ud83d" in odd[RowKind.SURROGATE]["userName"]
    assert len(odd[RowKind.LONG_NAME]["userName"].encode()) > 65_000
    assert odd[RowKind.NUMBER_NAME]["userName"] == 12345
    assert odd[RowKind.TEXT_FLAG]["alive"] == "true"
    assert odd[RowKind.HUGE_GROUP]["groupId"] == 2**70
    assert odd[RowKind.ZERO_TIME]["createTime"] == "0001-01-01T00:00:00"
    assert [k for k in truth if k not in ids.values() and truth[k] != before[k]] == []
    client.sim.control(row=[])
    assert client.sim.snapshot() == before


def test_an_odd_device_stays_itself_when_it_is_changed(client: Client) -> None:
    device_id, other = client.ids()[:2]
    name = client.sim.snapshot()[device_id]["userName"]
    client.sim.control(row=[f"emoji:{device_id}", f"same-imei:{device_id}", f"same-imei:{other}"])
    client.sim.fleet("change", ids=[device_id], fields={"memo": "改"})
    assert client.page(imei="860000000000000")[1] == 2
    client.sim.control(row=[])
    after = client.sim.snapshot()[device_id]
    assert (after["userName"], after["memo"]) == (name, "改")


def test_a_share_of_the_rows_is_odd_and_it_is_the_same_one_each_time(client: Client) -> None:
    client.sim.control(row="null:20%")
    rows, total = client.page(0, 1000)
    assert 0.08 * total < rows.count(None) < 0.35 * total
    assert client.page(0, 1000)[0] == rows


def test_keys_come_in_another_order_on_each_read(client: Client) -> None:
    client.sim.control(shuffle_keys=True)
    first, second = client.page()[0], client.page()[0]
    assert first == second
    assert [list(row) for row in first] != [list(row) for row in second]


def test_keys_can_be_shuffled_on_rows_without_an_id(client: Client) -> None:
    client.sim.control(shuffle_keys=True, row="no-id:100%")
    assert not any("id" in row for row in client.page()[0])


def test_the_times_of_living_devices_move_on_each_read(client: Client) -> None:
    still = client.page()[0]
    assert client.page()[0] == still
    client.sim.control(heartbeat=1)
    first = client.page()[0]
    until(lambda: client.page()[0] != first)
    for before, after in zip(first, client.page()[0], strict=True):
        moved = {k for k in after if after[k] != before[k]}
        assert moved in ({"lastAliveTime", "lastUpdateTime"}, set())
        assert moved or not before["alive"] or "lastAliveTime" not in before


BROKEN = {
    FaultKind.HTML: lambda body: body.startswith(b"<html>"),
    FaultKind.DEAD: lambda body: body.decode() == DEAD_LOGIN,
    FaultKind.EMPTY_BODY: lambda body: body == b"",
    FaultKind.HALF: lambda body: body.startswith(b'{"results":[{"id"') and not body.endswith(b"}"),
    FaultKind.BAD_UTF8: lambda body: b"\xff" in body,
    FaultKind.PORTAL: lambda body: body.startswith(b"<!-- wifi -->"),
}
HOSTILE = {
    FaultKind.BOMB: lambda body: len(body) < 500_000 and _unpacked(body) > 33_000_000,
    FaultKind.MEMBERS: lambda body: body.count(b"\x1f\x8b\x08") > 400 and len(body) < 1_000_000,
    FaultKind.PACKED: lambda body: body.startswith(b'{"results":[{"id"'),
    FaultKind.BACKSLASHES: lambda body: body.count(b"\\") == 30_000_000,
    FaultKind.NESTED: lambda body: body.count(b"[") > 100_000,
    FaultKind.NUMBERS: lambda body: body.count(b"0,") == 10_000_000,
}
WRONG = {
    FaultKind.EMPTY: lambda page, honest: page == honest | {"results": []},
    FaultKind.SHORT: lambda page, honest: page == honest | {"results": honest["results"][:5]},
    FaultKind.LONG: lambda page, honest: page["results"][:10] == honest["results"] and len(page["results"]) == 11,
    FaultKind.NO_RESULTS: lambda page, honest: page == {"total": honest["total"]},
    FaultKind.NULL_RESULTS: lambda page, honest: page == honest | {"results": None},
    FaultKind.OBJECT_RESULTS: lambda page, honest: page == honest | {"results": {"items": honest["results"]}},
    FaultKind.NO_TOTAL: lambda page, honest: page == {"results": honest["results"]},
    FaultKind.TEXT_TOTAL: lambda page, honest: page == honest | {"total": str(honest["total"])},
    FaultKind.NEGATIVE_TOTAL: lambda page, honest: page == honest | {"total": -1},
    FaultKind.HUGE_TOTAL: lambda page, honest: page == honest | {"total": 10**12},
    FaultKind.LARGE_TOTAL: lambda page, honest: page == honest | {"total": honest["total"] * 10**6},
    FaultKind.NULL_TOTAL: lambda page, honest: page == honest | {"total": None},
    FaultKind.FLOAT_TOTAL: lambda page, honest: page == honest | {"total": honest["total"] + 0.5},
    FaultKind.BARE_ARRAY: lambda page, honest: page == honest["results"],
}
ON_THE_WIRE = {
    FaultKind.CUT: http.client.IncompleteRead,
    FaultKind.RESET: ConnectionResetError,
    FaultKind.CLOSE: http.client.RemoteDisconnected,
    FaultKind.STALL: TimeoutError,
    FaultKind.STALL_BODY: TimeoutError,
    FaultKind.HEADERS: http.client.HTTPException,
}


def _unpacked(body: bytes) -> int:
    return len(zlib.decompressobj(31).decompress(body, 34_000_000))


def test_every_kind_of_failure_is_tried_below() -> None:
    assert {
        *(*BROKEN, *HOSTILE, *WRONG, *ON_THE_WIRE, FaultKind.DRIP, FaultKind.ENDLESS),
        *(kind for kind in FaultKind if kind.isdecimal()),
    } == set(FaultKind)


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind.isdecimal()])
def test_a_page_fails_with_a_status(client: Client, kind: FaultKind) -> None:
    client.sim.control(pin=f"1:{kind}:1")
    assert client.raw(1)[0] == int(kind)
    assert client.raw(1)[0] == 200
    assert client.sim.state()["injected"] == {kind: 1}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_page_is_no_json(client: Client, kind: FaultKind) -> None:
    client.sim.control(pin=f"0:{kind}")
    status, _, body = client.raw()
    assert status == 200
    assert BROKEN[kind](body)
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        json.loads(body)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_page_is_more_than_it_seems(client: Client, kind: FaultKind) -> None:
    client.sim.control(pin=f"0:{kind}")
    assert HOSTILE[kind](client.raw()[2])


def test_an_answer_has_no_end(client: Client) -> None:
    client.sim.control(pin="0:endless")
    with socket.create_connection(("127.0.0.1", client.sim.port), timeout=5) as connection:
        connection.sendall(request_text(client, 0))
        received = 0
        while received < 40_000_000:
            received += len(connection.recv(1 << 20))
    until(lambda: client.sim.state()["concurrent"] == 0)


@pytest.mark.parametrize("kind", WRONG)
def test_a_page_is_json_with_the_wrong_content(client: Client, kind: FaultKind) -> None:
    honest = json.loads(client.raw(1, 10)[2])
    client.sim.control(pin=f"1:{kind}")
    assert WRONG[kind](json.loads(client.raw(1, 10)[2]), honest)


@pytest.mark.parametrize("kind", ON_THE_WIRE)
def test_a_connection_breaks_or_hangs(client: Client, kind: FaultKind) -> None:
    client.sim.control(pin=f"0:{kind}")
    with pytest.raises(ON_THE_WIRE[kind]):
        client.raw(timeout=0.2)
    until(lambda: client.sim.state()["concurrent"] == 0)
    assert client.sim.state()["statuses"] == {"none": 1}
    client.sim.control(pin=[])
    assert client.raw()[0] == 200


def test_an_answer_drips(client: Client) -> None:
    client.sim.control(pin="0:drip")
    with socket.create_connection(("127.0.0.1", client.sim.port), timeout=5) as connection:
        connection.sendall(request_text(client, 0))
        received = b""
        while len(received.partition(b"\r\n\r\n")[2]) < 2:
            received += connection.recv(4096)
    assert received.partition(b"\r\n\r\n")[2].startswith(b'{"')
    assert len(received.partition(b"\r\n\r\n")[2]) < 20


def test_pins_of_one_page_are_used_up_in_order(client: Client) -> None:
    client.sim.control(pin=["7:500:2", "7:html:1", "all:503:1"])
    assert client.raw(3)[0] == 503
    assert [client.raw(7)[0] for _ in range(2)] == [500, 500]
    assert client.raw(7)[2].startswith(b"<html>")
    assert client.raw(7)[0] == 200
    client.sim.control(latency=0)
    assert client.raw(7)[0] == 200


def test_a_login_fails_when_it_is_pinned(client: Client) -> None:
    client.sim.control(pin=["login:503:1", "login:empty:1", "all:500"])
    assert client.send("POST", "/token", {"client": "system"}, "x")[0] == 400
    with pytest.raises(json.JSONDecodeError):
        client.login()
    assert client.login() == (200, {})
    assert client.login()[0] == 200


def test_a_share_of_the_calls_fails_and_the_seed_says_which() -> None:
    def struck(seed: int) -> list[str | None]:
        injector = FaultInjector(Faults().changed({"fail": ["500:0.1", "html:0.2"]}), seed, time.monotonic)
        return [injector.fault_for("device", "all", "0") for _ in range(2000)]

    found = struck(1)
    assert 150 < found.count(FaultKind.SERVER_ERROR) < 250
    assert 330 < found.count(FaultKind.HTML) < 470
    assert struck(1) == found
    assert struck(2) != found

"""The simulator's program, its control interface, and what can be done to its fleet."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gengfu_simulator.bad_rows import RowKind
from gengfu_simulator.cli import command
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.faults import Faults, switches
from gengfu_simulator.testing import Simulator
from gengfu_simulator.values import FaultKind
from simulated import PATH, Client, listens, query, request_text, until


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gengfu_simulator", *arguments], capture_output=True, text=True, timeout=20, check=False
    )


def test_help_names_every_fault_and_every_kind() -> None:
    text = command.get_help(command.make_context("gengfu simulate", []))
    for fault in switches():
        assert f"--{fault.name.replace('_', '-')}" in text
    for kind in (*FaultKind, *RowKind):
        assert re.search(rf"^  {kind} +\S", text, re.MULTILINE), kind


def test_every_fault_can_be_read_back_as_it_was_given() -> None:
    for fault in switches():
        value = Faults().describe()[fault.name]
        assert Faults().changed({fault.name: value}) == Faults(), fault.name
    given = {"pin": ["7:500:3", "all:html"], "fail": ["cut:0.25"], "row": ["null:100007", "emoji:2%"]}
    given |= {"broken_filter": ["imei:ignored"], "retry_after": "date:90"}
    described = Faults().changed(given).describe()
    assert {name: described[name] for name in given} == given


@pytest.mark.parametrize(
    ("switch", "sentence"),
    [
        ("--latency=2parsec", "is not a time; for example: 20ms"),
        ("--pin=7:explode", "names no kind of failure"),
        ("--pin=there:500", "pins neither a page number nor"),
        ("--fail=500:2", "is not a share from 0 to 1"),
        ("--row=null:some", "needs a device's id or a share"),
        ("--row=purple:1%", "names no kind of row"),
        ("--order=sideways", "is not one of asc, desc"),
        ("--capacity=-1", "is negative"),
        ("--broken-filter=imei:maybe", "is not a filter and one of"),
        ("--devices=many", "is not a valid integer"),
        ("--no-such-switch", "No such option"),
    ],
)
def test_a_wrong_switch_is_refused_with_a_sentence(
    switch: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from gengfu_simulator.cli import main

    assert main([switch]) == 2
    assert sentence in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("1.5s", 1.5), ("2m", 120), ("0", 0), (0.25, 0.25), (3, 3)]
)
def test_times_are_read_with_their_units(text: object, seconds: float) -> None:
    assert Faults().changed({"latency": text}).latency == pytest.approx(seconds)


def test_a_port_that_is_taken_is_said_so(shared: Simulator) -> None:
    done = run("--port", str(shared.port))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{shared.port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_listens_and_ends_with_zero_when_told(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"
    process = subprocess.Popen(
        [sys.executable, "-m", "gengfu_simulator", "--port", "0", "--devices", "7", "--ready-file", str(ready)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+/)  devices=7\n", line)
    assert match
    assert ready.read_text() == match[1] + "\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
    process.send_signal(number)
    assert process.wait(5) == 0
    process.stdout.close()


def test_it_ends_although_a_call_is_stalled(fresh: Callable[..., tuple[Simulator, Client]]) -> None:
    sim, client = fresh(pin=["all:stall"])
    with socket.create_connection(("127.0.0.1", sim.port)) as connection:
        connection.sendall(request_text(client, 0))
        until(lambda: sim.state()["concurrent"] == 1)
        start = time.monotonic()
        sim.close()
        assert time.monotonic() - start < 4
    sim.close()
    with pytest.raises(ProcessLookupError):
        os.kill(sim.pid, 0)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "import subprocess, sys, time, pathlib\n"
        f"subprocess.Popen([sys.executable, '-m', 'gengfu_simulator', '--port', '0', '--ready-file', {str(ready)!r},"
        " '--exit-with-parent'], stdout=subprocess.DEVNULL)\n"
        f"while not pathlib.Path({str(ready)!r}).exists(): time.sleep(0.01)\n"
    )
    subprocess.run([sys.executable, "-c", code], timeout=20, check=True)
    port = int(ready.read_text().strip("/\n").rpartition(":")[2])
    until(lambda: not listens(port))


def test_credentials_are_what_they_were_started_with(fresh: Callable[..., tuple[Simulator, Client]]) -> None:
    sim, client = fresh(devices=1, username="操作员", password="p&ss wörd")
    assert client.token == ""
    assert client.login("操作员", "p&ss wörd")[0] == 200
    assert "wörd" not in Path(f"/proc/{sim.pid}/cmdline").read_text()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_it_speaks_https_with_a_given_certificate(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    with Simulator(devices=3, tls_cert=certificate, tls_key=key) as sim:
        assert sim.url.startswith("https://127.0.0.1:")
        assert len(sim.snapshot()) == 3
        trusting = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", sim.port, context=trusting, timeout=5)
        connection.request("GET", "/_control/state")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_refused_switch_is_told_by_the_test_helper() -> None:
    with pytest.raises(SimulatorError, match="is not one of asc, desc"):
        Simulator(order="sideways")


def test_devices_go_from_list_to_list_and_come_back(client: Client) -> None:
    sim = client.sim
    (device_id,) = sim.fleet("add", fields={"userName": "新设备"})
    before = sim.snapshot()
    assert client.ids(2)[-1] == device_id or client.ids(3)[-1] == device_id
    assert sim.fleet("delete", ids=[device_id]) == [device_id]
    assert device_id not in sim.snapshot()
    assert sim.snapshot("deleted")[device_id]["isDeleted"] is True
    assert sim.fleet("stop", ids=[device_id]) == [device_id]
    assert device_id not in sim.snapshot("deleted")
    assert sim.snapshot("deletedAndStop")[device_id]["deletedAndStop"] is True
    sim.fleet("purge", ids=[device_id])
    assert device_id not in sim.snapshot("deletedAndStop")
    sim.fleet("restore", ids=[device_id])
    after = sim.snapshot()
    assert list(after) == list(before)
    assert after[device_id]["userName"] == "新设备"
    assert (after[device_id]["isDeleted"], after[device_id]["deleteTime"]) == (False, None)
    assert {k: v for k, v in after.items() if k != device_id} == {k: v for k, v in before.items() if k != device_id}


def test_a_deletion_at_the_front_shifts_every_row_behind_it(client: Client) -> None:
    first, second = client.ids(0, 10), client.ids(1, 10)
    client.sim.fleet("delete", count=1)
    assert client.ids(0, 10) == first[1:] + second[:1]
    added = client.sim.fleet("add", count=2, pick="front")
    assert client.ids(0, 10)[:2] == added


def test_a_change_shows_in_the_fields_named_and_the_update_time(client: Client) -> None:
    device_id = client.ids()[3]
    before = client.sim.snapshot()[device_id]
    client.sim.fleet("change", ids=[device_id], fields={"realName": "改名", "newField": {"a": 1}}, drop=["model"])
    after = client.sim.snapshot()[device_id]
    expected = {k: v for k, v in before.items() if k not in ("model", "lastUpdateTime")}
    expected |= {"realName": "改名", "newField": {"a": 1}}
    assert {k: v for k, v in after.items() if k != "lastUpdateTime"} == expected
    assert after["lastUpdateTime"] > before["lastUpdateTime"]


def test_a_change_without_fields_makes_each_device_differ(client: Client) -> None:
    before = client.sim.snapshot()
    touched = client.sim.fleet("change", share=0.1, pick="random")
    after = client.sim.snapshot()
    assert len(touched) == round(len(before) * 0.1)
    assert [k for k in after if after[k] != before[k]] == touched
    assert len({after[k]["memo"] for k in touched}) == len(touched)


def test_a_heartbeat_moves_the_two_volatile_times_alone(client: Client) -> None:
    before = client.sim.snapshot()
    touched = client.sim.fleet("heartbeat", count=len(before))
    after = client.sim.snapshot()
    assert touched == [k for k, row in before.items() if row["alive"] and "lastAliveTime" in row]
    for device_id in touched:
        moved = {k for k in after[device_id] if after[device_id][k] != before[device_id].get(k)}
        assert moved == {"lastAliveTime", "lastUpdateTime"}
    assert [k for k in after if k not in touched and after[k] != before[k]] == []


def test_a_move_changes_the_order_and_not_the_total(client: Client) -> None:
    total = client.page()[1]
    ids = client.ids()
    client.sim.fleet("move", ids=[ids[0]])
    assert client.ids()[0] == ids[1]
    assert client.page()[1] == total
    assert client.ids((total - 1) // 100)[-1] == ids[0]


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ({"action": "explode", "count": 1}, "there is no action 'explode'"),
        ({"action": "delete", "ids": [5]}, "there never was a device 5"),
        ({"action": "restore", "count": 1}, "restore needs the ids"),
        ({"action": "change", "fields": {"id": 5}}, "a device keeps its id"),
        ({"action": "delete", "pick": "middle"}, "Invalid enum value 'middle'"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(client: Client, order: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SimulatorError, match=sentence):
        client.sim.fleet(**order)


def test_the_state_counts_calls_pages_and_answers(client: Client) -> None:
    client.sim.control(reset=True)
    client.page(0)
    client.page(1)
    client.page(1, deleteType="deleted")
    client.login()
    state = client.sim.state()
    assert (state["calls"], state["device_calls"], state["logins"], state["logins_ok"]) == (4, 3, 1, 1)
    assert state["pages"] == {"0": 1, "1": 2}
    assert state["statuses"] == {"200": 4}
    assert state["delete_types"] == {"unDeleted": 2, "deleted": 1} or state["delete_types"] == {
        "unDeleted": 2,
        "deleted": 1,
    }
    assert state["lists"] == {"device": 3}
    assert state["devices"]["unDeleted"] == len(client.sim.snapshot())
    assert state["last_query"] == query(1, 100, deleteType="deleted")
    assert state["last_headers"]["client"] == "system"
    assert client.token not in json.dumps(state)
    assert state["faults"] == Faults().describe()
    assert state["span"] > 0


def test_the_log_tells_each_call(client: Client) -> None:
    client.sim.control(reset=True, pin="1:html")
    client.raw(0)
    client.raw(1)
    first, second = client.sim.calls()
    assert (first["path"], first["page"], first["status"], first["fault"]) == (PATH, 0, 200, None)
    assert (second["page"], second["status"], second["fault"]) == (1, 200, "html")
    assert first["query"] == query(0, 100)
    assert 0 < first["at"] < second["at"]
    assert first["took"] >= 0


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"latncy": 1}, "there is no fault 'latncy'"),
        ({"latency": "soon"}, "latency: 'soon' is not a time"),
        ({"shuffle_keys": "yes"}, "shuffle_keys: 'yes' is neither true nor false"),
        ({"pin": {"7": "500"}}, "pin: .* is not a list of strings"),
        ({"heartbeat": 1.5}, "heartbeat: 1.5 is not a share"),
        ({"page_cap": 1.5}, "page_cap: 1.5 is not a whole number"),
    ],
)
def test_a_control_call_that_makes_no_sense_changes_nothing(
    client: Client, wanted: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SimulatorError, match=sentence):
        client.sim.control(capacity=5, **wanted)
    assert client.sim.state()["faults"] == Faults().describe()


def test_clearing_leaves_no_fault(client: Client) -> None:
    client.sim.control(latency="1ms", pin="3:500", row="null:5%", visible=0.5)
    assert client.sim.control(clear=True, page_cap=9)["faults"] == Faults().changed({"page_cap": 9}).describe()


def test_an_unknown_control_path_or_list_is_refused(client: Client) -> None:
    assert client.get("/_control/nothing")[0] == 404
    with pytest.raises(SimulatorError, match="there is no list 'gone'"):
        client.sim.snapshot("gone")
    status, _, body = client.send("POST", "/_control", body="{not json")
    assert status == 400
    assert "error" in json.loads(body)

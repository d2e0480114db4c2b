"""A simulator and a plain client of its API, for the tests of the simulator itself."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from gengfu_simulator.testing import Simulator

PATH = "/api/device/pageResult"
NAMES = (
    *("accountId", "keyword", "imei", "groupId", "brand", "model", "deleteType", "operatingSystem", "softwareVersion"),
    *(
        "phoneAppVersion",
        "recorderVersion",
        "contactsVersion",
        "rooted",
        "xPosed",
        "alive",
        "hasWechat",
        "departmentId",
    ),
)


class Client:
    """A plain client of the contract, one connection a call, that never repeats anything."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.token = ""

    def login(self, username: str = "demo", password: str = "demo", **headers: str) -> tuple[int, Any]:
        body = urlencode({"grant_type": "password", "username": username, "password": password})
        kind = {"Content-Type": "application/x-www-form-urlencoded", "client": "system"}
        status, _, answer = self.send(
            "POST", "/token", kind | {k.replace("_", "-"): v for k, v in headers.items()}, body
        )
        found = json.loads(answer)
        self.token = found.get("access_token", self.token)
        return status, found

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: str | None = None,
        timeout: float = 10,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path: str, timeout: float = 10) -> tuple[int, http.client.HTTPMessage, bytes]:
        return self.send("GET", path, {"client": "system", "authorization": f"bearer {self.token}"}, timeout=timeout)

    def raw(self, index: int = 0, size: int = 100, timeout: float = 10, **filters: str) -> tuple[int, Any, bytes]:
        return self.get(f"{PATH}?{query(index, size, **filters)}", timeout)

    def page(self, index: int = 0, size: int = 100, **filters: str) -> tuple[list[Any], Any]:
        status, _, body = self.raw(index, size, **filters)
        assert status == 200, body
        found = json.loads(body)
        return found["results"], found["total"]

    def ids(self, index: int = 0, size: int = 100, **filters: str) -> list[int]:
        return [row["id"] for row in self.page(index, size, **filters)[0]]


def query(index: int, size: int, **filters: str) -> str:
    asked = {name: filters.get(name, "") for name in NAMES}
    return urlencode(asked | {"pageIndex": str(index), "pageSize": str(size)})


def request_text(client: Client, index: int) -> bytes:
    return (
        f"GET {PATH}?{query(index, 100)} HTTP/1.1\r\nHost: vendor\r\nclient: system\r\n"
        f"authorization: bearer {client.token}\r\n\r\n"
    ).encode()


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""The control interface: faults, fleet and counters over HTTP, for tests and demonstrations; no vendor has it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from aiohttp import web

from gengfu_simulator import answers
from gengfu_simulator.bad_rows import BadRows
from gengfu_simulator.clocks import vendor_time
from gengfu_simulator.counters import Counters
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.fault_injector import FaultInjector
from gengfu_simulator.faults import Faults
from gengfu_simulator.fleet import Fleet, ListName, Pick
from gengfu_simulator.logins import Logins

PREFIX = "/_control"
_CHUNK = 1000
_LISTS = {"delete": ListName.DELETED, "stop": ListName.STOPPED, "purge": None, "restore": ListName.LIVE}


class FleetOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to happen to which devices."""

    action: str
    ids: list[int] | None = None
    count: int | None = None
    share: float | None = None
    pick: Pick | None = None
    fields: dict[str, Any] = {}
    drop: list[str] = []


class Control:
    """Serves the paths under `/_control`; what it refuses, it answers with 400 and a sentence."""

    def __init__(self, fleet: Fleet, logins: Logins, injector: FaultInjector, counters: Counters) -> None:
        self._fleet = fleet
        self._logins = logins
        self._injector = injector
        self._counters = counters

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one control call."""
        try:
            match request.method, request.path.removeprefix(PREFIX).rstrip("/"):
                case "GET", "/state":
                    return _json(self.state())
                case "GET", "/calls":
                    return _json(self._counters.log())
                case "GET", "/devices":
                    return await self._devices(request)
                case "POST", "":
                    self.set(json.loads(await request.content.read()))
                    return _json(self.state())
                case "POST", "/fleet":
                    order = msgspec.json.decode(await request.content.read(), type=FleetOrder)
                    return _json({"ids": self.order(order)})
            return _json({"error": f"there is no {request.method} {request.path}"}, 404)
        except (SimulatorError, ValueError) as error:
            return _json({"error": str(error)}, 400)

    def state(self) -> dict[str, Any]:
        """Everything that a test may want to know, as plain JSON values."""
        return self._counters.describe() | {
            "logins_ok": self._logins.good,
            "logins_wrong": self._logins.wrong,
            "locked": self._logins.locked,
            "drifts": self._injector.drifts,
            "devices": {name: len(self._fleet.ids(name)) for name in ListName},
            "faults": self._injector.faults.describe(),
        }

    def set(self, wanted: Any) -> None:
        """Sets faults by name; does what `clear`, `reset`, `revoke`, `unlock`, `username` and `password` say.

        Raises:
            SimulatorError: something in it makes no sense; then nothing of it was done.
        """
        if not isinstance(wanted, dict):
            raise SimulatorError("a control call is a JSON object")
        clear, reset, revoke, unlock = (wanted.pop(word, False) for word in ("clear", "reset", "revoke", "unlock"))
        username = wanted.pop("username", self._logins.username)
        password = wanted.pop("password", self._logins.password)
        faults = (Faults() if clear else self._injector.faults).changed(wanted)
        named = faults.describe() if clear else wanted
        self._injector.set(faults, named)
        if "row" in named:
            self._fleet.set_bad_rows(BadRows(faults.row))
        self._logins.username, self._logins.password = str(username), str(password)
        if revoke:
            self._logins.revoke()
        if unlock:
            self._logins.unlock()
        if reset:
            self._counters.reset()
            self._logins.reset_counts()

    def order(self, order: FleetOrder) -> list[int]:
        """Does something to devices; returns the ids of those it touched.

        Raises:
            SimulatorError: there is no such action or no such device.
        """
        if "id" in order.fields or "id" in order.drop:
            raise SimulatorError("a device keeps its id")
        fleet, now = self._fleet, vendor_time()
        if order.action == "add":
            return fleet.add(1 if order.count is None else order.count, order.pick or Pick.END, order.fields)
        if order.action == "restore" and order.ids is None:
            raise SimulatorError("restore needs the ids of the devices that are to come back")
        ids = fleet.choose(ids=order.ids, count=order.count, share=order.share, pick=order.pick or Pick.FRONT)
        if order.action in _LISTS:
            return fleet.send(ids, _LISTS[order.action], now)
        if order.action == "change":
            return fleet.change(ids, order.fields, order.drop, now)
        if order.action == "heartbeat":
            return fleet.heartbeat(ids, now)
        if order.action == "move":
            return fleet.move(ids)
        raise SimulatorError(
            f"there is no action {order.action!r}; there are: add, change, heartbeat, move, {', '.join(_LISTS)}"
        )

    async def _devices(self, request: web.BaseRequest) -> web.StreamResponse:
        word = request.query.get("deleteType") or ListName.LIVE
        if word not in set(ListName):
            raise SimulatorError(f"there is no list {word!r}; there are: {', '.join(ListName)}")
        ids = list(self._fleet.ids(ListName(word)))
        answer = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await answer.prepare(request)
        for start in range(0, len(ids), _CHUNK):
            chunk = b",".join(self._fleet.rows(ids[start : start + _CHUNK]))
            await answer.write((b"," if start else b"[") + chunk)
        await answer.write(b"]" if ids else b"[]")
        await answer.write_eof()
        return answer


def _json(value: Any, status: int = 200) -> web.Response:
    return answers.json_answer(msgspec.json.encode(value), status)

"""The vendor: login and lists as the contract has them, with the present faults."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from gengfu_simulator import answers
from gengfu_simulator.clocks import vendor_time
from gengfu_simulator.counters import Call, Counters
from gengfu_simulator.fault_injector import FaultInjector
from gengfu_simulator.fleet import Fleet, ListName
from gengfu_simulator.listing import BadQueryError, BrokenFilterError, DeviceList, Query, parameters
from gengfu_simulator.logins import Logins
from gengfu_simulator.other_lists import Answer, OtherLists
from gengfu_simulator.values import FaultKind, RetryAfter

LOGIN_PATH = "/token"
DEVICE_PATH = "/api/device/pageResult"
TARGETS = {
    LOGIN_PATH: "login",
    DEVICE_PATH: "device",
    "/api/DeviceGroup/list": "groups",
    "/api/Account/myTenantPageAccounts": "accounts",
    "/api/WechatFriend/list": "friends",
    **{f"/api/Friend/{style}": style for style in ("offset", "cursor", "link", "header")},
}
_FORM_TYPES = ("application/x-www-form-urlencoded", "text/plain")


class Vendor:
    """Answers one API call at a time, any number of them at once; counts each from its arrival to its end."""

    def __init__(
        self,
        fleet: Fleet,
        logins: Logins,
        injector: FaultInjector,
        counters: Counters,
        other_lists: OtherLists,
        seed: int,
    ) -> None:
        self._fleet = fleet
        self._logins = logins
        self._injector = injector
        self._counters = counters
        self._other_lists = other_lists
        self._devices = DeviceList(fleet, injector, seed)
        self._dead_answers = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one call."""
        call = self._counters.arrived(request.path, request.rel_url.raw_query_string)
        try:
            answer = await self._answer(request, call)
            call.status = answer.status
            return answer
        finally:
            self._counters.ended(call)

    async def _answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        target = TARGETS.get(call.path)
        query = parameters(call.query)
        self._count(request, call, target, query)
        refusal = self._overload(call)
        if refusal is not None:
            return refusal
        authorised = target == "login" or self._authorised(request)
        wait = self._injector.wait()
        if wait:
            await asyncio.sleep(wait)
        if target == "login":
            return await self._login(request, call)
        if target is None or request.method != "GET":
            return answers.dead_login(as_status=False)
        if not authorised:
            return self._dead_login(call)
        kind = self._injector.fault_for(target, "all", *([str(call.page)] if target == "device" else []))
        call.fault = kind
        return await self._list(request, target, query, kind)

    def _count(self, request: web.BaseRequest, call: Call, target: str | None, query: dict[str, str]) -> None:
        counters = self._counters
        counters.lists[target or "unknown"] += 1
        index = query.get("pageIndex") or "0"
        if target in ("device", "accounts") and index.isdecimal():
            call.page = int(index)
        if target == "device":
            if call.page is not None:
                counters.pages[call.page] += 1
            counters.delete_types[query.get("deleteType") or ListName.LIVE] += 1
            counters.last_query = call.query
            counters.last_headers = request.headers

    def _overload(self, call: Call) -> web.Response | None:
        """The answer to a call that is one too many at once, or one too many in this second."""
        faults = self._injector.faults
        if 0 < faults.capacity < self._counters.concurrent:
            call.fault = "over-capacity"
            if faults.over_capacity == "429":
                return answers.throttled(RetryAfter.parse(faults.retry_after), None)
            return answers.status_answer(FaultKind.UNAVAILABLE)
        due = self._injector.over_rate()
        if due is not None:
            call.fault = "over-rate"
            return answers.throttled(RetryAfter.parse(faults.retry_after), due)
        return None

    def _authorised(self, request: web.BaseRequest) -> bool:
        """Whether the call comes from a client of the system with a good token."""
        if request.headers.get("client") != "system":
            return False
        return self._logins.use(request.headers.get("authorization", ""), self._injector.faults)

    def _dead_login(self, call: Call) -> web.Response:
        call.fault = "dead-login"
        self._dead_answers += 1
        how = self._injector.faults.dead_login
        return answers.dead_login(as_status=how == "401" or (how == "mixed" and self._dead_answers % 2 == 0))

    async def _login(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        form = parse_qs((await request.content.read()).decode(errors="replace"), keep_blank_values=True)
        if (
            request.method != "POST"
            or request.content_type not in _FORM_TYPES
            or form.get("grant_type") != ["password"]
        ):
            return answers.json_answer(b'{"error":"unsupported_grant_type"}', 400)
        if request.headers.get("client") != "system":
            return answers.json_answer(b'{"error":"invalid_client"}', 400)
        kind = self._injector.fault_for("login")
        call.fault = kind
        refusal = self._refusal(kind)
        if refusal is not None:
            return refusal
        username, password = form.get("username", [""])[0], form.get("password", [""])[0]
        status, answer = self._logins.login(username, password, self._injector.faults)
        body = msgspec.json.encode(answer) if kind is None or not kind.is_of_content else b"{}"
        return await answers.send(request, kind, body, status)

    async def _list(
        self, request: web.BaseRequest, target: str, query: dict[str, str], kind: FaultKind | None
    ) -> web.StreamResponse:
        refusal = self._refusal(kind)
        if refusal is not None:
            return refusal
        try:
            found = self._found(target, query, request.path, kind)
        except BadQueryError as error:
            return answers.json_answer(msgspec.json.encode({"message": str(error)}), 400)
        except BrokenFilterError:
            refusal = answers.status_answer(FaultKind.SERVER_ERROR)
            assert refusal is not None
            return refusal
        self._counters.rows_sent += found.rows
        answer = await answers.send(request, kind, found.body)
        if found.link is not None and not answer.prepared:
            answer.headers["Link"] = found.link
        return answer

    def _refusal(self, kind: FaultKind | None) -> web.Response | None:
        if kind is FaultKind.THROTTLED:
            return answers.throttled(RetryAfter.parse(self._injector.faults.retry_after), None)
        return answers.status_answer(kind) if kind is not None else None

    def _found(self, target: str, query: dict[str, str], path: str, kind: FaultKind | None) -> Answer:
        if target != "device":
            return self._other_lists.answer(target, query, path, self._injector.faults, self._fleet.bad_rows, kind)
        wanted = Query.read(query)
        page = self._devices.page(wanted, more=1 if kind is FaultKind.LONG else 0)
        body = answers.page_body(page.rows, page.total, kind)
        if kind is None and wanted.name is ListName.LIVE and not wanted.filters:
            self._injector.drift(self._fleet, vendor_time())
        return Answer(len(page.rows), body)

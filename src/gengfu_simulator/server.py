"""The server: puts the simulator together and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import time
from pathlib import Path

import uvloop
from aiohttp import web

from gengfu_simulator.bad_rows import BadRows
from gengfu_simulator.control import PREFIX, Control
from gengfu_simulator.counters import Counters
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.fault_injector import FaultInjector
from gengfu_simulator.faults import Faults
from gengfu_simulator.fleet import Fleet
from gengfu_simulator.logins import Logins
from gengfu_simulator.options import Options
from gengfu_simulator.other_lists import OtherLists
from gengfu_simulator.vendor import Vendor

_WARM_ROWS = 20_000
_PARENT_SECONDS = 0.25
_GRACE_SECONDS = 0.1


def serve(options: Options, faults: Faults) -> None:
    """Runs the simulator until SIGTERM, Ctrl-C, or (if so wished) its parent's end.

    Raises:
        SimulatorError: the address cannot be had, or the certificate cannot be read.
    """
    uvloop.run(_serve(options, faults))


async def _serve(options: Options, faults: Faults) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = _build(options, faults)
    try:
        listener = await loop.create_server(
            server, options.host, options.port, ssl=_tls(options), backlog=1024, reuse_address=True
        )
    except OSError as error:
        raise SimulatorError(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}") from None
    port = listener.sockets[0].getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    _announce(options, f"{'https' if options.tls_cert else 'http'}://{host}:{port}/")
    if options.parent is not None:
        _watch_parent(options.parent, stop)
    await stop.wait()
    listener.close()
    await server.shutdown(_GRACE_SECONDS)


def _build(options: Options, faults: Faults) -> web.Server:
    clock = time.monotonic
    fleet = Fleet(options.devices, options.deleted, options.stopped, options.seed)
    fleet.set_bad_rows(BadRows(faults.row))
    fleet.warm(_WARM_ROWS)
    logins = Logins(options.username, options.password, clock)
    injector = FaultInjector(faults, options.seed, clock)
    counters = Counters(clock)
    vendor = Vendor(fleet, logins, injector, counters, OtherLists(options.seed), options.seed)
    control = Control(fleet, logins, injector, counters)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            return await control.handle(request)
        return await vendor.handle(request)

    return web.Server(handle, handler_cancellation=True, access_log=None)


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SimulatorError(f"the certificate {options.tls_cert} cannot be used: {error}") from None
    return context


def _announce(options: Options, url: str) -> None:
    if options.ready_file is not None:
        _write_whole(options.ready_file, url + "\n")
    sys.stdout.write(f"listening on {url}  devices={options.devices}\n")
    sys.stdout.flush()


def _write_whole(path: Path, text: str) -> None:
    """Whoever sees the file sees all of it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        raise SimulatorError(f"cannot write {path}: {error.strerror or error}") from None


def _watch_parent(parent: int, stop: asyncio.Event) -> None:
    """Looks rather than asks for a signal: that would come with the end of the parent's thread, not of the parent."""
    if os.getppid() != parent:
        stop.set()
    else:
        asyncio.get_running_loop().call_later(_PARENT_SECONDS, _watch_parent, parent, stop)

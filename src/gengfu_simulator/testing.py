"""A simulator for tests: the real program as a process of its own, steered, and telling the truth about its fleet."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Self

from gengfu_simulator.errors import SimulatorError

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 5.0


class Simulator:
    """A running simulator, from its making until `close`; it also ends when the process that made it ends.

    Faults are given by name as in `Faults`: durations as `"20ms"` or seconds, lists as lists of strings.
    """

    def __init__(
        self,
        devices: int = 200,
        *,
        seed: int = 1,
        deleted: int = 0,
        stopped: int = 0,
        username: str = "demo",
        password: str = "demo",
        port: int = 0,
        tls_cert: str | Path | None = None,
        tls_key: str | Path | None = None,
        start_timeout: float = 20.0,
        **faults: Any,
    ) -> None:
        """
        Raises:
            SimulatorError: it was not ready within `start_timeout` seconds, or refused a switch.
        """
        self.username = username
        self.password = password
        switches = {"devices": devices, "seed": seed, "deleted": deleted, "stopped": stopped, "username": username}
        switches |= {"port": port, "tls_cert": tls_cert, "tls_key": tls_key}
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
        self._said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gengfu_simulator", "--exit-with-parent", *_arguments(switches | faults)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=_environment(password),
        )
        try:
            self.url = self._ready(start_timeout)
        except BaseException:
            self.close()
            raise
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return self._process.pid

    def control(self, **wanted: Any) -> dict[str, Any]:
        """Sets faults by name, or `clear=True`, `reset=True`, `revoke=True`, `unlock=True`, `username=`, `password=`.

        Returns the state after it. Raises SimulatorError when a name or a value makes no sense.
        """
        state: dict[str, Any] = self._call("POST", "/_control", wanted)
        return state

    def state(self) -> dict[str, Any]:
        """The counters, the sizes of the lists and the present faults."""
        state: dict[str, Any] = self._call("GET", "/_control/state")
        return state

    def calls(self) -> list[dict[str, Any]]:
        """The last 10 000 API calls, in the order in which they were answered."""
        calls: list[dict[str, Any]] = self._call("GET", "/_control/calls")
        return calls

    def fleet(
        self,
        action: str,
        *,
        ids: Iterable[int] | None = None,
        count: int | None = None,
        share: float | None = None,
        pick: str | None = None,
        fields: Mapping[str, Any] | None = None,
        drop: Iterable[str] = (),
    ) -> list[int]:
        """Does add, delete, stop, purge, restore, change, heartbeat or move to devices; returns the ids touched."""
        order = {
            "action": action,
            "ids": None if ids is None else list(ids),
            "count": count,
            "share": share,
            "pick": pick,
            "fields": dict(fields or {}),
            "drop": list(drop),
        }
        touched: list[int] = self._call("POST", "/_control/fleet", order)["ids"]
        return touched

    def snapshot(self, delete_type: str = "unDeleted") -> dict[int, dict[str, Any]]:
        """The true rows of one list by id, whatever faults are on."""
        rows = self._call("GET", f"/_control/devices?deleteType={delete_type}")
        return {row["id"]: row for row in rows}

    def complaints(self) -> str:
        """What the program wrote to its standard error: empty, unless something in it is broken."""
        if not self._complaints.closed:
            self._complaints.seek(0)
            self._said = self._complaints.read().decode(errors="replace").strip()
        return self._said

    def close(self) -> None:
        """Ends the program and waits for it; may be called again."""
        end(self._process, _STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self.complaints()
        self._complaints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
                chunk = os.read(self._process.stdout.fileno(), 4096)
                if not chunk:
                    break
                line += chunk
        if not line.startswith(b"listening on "):
            raise SimulatorError(f"the simulator did not start; it said: {self.complaints() or 'nothing'}")
        return line.split()[2].decode()

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = self._connection()
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise SimulatorError(found["error"])
        return found

    def _connection(self) -> HTTPConnection:
        if self.url.startswith("http:"):
            return HTTPConnection("127.0.0.1", self.port, timeout=60)
        import ssl

        # The certificate is whatever the test made up; this call goes to the process started here and to no other.
        return HTTPSConnection("127.0.0.1", self.port, timeout=60, context=ssl._create_unverified_context())


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ends a process and waits for it; kills it where it takes longer than so many seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _arguments(switches: Mapping[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in switches.items():
        switch = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(switch)
        elif isinstance(value, list | tuple):
            arguments.extend(f"{switch}={item}" for item in value)
        elif value is not None and value is not False:
            arguments.append(f"{switch}={value}")
    return arguments


def _environment(password: str) -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return os.environ | {"PYTHONPATH": path, "GENGFU_SIMULATOR_PASSWORD": password}

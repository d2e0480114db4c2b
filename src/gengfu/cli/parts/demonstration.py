"""The demonstration: a simulator, a worker and two runs through the queue, in a folder that is theirs alone."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import gengfu
from gengfu.app import App
from gengfu.cli.base import INTERRUPTED
from gengfu.cli.device_list import DeviceList
from gengfu.cli.output import Column, Output
from gengfu.cli.wording import COUNTS, ends_of
from gengfu.clock import monotonic
from gengfu.errors import GengfuError
from gengfu.mirror.device import DEVICE
from gengfu.mirror.resource import Kind
from gengfu.process.notify_socket import PARENT
from gengfu.settings import Settings
from gengfu.store.devices import COLUMNS, DeviceStore, Presence, Which
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.testing import Simulator

MARK = "this-folder-is-emptied-by-gengfu-demo"
START_PATIENCE = 60.0
"""Seconds for a worker to be ready, on a slow machine and with tables to make."""
STOP_PATIENCE = 20.0
"""Seconds for a process to end."""


class DemoFailed(GengfuError):
    """The demonstration did not come to its end."""


@contextmanager
def workshop() -> Iterator[Path]:
    """The folder `var/demo` of the working folder, empty; a temporary one where that cannot be written.

    Raises:
        DemoFailed: another demonstration is using it, or it holds what no demonstration has put there.
    """
    home = Path(os.environ.get("GENGFU_HOME") or ".").expanduser().resolve()
    folder = home / "var" / "demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / "demo.lock").open("ab")
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="gengfu-demo-"))
        lock = (folder / "demo.lock").open("ab")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(f"another demo is running in {folder}; wait for its end") from None
        _empty(folder)
        yield folder


def _empty(folder: Path) -> None:
    things = [thing for thing in folder.iterdir() if thing.name != "demo.lock"]
    if things and not (folder / MARK).exists():
        raise DemoFailed(f"{folder} holds what no demo has put there; move it away")
    for thing in things:
        if thing.is_dir() and not thing.is_symlink():
            shutil.rmtree(thing)
        else:
            thing.unlink()
    (folder / MARK).touch()


class Demonstration:
    """Shows two runs with changes in between, and proves the mirror right. However it ends, no process is left."""

    def __init__(self, folder: Path, devices: int, open_app: Callable[[], App], out: Output) -> None:
        self._folder = folder
        self._devices = devices
        self._open_app = open_app
        self._out = out
        self._vendor: Simulator | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._app: App | None = None
        self._runs: list[dict[str, Any]] = []

    def show(self) -> int:
        """The exit code: 0 only if both runs were complete and the mirror equals the vendor's list."""
        self._out.say(
            f"Starting a vendor with {self._devices} phones, which takes 0.25 to 0.5 s to answer, and a worker ..."
        )
        _move_into(self._folder)
        try:
            vendor = self._start_vendor()
            self._start_worker()
            self._app = self._open_app()
            wrong = self._play(vendor, self._app)
        finally:
            with _undisturbed():
                self._clear_up()
        self._conclude(wrong)
        complete = all(run["verdict"] == "complete" for run in self._runs)
        return 0 if complete and not wrong else 1

    def _play(self, vendor: Simulator, app: App) -> list[str]:
        """Runs, changes, runs again; what is wrong in the mirror."""
        self._out.say("\nFirst run: everything is new.")
        self._run()
        before = vendor.snapshot()
        changed = vendor.fleet("change", count=24, pick="random")
        added = vendor.fleet("add", count=12)
        deleted = vendor.fleet("delete", ids=sorted(before.keys() - set(changed))[5:80:10])
        self._out.say(f"\nAt the vendor: {len(changed)} phones changed, {len(added)} new, {len(deleted)} deleted.")
        self._out.say("Second run: only what differs is written.")
        self._run()
        devices = DeviceStore(app.db, app.source_id)
        self._show_changes(app)
        return differences(before, vendor.snapshot(), devices)

    def _start_vendor(self) -> Simulator:
        """The simulator, and the settings by which it is found."""
        try:
            with _undisturbed():
                self._vendor = vendor = Simulator(self._devices, latency="250ms", jitter="250ms", heartbeat=0.3)
        except SimulatorError as error:
            raise DemoFailed(str(error)) from error
        settings = {"API_WECHAT_URL": vendor.url, "API_USERNAME": vendor.username, "API_PASSWORD": vendor.password}
        (self._folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return vendor

    def _start_worker(self) -> None:
        """A worker that takes jobs."""
        said = self._folder / "worker.out"
        with _undisturbed(), said.open("wb") as sink:
            self._worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "gengfu", "queue:work"],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=_environment(),
                process_group=0,
            )
        deadline = monotonic() + START_PATIENCE
        while "worker ready" not in (words := said.read_text("utf-8", "replace")):
            if self._worker.poll() is not None or monotonic() > deadline:
                last = words.strip().splitlines()[-1:]
                raise DemoFailed(f"the worker did not start; it said: {last[0] if last else 'nothing'}")
            time.sleep(0.02)

    def _run(self) -> None:
        """What `gengfu device:list --wait` does."""
        code, told = DeviceList(self._open_app, self._out).bring_up_to_date("0", wait=True)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        self._runs.append(told)

    def _show_changes(self, app: App) -> None:
        run = self._runs[-1]["run"]
        found = app.runs.detail(run, None).changes
        some = [change for change in found if change.field == "memo"][:6]
        some += [change for change in found if change.field == "gone_at"][:4]
        self._out.say(f"\nSome of what run {run} found:")
        columns = [Column("device", right=True), Column("field"), Column("old", shrinks=True)]
        columns.append(Column("new", shrinks=True))
        self._out.table(columns, [[change.row_id, change.field, *ends_of(change)] for change in some])

    def _conclude(self, wrong: list[str]) -> None:
        self._out.say("\nBoth runs:")
        columns = [Column("run", right=True), Column("verdict"), *(Column(name, right=True) for name in COUNTS)]
        names = ("run", "verdict", *COUNTS, "seconds")
        rows = [[run[name] for name in names] for run in self._runs]
        self._out.table([*columns, Column("seconds", right=True)], rows)
        if wrong:
            self._out.say(f"\nThe mirror differs from the vendor's list: {'; '.join(wrong[:5])}")
        else:
            self._out.say("\nThe mirror equals the vendor's list, field by field.")
        self._out.say(f"The data lies in {self._folder}: the mirror in var/gengfu.db, the logs in logs/.")
        self._out.say("Try next:")
        for line in (f"export GENGFU_HOME={self._folder}", *(f"{_called()} {words}" for words in _NEXT)):
            self._out.say(f"  {line}")
        self._out.answer({"home": str(self._folder), "runs": self._runs, "differences": wrong})

    def _clear_up(self) -> None:
        """Ends the worker and the simulator."""
        if self._app is not None:
            self._app.close()
        if self._worker is not None and self._worker.poll() is None:
            self._worker.terminate()
            try:
                self._worker.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self._worker.kill()
                self._worker.wait()
        if self._vendor is not None:
            self._vendor.close()


_NEXT = ("device:find 张", "run:show 2", "device:export fleet.xlsx", "--help")


def _called() -> str:
    """How a person calls the program here."""
    if shutil.which("gengfu"):
        return "gengfu"
    return sys.argv[0] if Path(sys.argv[0]).name == "gengfu" else f"{sys.executable} -m gengfu"


def _move_into(folder: Path) -> None:
    """Makes it this process's working folder, and forgets the person's settings: nothing of theirs may be touched."""
    for setting in fields(Settings):
        os.environ.pop(setting.name.upper(), None)
    os.environ["GENGFU_HOME"] = str(folder)


def _environment() -> dict[str, str]:
    """The worker's: it finds the program, and ends when this process does."""
    root = str(Path(gengfu.__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, PARENT: str(os.getpid())}


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block, so that no process is left half started or half ended."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            raise KeyboardInterrupt


def differences(before: Mapping[int, Any], after: Mapping[int, Any], devices: DeviceStore) -> list[str]:
    """What the mirror does not have as the vendor has it; `before` and `after` are its rows by id, at both runs."""
    present = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in devices.stream(Which(), COLUMNS)}
    gone = {row[0] for row in devices.stream(Which(Presence.GONE), ["id"])}
    wrong = [f"device {key} is not in the mirror" for key in after.keys() - present.keys()]
    wrong += [f"device {key} is in the mirror alone" for key in present.keys() - after.keys()]
    wrong += [f"device {key} should be gone" for key in (before.keys() - after.keys()) - gone]
    for key in after.keys() & present.keys():
        for field in DEVICE.fields:
            expected = _expected(after[key].get(field.name), field.kind)
            if not field.volatile and present[key][field.column] != expected:
                wrong.append(f"device {key}: {field.column} is {present[key][field.column]!r}, not {expected!r}")
    return wrong


def _expected(value: Any, kind: Kind) -> Any:
    """A value of the vendor's row as the mirror should keep it."""
    if value is None or (kind is Kind.MOMENT and value.startswith("0001-01-01")):
        return None
    if kind is Kind.MOMENT:
        return datetime.fromisoformat(value).replace(tzinfo=ZoneInfo("Asia/Shanghai")).astimezone(UTC)
    if kind is Kind.JSON:
        return json.loads(value) if isinstance(value, str) else value
    return bool(value) if kind is Kind.FLAG else str(value)

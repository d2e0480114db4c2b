"""The demonstration: a simulated vendor, a worker and a mirror, in a folder that is theirs alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

import gengfu
from gengfu.errors import FileError, GengfuError
from gengfu.language import tr
from gengfu.locks import Held, held
from gengfu.mirror.device import DEVICE
from gengfu.mirror.resource import Kind
from gengfu.process.notify_socket import PARENT
from gengfu.retry import Patience
from gengfu.services.lists import Filter, Presence
from gengfu.settings import Settings
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.testing import Simulator, end

if TYPE_CHECKING:
    from gengfu.services.devices import DeviceService

MARK = "this-folder-is-emptied-by-gengfu-demo"
START_PATIENCE = 60.0
"""Seconds for a worker to be ready, on a slow machine and with tables to make."""
STOP_PATIENCE = 20.0
"""Seconds for a process to end."""


class DemoFailed(GengfuError):
    """The demonstration did not come to its end."""


@contextmanager
def demo_folder() -> Iterator[Path]:
    """The folder `var/demo` of the working folder, empty; a temporary one where that cannot be written.

    Raises:
        DemoFailed: another demonstration is using it, or it holds what no demonstration has put there.
    """
    home = Path(os.environ.get("GENGFU_HOME") or ".").expanduser().resolve()
    folder = home / "var" / "demo"
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder.parent / "demo.lock"))
        except Held:
            raise DemoFailed(tr("another demo is running in {folder}; wait for its end", folder=folder)) from None
        except (OSError, FileError):
            folder = Path(tempfile.mkdtemp(prefix="gengfu-demo-"))
        _empty(folder)
        yield folder


def _empty(folder: Path) -> None:
    things = list(folder.iterdir())
    if things and not (folder / MARK).exists():
        raise DemoFailed(tr("{folder} holds what no demo has put there; move it away", folder=folder))
    for thing in things:
        if thing.is_dir() and not thing.is_symlink():
            shutil.rmtree(thing)
        else:
            thing.unlink()
    (folder / MARK).touch()


@dataclass(frozen=True, slots=True)
class FleetChanges:
    """What happened at the vendor between two runs: how many phones changed, came and went."""

    changed: int
    added: int
    deleted: int


class Demonstration:
    """A simulated vendor and a worker, for a working folder that is theirs alone.

    While the `with` block lasts, that folder is this process's working folder. However the block ends, no process is
    left.
    """

    def __init__(self, folder: Path, devices: int) -> None:
        self._folder = folder
        self._devices = devices
        self._vendor: Simulator | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._before: Mapping[int, Any] = {}

    def __enter__(self) -> Self:
        _move_into(self._folder)
        try:
            self._start_vendor()
            self._start_worker()
        except BaseException:
            self._clear_up()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clear_up()

    def _start_vendor(self) -> None:
        """The simulator, and the settings by which it is found."""
        try:
            with _undisturbed():
                self._vendor = vendor = Simulator(self._devices, latency="250ms", jitter="250ms", heartbeat=0.3)
        except SimulatorError as error:
            raise DemoFailed(str(error)) from error
        settings = {"API_WECHAT_URL": vendor.url, "API_USERNAME": vendor.username, "API_PASSWORD": vendor.password}
        settings["API_PROXY"] = "none"
        (self._folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _start_worker(self) -> None:
        """A worker that takes jobs."""
        printed = self._folder / "worker.out"
        with _undisturbed(), printed.open("wb") as sink:
            self._worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "gengfu", "queue:work"],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=_environment(),
                process_group=0,
            )
        patience = Patience(START_PATIENCE, longest=0.1)
        while "worker ready" not in (words := printed.read_text("utf-8", "replace")):
            if self._worker.poll() is not None or not patience.lasts():
                last = words.strip().splitlines()[-1:]
                raise DemoFailed(
                    tr("the worker did not start; it said: {last}", last=last[0] if last else tr("nothing"))
                )

    def change_fleet(self) -> FleetChanges:
        """Some phones change at the vendor, some are new, some are deleted."""
        assert self._vendor is not None
        self._before = self._vendor.snapshot()
        changed = self._vendor.fleet("change", count=24, pick="random")
        added = self._vendor.fleet("add", count=12)
        deleted = self._vendor.fleet("delete", ids=sorted(self._before.keys() - set(changed))[5:80:10])
        return FleetChanges(len(changed), len(added), len(deleted))

    def differences(self, devices: DeviceService) -> list[str]:
        """What the mirror does not have as the vendor has it, now that it was read once more."""
        assert self._vendor is not None
        return differences(self._before, self._vendor.snapshot(), devices)

    def _clear_up(self) -> None:
        with _undisturbed():
            if self._worker is not None:
                end(self._worker, STOP_PATIENCE)
            if self._vendor is not None:
                self._vendor.close()


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


def differences(before: Mapping[int, Any], after: Mapping[int, Any], devices: DeviceService) -> list[str]:
    """What the mirror does not have as the vendor has it; `before` and `after` are its rows by id, at both runs."""
    present = {
        row[0]: dict(zip(devices.columns, row, strict=True)) for row in devices.stream(Filter(), devices.columns)
    }
    gone = {row[0] for row in devices.stream(Filter(presence=Presence.GONE), ["id"])}
    wrong: list[str] = [tr("device {key} is not in the mirror", key=key) for key in after.keys() - present.keys()]
    wrong += [tr("device {key} is in the mirror alone", key=key) for key in present.keys() - after.keys()]
    wrong += [tr("device {key} should be gone", key=key) for key in (before.keys() - after.keys()) - gone]
    for key in after.keys() & present.keys():
        for field in DEVICE.fields:
            expected = _expected(after[key].get(field.name), field.kind)
            if not field.volatile and present[key][field.column] != expected:
                wrong.append(
                    tr(
                        "device {key}: {field.column} is {present!r}, not {expected!r}",
                        key=key,
                        field=field,
                        present=present[key][field.column],
                        expected=expected,
                    )
                )
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

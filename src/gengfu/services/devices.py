"""Devices: search them, show one with its history, write them to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

from gengfu.errors import NotFound, UsageError
from gengfu.services import export
from gengfu.services.export import Format
from gengfu.services.json import object_of, to_json
from gengfu.store.changes import Change, ChangeStore
from gengfu.store.database import Database
from gengfu.store.devices import COLUMNS, DeviceStore, Presence, Which

__all__ = [
    "COLUMNS",
    "Change",
    "Device",
    "DeviceDetail",
    "DeviceService",
    "Exported",
    "Format",
    "Found",
    "Presence",
    "Which",
]


@dataclass(frozen=True, slots=True)
class Device:
    """A row of the mirror: the vendor's fields, what else its row holds, and since when it is known, changed, gone."""

    id: int
    imei: str | None
    user_name: str | None
    nickname: str | None
    real_name: str | None
    memo: str | None
    phone: str | None
    brand: str | None
    model: str | None
    operating_system: str | None
    software_version: str | None
    group_id: str | None
    group_name: str | None
    tenant_id: str | None
    current_account_id: str | None
    wechat_accounts: Any
    extra: Any
    alive: bool | None
    rooted: bool | None
    x_posed: bool | None
    is_deleted: bool | None
    deleted_and_stop: bool | None
    create_time: datetime | None
    delete_time: datetime | None
    last_alive_time: datetime | None
    last_update_time: datetime | None
    other: Any
    first_seen_at: datetime
    updated_at: datetime
    gone_at: datetime | None

    @property
    def name(self) -> str | None:
        """The name by which people know it: the first there is of real name, nickname and user name."""
        return self.real_name or self.nickname or self.user_name

    @property
    def state(self) -> str | None:
        """`alive` or `dead`, as the vendor has it, or `gone`."""
        if self.gone_at is not None:
            return "gone"
        return {True: "alive", False: "dead", None: None}[self.alive]


@dataclass(frozen=True, slots=True)
class DeviceDetail:
    """A device with its latest changes, the newest first."""

    status: str
    """`present`, `gone`, or since which run it is missing."""
    device: Device
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Found:
    """The first devices that a search found, by id."""

    devices: Sequence[Device]
    count: int
    more: bool
    """Whether there are others."""
    gone: int | None
    """Where none is present: one that the search would find among those that are gone."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of devices that was written; None where it was a stream."""

    file: Path | None
    format: Format
    count: int
    notes: Sequence[str]
    """What was not written as it is."""


class DeviceService:
    """The devices of one source, as the mirror has them."""

    def __init__(self, db: Database, source_id: int, zone: str) -> None:
        """`zone`: in which people read times."""
        self._store = DeviceStore(db, source_id)
        self._changes = ChangeStore(db, source_id)
        self._zone = zone

    def search(self, text: str, presence: Presence, limit: int) -> Found:
        """The first `limit` devices with this text in their imei, a name, the memo or the phone, in capitals or not, or
        whose id it is.

        Raises:
            UsageError: the text is empty.
        """
        if not text.strip():
            raise UsageError("TEXT is empty; to list all devices: gengfu device:export -")
        found = self._store.find(text, presence, limit + 1)
        past = self._store.find(text, Presence.GONE, 1) if not found and presence is Presence.PRESENT else []
        devices = [Device(**row) for row in found[:limit]]
        return Found(devices, len(devices), len(found) > limit, past[0]["id"] if past else None)

    def one(self, device_id: int, changes: int) -> DeviceDetail:
        """A device with its latest changes.

        Raises:
            NotFound: the mirror has none of that id.
        """
        row = self._store.get(device_id)
        if row is None:
            raise NotFound(f"there is no device {device_id} in the mirror; search with: gengfu device:find TEXT")
        device = Device(**row)
        missed = self._store.missed_by(device_id)
        status = "gone" if device.gone_at else "present" if missed is None else f"missing since run {missed}"
        return DeviceDetail(status, device, self.timeline(device_id, changes))

    def timeline(self, device_id: int, limit: int) -> list[Change]:
        """The latest changes of a device, the newest first."""
        return self._changes.of_row("device", device_id, limit)

    def stream(self, which: Which, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The chosen devices by id, as of one moment, as tuples of these columns; in flat memory."""
        return self._store.stream(which, columns)

    def export_file(
        self,
        path: Path,
        which: Which,
        columns: Sequence[str],
        asked: str | None,
        *,
        force: bool,
        tell: Callable[[int, int], None],
    ) -> Exported:
        """Writes the chosen devices to a file, which is there only when it is whole.

        Args:
            asked: the format, in place of the one that the ending names.
            force: overwrite the file if it is there.
            tell: hears how many of how many are written.

        Raises:
            UsageError: the file is there, its format is not known, or the devices do not fit into it.
            FileError: it cannot be written.
        """
        form = export.format_of(path, asked)
        if path.exists() and not force:
            raise UsageError(f"{path} is there already; give --force to overwrite it")
        with export.whole(path) as part:
            count, notes = self._write(form, part, which, columns, tell)
        return Exported(path.absolute(), form, count, notes)

    def export_stream(
        self,
        stream: IO[bytes],
        which: Which,
        columns: Sequence[str],
        asked: str | None,
        tell: Callable[[int, int], None],
    ) -> Exported:
        """Writes them to a stream, which stays open.

        Raises:
            UsageError: no format is named, or one that cannot go to a stream.
        """
        if asked is None:
            raise UsageError("which format is stdout to get? give --format csv or --format jsonl")
        count, notes = self._write(Format(asked), stream, which, columns, tell)
        return Exported(None, Format(asked), count, notes)

    def _write(
        self,
        form: Format,
        place: Path | IO[bytes],
        which: Which,
        columns: Sequence[str],
        tell: Callable[[int, int], None],
    ) -> tuple[int, list[str]]:
        total = self._store.count(which)
        if form is Format.XLSX and total > export.XLSX_ROWS:
            raise UsageError(export.too_many_rows(total))
        writer = export.writer(form, place, columns, ZoneInfo(self._zone))
        number = export.copy(self._store.stream(which, columns), writer, lambda done: tell(done, total))
        return number, writer.notes


def columns_named(text: str | None) -> Sequence[str]:
    """The columns of the device table that a list names; all of them for None.

    Raises:
        UsageError: one of them does not exist.
    """
    if text is None:
        return COLUMNS
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in COLUMNS]
    if unknown or not named:
        wrong = ", ".join(unknown) or text
        raise UsageError(f"there is no column {wrong!r}; there are: {', '.join(COLUMNS)}")
    return list(dict.fromkeys(named))


@to_json.register(DeviceDetail)
def _detail(detail: DeviceDetail) -> dict[str, Any]:
    told = ("run_id", "field", "old", "new", "changed_at")
    changes = [{name: to_json(getattr(change, name)) for name in told} for change in detail.changes]
    return {"status": detail.status, "device": to_json(detail.device), "changes": changes}


@to_json.register(Found)
def _found(found: Found) -> dict[str, Any]:
    return object_of(found, without=("gone",))

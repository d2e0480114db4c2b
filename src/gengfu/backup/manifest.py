"""What a backup is called, and what the small file beside it says of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

SAFETY = "before-restore"
"""The label of a copy that was made of what a restore was about to replace."""

LONGEST = 1 << 20
"""Bytes that a manifest may take."""

Bytes = Annotated[int, msgspec.Meta(ge=0)]

_NAME = re.compile(r"gengfu-(sqlite|postgresql|mysql)-(\d{8}T\d{6})Z(?:-(before-restore))?\.jsonl\.gz")


@dataclass(frozen=True, slots=True)
class BackupName:
    """The parts of a backup's file name."""

    kind: str
    """Of the database that it was made of: `sqlite`, `postgresql` or `mysql`."""
    moment: datetime
    """When it was begun, to the second."""
    label: str = ""

    @property
    def file(self) -> str:
        """`gengfu-sqlite-20261122T020000Z.jsonl.gz`."""
        time = self.moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        return f"gengfu-{self.kind}-{time}{'-' if self.label else ''}{self.label}.jsonl.gz"


def parse_name(file: str) -> BackupName | None:
    """The parts of that file name; None where it is not a backup's."""
    found = _NAME.fullmatch(file)
    if found is None:
        return None
    try:
        moment = datetime.strptime(found[2], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    name = BackupName(found[1], moment, found[3] or "")
    return name if name.file == file else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a backup that was read back and found good. It stands beside it as `<backup>.json`."""

    file: str
    kind: str
    program: str
    """The version of the program that made it."""
    schema_version: str
    tables: Mapping[str, int]
    """The number of rows of each table."""
    size: Bytes
    """Bytes of the packed file."""
    unpacked: Bytes
    """Bytes of what is packed in it."""
    sha256: str
    """Of the packed file."""
    started_at: datetime
    finished_at: datetime

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(self.tables.values())


def manifest_path(backup: Path) -> Path:
    """Where the manifest of that backup stands."""
    return backup.with_name(f"{backup.name}.json")


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes it to the disk, readable by its owner alone."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_manifest(backup: Path) -> Manifest | None:
    """The manifest of that backup; None where there is none, or none that can be read."""
    if not manifest_path(backup).is_file():
        return None
    try:
        with manifest_path(backup).open("rb") as file:
            found = msgspec.json.decode(file.read(LONGEST), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.file == backup.name else None

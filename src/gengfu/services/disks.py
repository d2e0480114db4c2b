"""How much room the disks have on which the program writes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gengfu.language import Message, tr

LOW = 1_000_000_000
"""Free bytes below which a disk is soon full ..."""
FULL = 100_000_000
"""... and below which it counts as full."""
FEW_FILES = 1000


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of a folder."""

    folder: Path
    free: int
    """Bytes."""
    files: int | None
    """How many files more can be made; None where that has no limit."""

    @property
    def is_full(self) -> bool:
        """Whether the program may have to stop soon."""
        return self.free < FULL or (self.files is not None and self.files < FEW_FILES)

    @property
    def told(self) -> Message:
        """What is left, for people."""
        values = {"free": self.free / 1e9, "folder": self.folder, "files": self.files}
        if self.files is not None and self.files < FEW_FILES:
            return tr(
                "{free:.1f} GB are free on the disk of {folder}, and only {files} files more can be made", **values
            )
        return tr("{free:.1f} GB are free on the disk of {folder}", **values)


def disks_of(folders: Iterable[Path]) -> Iterator[Disk]:
    """The disks of those of the folders that are there, each once."""
    seen = set()
    for folder in folders:
        if folder.exists() and (device := folder.stat().st_dev) not in seen:
            seen.add(device)
            counted = os.statvfs(folder)
            files = counted.f_favail if counted.f_files else None
            yield Disk(folder, shutil.disk_usage(folder).free, files)

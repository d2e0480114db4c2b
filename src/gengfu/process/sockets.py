"""Where supervisors have their sockets, and how to find those that were left behind by processes that were killed."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path

FOLDER = "gengfu-up-"
"""What the name of a supervisor's folder begins with."""
_LONGEST = 70
"""Characters of a folder below which sockets may lie, whose whole path has about 100."""


def place() -> Path:
    """The folder in which supervisors make theirs."""
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= _LONGEST else "/tmp")


def dead_supervisor_sockets() -> list[Path]:
    """Those of supervisors of this user that are gone."""
    found: list[Path] = []
    for folder in place().glob(f"{FOLDER}*"):
        try:
            if folder.lstat().st_uid == os.geteuid():
                found += (file for file in folder.iterdir() if is_dead(file, socket.SOCK_DGRAM))
        except OSError:
            continue  # its owner has just removed it
    return found


def remove(sockets: Iterable[Path]) -> None:
    """Removes them, and the folders that were made for them alone."""
    for file in sockets:
        try:
            file.unlink()
            if file.parent.name.startswith(FOLDER):
                file.parent.rmdir()
        except OSError:
            continue  # it is gone already, or its folder holds another one


def is_dead(file: Path, kind: socket.SocketKind) -> bool:
    """Whether it is a socket on which nobody listens."""
    if not file.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, kind) as link:
        link.setblocking(False)
        try:
            link.connect(str(file))
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False

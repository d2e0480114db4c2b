"""Finds the sockets of this program on which nobody listens any more."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path


def dead_server_sockets(var: Path) -> Iterator[Path]:
    """Those of the embedded Valkey of that folder."""
    for file in (var / "valkey").glob("*.sock"):
        if _is_dead(file, socket.SOCK_STREAM):
            yield file


def dead_supervisor_sockets() -> Iterator[Path]:
    """Those of supervisors of this user."""
    for folder in Path(tempfile.gettempdir()).glob("gengfu-up-*"):
        if folder.lstat().st_uid == os.geteuid():
            for file in folder.iterdir():
                if _is_dead(file, socket.SOCK_DGRAM):
                    yield file


def remove(sockets: Iterable[Path]) -> None:
    """Removes them, and the folders that were made for them alone."""
    for file in sockets:
        file.unlink(missing_ok=True)
        if file.parent.name.startswith("gengfu-up-"):
            try:
                file.parent.rmdir()
            except OSError:
                pass


def _is_dead(file: Path, kind: socket.SocketKind) -> bool:
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

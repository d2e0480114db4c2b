"""What a simulator is started with, besides its faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """The size of the fleet, the credentials, and where to listen."""

    devices: int = 2000
    deleted: int = 0
    stopped: int = 0
    seed: int = 1
    host: str = "127.0.0.1"
    port: int = 8790
    """0 lets the system pick one."""
    username: str = "demo"
    password: str = field(default="demo", repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ready_file: Path | None = None
    """Gets the address once the server listens."""
    parent: int | None = None
    """A process id; the simulator ends soon after it is no longer the parent."""

"""Who gives an order, for those who wonder later."""

from __future__ import annotations

import getpass
import os


def person() -> str:
    """The user on this host: `root@hall`."""
    from gengfu.process.pids import host_name

    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{host_name()}"

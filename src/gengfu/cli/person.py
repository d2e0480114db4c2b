"""Who gives an order, for those who wonder later."""

from __future__ import annotations

import getpass
import os

from gengfu.process.pids import host_name


def person() -> str:
    """The user on this host: `root@hall`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{host_name()}"

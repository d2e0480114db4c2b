"""A cron of a test's own: the real crontab and cron, with mounts that hide the crontabs of the machine."""

from __future__ import annotations

import grp
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

SPOOL = Path("/var/spool/cron/crontabs")

_MOUNTS = """\
mount -t tmpfs -o mode=1730,gid={group} cron {spool} &&
mount -t tmpfs cron /etc/cron.d &&
mount --bind /dev/null /etc/crontab &&
mount -t tmpfs cron /run &&
echo ready && exec sleep 600
"""


class PrivateCron:
    """Crontabs that nobody else sees, from its making until `close`; for root on Debian's kind of system."""

    def __init__(self) -> None:
        self.absence = self._why_not()
        """Why it cannot be made here."""
        self._cron: subprocess.Popen[bytes] | None = None
        if self.absence is not None:
            return
        script = _MOUNTS.format(group=grp.getgrnam("crontab").gr_gid, spool=SPOOL)
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline()
        if said != b"ready\n":
            self.absence = said.decode().strip() or "unshare is not allowed"
            self.close()

    @staticmethod
    def _why_not() -> str | None:
        if os.geteuid() != 0:
            return "only root can hide the machine's crontabs"
        missing = [name for name in ("crontab", "cron", "unshare", "nsenter") if shutil.which(name) is None]
        return f"there is no program {missing[0]}" if missing else None if SPOOL.is_dir() else f"there is no {SPOOL}"

    def wrap(self, *command: str) -> list[str]:
        """The command line that runs the command among these crontabs."""
        return ["nsenter", "--mount", f"--target={self._keeper.pid}", *command]

    def crontab(self, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Runs the program crontab."""
        return subprocess.run(self.wrap("crontab", *arguments), input=given, capture_output=True, timeout=30)

    def start(self) -> None:
        """Starts cron."""
        self._cron = subprocess.Popen(self.wrap("cron", "-f"), stdin=subprocess.DEVNULL, start_new_session=True)

    def close(self) -> None:
        """Ends cron, with what it started, and forgets the crontabs."""
        for process in (self._cron, self._keeper):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
            if process is not None:
                process.communicate()


def seconds_to_next_minute() -> float:
    """How long cron sleeps at most before it looks at its crontabs again."""
    return 60 - time.time() % 60

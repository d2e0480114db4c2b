"""A supervisor in a process of its own, with the children that a test asks for; what it tells goes to stdout.

Its one argument is JSON: `roles`, each with `name` and `code` (a Python program) and what else `Role` takes; `pauses`
before replacements, the last of which lasts; `stuck_after`; `stuck_grace`.
The class `Family` starts it and reads what it tells.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gengfu.process import supervisor
from gengfu.process.supervisor import Role, Supervisor, lasting
from stage import wait_for

STEADY = """
import os, signal, sys, time
def say(word):
    os.write(int(os.environ["GENGFU_NOTIFY_FD"]), word.encode())
def end(*_):
    print("ends", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
parent = os.getppid()
say("READY=1")
print("ready", os.getpid(), flush=True)
while os.getppid() == parent:
    say("WATCHDOG=1")
    time.sleep(0.05)
"""
"""A child that does all that is asked of one."""

MUTE = STEADY.replace('    say("WATCHDOG=1")\n', "")
"""A child whose loop makes no progress."""
DYING = "import sys; print('I cannot', flush=True); sys.exit(3)"
REFUSING = "import sys; sys.exit(2)"
LAZY = STEADY.replace('    print("ends", flush=True)\n', '    print("ends", flush=True)\n    time.sleep(0.3)\n')
"""A child that takes its time to end."""
STUBBORN = STEADY.replace("signal.signal(signal.SIGTERM, end)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")


class Family:
    """A supervisor's process and its children; all are gone after `close`."""

    def __init__(self, folder: Path, *roles: dict[str, Any], **more: Any) -> None:
        self._log = folder / "told"
        with self._log.open("wb") as sink:
            environment = os.environ | more.pop("environment", {})
            told = json.dumps({"roles": roles, **more})
            self.process = subprocess.Popen([sys.executable, __file__, told], stdout=sink, env=environment)

    @property
    def told(self) -> list[str]:
        """The lines that it told, `name|text`."""
        return self._log.read_text().splitlines()

    def await_told(self, pattern: str, times: int = 1, timeout: float = 15.0) -> list[str]:
        """Waits until so many lines match, and returns what their first group is."""

        def found() -> list[str] | None:
            matches = [match[1] if match.re.groups else match[0] for line in self.told if (match := seek(line))]
            return matches if len(matches) >= times else None

        seek = re.compile(pattern).search
        try:
            return list(wait_for(found, timeout))
        except TimeoutError:
            raise AssertionError(self.told) from None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in re.findall(r"\|ready (\d+)", "\n".join(self.told)):
            wait_for(lambda pid=pid: _is_gone(int(pid)))


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def main(text: str) -> int:
    """Runs the supervisor; returns its exit code."""
    asked = json.loads(text)
    pauses = asked.get("pauses", [0.05])
    roles = [
        Role(
            role["name"],
            (sys.executable, "-c", role["code"]),
            role.get("count", 1),
            lasting,
            role.get("grace", 5.0),
            role.get("watched", True),
        )
        for role in asked["roles"]
    ]

    def tell(name: str, line: str) -> None:
        os.write(1, f"{name}|{line}\n".encode())

    def pause(deaths: int) -> float:
        return float(pauses[min(deaths, len(pauses)) - 1])

    supervisor.STUCK_GRACE = asked.get("stuck_grace", supervisor.STUCK_GRACE)
    return Supervisor(roles, tell, pause=pause, stuck_after=asked.get("stuck_after", 15.0)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

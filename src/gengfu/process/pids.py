"""What processes are called, and how one is told from a later one that was given the same number."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import zlib
from functools import cache


def host_name() -> str:
    """The name under which the processes of this host are known."""
    return socket.gethostname()[:255] or "localhost"


def process_name() -> str:
    """A name for this process that no other has, on any host: the host's, its number and a random part."""
    return f"{host_name()[:100]}:{os.getpid()}:{os.urandom(3).hex()}"


def birth_of(pid: int) -> str | None:
    """When and where the process began, the same for as long as it lives and never given twice; at most 64 characters.

    None where there is no such process, or only what is left of one that nobody has waited for.
    """
    try:
        fields = _stat(pid)
    except OSError:
        return None if os.path.exists("/proc/self/stat") else _told_by_ps(pid)
    return None if fields[0] in "ZX" else f"{machine()}{fields[19]}"


def _stat(pid: int) -> list[str]:
    """What /proc/PID/stat says from the state on. The name before it, in brackets, may hold anything; the start, the
    22nd of all fields, is the 20th here."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def lives(pid: int, birth: str) -> bool:
    """Whether the process with that birth is there. One that is hidden, as other users' may be, is taken for it."""
    found = birth_of(pid)
    if found is not None:
        return found == birth
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def is_stopped(pid: int, birth: str) -> bool:
    """Whether the process with that birth was put to sleep, by SIGSTOP or a terminal, and not woken since."""
    try:
        return birth_of(pid) == birth and _stat(pid)[0] in "Tt"
    except OSError:
        return False


def leader_started_with(**environment: str) -> int | None:
    """The oldest process that leads its group and was started with all of these values in its environment, as far as
    this system and this user may see."""
    wanted = {os.fsencode(f"{name}={value}") for name, value in environment.items()}
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        try:
            if name.isdigit() and os.getpgid(int(name)) == int(name):
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted <= set(file.read().split(b"\0")):
                        found.append((int(_stat(int(name))[19]), int(name)))
        except (OSError, IndexError):
            continue
    return min(found)[1] if found else None


def is_here(birth: str) -> bool:
    """Whether a process with that birth could be seen from here: same machine, same boot, same container."""
    return birth.startswith(machine())


def was_here(birth: str) -> bool:
    """Whether a process with that birth lived in this container before the container was started anew, which it did not
    survive. Another container of that name, which may well live, has a writable layer of its own."""
    return bool(_layer()) and birth.startswith(_place()) and not is_here(birth)


@cache
def machine() -> str:
    """What the births of all processes that can be seen from here begin with, until machine or container are started
    anew."""
    try:
        space = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
        return f"{_place()}{space}:"
    except OSError:
        return "here:"


@cache
def _place() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip().replace("-", "")[:20]
    return f"{boot}{_layer()}:"


@cache
def _layer() -> str:
    """A mark of the writable layer of this container, which no other container has; empty outside of one."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            mounts = [line.split(" ") for line in file]
    except OSError:
        return ""
    # The fifth word is where it is mounted, the last has the options; the latest mount lies above the others.
    options = [words[-1].strip() for words in mounts if words[4] == "/"]
    found = re.search(r"\bupperdir=([^,]+)", options[-1]) if options else None
    return f".{zlib.crc32(found[1].encode()):08x}" if found else ""


def _told_by_ps(pid: int) -> str | None:
    """Where there is no /proc, as on macOS."""
    asked = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return f"{machine()}{' '.join(told[1:])}"[:64] if told and not told[0].startswith("Z") else None

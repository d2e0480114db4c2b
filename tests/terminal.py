"""A working folder with the program run in it as people and scripts run it: in pipes, on a terminal, with a worker."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gengfu
from gengfu.cli.console import main

PROGRAM = (sys.executable, "-P", "-m", "gengfu")
ROOT = str(Path(gengfu.__file__).resolve().parents[1])


@dataclass(frozen=True)
class Ended:
    """What a run of the program came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object that stdout must be."""
        assert self.out.count("\n") == 1
        assert self.out.endswith("}\n")
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The rows of a plain table, titles first."""
        return [line.split("\t") for line in self.out.splitlines() if "\t" in line]


class Home:
    """A working folder; its settings are in its `.env`, its broker is the embedded one unless they name another."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.set(**settings)

    def set(self, **settings: str) -> None:
        """Writes `.env` anew."""
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()), "utf-8")

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
        path = os.pathsep.join(part for part in (ROOT, os.environ.get("PYTHONPATH")) if part)
        return clean | {"GENGFU_HOME": str(self.folder), "PYTHONPATH": path, "LANG": "C.UTF-8"} | dict(more or {})

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """Starts the program with its outputs in pipes."""
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen([*PROGRAM, *arguments], env=self.environment(), cwd=self.folder, **options | more)

    def run(self, *arguments: str, timeout: float = 60, **environment: str) -> Ended:
        """Runs the program in a pipe."""
        done = subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environment(environment),
            cwd=self.folder,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ask(self, *arguments: str, **environment: str) -> Ended:
        """Runs the program within this process, which is quicker."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(os, "environ", self.environment(environment))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            before = os.umask(0o022)
            code = main(arguments)
            os.umask(before)
        said = []
        for stream in (out, err):
            stream.flush()
            stream.seek(0)
            said.append(stream.read())
        return Ended(code, *said)

    def on_terminal(self, *arguments: str, typed: str = "", timeout: float = 60, **environment: str) -> Ended:
        """Runs the program on a terminal of 80 columns; stdout and stderr come together, in `out`."""
        process, master = self.start_on_terminal(*arguments, **environment)
        os.write(master, typed.encode())
        return Ended(process.wait(timeout), read_terminal(master, timeout), "")

    def start_on_terminal(self, *arguments: str, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
        """The process, in a session of its own, and the terminal's other end."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        given = self.environment({"TERM": "xterm-256color"} | environment)
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=given,
            cwd=self.folder,
            start_new_session=True,
        )
        os.close(slave)
        return process, master

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that takes jobs, while the block lasts."""
        log = self.folder / "worker.out"
        with log.open("wb") as sink:
            process = self.start("queue:work", *arguments, stdout=sink, stderr=sink)
        try:
            deadline = time.monotonic() + 30
            while "worker ready" not in log.read_text("utf-8"):
                assert process.poll() is None, log.read_text("utf-8")
                assert time.monotonic() < deadline, log.read_text("utf-8")
                time.sleep(0.02)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    def logged(self, name: str) -> str:
        """What a log file holds."""
        return (self.folder / "logs" / name).read_text("utf-8")


def read_until(master: int, text: str, timeout: float = 60) -> str:
    """What is written to a terminal until `text` has come."""
    read = ""
    deadline = time.monotonic() + timeout
    while text not in read:
        assert select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0], read
        read += os.read(master, 65536).decode("utf-8", "replace")
    return read


def read_terminal(master: int, timeout: float = 60) -> str:
    """All that is written to a terminal until its last user has closed it."""
    read = b""
    deadline = time.monotonic() + timeout
    try:
        while select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            chunk = os.read(master, 65536)
            if not chunk:
                break
            read += chunk
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(master)
    return read.decode("utf-8", "replace").replace("\r\n", "\n")

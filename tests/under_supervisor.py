"""A real supervisord of a test's own, with the configuration that `gengfu deploy supervisor` writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stage import wait_for
from system import System

CONFIGURATION = """\
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
user=root

[unix_http_server]
file={folder}/supervisor.sock

[supervisorctl]
serverurl=unix://{folder}/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={folder}/conf.d/*.conf
"""


class Supervised:
    """A system whose processes supervisord keeps, from its making until `close`."""

    def __init__(self, system: System) -> None:
        self.system = system
        # Not under pytest's folder: the path of a socket has at most about 100 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="gengfu-test-")
        self.folder = Path(self._folder.name)
        self.places = self.folder / "conf.d"
        self.places.mkdir()
        text = CONFIGURATION.format(folder=self.folder)
        if os.geteuid() != 0:
            text = text.replace("user=root\n", "")
        (self.folder / "supervisord.conf").write_text(text)
        programs = self.folder / "bin"
        programs.mkdir()
        program = programs / "supervisorctl"
        program.write_text(f'#!/bin/sh\nexec {" ".join(self._command("supervisorctl"))} "$@"\n')
        program.chmod(0o755)
        self._path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._process = subprocess.Popen(
            [*self._command("supervisord"), "-n"],
            env=system.home.environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        wait_for((self.folder / "supervisor.sock").exists, 20)

    def _command(self, name: str) -> list[str]:
        return [sys.executable, "-m", f"supervisor.{name}", "-c", str(self.folder / "supervisord.conf")]

    def deploy(self, *arguments: str, code: int = 0) -> str:
        """Runs `gengfu deploy supervisor` with this supervisord as the machine's; what it said."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("gengfu.deploy.supervisor.PLACES", ((self.places, ".conf"),))
            ended = self.system.home.ask("deploy", "supervisor", *arguments, PATH=self._path)
        assert ended.code == code, ended.err
        return ended.out

    def ctl(self, *arguments: str, timeout: float = 60) -> str:
        """What supervisorctl answers."""
        done = subprocess.run(
            [*self._command("supervisorctl"), *arguments], capture_output=True, text=True, timeout=timeout
        )
        return done.stdout + done.stderr

    def states(self) -> dict[str, str]:
        """The state of each program, by name."""
        return {line.split()[0]: line.split()[1] for line in self.ctl("status").splitlines()}

    def pid(self, name: str) -> int:
        """The process id of a program; 0 while it does not run."""
        answer = self.ctl("pid", name).strip()
        return int(answer) if answer.isdigit() else 0

    def kill(self, name: str) -> None:
        """Ends a program as a power cut would, and waits until supervisor has started it again."""
        wait_for(lambda: self.states()[name] == "RUNNING", 30, every=0.5)
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.pid(name) not in (0, pid), 30, every=0.2)

    def log(self, name: str) -> str:
        """What supervisor took down of a program: `worker_00`."""
        return "".join(path.read_text("utf-8") for path in self.folder.glob(f"gengfu_{name}-stdout---*"))

    def close(self) -> None:
        """Ends supervisord, which ends its programs."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()
            self._folder.cleanup()

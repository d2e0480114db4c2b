"""The client programs of database servers: found on PATH, run with passwords out of sight, heard when they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from gengfu.backup.streams import CHUNK, Progress
from gengfu.errors import BackupError

COMPLAINT = 2000
"""The most bytes of what a program said last that an error repeats."""
PATIENCE = 10.0
"""Seconds that a program has to end when it is told to."""


def find_program(names: Sequence[str], package: str) -> str:
    """The first of these programs that PATH has.

    Raises:
        BackupError: it has none; the text names the Debian package that brings them.
    """
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    raise BackupError(f"PATH has no {' or '.join(names)}; on Debian and Ubuntu: sudo apt-get install {package}")


def version_text(program: str) -> str:
    """What the program says when asked for its version.

    Raises:
        BackupError: it cannot be run.
    """
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise BackupError(f"{program} cannot be run: {error.strerror}") from error
    return told.stdout.strip() or told.stderr.strip()


class Program:
    """A client program while it runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def chunks(self, progress: Progress, what: str) -> Iterator[bytes]:
        """What it prints, as it comes."""
        stdout = self._process.stdout
        assert stdout is not None
        done = 0
        while chunk := stdout.read(CHUNK):
            done += len(chunk)
            progress.step(what, done)
            yield chunk

    def feed(self, data: bytes) -> None:
        """Hands it input."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(data)


@contextmanager
def running(
    argv: Sequence[str], *, feeds: bool, secret: str = "", environment: Mapping[str, str] | None = None, fd: int = -1
) -> Iterator[Program]:
    """Runs the program for the time of the block and waits for its end; it is ended when the block fails.

    Args:
        feeds: whether the block hands it input, in place of reading what it prints.
        secret: is not repeated in an error.
        environment: beside that of this process.
        fd: a file that it may use too.

    Raises:
        BackupError: it cannot be started, or it failed; with its last words.
    """
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if feeds else subprocess.PIPE,
                stderr=words,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
                pass_fds=() if fd < 0 else (fd,),
            )
        except OSError as error:
            raise BackupError(f"{argv[0]} cannot be run: {error.strerror}") from error
        try:
            try:
                yield Program(process)
                _close(process)
                unheard = False
            except BrokenPipeError:
                # It went away in the middle of its input; why, it has told itself.
                unheard = True
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        if code or unheard:
            name = os.path.basename(argv[0])
            raise BackupError(f"{name} failed (exit code {code}): {_complaint(words, secret)}")


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except BrokenPipeError:
            continue


def _complaint(words: IO[bytes], secret: str) -> str:
    end = words.seek(0, os.SEEK_END)
    words.seek(max(0, end - COMPLAINT))
    text = " ".join(words.read().decode("utf-8", "replace").split())
    return (text.replace(secret, "******") if secret else text) or "it said nothing"

"""The lock file: one holder at a time, who is named; free as soon as the holder is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gengfu.locks import Held, held, holder, is_stale, remove_if_stale


def test_a_second_one_is_told_who_holds_it_and_for_what(tmp_path: Path) -> None:
    path = tmp_path / "var" / "x.lock"
    with held(path, "a backup is under way"):
        with pytest.raises(Held, match=f"held by process {os.getpid()}$"), held(path):
            pass
        found = holder(path)
        assert found is not None
        assert (found.pid, found.note) == (os.getpid(), "a backup is under way")
    assert holder(path) is None
    assert not path.exists()


def test_who_has_patience_gets_it_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with held(path):
            inside.set()
            leave.wait(20)

    first = threading.Thread(target=hold)
    first.start()
    assert inside.wait(20)
    threading.Timer(0.2, leave.set).start()
    with held(path, patience=20.0):
        assert holder(path) is not None
    first.join()


def test_a_killed_holder_leaves_a_file_that_nobody_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    code = (
        "import os, sys; from pathlib import Path; from gengfu.locks import held\n"
        "with held(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert is_stale(path)
    assert holder(path) is None
    assert remove_if_stale(path)
    assert not path.exists()

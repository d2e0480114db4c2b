"""The Containerfile: built where a builder is there, and read otherwise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gengfu.cli.up import Up
from gengfu.process.supervisor import KILL_AFTER
from gengfu.queue.options import GRACE

ROOT = Path(__file__).parents[2]
FILE = ROOT / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction with what follows it."""
    text = FILE.read_text("utf-8").replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def final() -> dict[str, str]:
    """The instructions of the image that is kept, by name."""
    found = instructions()
    last = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[last:])


def test_every_instruction_is_one_and_every_file_that_is_taken_is_there() -> None:
    known = "FROM WORKDIR COPY RUN ENV USER VOLUME STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD"
    assert {name for name, _ in instructions()} <= set(known.split())
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "**"
    needed = re.findall(r"(\S+\.lock)", FILE.read_text())
    assert set(needed) <= set(kept)
    assert {"pyproject.toml", "README.md", "src"} <= set(kept), "the package is built from them"


def test_what_is_kept_runs_without_root_and_is_stopped_by_the_signal_that_it_knows() -> None:
    image = final()
    user = image["USER"].partition(":")[0]
    assert user.isdigit()
    assert int(user) > 0
    assert f"-o {user} " in image["RUN"]
    assert image["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(image["ENTRYPOINT"]) == ["gengfu"]
    assert json.loads(image["CMD"]) == [Up.name]
    assert json.loads(image["HEALTHCHECK"].partition("CMD ")[2])[:2] == ["gengfu", "health"]
    folder = re.search(r"GENGFU_HOME=(\S+)", image["ENV"])
    assert folder is not None
    assert folder[1] == image["VOLUME"] == image["WORKDIR"]
    assert "PASSWORD" not in FILE.read_text()


def test_the_page_waits_as_long_as_a_stop_may_take() -> None:
    for name in ("container.md", "container.zh-CN.md"):
        told = re.search(r"stop_grace_period: (\d+)m", (ROOT / "docs" / name).read_text("utf-8"))
        assert told is not None
        assert int(told[1]) * 60 >= 2 * (GRACE + KILL_AFTER)


def test_it_can_be_built() -> None:
    builder = next(filter(None, map(shutil.which, ("podman", "docker", "buildah"))), None)
    if builder is None:
        pytest.skip("there is no podman, docker or buildah")
    done = subprocess.run([builder, "build", "-f", str(FILE), str(ROOT)], capture_output=True, text=True, check=False)
    if any(word in done.stderr for word in ("pull", "registry", "daemon running")):
        pytest.skip(f"it cannot build here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr

"""The block in a crontab: edited among foreign lines, installed through the real crontab, run by the real cron."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.deploy import crontab
from gengfu.deploy.plan import Plan
from gengfu.errors import FileError, UsageError
from gengfu.locks import UP_LOCK, held
from private_cron import PrivateCron, seconds_to_next_minute
from servers import absent
from terminal import PROGRAM, ROOT

FOLDER = Path("/srv/gengfu")
BLOCK = b"# BEGIN gengfu /srv/gengfu\n* * * * * true\n# END gengfu /srv/gengfu\n"
OTHER = BLOCK.replace(b"/srv/gengfu", b"/srv/gengfu 2")
FOREIGN = b'MAILTO=""\n\n*/5 * * * * echo \xb9\xfe\xff % \\% \t \r\n  # a remark\n@reboot true\n'


def plan(folder: Path, **more: object) -> Plan:
    given_or_usual = {"program": ("/srv/gengfu/.venv/bin/gengfu",), "user": "www"} | more
    return Plan(folder=folder, logs=folder / "logs", **given_or_usual)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", BLOCK),
        (FOREIGN, FOREIGN + BLOCK),
        (FOREIGN[:-1], FOREIGN + BLOCK),
        (FOREIGN + BLOCK + FOREIGN, FOREIGN + BLOCK + FOREIGN),
        (BLOCK.replace(b"true", b"false\n\n0 0 * * * false"), BLOCK),
        (FOREIGN + BLOCK[:-1], FOREIGN + BLOCK),
        (BLOCK + FOREIGN + BLOCK, BLOCK + FOREIGN),
        (OTHER + FOREIGN, OTHER + FOREIGN + BLOCK),
        (BLOCK.replace(b"\n", b"\r\n") + FOREIGN, BLOCK + FOREIGN),
    ],
    ids=["empty", "added", "unfinished", "same", "changed", "unfinished block", "doubled", "another folder", "windows"],
)
def test_a_block_takes_the_place_of_the_one_before_it(before: bytes, after: bytes) -> None:
    assert crontab.with_block(before, FOLDER, BLOCK) == after
    assert crontab.with_block(after, FOLDER, BLOCK) == after


@given(st.lists(st.sampled_from([FOREIGN, OTHER, b"\n", b"#\n", b"x\r\n"])), st.booleans())
def test_a_block_that_is_added_and_removed_leaves_other_lines_as_they_were(texts: list[bytes], ended: bool) -> None:
    before = b"".join(texts) + (b"" if ended else b"30 2 * * * true")
    newline = b"" if ended else b"\n"
    assert crontab.without_block(crontab.with_block(before, FOLDER, BLOCK), FOLDER) == before + newline
    assert crontab.without_block(before, FOLDER) == before


def test_a_block_without_its_end_is_not_guessed_at() -> None:
    for change in (
        lambda text: crontab.without_block(text, FOLDER),
        lambda text: crontab.with_block(text, FOLDER, BLOCK),
    ):
        with pytest.raises(FileError, match="without '# END gengfu /srv/gengfu'"):
            change(BLOCK.splitlines(keepends=True)[0] + FOREIGN)


def test_lines_of_the_old_way_are_pointed_at() -> None:
    old = b"*/5 * * * * cd /www && php think device:list\n#*/5 * * * * php think device:list\n0 1 * * * backup\n"
    text = crontab.with_block(old + OTHER, FOLDER, crontab.block(plan(FOLDER)))
    assert crontab.foreign_lines(text, plan(FOLDER)) == ["*/5 * * * * cd /www && php think device:list"]


@pytest.mark.parametrize("folder", ["/srv/a'b", '/srv/a"b', "/srv/a\\b", "/srv/$HOME", "/srv/a\nb", "/srv/`a`"])
def test_a_path_that_cannot_be_quoted_for_all_is_refused(folder: str) -> None:
    with pytest.raises(UsageError, match="move the folder"):
        plan(Path(folder))


@pytest.fixture(scope="module")
def cron() -> Iterator[PrivateCron]:
    opened = PrivateCron()
    if opened.absence is not None:
        absent("cron", opened.absence)
    yield opened
    opened.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A working folder of the user nobody; other users cannot enter pytest's folders."""
    place = Path(tempfile.mkdtemp(prefix="gengfu-test-"))
    place.chmod(0o755)
    made = place / "更夫 100% now"
    made.mkdir()
    shutil.chown(made, "nobody")
    yield made
    shutil.rmtree(place)


def test_a_block_is_installed_once_and_removed_without_a_trace(cron: PrivateCron, folder: Path) -> None:
    def deploy(*arguments: str) -> tuple[int, str, str]:
        command = cron.wrap(*PROGRAM, "deploy", "crontab", *arguments)
        environment = {**os.environ, "GENGFU_HOME": str(folder), "PYTHONPATH": ROOT}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        # Whether a cron runs that any process of this machine can see, tests that run meanwhile decide.
        said = done.stdout.replace("cron does not run here, so files are all that is changed\n", "")
        return done.returncode, said, done.stderr

    shown = cron.crontab("-u", "nobody", "-l")
    assert b"no crontab for nobody" in shown.stderr
    code, out, err = deploy("--install", "--queue", "device_list")
    assert (code, out) == (0, f"made: {folder}/logs\nwritten into: the crontab of nobody\n"), err
    assert (folder / "logs").owner() == "nobody"
    block = cron.crontab("-u", "nobody", "-l").stdout
    assert block.count(b"\n* * * * * cd '") == 3
    assert block == deploy("--queue", "device_list")[1].encode()
    assert deploy("--install", "--queue", "device_list")[1] == "unchanged: the crontab of nobody\n"
    assert deploy("--remove")[1] == "removed from: the crontab of nobody\n"
    assert b"no crontab for nobody" in cron.crontab("-u", "nobody", "-l").stderr
    assert deploy("--remove")[:2] == (0, "nothing to remove: the crontab of nobody\n")

    mine = b"# mine\n*/5 * * * * php think device:list \\% 100\n"
    cron.crontab("-u", "nobody", "-", given=mine)
    code, out, err = deploy("--install", "--workers", "3", "--json")
    assert (code, json.loads(out)["status"]) == (0, "installed")
    assert "the crontab of nobody also has this line, which may do the same work twice: */5 * * * * php" in err
    assert cron.crontab("-u", "nobody", "-l").stdout.startswith(mine + b"# BEGIN gengfu ")
    with held(folder / "var" / UP_LOCK):
        assert f"the workers that it started go on; to end them: kill {os.getpid()}\n" in deploy("--remove")[2]
    assert cron.crontab("-u", "nobody", "-l").stdout == mine
    code, _, err = deploy("--install", "--user", "no-such-user")
    assert (code, "there is no account 'no-such-user' here" in err) == (2, True)


def test_cron_runs_the_lines_of_a_block_as_they_are_meant(
    cron: PrivateCron, folder: Path, wait_until: Callable[..., None]
) -> None:
    program = folder / "bin dir" / "gengfu%"
    program.parent.mkdir()
    program.parent.chmod(0o755)
    program.write_text('#!/bin/sh\nprintf "%s|%s\\n" "$PWD" "$*" >> ran\necho said\necho "wrong $1" >&2\n')
    program.chmod(0o755)
    (folder / "logs").mkdir()
    shutil.chown(folder / "logs", "nobody")
    given_plan = plan(folder, program=(str(program),), user="nobody", workers=3, queue="urgent,device_list")
    assert cron.crontab("-u", "nobody", "-", given=crontab.block(given_plan)).returncode == 0
    cron.start()
    ran = folder / "ran"
    wait_until(lambda: ran.exists() and len(ran.read_text().splitlines()) >= 3, seconds_to_next_minute() + 80, 0.2)
    assert set(ran.read_text().splitlines()) == {
        f"{folder}|schedule:run",
        f"{folder}|up --if-absent --without scheduler --workers 3 --queue urgent,device_list",
        f"{folder}|health --restart --quiet",
    }
    log = folder / "logs" / "cron.log"
    wait_until(lambda: len(log.read_text().splitlines()) >= 4)
    assert sorted(log.read_text().splitlines()) == ["said", "wrong health", "wrong schedule:run", "wrong up"]

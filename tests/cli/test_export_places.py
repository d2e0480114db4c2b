"""Where an export goes: plain files whole or not at all, links, pipes and devices written through, none of others'."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from servers import SmallDisk
from terminal import PROGRAM, Home

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other accounts")
OTHER = 4711


@pytest.fixture
def place(home: Path) -> Home:
    """A working folder with a database that has no devices in it: a file of them has one line, of titles."""
    made = Home(home)
    assert made.ask("db:upgrade").code == 0
    return made


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".gengfu-")]


@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl"])
def test_a_new_file_is_for_its_owner_alone_unless_a_mode_is_named(place: Home, ending: str) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        assert place.run("device:export", f"own{umask}.{ending}").code == 0
        assert place.run("device:export", f"shared{umask}.{ending}", "--mode", "644").code == 0
        os.umask(before)
        assert mode_of(place.folder / f"own{umask}.{ending}") == 0o600
        assert mode_of(place.folder / f"shared{umask}.{ending}") == 0o644
    assert leftovers(place.folder) == []
    wrong = place.ask("device:export", "x.csv", "--mode", "rw")
    assert (wrong.code, "'rw' is no mode of a file; for example: 640" in wrong.err) == (2, True)


def test_a_file_that_is_there_keeps_its_owner_its_group_and_its_mode(place: Home) -> None:
    file = place.folder / "fleet.csv"
    file.write_text("old")
    file.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(file, OTHER, OTHER + 1)
    before = file.stat()
    assert place.ask("device:export", "fleet.csv").code == 2
    assert file.read_text() == "old"
    assert place.ask("device:export", "fleet.csv", "--force").code == 0
    after = file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert file.read_text("utf-8-sig").startswith("id,")
    assert place.ask("device:export", "fleet.csv", "--force", "--mode", "640").code == 0
    assert mode_of(file) == 0o640


def test_a_link_of_ones_own_is_written_through(place: Home, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (place.folder / "latest.csv").symlink_to(tmp_path / "share" / "fleet.csv")
    (place.folder / "again.csv").symlink_to("latest.csv")
    assert place.ask("device:export", "latest.csv").code == 0
    refused = place.ask("device:export", "again.csv")
    assert (refused.code, "is there already; give --force" in refused.err) == (2, True)
    assert place.ask("device:export", "again.csv", "--force").code == 0
    assert (place.folder / "latest.csv").is_symlink()
    assert (place.folder / "again.csv").is_symlink()
    assert not (tmp_path / "share" / "fleet.csv").is_symlink()
    (place.folder / "round.csv").symlink_to("round.csv")
    assert place.ask("device:export", "round.csv").code == 1


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_a_link_that_another_may_have_placed_is_refused(place: Home, tmp_path: Path, mode: int) -> None:
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    shared.mkdir()
    precious.write_text("as it was")
    (shared / "fleet.csv").symlink_to(precious)
    os.chown(shared / "fleet.csv", OTHER, OTHER, follow_symlinks=False)
    shared.chmod(mode)
    if mode == 0o755:
        os.chown(shared, OTHER, OTHER)
    refused = place.ask("device:export", str(shared / "fleet.csv"), "--force")
    assert (refused.code, "another account may have placed it" in refused.err) == (1, True)
    assert precious.read_text() == "as it was"
    assert leftovers(shared) == []


@as_root
def test_a_file_or_a_pipe_that_another_laid_ready_gets_nothing(place: Home, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "fleet.csv").write_text("")
    os.mkfifo(shared / "pipe.csv")
    for file in shared.iterdir():
        os.chown(file, OTHER, OTHER)
    shared.chmod(0o1777)
    for file in shared.iterdir():
        assert place.ask("device:export", str(file), "--force").code == 1
    assert (shared / "fleet.csv").read_text() == ""


def test_a_pipe_gets_the_rows(place: Home) -> None:
    pipe = place.folder / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    done = place.ask("device:export", "pipe", "--format", "csv")
    reader.join()
    assert (done.code, heard[0].startswith("id,")) == (0, True)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert place.ask("device:export", "/dev/null", "--format", "csv").code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_the_files_of_dev_are_written_and_not_replaced(place: Home, name: str) -> None:
    piped = place.run("device:export", name, "--format", "csv")
    assert (piped.code, piped.out.startswith("id,")) == (0, True), piped.err
    with (place.folder / "out").open("wb") as out:
        out.write(b"before\n")
        out.flush()
        process = place.start("device:export", name, "--format", "csv", stdout=out)
        assert process.wait() == 0
    assert (place.folder / "out").read_text().startswith("before\nid,")
    assert Path("/dev/stdout").is_symlink()


def test_a_full_device_is_told(place: Home) -> None:
    full = place.ask("device:export", "/dev/full", "--format", "csv")
    assert (full.code, full.err) == (1, "gengfu: /dev/full cannot be written: No space left on device\n")


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_full_disk_is_told_and_leaves_nothing(place: Home, small_disk: SmallDisk, ending: str) -> None:
    small_disk.fill()
    full = place.ask("device:export", str(small_disk.folder / f"fleet.{ending}"))
    assert (full.code, "cannot be written: No space left on device" in full.err) == (1, True), full.err
    assert list(small_disk.folder.glob("*fleet*")) == leftovers(small_disk.folder) == []


def test_a_file_that_is_there_stays_where_the_new_one_fails(place: Home, small_disk: SmallDisk) -> None:
    file = small_disk.folder / "fleet.csv"
    file.write_text("old")
    small_disk.fill()
    assert place.ask("device:export", str(file), "--force").code == 1
    assert file.read_text() == "old"


def test_a_long_name_is_no_hindrance(place: Home) -> None:
    name = "长" * 83 + ".csv"
    assert place.ask("device:export", name).code == 0
    assert (place.folder / name).is_file()


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv here")
def test_a_file_of_a_colleague_that_one_may_write_stays_the_colleagues(place: Home) -> None:
    """As an account that may not give files away."""
    file = place.folder / "fleet.csv"
    file.write_text("old, and longer than what comes: " + "~" * 10_000)
    os.chown(file, OTHER, 0)
    file.chmod(0o664)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown", *PROGRAM, "device:export", "fleet.csv", "--force"],
        env=place.environment(),
        cwd=place.folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (file.stat().st_uid, mode_of(file)) == (OTHER, 0o664)
    assert "~" not in file.read_text()

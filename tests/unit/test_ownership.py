"""Nothing in a folder is used in the name of an account that does not own it, and no link of another is followed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import gengfu
from gengfu import locks, ownership
from gengfu.errors import ConfigError, FileError
from gengfu.logs import setup
from gengfu.settings import Settings
from terminal import ROOT, Ended, Home

OWNER, OTHER = 4711, 4712
"""Accounts without a name."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other accounts")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other accounts can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="gengfu-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter like this one that every account can start."""
    found = next((file for file in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}") if _open(file)), None)
    if found is None or not _open(gengfu.__file__) or not _open(click.__file__):
        pytest.skip("other accounts cannot start the program where it lies")
    return found


def _open(file: str) -> bool:
    path = Path(file).resolve()
    return path.exists() and all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


class Theirs(Home):
    """A working folder with a command of its own that tells as whom it is imported."""

    def __init__(self, folder: Path, python: str) -> None:
        super().__init__(folder)
        self._python = python
        code = folder / "app" / "commands" / "whoami.py"
        code.parent.mkdir(parents=True)
        code.write_text(
            "import os, sys\n"
            "from gengfu import BaseCommand\n"
            "print('imported as', os.geteuid(), os.getegid(), os.getgroups(), file=sys.stderr)\n"
            "class WhoAmI(BaseCommand):\n"
            "    'Says it'\n"
            "    name = 'whoami'\n"
            "    def handle(self):\n"
            "        self.out.say(f'{os.geteuid()}')\n"
        )

    def run_as(self, account: int, *arguments: str, **environment: str) -> Ended:
        """Runs the program as that account."""
        packages = str(Path(click.__file__).parents[1])
        done = subprocess.run(
            [self._python, "-P", "-m", "gengfu", *arguments],
            env=self.environment({"PYTHONPATH": f"{ROOT}:{packages}", **environment}),
            cwd=self.folder,
            capture_output=True,
            check=False,
            user=account,
            group=account,
            extra_groups=[],
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def home(place: Path, python: str) -> Theirs:
    return Theirs(place / "home", python)


def give(path: Path, owner: int) -> None:
    """Makes all of it that account's."""
    for inner in (path, *path.rglob("*")):
        os.chown(inner, owner, owner, follow_symlinks=False)


@as_root
@pytest.mark.parametrize("command", [["whoami"], ["--help"], ["doctor"], ["config"]], ids=lambda words: words[0])
def test_root_becomes_the_owner_of_the_folder_before_anything_in_it_is_imported(
    home: Theirs, command: list[str]
) -> None:
    give(home.folder, OWNER)
    ended = home.run_as(0, *command)
    assert f"{home.folder} belongs to 4711, so this goes on as 4711 and not as root" in ended.err
    assert "imported as 0" not in ended.err
    if command != ["config"]:
        assert f"imported as {OWNER} {OWNER} []" in ended.err
    assert all(path.lstat().st_uid == OWNER for path in home.folder.rglob("*"))


@as_root
@pytest.mark.parametrize("part", [".env", "gengfu.toml", "app", "app/commands/whoami.py", "app/commands/x.pyc"])
def test_what_belongs_to_another_than_the_owner_is_refused(home: Theirs, part: str) -> None:
    file = home.folder / part
    if not file.exists():
        file.write_bytes(b"")
    os.chown(file, OTHER, OTHER)
    ended = home.run_as(0, "whoami")
    assert (ended.code, "imported" in ended.err) == (2, False)
    assert f"{file} belongs to 4712, and this process runs as root, so it does not use it" in ended.err
    give(home.folder, OWNER)
    os.chown(file, OTHER, OTHER)
    for ended in (home.run_as(0, "whoami"), home.run_as(OWNER, "--help")):
        assert (ended.code, "imported" in ended.err) == (2, False), ended.err
        assert f"{file} belongs to 4712" in ended.err


@as_root
def test_another_account_uses_the_folder_only_where_a_person_agreed(home: Theirs) -> None:
    give(home.folder, OWNER)
    refused = home.run_as(OTHER, "whoami")
    assert (refused.code, "imported" in refused.err) == (2, False)
    assert f"GENGFU_SAFE_DIRECTORY={home.folder}" in refused.err
    assert home.run_as(OTHER, "whoami", GENGFU_SAFE_DIRECTORY="/srv").code == 2
    agreed = home.run_as(OTHER, "whoami", GENGFU_SAFE_DIRECTORY=f"/srv:{home.folder}")
    assert (agreed.code, agreed.out) == (0, f"{OTHER}\n"), agreed.err
    assert home.run_as(0, "whoami", GENGFU_SAFE_DIRECTORY=str(home.folder)).out == "0\n"
    (link := home.folder.with_name("current")).symlink_to(home.folder)
    assert home.run_as(OTHER, "whoami", GENGFU_SAFE_DIRECTORY=str(link)).out == f"{OTHER}\n"


@as_root
def test_in_a_folder_of_others_that_is_no_working_folder_nothing_is_theirs_to_decide(home: Theirs) -> None:
    shutil.rmtree(home.folder / "app")
    (home.folder / ".env").unlink()
    give(home.folder, OWNER)
    for account in (0, OTHER):
        ended = home.run_as(account, "--help")
        assert (ended.code, "belongs to" in ended.err) == (0, False), ended.err
    assert list(home.folder.iterdir()) == []


@as_root
def test_code_and_settings_of_root_serve_every_account(home: Theirs) -> None:
    assert home.run_as(OTHER, "whoami").out == f"{OTHER}\n"


@as_root
def test_a_link_to_the_code_of_another_account_is_refused(home: Theirs, place: Path) -> None:
    shutil.move(home.folder / "app", place / "theirs")
    (home.folder / "app").symlink_to(place / "theirs")
    assert home.run_as(0, "whoami").out == "0\n"
    give(place / "theirs", OTHER)
    assert home.run_as(0, "whoami").code == 2


@as_root
def test_putting_a_deployment_in_place_stays_root_and_imports_nothing(home: Theirs, place: Path) -> None:
    give(home.folder, OWNER)
    ended = home.run_as(0, "deploy", "systemd", "--install", "--user", "root", "--to", str(place / "units"))
    assert (ended.code, "imported" in ended.err) == (0, False), ended.err
    written = home.run_as(0, "deploy", "systemd", "--write")
    assert "goes on as 4711" in written.err
    assert (home.folder / "deploy").stat().st_uid == OWNER


def test_what_is_made_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = Home(tmp_path / "home", API_WECHAT_URL="http://127.0.0.1:9/", API_USERNAME="u", API_PASSWORD="p")
        assert home.run("db:upgrade").code == 0
        assert home.run("device:list").code == 0
        assert home.run("device:export", "fleet.csv").code == 0
        assert home.run("backup:data").code == 0
    finally:
        os.umask(before)
    made = [path for path in home.folder.rglob("*") if path.name != ".env"]
    assert {path.name for path in made} >= {"var", "logs", "gengfu.db", "device_list.log", "fleet.csv", "backups"}
    assert {str(path): oct(path.stat().st_mode & 0o077) for path in made if path.stat().st_mode & 0o077} == {}


@as_root
@pytest.mark.parametrize("folder_mode", [0o777, 0o1777])
def test_a_link_that_another_may_have_placed_is_followed_neither_by_logs_nor_by_locks(
    tmp_path: Path, folder_mode: int
) -> None:
    # In a sticky folder Linux itself refuses.
    refused = "another account may have placed it|Permission denied"
    target = tmp_path / "precious"
    target.write_text("as it was")
    open_to_all = tmp_path / "logs"
    open_to_all.mkdir()
    for name in ("device_list.log", "x.lock"):
        (open_to_all / name).symlink_to(target)
        os.chown(open_to_all / name, OTHER, OTHER, follow_symlinks=False)
    open_to_all.chmod(folder_mode)
    with pytest.raises(ConfigError, match=refused):
        setup(Settings(home=tmp_path), file="device_list.log")
    with (
        pytest.raises(FileError, match=refused),
        locks.held(open_to_all / "x.lock"),
    ):
        pytest.fail("the lock was taken")
    assert locks.holder(open_to_all / "x.lock") is None
    assert target.read_text() == "as it was"


def test_a_link_in_a_folder_of_ones_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.log").touch()
    (tmp_path / "link.log").symlink_to(tmp_path / "real.log")
    os.close(file := ownership.open_own(tmp_path / "link.log", os.O_RDWR))
    assert file > 0


@as_root
def test_a_file_that_another_account_made_beforehand_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "x.log").touch()
    os.chown(tmp_path / "x.log", OTHER, OTHER)
    with pytest.raises(PermissionError, match="it belongs to 4712"):
        ownership.open_own(tmp_path / "x.log", os.O_RDWR)


@as_root
@pytest.mark.parametrize("part", ["app", "app/commands"])
def test_code_that_cannot_be_read_is_told(home: Theirs, part: str) -> None:
    (home.folder / part).chmod(0o700)
    refused = home.run_as(OTHER, "whoami")
    assert f"{home.folder / 'app' / 'commands'} cannot be read: Permission denied" in refused.err
    assert refused.code in (1, 2)


def test_a_refusal_names_the_owner_and_the_remedy(tmp_path: Path) -> None:
    denied = PermissionError(13, "Permission denied")
    assert ownership.why_refused(denied, tmp_path / "a" / "b") == f"Permission denied; run: chmod u+rwX {tmp_path}"
    assert ownership.why_refused(OSError(28, "No space left on device"), tmp_path) == "No space left on device"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_account_is_to_be_given_to_this_one(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    told = ownership.why_refused(PermissionError(13, "Permission denied"), tmp_path / "logs")
    assert told.startswith(f"Permission denied: {tmp_path} belongs to ")
    assert told.endswith(f"and this is root; run: chown -R root {tmp_path}")

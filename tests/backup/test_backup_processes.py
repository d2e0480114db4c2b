"""Backups in processes that are killed, on disks that are full, with clients that are missing, and in flat memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url

from backups import BackupHome, contents, count, fill, swell
from gengfu.backup.folder import BackupFolder
from gengfu.store.tables import change
from servers import DatabaseServer, SmallDisk

PASSWORD = "p\"a's\\s #%4711"

Wait = Callable[..., None]


def test_a_backup_that_is_killed_leaves_no_half_file_and_the_next_one_clears_up(
    place: BackupHome, wait_until: Wait
) -> None:
    swell(place.db, 8000, 1024)
    process = place.home.start("backup:data")
    wait_until(lambda: any(path.stat().st_size > 300_000 for path in place.folder.glob(".partial-*")), 30, 0.005)
    process.kill()
    process.communicate()
    assert place.files
    assert all(name.startswith(".partial-") for name in place.files)
    # What it had started ends by itself.
    wait_until(lambda: BackupFolder(place.folder).busy() is None)
    made = place.home.ask("backup:data", "--json")
    assert made.code == 0
    assert place.files == {made.json["file"], f"{made.json['file']}.json"}


def test_a_restore_that_is_killed_can_be_undone(place: BackupHome, wait_until: Wait) -> None:
    fill(place.db)
    swell(place.db, 8000, 1024)
    place.make()
    place.db.write(lambda connection: connection.execute(change.delete()))
    before = contents(place.db)
    log = place.home.folder / "logs" / "backup_data.log"
    process = place.home.start("backup:restore", "latest", "--yes", "--force")
    wait_until(lambda: log.exists() and "restore begun" in log.read_text(), 30, 0.005)
    process.kill()
    process.communicate()
    if place.db.kind == "mysql":
        safety = next(name for name in place.files if name.endswith("before-restore.sql.gz"))
        assert place.home.ask("backup:restore", safety, "--yes", "--force").code == 0
    assert contents(place.db) == before
    assert place.home.ask("backup:restore", "latest", "--yes", "--force").code == 0
    assert count(place.db, "change") == 12


def test_a_restore_is_seen_whole_or_not_at_all_by_who_has_the_file_open(small: BackupHome) -> None:
    fill(small.db)
    small.make()
    with small.db.read() as reader:
        look = text("SELECT count(*) FROM device")
        assert reader.scalar(look) == 12
        small.db.write(lambda connection: connection.execute(text("DELETE FROM device WHERE id > 3")))
        assert small.home.run("backup:restore", "latest", "--yes", "--force").code == 0
        assert reader.scalar(look) == 12
        reader.rollback()
        assert reader.scalar(look) == 12
    small.db.write(lambda connection: connection.execute(text("DELETE FROM device WHERE id > 3")))
    assert small.home.run("backup:data", "--json").json["tables"]["device"] == 3


def test_a_database_that_is_gone_or_beyond_help_can_be_restored(small: BackupHome) -> None:
    fill(small.db)
    before = contents(small.db)
    small.make()
    small.db.dispose()
    path = small.db.path
    assert path is not None
    path.write_bytes(b"no database" * 1000)
    for left in ("-wal", "-shm"):
        Path(f"{path}{left}").unlink(missing_ok=True)
    refused = small.home.ask("backup:restore", "latest", "--yes")
    assert refused.code == 1
    assert f"move {path}* elsewhere and restore again" in refused.err
    path.unlink()
    assert small.home.ask("backup:restore", "latest", "--yes").code == 0
    assert contents(small.db) == before


def test_a_person_is_asked_first(small: BackupHome) -> None:
    fill(small.db)
    small.make()
    small.db.write(lambda connection: connection.execute(change.delete()))
    assert "to restore without being asked: --yes" in small.home.ask("backup:restore", "latest", "--force").err
    no = small.home.on_terminal("backup:restore", "latest", "--force", typed="n\n")
    assert (no.code, count(small.db, "change")) == (1, 0)
    assert "Nothing was changed." in no.out
    yes = small.home.on_terminal("backup:restore", "latest", "--force", typed="y\n")
    assert (yes.code, count(small.db, "change")) == (0, 12), yes.out


def test_a_full_disk_is_told_before_and_leaves_nothing(
    small_disk: SmallDisk, place: BackupHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    swell(place.db, 12_000, 1024)
    folder = small_disk.folder / "backups"
    told = place.home.ask("backup:data", BACKUP_DIR=str(folder))
    assert told.code == 1
    assert "or name another folder: BACKUP_DIR" in told.err
    monkeypatch.setattr(BackupFolder, "demand_room", lambda *_: None)
    full = place.home.ask("backup:data", BACKUP_DIR=str(folder))
    assert full.code == 1
    assert "No space left on device" in full.err or "disk is full" in full.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_missing_client_is_named_with_its_package(
    kind: str, request: pytest.FixtureRequest, home: Path, tmp_path: Path
) -> None:
    server = request.getfixturevalue("database_servers")[kind]
    if server.absence is not None:
        pytest.skip(f"{server.label}: not reachable ({server.absence})")
    with server.migrated() as url:
        place = BackupHome(home, url)
        empty = tmp_path / "bin"
        empty.mkdir()
        missing = place.home.ask("backup:data", PATH=str(empty))
        assert missing.code == 1
        package = {"postgresql": "postgresql-client", "mysql": "default-mysql-client"}[kind]
        assert f"on Debian and Ubuntu: sudo apt-get install {package}" in missing.err
        if kind == "postgresql":
            _script(empty / "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'")
            old = place.home.ask("backup:data", PATH=str(empty))
            assert old.code == 1
            assert "is of version 9, older than the server's" in old.err
            _script(
                empty / "pg_dump", "echo 'pg_dump (PostgreSQL) 99.1'; [ $1 = --version ] || { echo no >&2; exit 3; }"
            )
            failed = place.home.ask("backup:data", PATH=f"{empty}{os.pathsep}{os.environ['PATH']}")
            assert "pg_dump failed (exit code 3): no" in failed.err
        place.db.dispose()


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_the_password_is_never_on_a_command_line(
    kind: str, request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: DatabaseServer = request.getfixturevalue("database_servers")[kind]
    if server.absence is not None:
        pytest.skip(f"{server.label}: not reachable ({server.absence})")
    started: list[Any] = []
    popen = subprocess.Popen

    def spy(argv: Any, **options: Any) -> Any:
        started.append((argv, options.get("env") or {}))
        return popen(argv, **options)

    with server.migrated() as url, user_of(server, url) as own:
        place = BackupHome(home, own)
        fill(place.db)
        monkeypatch.setattr(subprocess, "Popen", spy)
        done = [place.home.ask("backup:data"), place.home.ask("backup:restore", "latest", "--yes", "--force")]
        monkeypatch.undo()
        place.db.dispose()
    assert [ended.code for ended in done] == [0, 0], done
    tools = [(argv, given) for argv, given in started if "--version" not in argv]
    assert len(tools) >= 3
    for argv, given in tools:
        assert not any("4711" in part for part in argv)
        holding = [name for name, value in given.items() if "4711" in value]
        assert holding == (["PGPASSWORD"] if kind == "postgresql" else [])
    assert "4711" not in place.home.logged("backup_data.log")


@contextmanager
def user_of(server: DatabaseServer, url: str) -> Iterator[str]:
    """The address of the database for a user of its own, whose password is full of odd characters."""
    address = make_url(url)
    name = str(address.database)[-20:]
    if server.label == "PostgreSQL":
        driver, quoted = "postgresql+psycopg", PASSWORD.replace("'", "''")
        begin = [f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{quoted}'"]
        end = [f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP ROLE {name}"]
    else:
        driver, quoted = "mysql+pymysql", PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        begin = [f"CREATE USER {name}@'%' IDENTIFIED BY '{quoted}'", f"GRANT ALL ON {address.database}.* TO {name}@'%'"]
        end = [f"DROP USER {name}@'%'"]
    engine = create_engine(address.set(drivername=driver), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for statement in begin:
            connection.execute(text(statement))
        try:
            yield address.set(username=name, password=PASSWORD).render_as_string(hide_password=False)
        finally:
            for statement in end:
                connection.execute(text(statement))


PEAK = """
import resource, sys
from gengfu.cli.console import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def test_memory_does_not_grow_with_the_tables(place: BackupHome) -> None:
    place.make()
    before = [_peak(place, "backup:data"), _peak(place, "backup:restore", "latest", "--yes")]
    swell(place.db, 100_000, 256)
    after = [_peak(place, "backup:data"), _peak(place, "backup:restore", "latest", "--yes")]
    assert count(place.db, "sync_reject") == 100_000
    # Kilobytes; the rows are 26 MB.
    assert all(large < small + 10_000 for small, large in zip(before, after, strict=True)), (before, after)


def _peak(place: BackupHome, *arguments: str) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments],
        env=place.home.environment(),
        cwd=place.home.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return int(ended.stderr.splitlines()[-1])

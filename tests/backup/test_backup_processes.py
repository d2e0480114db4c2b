"""Backups in processes that are killed, on disks that are full, with clients that are missing, and in flat memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from backups import BackupHome, contents, count, fill, swell
from gengfu.backup.folder import BackupFolder
from gengfu.locks import holder
from gengfu.store.tables import change
from servers import SmallDisk

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
    wait_until(lambda: holder(place.folder / ".lock") is None)
    made = place.home.ask("backup:data", "--json")
    assert made.code == 0
    assert place.files == {made.json["file"], f"{made.json['file']}.json"}


@pytest.mark.parametrize("moment", ["restore begun", "restoring", "committing"])
def test_a_restore_that_is_killed_leaves_the_old_rows_or_the_new_ones(
    place: BackupHome, wait_until: Wait, moment: str
) -> None:
    fill(place.db)
    swell(place.db, 8000, 1024)
    after = contents(place.db)
    place.make()
    place.db.write(lambda connection: connection.execute(change.delete()))
    before = contents(place.db)
    mark = place.home.folder / "reached"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, moment, str(mark), "backup:restore", "latest", "--yes", "--force"],
        env=place.home.environment(),
        cwd=place.home.folder,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: mark.exists() or process.poll() is not None, 60, 0.005)
    process.kill()
    _, said = process.communicate()
    assert mark.exists(), said
    place.db.dispose()
    assert contents(place.db) == before if moment != "committing" else contents(place.db) in (before, after)
    assert place.home.ask("backup:restore", "latest", "--yes", "--force").code == 0
    assert contents(place.db) == after


KILLED = """
import sys, time
from pathlib import Path
from gengfu.backup import restoring
from gengfu.cli.console import main

moment, mark = sys.argv[1], Path(sys.argv[2])
restorer = restoring.Restorer
true_switch, true_told = restorer._switch, restorer._told

def reached(*_):
    mark.touch()
    time.sleep(600)

def some(self, batches, total):
    for number, batch in enumerate(true_told(self, batches, total)):
        if number == 30:
            reached()
        yield batch

def commit(self, *arguments):
    true_switch(self, *arguments)
    mark.touch()

if moment == "restore begun":
    restorer._switch = reached
elif moment == "restoring":
    restorer._told = some
else:
    restorer._switch = commit
sys.exit(main(sys.argv[3:]))
"""


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

"""Backups on every database: what was there comes back row by row, and nothing counts that is not whole."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from backups import BackupHome, contents, count, fill, rewrite, swell
from gengfu.backup import rows
from gengfu.backup.folder import BackupFolder
from gengfu.backup.in_use import user_of
from gengfu.backup.rows import LEFT_OUT
from gengfu.backup.streams import Progress
from gengfu.clock import utcnow
from gengfu.errors import BackupError, Stopped
from gengfu.queue.job import JobContext
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from gengfu.store.leases import Leases, ProcessInfo
from gengfu.store.logins import Logins
from gengfu.store.tables import change, lease, metadata, sync_reject
from servers import PgBouncer

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


def test_every_row_of_every_table_comes_back(place: BackupHome) -> None:
    fill(place.db)
    before = contents(place.db)
    made = place.home.ask("backup:data", "--json")
    assert (made.code, made.json["status"]) == (0, "done"), made.err
    empty = dict.fromkeys(LEFT_OUT & set(metadata.tables), 0)
    assert made.json["tables"] == {name: len(rows) for name, rows in before.items()} | empty
    for table in metadata.sorted_tables:
        place.db.write(lambda connection, table=table: connection.execute(table.delete()))
    place.db.write(
        lambda connection: connection.execute(text("INSERT INTO sync_absence VALUES (1, 'later', 1, 1, TRUE)"))
    )
    restored = place.home.ask("backup:restore", "latest", "--yes", "--force", "--json")
    assert restored.code == 0, restored.err
    assert restored.json["tables"] == made.json["tables"]
    assert contents(place.db) == before
    # New rows get new numbers.
    place.db.write(lambda connection: connection.execute(insert(sync_reject), [_reject(1)]))
    assert count(place.db, "sync_reject") == len(before["sync_reject"]) + 1
    safety = restored.json["safety_copy"]
    assert place.home.ask("backup:restore", safety, "--yes", "--force").code == 0
    assert [count(place.db, name) for name in ("sync_absence", "device")] == [1, 0]


def test_what_is_secret_or_of_processes_never_enters_a_backup(place: BackupHome) -> None:
    secrets = [f"secret-{number}-" + "x" * 40 for number in range(50)]
    rows = [
        {"kind": "worker", "name": name, "host": "h", "pid": 1, "birth": "1", "details": {}, "renewals": 1}
        | {"started_at": NOW, "renewed_at": NOW}
        for name in secrets
    ]
    place.db.write(lambda connection: connection.execute(insert(lease), rows))
    # What was removed may still lie in free pages.
    place.db.write(lambda connection: connection.execute(text("DELETE FROM lease WHERE name < 'secret-3'")))
    made = place.make()
    assert made.manifest.tables["lease"] == 0
    assert b"secret-" not in gzip.decompress(made.path.read_bytes())


def test_no_token_of_the_vendor_enters_a_backup(place: BackupHome) -> None:
    logins, token = Logins(place.db), "token-" + "4711" * 30
    lease_id = Leases(place.db).open(ProcessInfo("worker", "here:1", "here", 1, "", {}), utcnow())
    for value in (token, token + "long" * 3000, token):
        fence = logins.take("account", lease_id)
        assert fence is not None
        assert logins.grant("account", fence, Secret(value), 60, 0) is not None
    made = place.make()
    assert made.manifest.tables["login_token"] == 0
    assert token.encode() not in gzip.decompress(made.path.read_bytes())
    assert place.home.ask("backup:restore", "latest", "--yes", "--force").code == 0
    state = logins.look("account")
    assert (state.token, state.holder) == (None, None)


def test_the_copy_is_of_one_moment_while_others_write(place: BackupHome) -> None:
    swell(place.db, 3000, 320)
    changes = count(place.db, "sync_reject") - count(place.db, "change")
    stop = threading.Event()

    def write_pairs() -> None:
        number = 0
        while not stop.is_set():
            number += 1

            def pair(connection: Any, number: int = number) -> None:
                connection.execute(insert(sync_reject), [_reject(number)])
                connection.execute(insert(change), [_change(number)])

            place.db.write(pair)

    writer = threading.Thread(target=write_pairs)
    writer.start()
    try:
        made = [place.make() for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    for found in made:
        tables = found.manifest.tables
        assert tables["sync_reject"] - tables["change"] == changes
    assert made[2].manifest.tables["change"] > made[0].manifest.tables["change"]


def _reject(number: int) -> dict[str, Any]:
    return {"run_id": 2, "page": number, "reason": "r", "raw": "x" * 200}


def _change(number: int) -> dict[str, Any]:
    what = {"source_id": 1, "resource": "device", "row_id": 1, "run_id": 2, "kind": "changed", "field": "memo"}
    return {"seq": 1_000 + number, **what, "old": number, "new": "x" * 200, "changed_at": NOW}


def test_an_older_backup_is_brought_up_to_date_afterwards(empty_database_url: str, home: Path) -> None:
    place = BackupHome(home, empty_database_url)
    try:
        first = schema.REVISIONS[0]
        _migrate_to(place.db, first)
        made = place.make()
        assert made.manifest.schema_version == first
        schema.upgrade(place.db)
        restored = place.home.ask("backup:restore", made.manifest.file, "--yes", "--json")
        assert restored.code == 0, restored.err
        assert (restored.json["upgraded"], restored.json["pending"]) == (list(schema.REVISIONS[1:]), [])
        assert schema.pending(place.db) == []
    finally:
        place.db.dispose()


def _migrate_to(db: Database, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    def work(connection: Any) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
        command.upgrade(config, revision)

    db.write(work)


def test_a_restore_that_is_stopped_on_the_way_changes_nothing_and_can_be_done_again(place: BackupHome) -> None:
    fill(place.db)
    swell(place.db, 9000, 640)
    saved = contents(place.db)
    made = place.make()
    place.db.write(lambda connection: connection.execute(change.delete()))
    before = contents(place.db)
    told: list[str] = []
    progress = Progress(lambda what, done, total: told.append(what), lambda: told[-10:] == ["restoring"] * 10)
    with BackupFolder(place.folder).alone("a restore", NOW):
        restorer = place.restorer(progress)
        with pytest.raises(Stopped):
            restorer.restore(restorer.prove(), None)
        assert contents(place.db) == before
        restorer = place.restorer()
        restorer.restore(restorer.prove(), None)
    assert contents(place.db) == saved
    assert place.files == {made.manifest.file, f"{made.manifest.file}.json"}


def test_rows_that_another_adds_meanwhile_undo_the_restore(place: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place.db)
    made = place.make()
    place.db.write(lambda connection: connection.execute(change.delete()))
    before = contents(place.db)
    true_load = rows.load

    def load(connection: Any, *arguments: Any) -> Any:
        loaded = true_load(connection, *arguments)
        if connection.engine is place.db.engine:
            connection.execute(insert(sync_reject), [_reject(1)])
        return loaded

    monkeypatch.setattr(rows, "load", load)
    with BackupFolder(place.folder).alone("a restore", NOW):
        restorer = place.restorer()
        with pytest.raises(
            BackupError, match=f"{made.manifest.file} was not restored: the table sync_reject has 13 rows"
        ):
            restorer.restore(restorer.prove(), None)
    assert contents(place.db) == before


def test_a_backup_moves_the_rows_into_another_kind_of_database(small: BackupHome, empty_database_url: str) -> None:
    fill(small.db)
    before = contents(small.db)
    file = str(small.make().path)
    other = BackupHome(small.home.folder.parent / "other", empty_database_url)
    try:
        restored = other.home.ask("backup:restore", file, "--yes")
        assert restored.code == 0, restored.err
        assert contents(other.db) == before
        other.db.write(lambda connection: connection.execute(insert(sync_reject), [_reject(1)]))
        back = other.make()
        assert small.home.ask("backup:restore", str(back.path), "--yes", "--force").code == 0
        assert count(small.db, "sync_reject") == 13
    finally:
        other.db.dispose()


def test_who_is_at_the_database_is_told_by_the_leases_that_are_renewed(place: BackupHome) -> None:
    assert user_of(place.db) is None
    _register(place)
    assert user_of(place.db, patience=0.5) is None

    assert user_of(place.db, pause=lambda _: _renew(place)) == "worker w1 (process 12 on elsewhere)"


def _register(place: BackupHome) -> None:
    row = {"kind": "worker", "name": "w1", "host": "elsewhere", "pid": 12, "birth": "1", "details": {}}
    row |= {"renewals": 5, "started_at": NOW, "renewed_at": NOW}
    place.db.write(lambda connection: connection.execute(insert(lease), [row]))


def _renew(place: BackupHome) -> None:
    place.db.write(lambda connection: connection.execute(text("UPDATE lease SET renewals = renewals + 1")))


def test_a_restore_is_refused_while_a_worker_is_at_it(small: BackupHome) -> None:
    _register(small)
    small.make()
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(0.05):
            _renew(small)

    worker = threading.Thread(target=renew)
    worker.start()
    try:
        refused = small.home.ask("backup:restore", "latest", "--yes")
        forced = small.home.ask("backup:restore", "latest", "--yes", "--force")
    finally:
        stop.set()
        worker.join()
    assert refused.code == 1
    assert "is in use by worker w1 (process 12 on elsewhere)" in refused.err
    assert forced.code == 0, forced.err


def test_a_second_one_at_the_same_time_is_skipped(small: BackupHome) -> None:
    with BackupFolder(small.folder).alone("a backup", NOW):
        skipped = small.home.ask("backup:data", "--json")
        restored = small.home.ask("backup:restore", "latest", "--yes")
        job = _job(small).fire(JobContext(1, 1, 1, threading.Event()))
    assert (skipped.code, skipped.json["status"]) == (0, "skipped")
    expected = f"a backup is under way since 2026-11-22 18:00:00 UTC, by process {os.getpid()}"
    assert skipped.json["reason"] == expected
    assert job == f"skipped: {expected}"
    assert restored.code == 1


def _job(place: BackupHome) -> Any:
    from gengfu.backup.job import BackupDataJob

    return BackupDataJob(place.db, place.settings, lambda: NOW)


def test_a_worker_makes_one_and_stops_when_told(small: BackupHome) -> None:
    asked = [small.home.ask("backup:data", "--queue", "--json") for _ in range(2)]
    assert [(ended.json["status"], ended.json["job"]) for ended in asked] == [("accepted", 1), ("skipped", 1)]
    context = JobContext(1, 1, 1, threading.Event())
    note = _job(small).fire(context)
    assert note.startswith("gengfu-sqlite-20261122T180000Z.jsonl.gz: ")
    context.stop.set()
    with pytest.raises(Stopped):
        _job(small).fire(context)
    assert small.files == {f"gengfu-sqlite-20261122T180000Z.jsonl.gz{more}" for more in ("", ".json")}


def test_a_backup_is_for_its_owner_alone_and_never_overwrites_another(small: BackupHome) -> None:
    first, second = small.make(lambda: NOW), small.make(lambda: NOW)
    assert first.path != second.path
    for name in small.files:
        assert stat.S_IMODE((small.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(small.folder.stat().st_mode) == 0o700


def test_outdated_ones_go_and_strange_files_stay(small: BackupHome) -> None:
    small.keep(daily=3)
    for day in range(9, 3, -1):
        small.make(lambda day=day: NOW - timedelta(days=day))
    strange = small.folder / "gengfu-sqlite-20200101T000000Z.jsonl.gz"
    strange.write_bytes(b"no manifest, so not known to be good")
    (small.folder / "notes.txt").touch()
    for day in (2, 1):
        small.make(lambda day=day: NOW - timedelta(days=day))
    last = small.make(lambda: NOW)
    assert last.removed == ["gengfu-sqlite-20261118T180000Z.jsonl.gz"]
    left = {"gengfu-sqlite-20261122T180000Z", "gengfu-sqlite-20261121T180000Z", "gengfu-sqlite-20261120T180000Z"}
    expected = {f"{name}.jsonl.gz{more}" for name in left for more in ("", ".json")}
    assert small.files == expected | {strange.name, "notes.txt"}


def test_what_turns_out_bad_is_kept_apart(small: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    true_count = rows.count
    monkeypatch.setattr(rows, "count", lambda *arguments: true_count(*arguments) | {"job": 7})
    for _ in range(2):
        failed = small.home.ask("backup:data")
        assert failed.code == 1
        assert "the table job has 0 rows, not 7" in failed.err
        (kept,) = small.files
        assert kept.endswith(".jsonl.gz.bad")
    assert small.home.ask("backup:list", "--json").json["count"] == 0


def test_a_damaged_backup_is_found_and_never_restored(place: BackupHome) -> None:
    fill(place.db)
    paths = [place.make(lambda day=day: NOW + timedelta(days=day)).path for day in range(4)]
    before = contents(place.db)
    data = bytearray(paths[0].read_bytes())
    data[len(data) // 2] ^= 0x10
    paths[0].write_bytes(data)
    paths[1].write_bytes(paths[1].read_bytes()[:-30])
    unpacked = gzip.decompress(paths[2].read_bytes())
    paths[2].write_bytes(gzip.compress(unpacked[: len(unpacked) * 3 // 4 // 4096 * 4096]))
    listed = place.home.ask("backup:list", "--check", "--json")
    assert listed.code == 1
    assert [backup["checked"] for backup in listed.json["backups"]] == [True, False, False, False]
    for path in paths[:3]:
        refused = place.home.ask("backup:restore", path.name, "--yes", "--force")
        assert (refused.code, "damaged" in refused.err or "cut off" in refused.err) == (1, True), refused.err
    assert contents(place.db) == before
    assert not [name for name in place.files if name.startswith(".partial")]


def test_no_backup_of_a_newer_program_is_restored(small: BackupHome) -> None:
    rewrite(small.make().path, versions={"tables": "9999"})
    assert "was made by a newer Gengfu" in _refusal(small, "latest")
    assert "neither in" in _refusal(small, "nothing.gz")
    assert "is not named as a backup is" in _refusal(small, str(small.home.folder / ".env"))


def test_tables_of_ones_own_come_back_at_their_version(small: BackupHome) -> None:
    migrations = small.home.folder / "app" / "migrations"
    migrations.mkdir(parents=True)
    head = "from alembic import op\nimport sqlalchemy as sa\n"
    first = "revision, down_revision, branch_labels = 'shop_0001', None, ('shop',)\ndef upgrade():\n"
    (migrations / "shop_0001.py").write_text(
        head
        + first
        + "    op.create_table('shop', sa.Column('id', sa.BigInteger, primary_key=True), sa.Column('x', sa.Text))\n"
    )
    assert small.home.ask("db:upgrade").code == 0
    small.db.write(lambda connection: connection.execute(text("INSERT INTO shop VALUES (1, 'one')")))
    small.db.write(lambda connection: connection.execute(text("CREATE TABLE note (id INTEGER)")))
    made = small.home.ask("backup:data", "--json")
    assert made.json["tables"]["shop"] == 1
    assert "not in it, since neither Gengfu nor app/migrations makes them: note" in made.err
    (migrations / "shop_0002.py").write_text(
        head + "revision, down_revision = 'shop_0002', 'shop_0001'\ndef upgrade():\n"
        "    op.add_column('shop', sa.Column('y', sa.Text, server_default='new'))\n"
    )
    assert small.home.ask("db:upgrade").code == 0
    restored = small.home.ask("backup:restore", made.json["file"], "--yes", "--force", "--json")
    assert (restored.code, restored.json["upgraded"]) == (0, ["shop_0002"]), restored.err
    with small.db.read() as connection:
        assert connection.execute(text("SELECT * FROM shop")).all() == [(1, "one", "new")]
    shutil.rmtree(migrations)
    assert "has tables of your own, made by shop_0001, which" in _refusal(small, made.json["file"])


def _refusal(place: BackupHome, file: str) -> str:
    refused = place.home.ask("backup:restore", file, "--yes")
    assert refused.code == 1
    return refused.err


def test_the_manifest_tells_what_is_needed_to_judge_a_backup(small: BackupHome) -> None:
    made = small.make(lambda: NOW)
    told = json.loads((small.folder / f"{made.path.name}.json").read_text())
    assert told["schema_version"] == schema.HEAD
    assert told["size"] == made.path.stat().st_size
    assert set(told["tables"]) == {*metadata.tables}
    assert told["started_at"] == "2026-11-22T18:00:00Z"


def test_the_list_tells_what_there_is(small: BackupHome) -> None:
    assert "make one: gengfu backup:data" in small.home.ask("backup:list").err
    made = small.make(lambda: NOW)
    (small.folder / "gengfu-sqlite-20200101T000000Z.jsonl.gz").write_bytes(b"brought from elsewhere")
    listed = small.home.ask("backup:list")
    titles, newest, oldest = listed.rows
    assert titles == ["backup", "age", "size", "rows", "schema", "checked"]
    assert [newest[0], *newest[3:]] == [made.path.name, "0", schema.HEAD, "yes"]
    assert oldest[-1] == "no manifest"
    told = small.home.ask("backup:list", "--json").json["backups"]
    assert [backup["checked"] for backup in told] == [True, False]
    assert told[0]["made_at"] == "2026-11-22T18:00:00+00:00"


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_pooler_that_gives_no_session_is_enough(
    database_url: str, home: Path, pgbouncer: Callable[..., PgBouncer]
) -> None:
    place = BackupHome(home, pgbouncer(database_url, "transaction").url)
    try:
        fill(place.db)
        before = contents(place.db)
        assert place.home.ask("backup:data").code == 0
        place.db.write(lambda connection: connection.execute(change.delete()))
        restored = place.home.ask("backup:restore", "latest", "--yes", "--force")
        assert restored.code == 0, restored.err
        assert contents(place.db) == before
    finally:
        place.db.dispose()

"""A backup that anybody made: it is refused with a sentence, or its rows are put in; nothing in it is ever executed."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from backups import BackupHome, contents, fill, rewrite, vouch
from gengfu.backup import streams
from gengfu.backup.checking import check
from gengfu.backup.folder import Backup
from gengfu.backup.manifest import manifest_path, parse_name, read_manifest
from gengfu.backup.rows import Reader
from gengfu.backup.streams import Progress
from gengfu.errors import BackupError
from gengfu.store.tables import schedule_tick

Change = Callable[[list[bytes]], object]

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def _put(line: bytes) -> Change:
    """Puts it before the first table."""
    return lambda lines: lines.insert(1, line + b"\n")


def _row(table: str, line: bytes) -> Change:
    """Puts it among the rows of that table."""
    return lambda lines: lines.insert(_place(lines, table) + 1, line + b"\n")


def _place(lines: list[bytes], table: str) -> int:
    return next(place for place, line in enumerate(lines) if f'"name":"{table}"'.encode() in line)


def _replace(table: str, old: bytes, new: bytes) -> Change:
    def change(lines: list[bytes]) -> None:
        place = _place(lines, table)
        assert old in lines[place]
        lines[place] = lines[place].replace(old, new)

    return change


STATEMENTS = [
    b"\\! touch executed",
    b"COMMIT;",
    b"COPY (SELECT 1) TO PROGRAM 'touch executed';",
    b"COPY device FROM PROGRAM 'touch executed';",
    b"LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE device;",
    b"system touch executed",
    b"DELIMITER //",
    b"SELECT 1 INTO OUTFILE '/tmp/executed';",
    b"CREATE TRIGGER t AFTER INSERT ON device BEGIN SELECT 1; END;",
    b"ATTACH DATABASE 'executed' AS x;",
    b"\x00\xff\xfe",
    b"[" * 100_000,
    b'{"type":"table"',
    b'{"type":"query","sql":"DROP TABLE device"}',
    b'{"type":"versions","format":1,"tables":"0001","app":[]}',
    b'{"type":"end","rows":0}',
    b'{"type":"table","name":"device; DROP TABLE job","columns":{}}',
    b'{"type":"table","name":"sqlite_master","columns":{"sql":"text"}}',
    b'{"type":"table","name":"alembic_version","columns":{"version_num":"text"}}',
    b'{"type":"table","name":"device","columns":{"id\\" = 1); DROP TABLE job; --":"integer"}}',
]


@pytest.mark.parametrize("line", STATEMENTS, ids=lambda line: line[:30].decode("latin-1"))
def test_what_is_no_line_of_a_backup_is_refused(place: BackupHome, line: bytes) -> None:
    fill(place.db)
    rewrite(place.make().path, _put(line))
    before = contents(place.db)
    refused = place.home.ask("backup:restore", "latest", "--yes", "--force")
    assert (refused.code, "Traceback" in refused.err) == (1, False)
    assert contents(place.db) == before
    assert not list(place.home.folder.rglob("executed"))
    assert not Path("/tmp/executed").exists()


DAMAGES: dict[str, tuple[Change, str]] = {
    "a value of another kind": (
        _row("sync_page", b'["x",1,1,1,1,1,null,1,1,"2026-01-01T00:00:00Z"]'),
        "not one of a backup",
    ),
    "a number beyond any column": (_row("change_counter", b"[1,9223372036854775808]"), "not one of a backup"),
    "a number for ever": (_row("change_counter", b"[1," + b"9" * 5000 + b"]"), "not one of a backup"),
    "a row too short": (_row("change_counter", b"[1]"), "not one of a backup"),
    "a moment without a zone": (_row("login_token", b'["a","b","2026-01-01T00:00:00"]'), "not one of a backup"),
    "a token": (_row("login_token", b'["a","b","2026-01-01T00:00:00Z"]'), "its end is not that of a backup"),
    "one key twice": (_row("change_counter", b"[7,1]\n[7,1]"), "its end is not that of a backup"),
    "other columns": (
        _replace("change_counter", b'"last_seq"', b'"last"'),
        "is not as this program and app/migrations make it",
    ),
    "another kind of column": (_replace("change_counter", b"integer", b"text"), "not as this program"),
    "an unknown kind of column": (_replace("change_counter", b"integer", b"sql"), "columns of no known kind"),
    "a table twice": (lambda lines: lines.insert(-1, lines[_place(lines, "job")]), "is twice in it"),
    "a table less": (lambda lines: lines.pop(_place(lines, "login_token")), "not what its manifest says"),
    "no end": (lambda lines: lines.pop(), "it is cut off"),
    "two ends": (lambda lines: lines.append(lines[-1]), "its end is not that of a backup"),
    "a wrong end": (
        lambda lines: lines.__setitem__(-1, b'{"type":"end","rows":1}\n'),
        "its end is not that of a backup",
    ),
    "nothing": (lambda lines: lines.clear(), "not one of a backup"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_fit_is_told_and_changes_nothing(small: BackupHome, damage: str) -> None:
    change, words = DAMAGES[damage]
    rewrite(small.make().path, change)
    before = contents(small.db)
    refused = small.home.ask("backup:restore", "latest", "--yes", "--force")
    assert refused.code == 1
    assert words in refused.err
    assert contents(small.db) == before
    assert not [name for name in small.files if name.startswith(".partial")]


@pytest.mark.parametrize(
    ("table", "rows_", "words"),
    [
        (
            "login_token",
            b'["a","b","2026-01-01T00:00:00Z"]',
            "it holds rows of the table login_token, which no backup has",
        ),
        ("change_counter", b"[7,1]\n[7,1]", "a row of its table change_counter does not fit"),
        ("schedule_entry", b'[null,"f","2026-01-01T00:00:00Z",1,null,null,null]', "does not fit"),
    ],
)
def test_rows_for_which_the_manifest_vouches_must_fit_all_the_same(
    place: BackupHome, table: str, rows_: bytes, words: str
) -> None:
    made = place.make()
    number = rows_.count(b"\n") + 1
    tables = dict(made.manifest.tables)
    tables[table] += number

    def change(lines: list[bytes]) -> None:
        _row(table, rows_)(lines)
        end = json.loads(lines[-1])
        lines[-1] = json.dumps(end | {"rows": end["rows"] + number}).encode() + b"\n"

    rewrite(made.path, change, manifest={"tables": tables})
    before = contents(place.db)
    refused = place.home.ask("backup:restore", "latest", "--yes", "--force")
    assert refused.code == 1
    assert words in refused.err
    assert contents(place.db) == before


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        b"",
        b"{}",
        b"[" * 100_000,
        b"x" * 2_000_000,
        b'{"file":"../../etc/passwd"}',
    ],
    ids=lambda told: str(told)[:20],
)
def test_no_backup_without_its_manifest_is_restored(small: BackupHome, manifest: bytes | None) -> None:
    made = small.make()
    beside = manifest_path(made.path)
    if manifest is None:
        beside.unlink()
    else:
        beside.write_bytes(manifest)
    refused = small.home.ask("backup:restore", made.path.name, "--yes")
    assert refused.code == 1
    assert (
        f"has no manifest beside it that can be read, so nothing tells whether it is whole; copy {made.path.name}.json"
        in refused.err
    )
    listed = small.home.ask("backup:list", "--check")
    assert (listed.code, "no manifest" in listed.out) == (1, True)


def test_a_manifest_of_another_backup_does_not_vouch(small: BackupHome) -> None:
    first = small.make()
    fill(small.db)
    second = small.make()
    beside = manifest_path(first.path)
    beside.write_text(manifest_path(second.path).read_text().replace(second.path.name, first.path.name))
    refused = small.home.ask("backup:restore", first.path.name, "--yes")
    assert "its SHA-256 is not that of its manifest" in refused.err


def test_a_bomb_ends_where_its_manifest_says_that_it_ends(small: BackupHome) -> None:
    path = small.make().path
    unpacked = len(gzip.decompress(path.read_bytes()))
    rewrite(path, _put(b"[" + b" " * 200_000_000 + b"]"), manifest={"unpacked": unpacked})
    assert path.stat().st_size < 1_000_000
    assert "holds more than its manifest says" in small.home.ask("backup:restore", "latest", "--yes").err
    rewrite(path, lambda lines: lines.pop(1), manifest={"unpacked": 10**15, "tables": {}})
    refused = small.home.ask("backup:restore", "latest", "--yes", "--force")
    assert refused.code == 1


def test_no_line_is_longer_than_memory_bears(small: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST_LINE", 100_000)
    rewrite(small.make().path, _put(b"[" + b" " * 200_000 + b"]"))
    assert "holds more than" in small.home.ask("backup:restore", "latest", "--yes").err


def test_rows_that_are_large_together_are_not_held_together() -> None:
    head = b'{"type":"table","name":"t","columns":{"a":"text"}}'
    lines = [b'{"type":"versions","format":1,"tables":"0001","app":[]}', head]
    lines += [b'["' + b"x" * 3_000_000 + b'"]'] * 20
    sizes = [len(rows) for _, rows in Reader(iter([*lines, b'{"type":"end","rows":20}']), "x")]
    assert (max(sizes), sum(sizes)) == (3, 20)


@pytest.mark.parametrize("number", ["size", "unpacked"])
def test_a_manifest_with_numbers_that_cannot_be_is_none(small: BackupHome, number: str) -> None:
    made = small.make()
    vouch(made.path, **{number: -2})
    assert read_manifest(made.path) is None


def test_a_manifest_that_is_a_pipe_is_not_waited_for(small: BackupHome) -> None:
    beside = manifest_path(small.make().path)
    beside.unlink()
    os.mkfifo(beside)
    assert small.home.run("backup:list", timeout=30).code == 0


def test_a_backup_of_a_petabyte_is_refused_before_the_disk_is_full(small: BackupHome) -> None:
    rewrite(small.make().path, manifest={"unpacked": 10**15})
    refused = small.home.ask("backup:restore", "latest", "--yes", "--force")
    assert refused.code == 1
    assert "unpacking the backup may need" in refused.err


def test_an_archive_is_no_backup(small: BackupHome, tmp_path: Path) -> None:
    made = small.make()
    with tarfile.open(made.path, "w:gz") as archive:
        for name, kind in (("../evil", tarfile.SYMTYPE), ("/etc/evil", tarfile.LNKTYPE), ("dev", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            archive.addfile(member)
    vouch(made.path, unpacked=10**6)
    refused = small.home.ask("backup:restore", "latest", "--yes")
    assert (refused.code, "was not made by Gengfu" in refused.err) == (1, True)


@pytest.mark.parametrize(
    "name", ["gengfu-postgresql-20261122T020000Z.sql.gz", "gengfu-sqlite-20261122T020000Z.sqlite.gz"]
)
def test_a_dump_of_sql_and_a_database_file_are_no_backups(small: BackupHome, name: str) -> None:
    small.folder.mkdir(parents=True)
    (small.folder / name).write_bytes(gzip.compress(b"\\! touch executed\n"))
    refused = small.home.ask("backup:restore", name, "--yes")
    assert (refused.code, "is not named as a backup is" in refused.err) == (1, True)


def test_a_command_that_was_under_way_is_not_run_after_a_restore(place: BackupHome) -> None:
    fill(place.db)
    evil = {"entry": "evil", "due_at": NOW, "clock_epoch": 0, "covers": 1, "fence": 0, "cancel": False}
    for number, state in enumerate(("claimed", "waiting", "running", "done")):
        row = evil | {"clock_epoch": number, "state": state, "command": ["device:export", "/root/.bashrc", "--force"]}
        place.db.write(lambda c, row=row: c.execute(insert(schedule_tick), [row | {"claimed_at": NOW}]))
    place.make()
    assert place.home.ask("backup:restore", "latest", "--yes", "--force").code == 0
    with place.db.read() as connection:
        told = connection.execute(
            text("SELECT state, reason FROM schedule_tick WHERE entry = 'evil' ORDER BY clock_epoch")
        )
        assert told.all() == [("lost", "the database was restored from a backup")] * 3 + [("done", None)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(STATEMENTS),
            st.text(max_size=30).map(
                lambda name: json.dumps({"type": "table", "name": name, "columns": {"a": "text"}}).encode()
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), st.lists, max_leaves=9
            ).map(lambda value: json.dumps([value]).encode()),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_whatever_a_file_holds_reading_it_ends_with_a_sentence(
    tmp_path: Path, lines: list[bytes], has_versions: bool
) -> None:
    first = b'{"type":"versions","format":1,"tables":"0001","app":[]}'
    path = tmp_path / "gengfu-sqlite-20261122T020000Z.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join([first] * has_versions + lines)))
    told = {"file": path.name, "kind": "sqlite", "program": "1", "schema_version": "0001", "tables": {"a": 1}}
    told |= dict.fromkeys(("started_at", "finished_at"), "2026-11-22T02:00:00Z")
    manifest_path(path).write_text(json.dumps(told))
    vouch(path, unpacked=10**6)
    name = parse_name(path.name)
    assert name is not None
    with pytest.raises(BackupError):
        check(Backup(path, name, path.stat().st_size, read_manifest(path)), Progress())

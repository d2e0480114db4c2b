"""The tables come to be on every database, once, and only as this program knows them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, inspect, text

from gengfu.errors import StoreError
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from gengfu.store.tables import metadata
from servers import sqlite_url

UPGRADE = """
import sys
from pathlib import Path
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
database = Database(Secret(sys.argv[1]), Path("/"))
print(len(schema.upgrade(database)))
"""


@pytest.fixture
def empty_database(empty_database_url: str, tmp_path: Path) -> Iterator[Database]:
    opened = Database(Secret(empty_database_url), tmp_path)
    yield opened
    opened.dispose()


def differences(database: Database, wanted: MetaData) -> list[object]:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, wanted))


def store_version(database: Database, version: str) -> None:
    database.write(lambda connection: connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'")))


def test_the_listed_revisions_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).with_name("migrations")))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(schema.REVISIONS)
    assert scripts.get_heads() == [schema.HEAD]


def test_an_upgrade_makes_exactly_the_tables_that_the_program_knows(empty_database: Database) -> None:
    assert schema.pending(empty_database) == list(schema.REVISIONS)
    assert schema.upgrade(empty_database) == list(schema.REVISIONS)
    assert differences(empty_database, metadata) == []
    assert schema.pending(empty_database) == []


def test_the_comparison_with_the_tables_sees_a_difference(database: Database) -> None:
    more = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(more)
    more.tables["job"].append_column(Column("colour", Integer))
    assert [difference[0] for difference in differences(database, more)] == ["add_column"]


def test_a_second_upgrade_changes_nothing(database: Database) -> None:
    assert schema.upgrade(database) == []
    schema.ensure(database)


def test_processes_that_upgrade_at_once_all_succeed_and_one_does_it(empty_database_url: str) -> None:
    command = [sys.executable, "-c", UPGRADE, empty_database_url]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in started)
    assert [process.returncode for process in started] == [0, 0, 0, 0]
    assert said == ["0", "0", "0", str(len(schema.REVISIONS))]


def test_another_upgrade_that_does_not_end_is_named(
    empty_database: Database, empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Database(Secret(empty_database_url), tmp_path)
    monkeypatch.setattr(schema, "PATIENCE", 0.2)

    def upgrade_meanwhile(_: Connection) -> list[str]:
        with pytest.raises(StoreError, match="another process is upgrading the database"):
            schema.upgrade(empty_database)
        return []

    schema.alone(other, upgrade_meanwhile)
    other.dispose()
    assert schema.upgrade(empty_database) == list(schema.REVISIONS)


@pytest.mark.parametrize("database_kind", ["mysql"], indirect=True)
def test_an_upgrade_that_was_interrupted_is_taken_up_again(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(text("DROP INDEX ix_job_subject ON job"))
        connection.execute(text("DROP TABLE job_attempt"))
        connection.execute(text("DROP TABLE login"))
    assert schema.upgrade(database) == list(schema.REVISIONS)
    assert differences(database, metadata) == []


def test_a_table_of_someone_else_is_left_alone_and_named(empty_database: Database) -> None:
    Table("device", MetaData(), Column("serial", Integer)).create(empty_database.engine)
    with pytest.raises(StoreError, match="already has a table named device that is not Gengfu's"):
        schema.upgrade(empty_database)
    with empty_database.read() as connection:
        assert [column["name"] for column in inspect(connection).get_columns("device")] == ["serial"]


def test_keys_that_differ_only_in_case_are_two_keys(database: Database) -> None:
    table = metadata.tables["sync_absence"]
    shared = {"source_id": 1, "row_id": 1, "run_id": 1, "held": False}
    shared = {"source_id": 1, "row_id": 1, "run_id": 1, "held": False}
    rows = [{"resource": name, **shared} for name in ("device", "Device", "dévice")]
    database.write(lambda connection: connection.execute(table.insert(), rows))
    with database.read() as connection:
        assert len(connection.execute(table.select()).all()) == 3


def test_a_database_of_a_newer_program_is_refused(database: Database) -> None:
    store_version(database, "9999")
    for use in (schema.ensure, schema.pending, schema.upgrade):
        with pytest.raises(StoreError, match=r"made by a newer Gengfu \(its version is 9999"):
            use(database)


def test_only_sqlite_is_upgraded_by_itself(empty_database: Database) -> None:
    if empty_database.path is None:
        with pytest.raises(StoreError, match=r"has no tables yet; run: gengfu db:upgrade") as caught:
            schema.ensure(empty_database)
        assert "gengfu_test_" in str(caught.value)
        schema.upgrade(empty_database)
    schema.ensure(empty_database)
    assert differences(empty_database, metadata) == []


def test_a_database_that_is_up_to_date_is_seen_without_sqlalchemy(tmp_path: Path, sqlite_template: Path) -> None:
    code = """
import sys
from pathlib import Path
from gengfu.store import schema
assert schema.quick_version(Path(sys.argv[1])) == schema.HEAD
print(*sorted({"sqlalchemy", "alembic"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code, str(sqlite_template)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_the_quick_look_makes_no_file(tmp_path: Path) -> None:
    assert schema.quick_version(tmp_path / "gengfu.db") is None
    assert list(tmp_path.iterdir()) == []


def test_the_quick_look_knows_a_file_without_tables(tmp_path: Path) -> None:
    path = tmp_path / "100% mine?.db"
    sqlite3.connect(path).close()
    assert schema.quick_version(path) is None


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gengfu.db"
    path.write_text("These are notes, not a database. " * 100)
    database = Database(Secret(sqlite_url(path)), tmp_path)
    for use in (schema.ensure, schema.upgrade):
        with pytest.raises(StoreError, match=r"gengfu\.db failed: file is not a database; put it aside"):
            use(database)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where a folder should be")
    database = Database(Secret("sqlite:///var/gengfu.db"), tmp_path)
    with pytest.raises(StoreError, match=r"var.* cannot be (read|written)"):
        schema.ensure(database)


def test_a_working_folder_with_an_odd_name_is_migrated(tmp_path: Path) -> None:
    database = Database(Secret("sqlite:///100% mine #1/gengfu.db"), tmp_path)
    schema.ensure(database)
    database.dispose()
    assert schema.quick_version(tmp_path / "100% mine #1" / "gengfu.db") == schema.HEAD


def test_a_database_from_before_the_first_release_is_refused_and_left_as_it_is(empty_database: Database) -> None:
    older = MetaData()
    Table("alembic_version", older, Column("version_num", String(32)))
    Table("device", older, Column("id", Integer, primary_key=True))
    older.create_all(empty_database.engine)
    empty_database.write(lambda c: c.execute(text("INSERT INTO alembic_version VALUES ('0003')")))
    for use in (schema.ensure, schema.pending, schema.upgrade):
        with pytest.raises(StoreError, match=r"from before its first release.*To start anew, ") as caught:
            use(empty_database)
        assert ("move the file away: mv " in str(caught.value)) is (empty_database.path is not None)
    with empty_database.read() as connection:
        assert sorted(inspect(connection).get_table_names()) == ["alembic_version", "device"]

"""A list of one's own: declared by hand in a few lines, or written from an endpoint, and mirrored like the others."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect

from documents import ROOT, blocks
from gengfu.errors import AnswerError, ConfigError, UsageError
from gengfu.mirror.names import column_name
from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.scaffold.probing import Sample, fields_of, key_of, kind_of, paging_of, rows_of
from gengfu.store import app_schema
from gengfu.store.app_schema import revisions
from gengfu.store.database import Database
from gengfu.vendor.paging import Cursor, Listing, PageIndex
from gengfu_simulator.testing import Simulator
from terminal import Home

PASSWORD = "Lärche4711"
MOST_LINES = 25


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(devices=1, username="operator", password=PASSWORD) as sim:
        yield sim


@pytest.fixture
def place(home: Path, vendor: Simulator, redis_settings: dict[str, str]) -> Home:
    """A working folder whose vendor has the further lists."""
    vendor.control(clear=True)
    vendor.control(reset=True)
    named = {"API_WECHAT_URL": vendor.url, "API_USERNAME": "operator", "API_PASSWORD": PASSWORD}
    return Home(home, **named, **redis_settings)


@pytest.fixture
def redis_settings(redis_url: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url}


WRITTEN = {
    "api/Friend/offset": ("Offset()", 330),
    "api/Friend/cursor": ("Cursor()", 330),
    "api/Friend/link": ("Link()", 330),
    "api/Friend/header": ("Link(rows=None, more=None)", 330),
    "api/WechatFriend/list": ('PreviousId(name="preFriendId")', 330),
    "api/DeviceGroup/list": ("BareArray()", None),
    "api/Account/myTenantPageAccounts": ("PageIndex()", 260),
}


@pytest.mark.parametrize("path", WRITTEN)
def test_a_list_is_written_from_its_endpoint_and_mirrored(place: Home, path: str) -> None:
    style, number = WRITTEN[path]
    made = place.ask("make:resource", "mine", path)
    assert made.code == 0, made.err
    text = (place.folder / "app" / "resources" / "mine.py").read_text("utf-8")
    assert f'Listing("{path}", paging={style})' in text
    assert 'Field("createTime", kind=Kind.MOMENT)' in text
    assert len(text.splitlines()) <= MOST_LINES
    ran = place.ask("mine:list", "--now", "--json")
    assert (ran.code, ran.json["verdict"], ran.json["pass"]) == (0, "complete", 1), ran.err
    assert ran.json["seen"] == ran.json["new"] == (number or ran.json["seen"])
    assert place.ask("run:list", "--resource", "mine").rows[1][1] == "mine"
    assert PASSWORD not in made.out + made.err + "".join(p.read_text("utf-8") for p in place.folder.rglob("*.log"))


def test_the_written_test_passes_and_nothing_is_overwritten(place: Home) -> None:
    made = place.ask("make:resource", "mine", "api/Friend/cursor", "--schedule", "0 3 * * *", "--json")
    assert made.json["files"] == [
        *(
            "app/resources/mine.py",
            "app/migrations/mine_0001.py",
            "app/tests/test_mine_list.py",
            "app/tests/mine_page.json",
        )
    ]
    assert 'schedule="0 3 * * *"' in (place.folder / "app" / "resources" / "mine.py").read_text("utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:valkey", "-p", "no:cacheprovider", "app/tests"]
    done = subprocess.run(command, cwd=place.folder, env=place.environment(), capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    again = place.ask("make:resource", "mine", "api/Friend/cursor")
    assert again.code == 1
    assert "app/resources/mine.py exists already" in again.err
    assert "overwrite it with --force" in again.err
    assert place.ask("make:resource", "mine", "api/Friend/cursor", "--force", "--fields", "nickname").code == 0
    assert "wechatId" not in (place.folder / "app" / "resources" / "mine.py").read_text("utf-8")


def test_a_recorded_page_is_enough(place: Home, vendor: Simulator) -> None:
    page = {"rows": [{"tagId": 4, "groupId": 1, "name": "a", "isOpen": 1}, {"tagId": 5, "groupId": 1, "isOpen": 0}]}
    (place.folder / "page.json").write_text(json.dumps(page | {"total": 2}))
    before = len(vendor.calls())
    made = place.ask("make:resource", "tag", "api/Tag/list?page=1", "--from", str(place.folder / "page.json"))
    assert made.code == 0, made.err
    assert "guessed and not tried" in made.err
    text = (place.folder / "app" / "resources" / "tag.py").read_text("utf-8")
    assert 'Listing("api/Tag/list", paging=PageIndex(number="page", rows="rows"))' in text
    assert 'key="tagId"' in text
    assert 'Field("isOpen", kind=Kind.FLAG)' in text
    assert len(vendor.calls()) == before


def test_a_hand_written_list_is_25_lines_and_gets_its_table(place: Home) -> None:
    (declared,) = blocks(ROOT / "docs" / "further-lists.md", "python")
    assert len(declared.text.splitlines()) <= MOST_LINES
    (place.folder / "app" / "resources").mkdir(parents=True)
    file = place.folder / "app" / "resources" / "friend.py"
    file.write_text(declared.text)
    assert "friend:list" in place.ask("--help").out
    failed = place.ask("friend:list", "--now", "--json")
    assert (failed.code, failed.json["verdict"]) == (1, "failed")
    assert "there is no table friend; run: gengfu db:upgrade" in failed.json["reason"]
    assert "gengfu make:migration friend" in failed.json["reason"]
    assert place.ask("make:migration", "friend", "--json").json["file"] == "app/migrations/friend_0001.py"
    assert place.ask("db:upgrade", "--json").json["app_applied"] == ["friend_0001"]
    assert place.ask("friend:list", "--now", "--json").json["seen"] == 330
    more = 'Field("nickname"), Field("remark", "con_remark_2"),'
    file.write_text(declared.text.replace('Field("nickname"),', more))
    assert (
        "the table friend lacks the column con_remark_2" in place.run("friend:list", "--now", "--json").json["reason"]
    )
    assert place.run("make:migration", "friend", "--json").json["file"] == "app/migrations/friend_0002.py"
    assert place.run("friend:list", "--now", "--json").json["verdict"] == "complete"
    assert place.run("make:migration", "friend", "--json").json["file"] is None


def test_migrations_of_the_working_folder_run_on_every_database(database: Database, tmp_path: Path) -> None:
    from gengfu.scaffold import resource_files
    from gengfu.scaffold.writing import write_new

    home = tmp_path / "a folder with spaces"
    kinds = (Field("a"), Field("b", kind=Kind.FLAG), Field("c", kind=Kind.JSON), Field("d", kind=Kind.MOMENT))
    first, second = (Resource(name="mine", listing=Listing("api/x"), fields=fields) for fields in (kinds[:3], kinds))
    other = Resource(name="other_one", listing=Listing("api/y"), fields=(Field("order"),))
    write_new(home, resource_files.all_of(first, []), force=False)
    write_new(home, resource_files.all_of(other, []), force=False)
    assert revisions(home) == {"mine": ["mine_0001"], "other_one": ["other_one_0001"]}
    assert app_schema.upgrade(database, home) == ["mine_0001", "other_one_0001"]
    assert app_schema.upgrade(database, home) == []
    text = resource_files.migration(second, 2, ["d"])
    write_new(home, {"app/migrations/mine_0002.py": text}, force=False)
    assert app_schema.pending(database, home) == ["mine_0002"]
    assert app_schema.upgrade(database, home) == ["mine_0002"]
    with database.read() as connection:
        for table in (second.table, other.table):
            found = {column["name"] for column in inspect(connection).get_columns(table.name)}
            assert found == set(table.c.keys())


def test_a_broken_migration_stops_no_other_list(place: Home) -> None:
    (place.folder / "app" / "migrations").mkdir(parents=True)
    (place.folder / "app" / "migrations" / "mine_0001.py").write_text("revision = \n")
    assert place.ask("account:list", "--now", "--json").json["verdict"] == "complete"
    told = place.ask("db:upgrade")
    assert told.code == 1
    assert "a migration in" in told.err
    assert "is broken" in told.err


@pytest.mark.parametrize("name", ['"a\\"b"', '"a\\\\b"', '"a\\u202eb"', '""', '"a\\nb"'])
def test_a_list_with_a_field_that_cannot_be_stops_no_other_list(place: Home, name: str) -> None:
    file = place.folder / "app" / "resources" / "price.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from gengfu import Field, Listing, Resource\n\n"
        "PRICE = Resource(\n    name='price',\n    listing=Listing('api/price'),\n"
        f"    fields=(Field({name}, 'odd'),),\n)\n"
    )
    assert place.ask("account:list", "--now", "--json").json["verdict"] == "complete"
    assert place.ask("device:find", "x").code == 0
    told = place.ask("price:list", "--now")
    assert told.code != 0
    assert "app/resources/price.py, line 6: " in told.err
    assert "is no name for a field" in told.err
    assert "Traceback" not in told.err


def test_what_is_not_seen_is_written_out_in_the_files_of_a_list() -> None:
    from gengfu.scaffold import resource_files

    found = [{"id": 1, "name": "a\u202eb\x1b[31m\u200b", "名字": "y", 'a"b': 1, "\u202ex": 2}]
    fields = fields_of(found, found, "id")
    assert [field.name for field in fields] == ["name", "名字"]
    texts = resource_files.all_of(Resource(name="mine", listing=Listing("api/mine\u202e"), fields=fields), found)
    assert len(texts) == 4
    for name, text in texts.items():
        assert all(line.isprintable() for line in text.splitlines()), name
    assert json.loads(texts["app/tests/mine_page.json"]) == found
    assert "api/mine\\u202e" in texts["app/resources/mine.py"]


def rows(beat: list[int]) -> list[dict[str, Any]]:
    return [{"id": number, "beat": beat[number], "name": "x", "名字": "y"} for number in (0, 1)]


def test_the_key_is_asked_for_when_it_is_not_clear() -> None:
    assert key_of([{"id": 1, "groupId": 5}, {"id": 2, "groupId": 6}], None) == "id"
    assert key_of([{"rank": 1, "tagId": 5}, {"rank": 2, "tagId": 6}], None) == "tagId"
    with pytest.raises(UsageError, match="several fields could be: aId, bId; say so with --key"):
        key_of([{"aId": 1, "bId": 5}, {"aId": 2, "bId": 6}], None)
    with pytest.raises(UsageError, match="no field could be"):
        key_of([{"id": "x"}, {"id": "y"}], None)
    with pytest.raises(UsageError, match="'n' is no key"):
        key_of([{"id": 1, "n": 1}, {"id": 2, "n": 1}], "n")


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("a", [True, False], Kind.FLAG),
        ("a", [True, 0, 1], Kind.FLAG),
        ("a", [True, "yes"], Kind.TEXT),
        ("isOpen", [0, 1], Kind.FLAG),
        ("level", [0, 1], Kind.TEXT),
        ("a", ["2024-01-01T00:00:00", "0001-01-01T00:00:00", ""], Kind.MOMENT),
        ("a", ["2024-01-01"], Kind.TEXT),
        ("a", [{"x": 1}, []], Kind.JSON),
        ("a", ['{"x": 1}', "[]"], Kind.JSON),
        ("a", ["[broken", "[]"], Kind.TEXT),
        ("a", [], Kind.TEXT),
        ("a", [5, "x"], Kind.TEXT),
    ],
)
def test_a_kind_is_told_by_the_values(name: str, values: list[Any], kind: Kind) -> None:
    assert kind_of(name, values) is kind


def test_a_field_that_moves_between_two_reads_is_volatile() -> None:
    found = fields_of(rows([1, 2]), rows([1, 3]), "id")
    assert [(field.name, field.column, field.volatile) for field in found] == [
        *(("beat", "beat", True), ("name", "name", False), ("名字", "field_3", False))
    ]


def test_a_style_that_counts_pages_from_one_is_recognised() -> None:
    def ask(query: Any) -> Sample:
        asked = dict(query)
        page, size = int(asked.get("pageNo") or 1), int(asked.get("pageSize") or 10)
        if page < 1:
            raise AnswerError("answered 400")
        return Sample({"data": [{"id": n} for n in range(25)][(page - 1) * size : page * size], "total": 25})

    first = ask(())
    assert paging_of(ask, "api/x", (), first, "id") == PageIndex("pageNo", "pageSize", rows="data", first=1)


def test_a_cursor_is_asked_for_by_the_name_that_works() -> None:
    def ask(query: Any) -> Sample:
        place = int(dict(query).get("page_token") or 0)
        return Sample({"items": [{"id": place + 1}, {"id": place + 2}], "next_page_token": str(place + 2)})

    found = paging_of(ask, "api/x", (), ask(()), "id")
    assert found == Cursor("page_token", size=found.size, rows="items", more="next_page_token")  # type: ignore[union-attr]


def test_what_cannot_be_recognised_says_so() -> None:
    with pytest.raises(UsageError, match="the list is empty"):
        rows_of(Sample([]))
    with pytest.raises(UsageError, match="its members are: code, msg"):
        rows_of(Sample({"code": 1, "msg": "x"}))
    with pytest.raises(UsageError, match="neither an array nor an object"):
        rows_of(Sample("hello"))
    body = {"rows": [{"id": n} for n in range(9)], "hint": "x"}
    with pytest.raises(UsageError, match="cannot be made out"):
        paging_of(lambda _: Sample(body), "api/x", (), Sample(body), "id")


@pytest.mark.parametrize(
    ("field", "column"),
    [
        *(("realName", "real_name"), ("xPosed", "x_posed"), ("userID", "user_id"), ("HTTPCode", "http_code")),
        *(("order", "order_"), ("id", "id_"), ("goneAt", "gone_at_"), ("user-name", "user_name"), ("count", "count")),
    ],
)
def test_a_column_is_named_so_that_sql_takes_it(field: str, column: str) -> None:
    assert column_name(field) == column


@pytest.mark.parametrize("name", ["Order", "order", "9lives", "a" * 25, ""])
def test_a_list_has_a_name_that_can_be_a_table(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a list"):
        Resource(name=name, listing=Listing("api/x"), fields=())


def test_a_name_that_gengfu_uses_is_refused(place: Home) -> None:
    assert "Gengfu has a table of that name for itself" in place.ask("make:resource", "job", "api/Friend/cursor").err
    assert "is not below API_WECHAT_URL" in place.ask("make:resource", "x", "https://example.com/api/x").err
    assert "there is a list account already" in place.ask("make:resource", "account", "api/Friend/cursor").err


def test_a_list_whose_reader_was_killed_is_read_whole_by_the_next(
    place: Home, vendor: Simulator, wait_until: Callable[..., None]
) -> None:
    assert place.ask("make:resource", "mine", "api/Friend/cursor").code == 0
    place.set(**place_settings(place), API_PAGE_SIZE="10")
    vendor.control(latency="40ms")
    process = place.start("mine:list", "--now", start_new_session=True)
    rows_read = "SELECT count(*) FROM sync_page"
    wait_until(lambda: count(place, rows_read) > 5, timeout=30)
    process.kill()
    process.communicate()
    pages = count(place, rows_read)
    assert pages < 33
    vendor.control(latency="0ms")
    told = place.ask("mine:list", "--now", "--json")
    assert (told.code, told.json["run"], told.json["verdict"], told.json["seen"]) == (0, 1, "complete", 330), told.err
    assert told.json["new"] == 330
    assert count(place, rows_read) == told.json["pages"] == 33


def place_settings(place: Home) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (place.folder / ".env").read_text("utf-8").splitlines())


def count(place: Home, query: str) -> int:
    with closing(sqlite3.connect(place.folder / "var" / "gengfu.db")) as connection:
        return int(connection.execute(query).fetchone()[0])

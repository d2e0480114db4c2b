"""Whatever one row holds, the run goes on: it is stored, or set aside with its reason, and all others are right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from gengfu.cli.output import Output
from gengfu.mirror.values import MOST_LEVELS
from gengfu.services.lists import Content, Filter
from gengfu.store.lists import Presence
from gengfu.store.run_rows import Run, Verdict
from gengfu.vendor.json_repair import levels
from mirrors import World
from raw_vendor import RawVendor

Open = Callable[..., World]


@pytest.fixture
def open_raw(tmp_path: Path) -> Iterator[Open]:
    """`open_raw(database_url, **settings)`: the devices of a vendor that sends the bytes it is given."""
    opened: list[World] = []

    def make(database_url: str, **settings: Any) -> World:
        opened.append(World(tmp_path, database_url, RawVendor(), **settings))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for world in opened:
        world.app.close()
        world.sim.close()


def sound(key: int, **fields: Any) -> bytes:
    return json.dumps({"id": key, "imei": f"86{key:013}", "userName": f"名{key}", **fields}).encode()


def run(world: World, *rows: bytes) -> Run:
    world.sim.rows = rows  # type: ignore[attr-defined]
    return world.run()


def assert_readable(world: World, folder: Path) -> None:
    """Every row can be shown, found, exported and read by the database itself."""
    devices, everything = world.app.devices, Filter(presence=Presence.ALL)
    for key in {**world.rows(), **world.rows(live=False)}:
        json.dumps(dict(devices.one(key, 50).row.fields), allow_nan=False, default=str)
    devices.find(replace(everything, text="8"), limit=1_000)
    devices.changes(limit=10_000)
    devices.status(5)
    for name in ("all.csv", "all.xlsx", "all.jsonl", "report.csv", "report.xlsx"):
        content = Content(everything, report=name.startswith("report"))
        devices.export_file(folder / name, content, None, force=True, mode=None, tell=lambda *_: None)
    lines = (folder / "all.jsonl").read_bytes().splitlines()
    assert all(json.loads(line, parse_constant=pytest.fail) for line in lines)
    valid = {"sqlite": "json_valid({})", "mysql": "json_valid({})", "postgresql": "({}::jsonb) IS NOT NULL"}
    with world.app.db.read() as connection:
        for column in ("other", "extra", "wechat_accounts"):
            short = f"{column} IS NOT NULL AND length({column}{'::text' * (world.app.db.kind == 'postgresql')}) < 200"
            check = valid[world.app.db.kind].format(column)
            found = connection.execute(text(f"SELECT id, {check}, {column} FROM device WHERE {short}")).all()
            # MariaDB's own functions look no deeper than 32 levels.
            assert [row for row in found if not row[1] and levels(str(row[2]).encode()) < 32] == []


NAMES = st.sampled_from(
    [
        *("imei", "userName", "memo", "groupId", "groupName", "tenantId", "alive", "isDeleted", "extra"),
        *("wechatAccounts", "createTime", "lastAliveTime", "wifi", "WIFI", "Wifi", "Imei", "", " ", "_", "id ", "ID"),
        *(
            'a"b',
            "a\\b",
            "a\nb",
            "a\x00b",
            "a\ud800b",
            "\u202eb",
            "名",
            "f0",
            "__class__",
            "other",
            "row_hash",
            "a.b",
            "$",
        ),
        *("x" * 300, "x" * 70_000, "source_id", "gone_at"),
    ]
)
NUMBERS = st.sampled_from(
    [
        *(b"1e400", b"-1e400", b"1e-400", b"9" * 5_000, b"-" + b"9" * 5_000, b"9" * 4_300, b"1" + b"0" * 400 + b".5"),
        *(b"NaN", b"Infinity", b"-Infinity", b"-0", b"-0.0", b"1E5", b"18446744073709551616", b"-9223372036854775809"),
        *(b"0.1", b"1.7976931348623157e308", b"4.9e-324"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=8).map(lambda value: json.dumps(value).encode()),
    st.text(max_size=8).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            *(
                rb'"\u0000"',
                rb'"\ud83d"',
                rb'"\ude00\ud83d"',
                rb'"\x41"',
                b'"\x00"',
                b'"a\tb\nc"',
                b'"\xff\xfe"',
                rb'"\u12"',
            ),
            *(b'"\xef\xbf\xbe"', rb'"\uffff"', b'"' + b"x" * 9_000 + b'"', b'"' + b"ab" * 300_000 + b'"'),
            *(
                rb'"{\"a\": 1e400}"',
                rb'"{\"a\": \"\\u0000\\ud83d\"}"',
                rb'"[NaN]"',
                b'"[' + b"9" * 5_000 + b']"',
                rb'"\\u0000"',
            ),
            *(b'"' + b"[" * 5_000 + b"]" * 5_000 + b'"', b'"' + b"[" * 400 + b"]" * 400 + b'"', b'"null"', b'" 1 "'),
        ]
    ),
)
MOMENTS = st.builds(
    '"{}{}{}"'.format,
    st.sampled_from(
        [
            *("0001-01-01T00:00:00", "0001-01-01T00:00:01", "0001-01-01T08:00:00", "0001-01-02T00:00:00"),
            *("9999-12-31T23:59:59", "9999-12-31T00:00:00", "9999-12-31T23:59:59.9999999", "1970-01-01T00:00:00"),
            *("1901-01-01T00:05:43", "2026-02-30T00:00:00", "2026-01-01T24:00:00", "2026-01-01T23:59:60", "2026-01-01"),
            *("10000-01-01T00:00:00", "0000-00-00T00:00:00", "-001-01-01T00:00:00", "2026-W01-1T00:00:00"),
        ]
    ),
    st.sampled_from(["", ".1", ".123456789"]),
    st.sampled_from(["", "Z", "+08:00", "+14:00", "-12:00", "+23:59", "-23:59", "+24:00", " ", "+00:00:00.000001"]),
).map(str.encode)
DEEP = st.sampled_from(
    [
        *(b"[" * n + b"]" * n for n in (1, 33, MOST_LEVELS, MOST_LEVELS + 1, 990, 20_000)),
        *(b'{"a":' * n + b"1" + b"}" * n for n in (33, MOST_LEVELS, MOST_LEVELS + 1, 990, 20_000)),
    ]
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS, MOMENTS, DEEP, st.sampled_from([b"null", b"true", b"false", b"{}", b"[]", b"0", b"1"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: b"[%b]" % b",".join(values)),
        st.lists(st.tuples(NAMES, inner), max_size=3).map(lambda pairs: written(pairs)),
    ),
    max_leaves=4,
)
KEYS = st.sampled_from(
    [b'"id":%d'] * 12
    + [b'"id":"%d"', b'"id":%d.0', b'"id":null,"n":%d', b'"n":%d', b'"id":"x%d"', b'"id":9%d' + b"9" * 5_000]
)


def written(pairs: list[tuple[str, bytes]]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (json.dumps(name).encode(), value) for name, value in pairs)


ROWS = st.lists(
    st.one_of(
        st.tuples(KEYS, st.lists(st.tuples(NAMES.filter(lambda name: name != "id"), VALUES), max_size=5)),
        st.sampled_from([b"null", b"1", b"[]", b'"x"', b"{}"]),
    ),
    min_size=10,
    max_size=40,
)


def raw_rows(drawn: list[Any]) -> list[bytes]:
    """The rows that were drawn, with a number of its own for each that has one."""
    return [
        row
        if isinstance(row, bytes)
        else b"{%b}" % b",".join([row[0] % key, *[written([pair])[1:-1] for pair in row[1]]])
        for key, row in enumerate(drawn, 1)
    ]


@settings(max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(drawn=ROWS)
def check_hostile_rows(world: World, folder: Path, drawn: list[Any]) -> None:
    hostile = raw_rows(drawn)
    plain = [sound(key, wifi="on", extra={"a": key}) for key in range(1_000, 1_010)]
    rows = [row for pair in zip(hostile, plain * 4, strict=False) for row in pair][: 2 * len(hostile)]
    rows = [*dict.fromkeys(rows)]
    first = run(world, *rows)
    assert first.verdict == Verdict.COMPLETE, first.reason
    rejects = world.app.mirror.windows.rejects(first.id)
    assert first.rejected == len(rejects)
    assert all(reject.reason for reject in rejects)
    there = world.rows()
    for key in {json.loads(row)["id"] for row in rows if row in plain}:
        assert (there[key]["user_name"], there[key]["extra"], there[key]["other"]) == (
            f"名{key}",
            {"a": key},
            {"wifi": "on"},
        )
    assert_readable(world, folder)
    again = run(world, *rows)
    assert (again.verdict, again.new, again.rejected) == (Verdict.COMPLETE, 0, first.rejected)
    assert world.changes(again) == []
    assert world.rows() == there


def test_no_row_stops_a_list(open_raw: Open, database_url: str, tmp_path: Path) -> None:
    world = open_raw(database_url, unreadable_percent=100.0, guard_percent=100.0, api_page_size=1_000)
    check_hostile_rows(world, tmp_path)


DEEP_ROW = b'{"id":7,"imei":"x","extra":' + b"[" * 9_000 + b"]" * 9_000 + b"}"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_row_whose_key_can_be_read_counts_as_seen(open_raw: Open, database_url: str) -> None:
    world = open_raw(database_url)
    plain = [sound(key) for key in range(1, 121)]
    run(world, *plain)
    before = world.rows()
    for _ in range(3):
        found = run(world, *plain[:6], DEEP_ROW, *plain[7:])
        assert (found.verdict, found.rejected, found.seen, found.absent, found.gone) == (Verdict.COMPLETE, 1, 120, 0, 0)
        assert [(r.page, r.reason) for r in world.app.mirror.windows.rejects(found.id)] == [
            (0, f"a value of it is nested deeper than {MOST_LEVELS} levels")
        ]
    assert world.rows() == before


@pytest.mark.parametrize(
    ("unreadable", "rows", "settings", "is_partial"),
    [
        (range(2), 100, {}, False),
        (range(3), 300, {}, False),
        (range(4), 300, {}, True),
        (range(3), 100, {}, True),
        (range(15), 100, {}, True),
        (range(100), 100, {}, True),
        (range(100, 200), 20_000, {"api_page_size": 100}, True),
        (range(15), 100, {"unreadable_percent": 20.0}, False),
        (range(15), 100, {"unreadable_minimum": 16}, False),
    ],
)
def test_rows_that_cannot_be_read_are_no_success(
    open_raw: Open, sqlite_database_url: str, unreadable: range, rows: int, settings: dict[str, Any], is_partial: bool
) -> None:
    world = open_raw(sqlite_database_url, **settings)
    plain = [sound(key) for key in range(rows)]
    run(world, *plain)
    broken = [b'{"id":null}' if key in unreadable else row for key, row in enumerate(plain)]
    for _ in range(2):
        found = run(world, *broken)
        assert (found.verdict is Verdict.PARTIAL, found.rejected, found.gone) == (is_partial, len(unreadable), 0)
        if is_partial:
            assert f"{len(unreadable)} of {rows} rows could not be read" in str(found.reason)
            assert f"on page {unreadable[0] // 100}: its id is null, not a whole number" in str(found.reason)
    assert len(world.rows()) == rows


def joined(rows: list[bytes], doubled: dict[int, bytes], size: int) -> Callable[[int, int], bytes]:
    """Pages of a list whose server joins it with another after it has cut the pages."""

    def page(index: int, asked: int) -> bytes:
        places = range(index * size, min((index + 1) * size, len(rows)))
        found = [row for place in places for row in (rows[place], *filter(None, [doubled.get(place)]))]
        return RawVendor.body(found, len(rows))

    return page


@pytest.mark.parametrize("places", [[0], [5], [150], [249], [0, 100, 200], range(250)], ids=str)
def test_a_page_that_holds_a_row_twice_is_a_page(open_raw: Open, sqlite_database_url: str, places: Any) -> None:
    world = open_raw(sqlite_database_url)
    rows = [sound(key) for key in range(250)]
    world.sim.page = joined(rows, {place: rows[place] for place in places}, 100)  # type: ignore[method-assign, attr-defined]
    for _ in range(2):
        found = world.run()
        assert (found.verdict, found.reason, found.seen, found.doubled, found.differing, found.page_size) == (
            *(Verdict.COMPLETE, None, 250, len(places), 0, 100),
        )
    assert len(world.rows()) == 250
    assert found.calls == 6


@pytest.mark.parametrize("other", [5, 150, 249])
def test_of_two_copies_that_differ_the_later_one_counts(open_raw: Open, sqlite_database_url: str, other: int) -> None:
    world = open_raw(sqlite_database_url, api_concurrency=1)
    rows = [sound(key) for key in range(250)]
    world.sim.page = joined(rows, {other: sound(3, memo="later")}, 100)  # type: ignore[method-assign, attr-defined]
    found = world.run()
    assert (found.verdict, found.seen, found.doubled, found.differing) == (Verdict.COMPLETE, 250, 1, 1)
    assert "1 rows came twice with different values, of which the later ones count" in str(found.reason)
    assert world.rows()[3]["memo"] == "later"


def test_a_heartbeat_between_two_copies_is_no_difference(open_raw: Open, sqlite_database_url: str) -> None:
    world = open_raw(sqlite_database_url)
    rows = [sound(key, lastAliveTime="2026-01-01T00:00:00") for key in range(50)]
    twin = sound(3, lastAliveTime="2026-01-01T00:00:05")
    world.sim.page = joined(rows, {3: twin}, 100)  # type: ignore[method-assign, attr-defined]
    found = world.run()
    assert (found.verdict, found.reason, found.doubled, found.differing) == (Verdict.COMPLETE, None, 1, 0)


@pytest.mark.parametrize("doubled", [{}, {0: sound(0)}])
@pytest.mark.parametrize(("size", "rows"), [(200, 950), (200, 200), (1_000, 950), (30, 250)])
def test_a_server_that_gives_another_page_size_than_asked_for_is_understood(
    open_raw: Open, sqlite_database_url: str, size: int, rows: int, doubled: dict[int, bytes]
) -> None:
    world = open_raw(sqlite_database_url)
    plain = [sound(key) for key in range(rows)]
    world.sim.page = joined(plain, doubled, size)  # type: ignore[method-assign, attr-defined]
    for _ in range(2):
        found = world.run()
        assert (found.verdict, found.seen) == (Verdict.COMPLETE, rows)
        assert found.page_size == (min(size, rows) if size != 100 else 100)
    assert len(world.rows()) == rows


def test_a_total_that_is_far_too_large_queues_no_work(open_raw: Open, sqlite_database_url: str) -> None:
    world = open_raw(sqlite_database_url)
    run(world, *[sound(key) for key in range(300)])
    for total, said in ((50_000_000, "its last page is not there"), (10**9, "which is not believed")):
        world.sim.total = total  # type: ignore[attr-defined]
        found = world.run(tries=1)
        assert (found.verdict, found.windows, found.gone) == (Verdict.FAILED, 0, 0)
        assert said in str(found.reason)
    world.sim.total, world.sim.size = 50_000_000, 1  # type: ignore[attr-defined]
    assert "that would be 50000001 pages" in str(world.run(tries=1).reason)
    assert len(world.rows()) == 300


def test_a_stored_value_that_nobody_can_read_is_shown_and_rewritten(
    open_raw: Open, database_url: str, tmp_path: Path
) -> None:
    world = open_raw(database_url)
    run(world, sound(1, extra={"a": 1}), sound(2, extra={"a": 2}))
    broken = '{"a": ' + "9" * 5_000 + "}"
    world.app.db.write(lambda c: c.exec_driver_sql(f"UPDATE device SET extra = '{broken}'"))
    assert world.app.devices.one(1, 5).row.fields["extra"] == {"a": "9" * 5_000}
    assert_readable(world, tmp_path)
    found = run(world, sound(1, extra={"a": 1}, memo="new"), sound(2, extra={"a": 2}))
    assert (found.verdict, found.changed) == (Verdict.COMPLETE, 1)
    assert world.rows()[1]["extra"] == {"a": 1}


def test_what_the_database_does_not_take_is_set_aside(
    open_raw: Open, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of PostgreSQL takes no text of 9 000 random characters."""
    world = open_raw(database_url)
    monkeypatch.setattr("gengfu.mirror.values.storable", lambda value: value)
    monkeypatch.setattr("gengfu.mirror.rows.storable", lambda value: value)
    rows = [sound(key) for key in range(20)]
    run(world, *rows)
    rows[3] = sound(3, groupName="".join(chr(0x4E00 + (place * place * 7919) % 20_000) for place in range(9_000)))
    rows[4] = sound(4, memo="new")
    rows[5] = sound(5, memo="a\0b", nickname="\ud800")
    found = run(world, *rows, sound(99))
    refused = found.rejected
    assert refused <= 2
    assert (found.verdict, found.seen, found.new, found.changed) == (Verdict.COMPLETE, 21, 1, 3 - refused)
    assert (world.rows()[4]["memo"], len(world.rows())) == ("new", 21)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Anchorage", "Pacific/Kiritimati"])
def test_times_at_the_ends_of_the_calendar_are_shown_and_exported(
    open_raw: Open, sqlite_database_url: str, tmp_path: Path, zone: str
) -> None:
    world = open_raw(sqlite_database_url, api_timezone="UTC", gengfu_timezone=zone)
    moments = ["0001-01-01T00:00:01", "0001-01-02T00:00:00", "0999-06-01T00:00:00", "1900-01-01T00:00:00"]
    moments += ["9999-12-31T23:59:59", "9999-12-31T00:00:00Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:01+14:00"]
    assert (
        run(world, *[sound(key, createTime=moment) for key, moment in enumerate(moments)]).verdict is Verdict.COMPLETE
    )
    assert_readable(world, tmp_path)
    rows = world.rows()
    assert [key for key, row in rows.items() if row["create_time"] is None] == [6, 7]
    assert rows[6]["other"] == {"createTime": moments[6]}
    for row in rows.values():
        Output(as_json=False, zone=lambda: zone).moment(row["create_time"])

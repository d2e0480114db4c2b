"""Lists in every style of paging, over real HTTP: read whole, or not believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from gengfu.errors import Fenced, GengfuError
from gengfu.mirror.account import ACCOUNT
from gengfu.mirror.device_group import DEVICE_GROUP
from gengfu.mirror.resource import Resource
from gengfu.store.run_rows import Verdict
from gengfu.vendor.paging import Link, Listing, linked, next_link
from mirrors import STYLES, TARGETS, World, context_of, friends

ONE_AFTER_ANOTHER = [style for style in STYLES if style != "offset"]


Open = Callable[..., World]


@pytest.mark.parametrize(("resource", "number"), [(DEVICE_GROUP, None), (ACCOUNT, 260)], ids=["groups", "accounts"])
def test_the_lists_that_come_along_are_mirrored_on_every_database(
    open_list: Open, database_url: str, resource: Resource, number: int | None
) -> None:
    world = open_list(resource, database_url)
    first = world.run()
    rows = world.rows()
    assert (first.verdict, first.seen, first.new) == (Verdict.COMPLETE, len(rows), len(rows))
    assert len(rows) == number or number is None
    row = rows[min(rows)]
    assert row["create_time"].isoformat() == "2024-02-15T01:30:00+00:00" or resource is ACCOUNT
    assert row["other"] is None
    assert all(value is not None for name, value in row.items() if name not in ("gone_at", "other", "group_memo"))
    again = world.run()
    assert (again.verdict, again.new, again.changed, again.unchanged) == (Verdict.COMPLETE, 0, 0, len(rows))


def test_a_changed_row_of_another_list_is_a_row_change(open_list: Open, database_url: str) -> None:
    world = open_list(ACCOUNT, database_url)
    world.run()
    table = ACCOUNT.table
    old = {"real_name": "旧", "row_hash": 1, "content_hash": 1}
    world.app.db.write(lambda c: c.execute(update(table).where(table.c.id == 700_007).values(**old)))
    run = world.run()
    assert (run.verdict, run.changed) == (Verdict.COMPLETE, 1)
    assert world.changes(run) == [(700_007, "real_name", "旧", world.rows()[700_007]["real_name"])]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_whole_list(open_list: Open, style: str) -> None:
    world = open_list(friends(style), api_page_size=50)
    run = world.run()
    assert (run.verdict, run.reason, run.seen, run.total_last) == (Verdict.COMPLETE, None, 330, 330)
    assert sorted(world.rows()) == list(range(5_000_001, 5_000_331))
    assert run.pages == run.pages_done == {"previous": 8, "offset": 8}.get(style, 7)


FAULTS = ("dead", "cut", "html", "429", "empty-body", "no-results")


@pytest.mark.parametrize("style", STYLES)
def test_a_fault_costs_a_call_and_no_row(open_list: Open, style: str) -> None:
    world = open_list(friends(style), api_page_size=50)
    world.sim.control(pin=[f"{TARGETS[style]}:{kind}:1" for kind in FAULTS], retry_after="0")
    run = world.run()
    assert (run.verdict, run.seen) == (Verdict.COMPLETE, 330)
    assert run.calls >= run.pages_done + len(FAULTS)


@pytest.mark.parametrize("style", STYLES)
def test_an_answer_that_is_none_is_never_an_empty_list(open_list: Open, style: str) -> None:
    world = open_list(friends(style))
    world.run()
    world.sim.control(pin=[f"{TARGETS[style]}:no-results"])
    run = world.run(tries=1)
    assert run.verdict in (Verdict.PARTIAL, Verdict.FAILED)
    assert "answered 200 with JSON that is not the contract's" in str(run.reason)
    assert len(world.rows()) == 330
    assert world.absent() == set()


@pytest.mark.parametrize("style", STYLES)
def test_a_page_that_comes_again_for_ever_ends_the_run_as_partial(open_list: Open, style: str) -> None:
    world = open_list(friends(style), api_page_size=50)
    world.sim.control(repeat_from=2)
    run = world.run(tries=1)
    assert run.verdict == Verdict.PARTIAL
    assert "the server ignores which page is asked for" in str(run.reason)


@pytest.mark.parametrize("style", ["cursor", "link", "header"])
def test_rows_on_two_pages_have_the_list_read_again(open_list: Open, style: str) -> None:
    world = open_list(friends(style), api_page_size=50)
    world.sim.control(row=["echo:5000001", "echo:5000002", "twice:5000100"])
    run = world.run()
    assert (run.verdict, run.pass_number, run.seen) == (Verdict.COMPLETE, 2, 330)
    assert "rows of the list are repetitions" in str(run.reason)


@pytest.mark.parametrize("style", STYLES)
def test_a_row_is_gone_when_two_complete_runs_lack_it(open_list: Open, style: str) -> None:
    world = open_list(friends(style))
    world.run()
    world.sim.control(visible=0.98)
    once = world.run()
    assert (once.verdict, once.gone, once.absent) == (Verdict.COMPLETE, 0, 7)
    twice = world.run()
    assert (twice.verdict, twice.gone) == (Verdict.COMPLETE, 7)
    assert len(world.rows()) == 323
    assert {change[:2] for change in world.changes(twice)} == {(key, "gone_at") for key in range(5_000_324, 5_000_331)}
    world.sim.control(visible=1.0)
    assert world.run().returned == 7


@pytest.mark.parametrize("resource", [*map(friends, STYLES), DEVICE_GROUP], ids=[*STYLES, "bare"])
def test_half_a_list_is_held_and_can_be_approved(open_list: Open, resource: Resource) -> None:
    world = open_list(resource, guard_minimum=3)
    whole = world.run().seen or 0
    world.sim.control(visible=0.5)
    held = world.run()
    assert (held.verdict, held.gone, len(world.rows())) == (Verdict.HELD, 0, whole)
    assert world.app.mirror.approve(held.id, "root@hall") == whole - whole // 2
    assert len(world.rows()) == whole // 2


@pytest.mark.parametrize("style", ONE_AFTER_ANOTHER)
def test_a_reading_that_broke_off_starts_at_the_beginning(
    open_list: Open, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gengfu.mirror.reading.COMMIT_ROWS", 1)
    world = open_list(friends(style), api_page_size=50)
    run_id, context = world.accept()
    walk, asked = world.app.vendor.walk, []

    def breaks_off(*args: Any) -> Iterator[Any]:
        for page in walk(*args):
            if len(asked) == 3:
                raise Fenced("as if the worker had died")
            asked.append(page.index)
            yield page

    world.app.vendor.walk = breaks_off  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        world.app.mirror.work(run_id, context)
    assert world.get(run_id).pages_done == 3
    world.app.vendor.walk = walk  # type: ignore[method-assign]
    world.app.mirror.work(run_id, context)
    run = world.get(run_id)
    assert (run.verdict, run.seen, run.new, run.pages_done) == (Verdict.COMPLETE, 330, 330, run.pages)


def test_a_worker_that_wakes_up_late_writes_nothing(open_list: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gengfu.mirror.reading.COMMIT_ROWS", 1)
    world = open_list(friends("cursor"), api_page_size=50)
    run_id, context = world.accept()
    late = context_of(context.job_id)
    walk = world.app.vendor.walk
    successors: list[str] = []

    def overtaken(*args: Any) -> Iterator[Any]:
        for page in walk(*args):
            yield page
            if page.index == 2 and not successors:
                successors.append("")
                successors[0] = world.app.mirror.work(run_id, late)

    world.app.vendor.walk = overtaken  # type: ignore[method-assign]
    with pytest.raises(GengfuError, match="held by another worker"):
        world.app.mirror.work(run_id, context)
    assert successors == [f"run {run_id}: complete"]
    assert (world.get(run_id).seen, world.get(run_id).pages_done) == (330, 7)


def test_a_link_to_another_server_is_not_followed(open_list: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "follow", lambda *_: "https://example.com/api/Friend/link?offset=50")
    world = open_list(friends("link"))
    run = world.run(tries=1)
    assert run.verdict == Verdict.PARTIAL
    assert "leads to https://example.com/api/Friend/link?offset=50, outside API_WECHAT_URL" in str(run.reason)


HERE = "https://vendor.example.com/base/api/Friend/link?offset=0"


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("?offset=50", "https://vendor.example.com/base/api/Friend/link?offset=50"),
        ("next/p?q=../a", "https://vendor.example.com/base/api/Friend/next/p?q=../a"),
        ("/base/a?名=小&b=%20", "https://vendor.example.com/base/a?%E5%90%8D=%E5%B0%8F&b=%20"),
        ("https://vendor.example.com/base/a", "https://vendor.example.com/base/a"),
    ],
)
def test_a_link_leads_on_from_its_own_page(link: str, leads_to: str) -> None:
    assert linked(HERE, link) == leads_to


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("../token", "goes by way of"),
        ("/base/../token", "goes by way of"),
        ("/base/%2e%2e/token", "goes by way of"),
        ("/base/%252e%252e%252ftoken", "goes by way of"),
        ("/base/..%5Ctoken", "goes by way of"),
        ("./x", "goes by way of"),
        ("/base/a\r\nHost: evil", "characters that no address has"),
        ("/base/a%0d%0aHost", "characters that no address has"),
        ("/base/a\0", "characters that no address has"),
        ("/base/\u202ea", "characters that no address has"),
        ("/base\\a", "characters that no address has"),
        ("/base/" + "a" * 9_000, "longer than"),
        ("http://[::1/", "IPv6"),
    ],
)
def test_a_link_that_nobody_should_follow_is_refused(link: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        linked(HERE, link)


@pytest.mark.parametrize(
    "link",
    [
        "http://vendor.example.com/api/Friend/link?offset=50",
        "//evil.example.com/api/Friend/link",
        "{origin}@evil.example.com/api/Friend/link",
        "http://user:pass@{host}/api/Friend/link",
        "/api/Friend/link\r\nHost: evil",
        "/api/%2e%2e/token",
        "/api/Friend/link?access_token={token}",
        "/api/Friend/link?offset=0&limit=50",
        "\ud800",
    ],
)
def test_a_hostile_link_ends_the_reading_and_marks_nothing(
    open_list: Open, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    world = open_list(friends("link"), api_page_size=50)
    world.run()
    token = world.app.auth.loop.run(world.app.auth.tokens.token()).value.reveal()
    host = world.sim.url.removeprefix("http://").rstrip("/")
    hostile = link.format(origin=world.sim.url.rstrip("/"), host=host, token=token)
    follow = Link.follow

    def misled(self: Link, path: str, query: Any, size: int, page: Any, url: str) -> str | None:
        return follow(self, path, query, size, replace(page, more=hostile), url)

    monkeypatch.setattr(Link, "follow", misled)
    run = world.run(tries=1)
    assert (run.verdict, run.gone, len(world.rows())) == (Verdict.PARTIAL, 0, 330)
    assert token not in str(run.reason)
    assert run.calls <= 3


def test_a_list_without_its_table_names_the_command_that_makes_it(open_list: Open) -> None:
    resource = Resource(name="rival", listing=Listing("api/Friend/cursor"), fields=())
    world = open_list(resource)
    run = world.run()
    assert run.verdict == Verdict.FAILED
    assert "there is no table rival" in str(run.reason)
    assert "gengfu make:migration rival" in str(run.reason)


@pytest.mark.parametrize(
    ("header", "target"),
    [
        (None, None),
        (
            '<https://example.com/a?p=2>; rel="next", <https://example.com/a?p=9>; rel="last"',
            "https://example.com/a?p=2",
        ),
        ('</a?p=1>; rel=prev, </a?p=3>; title="x, y"; rel=next', "/a?p=3"),
        ('</a>; rel="prev"', None),
        ('<?p=2>;rel="first next"', "?p=2"),
    ],
)
def test_the_next_link_of_a_header_is_found(header: str | None, target: str | None) -> None:
    assert next_link(header) == target

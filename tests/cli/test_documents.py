"""The documents say what is so: their commands run, their links lead somewhere, both languages agree."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from sqlalchemy import text

import reference
from documents import (
    ALL,
    ENGLISH,
    ROOT,
    Walk,
    anchors,
    blocks,
    chinese,
    code_spans,
    headings,
    language,
    links,
    plain,
    prose,
    rows,
    shown,
    texts_of_the_program,
)
from gengfu.cli.catalogue import Catalogue
from gengfu.cli.console import Console, Session
from gengfu.deploy import crontab, panel, supervisor, systemd
from gengfu.deploy.plan import Plan
from gengfu.schedule.entries import load_entries
from gengfu.settings import load_settings
from gengfu.store import retention
from gengfu.store.database import Database
from gengfu.store.tables import metadata
from gengfu_simulator.testing import Simulator
from terminal import Home

DOCS = ROOT / "docs"


def named(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("page", [page for page in ALL if blocks(page, "console")], ids=named)
def test_the_commands_of_a_page_do_what_it_shows(page: Path, tmp_path: Path) -> None:
    with Simulator(300, username="operator", password="secret") as sim:
        walk = Walk(tmp_path, sim, language(page))
        try:
            walk.follow(page)
        finally:
            walk.close()


def test_the_first_task_shows_the_command_as_it_is_made(home: Path) -> None:
    made = Home(home).run("make:command", "brand:report", "--job", "brand_report", "--schedule", "0 2 * * *")
    assert made.code == 0
    shown = next(block for block in blocks(DOCS / "your-first-task.md", "python"))
    assert shown.named == "app/commands/brand_report.py"
    assert (home / shown.named).read_text() == shown.text


@pytest.mark.parametrize("page", ALL, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        assert not target.startswith("http"), target
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.is_file(), target
        assert not anchor or anchor in anchors(other), target


@pytest.mark.parametrize("page", ENGLISH, ids=named)
def test_both_languages_have_the_same_sections(page: Path) -> None:
    assert [level for level, _ in headings(chinese(page))] == [level for level, _ in headings(page)]


@pytest.mark.parametrize("page", [page for page in ENGLISH if page != reference.PAGE], ids=named)
def test_both_languages_show_the_same_commands_files_and_messages(page: Path) -> None:
    """What a command prints is in the language of the page, with as many lines."""

    def told(path: Path) -> list[object]:
        return [
            [(command, len(output)) for command, output in shown(block)] if block.kind == "console" else block.text
            for block in blocks(path)
        ]

    assert told(chinese(page)) == told(page)


@pytest.mark.parametrize("page", ENGLISH, ids=named)
def test_both_languages_name_the_same_commands_and_settings(page: Path) -> None:
    def names(path: Path) -> set[str]:
        spans = " ".join(code_spans(path))
        return set(re.findall(r"[a-z]+:[a-z]+|--[a-z-]+|[A-Z]+(?:_[A-Z]+)+", spans))

    assert names(chinese(page)) == names(page)


def test_the_page_of_commands_is_what_the_program_says() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(), "write it anew: python tests/reference.py"


def test_the_chinese_page_of_commands_has_every_option() -> None:
    told: dict[str, list[tuple[str, str]]] = {}
    for line in prose(DOCS / "commands.zh-CN.md").splitlines():
        if heading := re.fullmatch(r"## `(.+)`", line):
            told[heading[1]] = options = []
        elif row := re.match(r"\| `(--.+?)` \| (?:`(.*?)`)? *\|", line):
            options.append((row[1].replace("\\|", "|"), row[2] or ""))
    expected = {
        name: [parameter[:2] for parameter in reference.parameters(command) if parameter[0].startswith("-")]
        for name, command in reference.commands().items()
    }
    assert told == expected


@pytest.mark.parametrize("page", [DOCS / "reference.md", DOCS / "reference.zh-CN.md"], ids=named)
def test_every_setting_stands_in_the_reference_with_its_default_and_example(page: Path) -> None:
    told = [tuple(map(plain, row[:3])) for row in rows(page, 4) if plain(row[0]).isupper()]
    assert told == reference.settings()


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "README.zh-CN.md"], ids=named)
def test_the_readme_names_every_command_and_table(page: Path) -> None:
    spans = set(code_spans(page))
    assert set(reference.commands()) <= spans
    assert set(metadata.tables) <= spans


@pytest.mark.parametrize("page", [DOCS / "how-it-works.md", DOCS / "how-it-works.zh-CN.md"], ids=named)
def test_every_table_is_explained_with_columns_that_exist(page: Path) -> None:
    told = {plain(row[0]): row[2] for row in rows(page, 3) if plain(row[0]) in metadata.tables}
    assert set(told) == set(metadata.tables)
    for table, columns in told.items():
        assert set(re.findall(r"`?(\w+)`?(?: \(| （|,|，|、|$)", columns)) <= set(metadata.tables[table].c.keys()), (
            table
        )


@pytest.mark.parametrize("page", [DOCS / "how-it-works.md", DOCS / "how-it-works.zh-CN.md"], ids=named)
def test_how_long_things_are_kept_is_told_as_it_is(page: Path) -> None:
    told = {row[0]: [int(number) for number in re.findall(r"\d+", row[1])] for row in rows(page, 2)}
    for what, kept in {
        "`change`": retention.CHANGES_KEPT.days,
        "`sync_run`": retention.RUNS_KEPT.days,
        "`sync_page`": retention.PAGES_KEPT,
        "`done`": retention.DONE_JOBS_KEPT.days,
        "`failed`": retention.FAILED_JOBS_KEPT.days,
        "`schedule_tick`": retention.TICKS_KEPT.days,
    }.items():
        assert [numbers for title, numbers in told.items() if what in title and numbers] == [[kept]], what


@pytest.mark.parametrize("page", ALL, ids=named)
def test_settings_files_are_read_as_they_stand(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "dotenv", "toml"):
        name = ".env" if block.kind == "dotenv" else "gengfu.toml"
        (tmp_path / name).write_text(block.text)
        settings = load_settings({"GENGFU_HOME": str(tmp_path)})
        if "[schedule." in block.text:
            found = load_entries(settings, Catalogue())
            assert not found.problems
            assert len(found.entries) > 1
            (tmp_path / name).unlink()
            continue
        assert settings.api_wechat_url == "https://vendor.example.com/" or settings.redis_url is not None
        if '"a # b"' in block.text:
            assert settings.api()[2].reveal() == "a # b"
        (tmp_path / name).unlink()


def test_queries_run_on_every_database(database: Database) -> None:
    page = DOCS / "how-it-works.md"
    ago = {row[0].partition(",")[0].lower(): plain(row[1]) for row in rows(page, 2)}
    queries = blocks(page, "sql")
    assert len(queries) >= 10
    for block in queries:
        query = block.text.replace(ago["sqlite"], ago[database.kind])
        with database.read() as connection:
            connection.execute(text(query.rstrip().removesuffix(";"))).all()


def test_messages_are_those_of_the_program() -> None:
    source = texts_of_the_program()
    for block in blocks(DOCS / "troubleshooting.md", "text"):
        for line in block.text.splitlines():
            pieces = re.split(r"…|[;:()]|\b[A-Z]+(?:_[A-Z]+)+\b", line.removeprefix("gengfu: "))
            telling = [piece.strip(" ,.") for piece in pieces if len(re.sub(r"\W", "", piece)) >= 4]
            assert telling, f"nothing to look for: {line}"
            for piece in telling:
                assert any(piece in known for known in source), f"the program does not say {piece!r}: {line}"


def _is_understood(command_line: str) -> bool:
    """Whether the program takes this command line."""
    words = command_line.split(" >")[0].split(" 2>")[0].split()
    place = next(number for number, word in enumerate(words) if word.endswith("/bin/gengfu"))
    console = Console(Session(as_json=False))
    command = console.get_command(click.Context(console), words[place + 1])
    if command is None:
        return False
    command.make_context("gengfu", words[place + 2 :])
    return True


@pytest.mark.parametrize("page", ALL, ids=named)
def test_crontab_lines_are_sound(page: Path) -> None:
    for block in blocks(page, "crontab"):
        for line in block.text.splitlines():
            if line.startswith("#"):
                continue
            *when, command = line.split(maxsplit=5)
            limits = zip(when, (59, 23, 31, 12, 7), strict=True)
            assert all(re.fullmatch(r"\*(/\d+)?|\d+", field) for field in when), line
            assert all(int(field) <= limit for field, limit in limits if field.isdigit()), line
            assert command.startswith("cd /srv/gengfu && ")
            assert "%" not in command, "cron takes a % for the end of the line"
            assert _is_understood(command)


@pytest.mark.parametrize("page", ALL, ids=named)
def test_what_is_deployed_is_shown_as_the_program_writes_it(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", "/srv/gengfu/.venv")
    monkeypatch.setattr("sys.base_prefix", "/usr")
    folder, program = Path("/srv/gengfu"), "/srv/gengfu/.venv/bin/gengfu"
    plan = Plan(folder, folder / "logs", (program,), "www")
    files = [*crontab.files_of(plan), *supervisor.files_of(plan), *panel.files_of(plan)]
    texts = {file.text for file in (*files, *systemd.files_of(plan), *systemd.files_of(plan, timers=True))}
    for block in blocks(page, "crontab"):
        for line in block.text.splitlines():
            assert line in files[0].text.splitlines() or _is_understood(line)
    for block in blocks(page, "ini"):
        assert block.text in texts, block.text
    for block in blocks(page, "sh"):
        assert block.text in texts or "GENGFU RESULT" not in block.text, block.text
        for line in block.text.splitlines():
            assert ".venv/bin/gengfu deploy" not in line or _is_understood(line)


def test_the_readme_begins_with_the_two_commands() -> None:
    for page in (ROOT / "README.md", ROOT / "README.zh-CN.md"):
        assert blocks(page)[0].text == "make demo\nmake test\n"
        assert page.read_text("utf-8").count("<!-- figures -->") <= 1


@pytest.mark.parametrize("page", ALL, ids=named)
def test_addresses_are_examples(page: Path) -> None:
    assert not re.search(r"https?://(?!(?:[\w.-]+\.)?example\.com|127\.0\.0\.1)[\w.-]+", page.read_text("utf-8"))

"""Values, folders and streams that nobody has in mind: each command answers with a sentence, and nothing is made."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import click
import pytest

from gengfu.cli.catalogue import Catalogue
from gengfu.cli.console import main
from terminal import PROGRAM, Home

HUGE = ("9223372036854775808", "-9223372036854775809", "1" + "0" * 400)
NO_UTF8 = os.fsdecode(b"\xff\xfe-name")


@pytest.fixture
def place(home: Path) -> Home:
    return Home(home)


def values_of(param: click.Parameter) -> list[str]:
    """What this parameter must not take."""
    kind = param.type
    if isinstance(kind, click.Path) or (isinstance(param, click.Option) and param.is_flag):
        return []
    if kind.name.startswith(("integer", "float")):
        return [*HUGE, "nan", "1e999", NO_UTF8]
    return [NO_UTF8]


def cases() -> list[tuple[str, list[str]]]:
    found = []
    for name, command in Catalogue().commands.items():
        needed = [param for param in command.options if param.required]
        for param in command.options:
            for value in values_of(param):
                words = ["1" if other is not param else value for other in needed if isinstance(other, click.Argument)]
                for other in (*(each for each in needed if isinstance(each, click.Option)), param):
                    if isinstance(other, click.Option):
                        words = [other.opts[0], value if other is param else "1", *words]
                    elif other is param and other not in needed:
                        words = [value, *words]
                found.append((f"{name} {param.name} {value[:12]!a}", [name, *words]))
    return found


CASES = cases()


@pytest.mark.parametrize("words", [words for _, words in CASES], ids=[name for name, _ in CASES])
def test_no_command_takes_a_number_or_a_text_that_nothing_can_bear(
    place: Home, words: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    if words[1].startswith("-9"):
        words = [words[0], "--", *words[1:]]
    assert main([*words, "--json"] if "--" not in words else words) == 2
    said = capfdbinary.readouterr()
    assert said.err.startswith(b"gengfu: ")
    assert said.err.count(b"\n") == 1
    assert not (place.folder / "var").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["device:find", "x"],
        ["run:list"],
        ["health"],
        ["queue:status"],
        ["queue:work", "--stop-when-empty"],
        ["backup:data"],
        ["schedule:run"],
        ["device:list"],
        ["auth:status"],
    ],
    ids=" ".join,
)
def test_a_folder_that_is_no_working_folder_is_told_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.delenv("GENGFU_HOME", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--json"]) == 2
    told = json.loads(capfdbinary.readouterr().out)["error"]
    assert told["type"] == "ConfigError"
    assert told["message"].startswith(f"{tmp_path} is no working folder: it has neither .env nor gengfu.toml; go to")
    assert list(tmp_path.iterdir()) == []


def test_what_only_reads_makes_no_database_where_the_environment_alone_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENGFU_HOME", str(tmp_path))
    assert main(["device:find", "x"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert main(["schedule:run"]) == 0
    assert main(["device:find", "x"]) == 0


@pytest.mark.parametrize("name", ["folder ", "fol\nder", "fol\x1bder", " folder"])
def test_a_folder_whose_name_no_other_file_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / ".env").write_text("")
    monkeypatch.setenv("GENGFU_HOME", str(folder))
    for command in ("run:list", "doctor", "deploy", "--help"):
        assert main([command]) == 2
        said = capfdbinary.readouterr().err
        assert b"has a space at its end or a character that is not seen; rename that folder" in said
        assert said.count(b"\n") == 1


def test_a_folder_whose_name_is_not_utf_8_is_worked_in(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xd5\xc5\xc8\xfd"))
    place = Home(folder)
    for command in (["run:list"], ["config"], ["doctor"], ["deploy", "crontab"]):
        for locale in ("C", "POSIX", "C.UTF-8"):
            ended = subprocess.run(
                [*PROGRAM, *command],
                env=place.environment({"LC_ALL": locale}),
                cwd=folder,
                capture_output=True,
                check=False,
            )
            # What cannot be written into a crontab is refused.
            assert ended.returncode in ((2,) if command[0] == "deploy" else (0, 1)), ended.stderr
            assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("command", ["run:list --json", "run:list", "schedule:run --json", "help"])
def test_the_exit_code_stands_whatever_streams_are_closed(place: Home, closed: str, command: str) -> None:
    line = f'exec "$@" {command} {closed}'
    ended = subprocess.run(
        ["sh", "-c", line, "sh", *PROGRAM], env=place.environment(), cwd=place.folder, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    if closed in ("0<&-", "2>&-") and "--json" in command:
        assert json.loads(ended.stdout)


def test_a_failure_is_a_failure_with_all_streams_closed(place: Home) -> None:
    line = 'exec "$@" run:show 999 0<&- 1>&- 2>&-'
    ended = subprocess.run(["sh", "-c", line, "sh", *PROGRAM], env=place.environment(), cwd=place.folder, check=False)
    assert ended.returncode == 1


def test_the_home_of_another_account_is_not_taken_for_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gengfu.ownership import go_home

    monkeypatch.setenv("HOME", str(tmp_path))
    go_home()
    assert os.environ["HOME"] == str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    go_home()
    assert os.environ["HOME"] == os.path.expanduser(f"~{os.environ.get('USER', 'root')}")

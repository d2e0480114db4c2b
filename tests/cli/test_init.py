"""A working folder is begun by answers, and by nothing that does not work."""

from __future__ import annotations

import json
import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gengfu.setting_files import quoted
from gengfu.settings import load_settings
from gengfu_simulator.testing import Simulator
from terminal import Home, read_terminal

PASSWORD = 'Kiefer\'s "4711" $x \\ #'


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(40, username="operator", password=PASSWORD) as simulator:
        yield simulator


@pytest.fixture
def place(home: Path) -> Home:
    opened = Home(home)
    (home / ".env").unlink()
    return opened


def until(master: int, *shown: str) -> str:
    """What the terminal says up to one of those words."""
    said, deadline = "", monotonic() + 30
    while not any(word in said for word in shown):
        assert select.select([master], [], [], deadline - monotonic())[0], said
        said += os.read(master, 4096).decode()
    return said


def test_a_folder_is_begun_by_answers_on_a_terminal(place: Home, vendor: Simulator) -> None:
    process, master = place.start_on_terminal("init")
    said = ""
    for password in ("wrong", PASSWORD):
        for question, answer in (("API: ", vendor.url), ("name: ", "operator"), ("Password: ", password)):
            said += until(master, question)
            os.write(master, f"{answer}\n".encode())
    # Where this machine has a Redis it is offered.
    said += until(master, "[y/N] ", "written ")
    if "[y/N] " in said:
        os.write(master, b"n\n")
    said += read_terminal(master, 60)
    assert process.wait(60) == 0, said
    assert "the vendor refused the login of operator" in said
    assert "complete. 40 devices seen" in said
    assert PASSWORD not in said
    file = place.folder / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    url, username, found = load_settings({"GENGFU_HOME": str(place.folder)}).api()
    assert (url, username, found.reveal()) == (vendor.url, "operator", PASSWORD)


def test_a_folder_is_begun_without_a_terminal(place: Home, vendor: Simulator) -> None:
    words = ("init", "--url", vendor.url, "--username", "operator", "--json")
    ended = place.run(*words, API_PASSWORD=PASSWORD)
    assert ended.code == 0, ended.err
    assert ended.json["run"]["verdict"] == "complete"
    assert ended.json["file"] == str(place.folder / ".env")
    again = place.run(*words, API_PASSWORD=PASSWORD)
    assert again.code == 2
    assert "is there already; see: gengfu config" in again.err


@pytest.mark.parametrize(
    ("words", "environment", "code", "told"),
    [
        ((), {}, 2, "there is no terminal to ask on"),
        (("--url", "vendor", "--username", "x"), {"API_PASSWORD": "y"}, 2, "API_WECHAT_URL is not an http"),
        (("--url", "http://127.0.0.1:9/", "--username", "x"), {"API_PASSWORD": "y"}, 1, "the login failed"),
    ],
)
def test_nothing_is_written_where_the_login_does_not_work(
    place: Home, words: tuple[str, ...], environment: dict[str, str], code: int, told: str
) -> None:
    ended = place.run("init", *words, "--json", **environment)
    assert ended.code == code
    assert told in json.loads(ended.out)["error"]["message"]
    assert not (place.folder / ".env").exists()
    assert not (place.folder / "var").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1).filter(str.strip))
def test_what_is_written_is_read_as_it_was(home: Path, value: str) -> None:
    (home / ".env").write_text(f"API_PASSWORD={quoted(value)}\nAPI_USERNAME='x'\n", "utf-8", newline="")
    found = load_settings({"GENGFU_HOME": str(home)})
    assert found.api_password is not None
    assert found.api_password.reveal() == value

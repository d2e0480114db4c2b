"""The program in Chinese, as people see it, while what scripts and logs see stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gengfu.cli.catalogue import Catalogue
from gengfu.cli.console import Console, Session
from gengfu.cli.help_text import columns
from gengfu.language import CHINESE, speaking
from gengfu_simulator.testing import Simulator
from terminal import Home

ZH = {"GENGFU_LANG": "zh_CN"}
CJK = re.compile("[一-鿿]")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def own(home: Path) -> Iterator[tuple[Home, Simulator]]:
    """A working folder and a vendor of 60 devices."""
    with Simulator(60, username="operator", password="Kiefer4711") as vendor:
        usual = {"API_WECHAT_URL": vendor.url, "API_USERNAME": "operator", "API_PASSWORD": "Kiefer4711"}
        yield Home(home, **usual), vendor


def test_every_command_explains_itself_and_its_options() -> None:
    with speaking(CHINESE):
        console = Console(Session(as_json=False, catalogue=Catalogue()))
        context = click.Context(console, info_name="gengfu")
        for name in console.list_commands(context):
            command = console.get_command(context, name)
            assert command is not None
            options = [param.help or "" for param in command.params if isinstance(param, click.Option)]
            assert [text for text in [command.help or "仿", *options] if not CJK.search(text)] == [], name


@pytest.mark.parametrize("words", [("--help",), ("help",), ("device:list", "--help"), ("schedule:why", "--help")])
def test_help_fits_on_80_columns(home: Path, words: tuple[str, ...]) -> None:
    told = Home(home).run(*words, **ZH, COLUMNS="80")
    assert told.code == 0
    assert CJK.search(told.out)
    assert [line for line in told.out.splitlines() if columns(line) > 80] == []


def test_a_mistake_is_told_in_chinese_and_to_scripts_in_english(home: Path) -> None:
    place = Home(home)
    for words, chinese, english in (
        (("run:list", "--limit", "x"), "'--limit' 的值不对", "Invalid value for '--limit'"),
        (("run:list", "--limti", "3"), "没有选项 '--limti'", "No such option '--limti'"),
        (("run:show",), "缺少参数", "Missing argument"),
        (
            ("run:lst",),
            "没有命令 'run:lst'；是不是想写 run:list",
            "there is no command 'run:lst'; did you mean run:list",
        ),
        (("queue:retry", "soon"), "既不是任务编号", "is neither a job's number"),
    ):
        told = place.run(*words, "--json", **ZH)
        assert told.code == 2
        assert chinese in told.err
        assert english in told.json["error"]["message"]
        assert not CJK.search(told.out)


def test_the_setting_counts_wherever_it_stands_and_the_locale_without_it(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    assert home.run("queue:status", LC_ALL="zh_CN.UTF-8").err == "gengfu: 账本里没有任务\n"
    assert home.run("queue:status", LC_ALL="zh_CN.UTF-8", GENGFU_LANG="en").err == "gengfu: the ledger holds no job\n"
    with (home.folder / ".env").open("a") as file:
        file.write("GENGFU_LANG=zh_CN\n")
    assert home.run("queue:status", LC_ALL="C.UTF-8").err == "gengfu: 账本里没有任务\n"
    refused = home.run("queue:status", GENGFU_LANG="fr")
    assert refused.code == 2
    assert "GENGFU_LANG" in refused.err


def test_a_run_is_told_in_chinese_its_json_and_its_log_in_english(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    told = home.run("device:list", "--now", **ZH)
    assert told.code == 0, told.err
    assert re.match("已登记同步 1：设备列表（范围 0，任务 1）。\n同步 1：完整。读到设备 60 条，用时 ", told.out)
    answer = home.run("run:show", "1", "--json", **ZH)
    assert not CJK.search(answer.out)
    assert answer.json["verdict"] == "complete"
    assert not CJK.search(home.logged("device_list.log"))
    rows = home.run("run:list", **ZH).rows
    assert rows[0][:4] == ["同步", "列表", "范围", "判定"]
    assert rows[1][:4] == ["1", "device", "0", "完整"]


def test_a_reason_that_one_language_wrote_is_read_in_the_other(own: tuple[Home, Simulator]) -> None:
    home, vendor = own
    vendor.control(fail=["500:1"])
    first = home.run("device:list", "--now", **ZH, timeout=120)
    assert first.code == 1
    second = home.run("device:list", "--now", GENGFU_LANG="en", timeout=120)
    assert second.code == 1
    for run in ("1", "2"):
        english = dict(row[:2] for row in home.run("run:show", run, GENGFU_LANG="en").rows)
        chinese = dict(row[:2] for row in home.run("run:show", run, **ZH).rows)
        assert "answered 500" in english["reason"]
        assert "返回了 500" in chinese["原因"]
        assert "answered 500" in home.run("run:show", run, "--json", **ZH).json["reason"]


def test_columns_stand_under_each_other_on_a_terminal(own: tuple[Home, Simulator]) -> None:
    home, _ = own
    assert home.run("device:list", "--now").code == 0
    for words in (("device:find", "--limit", "20"), ("run:list",), ("schedule:list",), ("doctor",)):
        shown = ESCAPES.sub("", home.on_terminal(*words, **ZH).out).replace("\r", "")
        lines = [line for line in shown.splitlines() if line.strip()]
        assert max(map(columns, lines)) <= 80, shown
    table = ESCAPES.sub("", home.on_terminal("run:list", **ZH).out).replace("\r", "").splitlines()
    title, row = (next(line for line in table if part in line) for part in ("判定", "完整"))
    assert columns(title[: title.index("判定")]) == columns(row[: row.index("完整")])

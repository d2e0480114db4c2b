"""The program's face: finding commands, wrong usage, settings that are missing, and what goes where."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gengfu.cli.console import main
from gengfu.cli.db import DbUpgrade
from gengfu.cli.output import Column, Output
from gengfu.cli.run import VERDICTS
from gengfu.services.runs import Verdict
from terminal import PROGRAM, Home, read_terminal, read_until

HEAVY = ("sqlalchemy", "redis", "aiohttp", "rich", "msgspec", "alembic", "xlsxwriter", "psycopg")
COMMANDS = (
    *("account:changes", "account:export", "account:find", "account:list", "account:show", "account:status"),
    *("auth:login", "auth:reset", "auth:status", "backup:data", "backup:list", "backup:restore", "config"),
    *("db:upgrade", "demo", "deploy", "device:accounts", "device:approve", "device:changes", "device:discard"),
    *("device:export", "device:find", "device:list", "device:offline", "device:show", "device:status"),
    *("device_group:changes", "device_group:export", "device_group:find", "device_group:list"),
    *(
        "device_group:show",
        "device_group:status",
        "doctor",
        "health",
        "help",
        "init",
        "list",
        "make:command",
        "make:job",
    ),
    *("make:migration", "make:resource", "queue:failed", "queue:retry", "queue:status", "queue:work"),
    *("run:list", "run:show", "schedule:history", "schedule:list", "schedule:next", "schedule:pause"),
    *("schedule:resume", "schedule:run", "schedule:simulate", "schedule:test", "schedule:why", "schedule:work"),
    *("simulate", "status", "up"),
)
VENDOR = {"API_WECHAT_URL": "http://127.0.0.1:9/", "API_USERNAME": "operator", "API_PASSWORD": "s3cret word"}


@pytest.fixture
def place(home: Path) -> Home:
    """An empty working folder without settings."""
    return Home(home)


def test_help_lists_every_command_by_family(place: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^  ([a-z_]+(?::[a-z]+)?)  ", shown, re.MULTILINE) == [
        *(name for name in COMMANDS if ":" not in name),
        *(name for name in COMMANDS if ":" in name),
    ]
    assert "\ndevice:\n" in shown
    assert "Examples:\n  gengfu device:list --wait" in shown
    assert all(len(line) <= 88 for line in shown.splitlines())


def test_without_arguments_all_that_there_is_fits_one_screen(place: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert main(["help"]) == 0
    assert capsys.readouterr().out == shown
    lines = shown.splitlines()
    assert len(lines) <= 30
    assert all(len(line) <= 88 for line in lines)
    words = shown.replace(":", " ").split()
    assert {part for name in COMMANDS for part in name.split(":")} <= set(words)


def test_commands_are_listed_and_explained_as_artisan_does(place: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    everything = capsys.readouterr().out
    assert main(["list"]) == 0
    assert capsys.readouterr().out.strip() == everything.strip()
    assert main(["list", "queue"]) == 0
    rows = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == ["queue:failed", "queue:retry", "queue:status", "queue:work"]
    assert main(["help", "queue"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == rows
    assert main(["queue:work", "--help"]) == 0
    explained = capsys.readouterr().out
    assert main(["help", "queue:work"]) == 0
    assert capsys.readouterr().out == explained
    assert main(["list", "queues"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_help_needs_no_settings(place: Home, capsys: pytest.CaptureFixture[str]) -> None:
    place.set(API_CONCURRENCY="many")
    assert main(["--help"]) == 0
    assert main(["device:list", "--help"]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "simulate"])
def test_a_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"\n  Examples?:\n    gengfu {name}", shown)
    assert "--json" in shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_the_simulator_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--help"]) == 0
    assert "--latency" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("devce:list", "did you mean device:list?"),
        ("device:lst", "did you mean device:list?"),
        ("run", "did you mean run:list or run:show?"),
        ("queue:wrok", "did you mean queue:work?"),
        ("zzzzzz", "see: gengfu --help"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest(
    typed: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"gengfu: there is no command {typed!r}; {hint}\n"


@pytest.mark.parametrize("typed", ["parts", "output", "base:x", "../console", ":", ""])
def test_a_module_that_holds_no_command_is_none(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    assert capsys.readouterr().err.startswith(f"gengfu: there is no command {typed!r}")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["device:list", "--is-del", "3"], "'3' is not one of '0', '1', '2'"),
        (["device:list", "--colour"], "No such option '--colour'"),
        (["device:list", "--wait", "--now"], "--wait and --now cannot be combined"),
        (["device:show"], "Missing argument 'ID'"),
        (["device:show", "abc"], "'abc' is not a valid integer"),
        (["device:find", " "], "the text to search for is empty"),
        (["device:find", "x", "--gone", "--all"], "--gone and --all cannot be combined"),
        (["device:export", "fleet.txt"], "name it so, or give --format"),
        (["device:export", "-"], "give --format csv or --format jsonl"),
        (["device:export", "-", "--format", "xlsx"], "xlsx cannot be written to stdout"),
        (["device:export", "a.csv", "--columns", "id,colour"], "there is no column 'colour'; there are: id, imei"),
        (["device:export", "a.csv", "--changed-since", "soon"], "'soon' is no time; for example: 90m, 7d"),
        (["queue:work", "--queue", "a b"], "--queue names 'a b'"),
        (["queue:work", "--queue", "a,,b"], "--queue names an empty queue"),
        (["queue:work", "--tries", "0"], "--tries is 0; it must be more than 0"),
        (["queue:work", "--grace", "-1"], "--grace is -1.0; it must be 0 or more"),
        (["queue:retry", "some"], "'some' is neither a job's number nor the word all"),
        (["run:list", "--verdict", "good"], "'good' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    place: Home, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place.set(**VENDOR)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("gengfu: ")
    assert said.err.count("\n") == 1
    assert sentence in said.err


def test_wrong_usage_is_json_where_json_is_asked_for(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["device:list", "--colour", "--json"]) == 2
    told = json.loads(capfdbinary.readouterr().out)
    assert told["error"]["type"] == "UsageError"
    assert told["error"]["message"].endswith("see: gengfu device:list --help")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "API_WECHAT_URL is not set"),
        (
            {"API_WECHAT_URL": "vendor"},
            "API_WECHAT_URL is not an http:// or https:// address; for example: API_WECHAT_URL=",
        ),
        ({"API_WECHAT_URL": "http://127.0.0.1:9"}, "API_USERNAME is not set"),
        (VENDOR | {"API_PASSWORD": ""}, "API_PASSWORD is not set"),
        (
            VENDOR | {"API_CONCURRENCY": "many"},
            "API_CONCURRENCY is 'many', not a number; for example: API_CONCURRENCY=16",
        ),
        (VENDOR | {"GENGFU_TIMEZONE": "Mars/North"}, "GENGFU_TIMEZONE is 'Mars/North'"),
        (VENDOR | {"DATABASE_URL": "oracle://x"}, "DATABASE_URL is not a sqlite://"),
        (VENDOR | {"REDIS_URL": "http://x"}, "REDIS_URL is not a redis://"),
    ],
)
@pytest.mark.parametrize("command", [["device:list"], ["device:list", "--now"], ["queue:work"]], ids=" ".join)
def test_a_missing_or_malformed_setting_is_one_sentence_and_exit_code_2(
    place: Home,
    command: list[str],
    settings: dict[str, str],
    sentence: str,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    place.set(**settings)
    assert main([*command, "--json"]) == 2
    said = capfdbinary.readouterr()
    lines = [line for line in said.err.decode().splitlines() if line.startswith("gengfu: ")]
    assert len(lines) == 1
    assert sentence in re.sub(r" \(\.env, line \d\)", "", lines[0])
    assert json.loads(said.out)["error"] == {"type": "ConfigError", "message": lines[0].removeprefix("gengfu: ")}
    assert not (place.folder / "var").exists()


def test_a_log_folder_that_cannot_be_made_is_one_sentence(place: Home, capsys: pytest.CaptureFixture[str]) -> None:
    place.set(**VENDOR)
    (place.folder / "logs").write_text("a file")
    assert main(["device:list"]) == 2
    assert capsys.readouterr().err.startswith("gengfu: LOG_DIR: ")


def test_queueing_loads_nothing_heavy(place: Home) -> None:
    place.set(**VENDOR)
    assert place.run("db:upgrade").code == 0
    code = (
        "import sys; from gengfu.cli.console import main; code = main(['device:list']);"
        f"print(*(set({HEAVY}) & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=place.environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "\n")
    assert done.stdout == "Run 1 of the device list accepted (scope 0, job 1).\n"


def test_the_help_loads_nothing_heavy(place: Home) -> None:
    code = (
        "import sys; from gengfu.cli.console import main; code = main(['--help']);"
        f"print(*(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=place.environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr == "\n"


def test_a_reader_that_goes_away_is_no_error(place: Home) -> None:
    process = place.start("--help")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    "arguments", [["db:upgrade"], ["db:upgrade", "--json"], ["queue:status", "--json"]], ids=" ".join
)
def test_an_output_on_a_full_disk_is_one_sentence(place: Home, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = place.start(*arguments, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.decode().splitlines()[-1] == "gengfu: the output cannot be written: No space left on device"
    assert b"Traceback" not in err


def test_ctrl_c_ends_with_a_clean_line(place: Home, wait_until: Callable[..., None]) -> None:
    place.set(**VENDOR, REDIS_URL="redis://127.0.0.1:1/0")
    process = place.start("device:list", "--wait")
    log = place.folder / "logs" / "device_list.log"
    wait_until(lambda: log.exists() and "workers could not be told" in log.read_text(), timeout=30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    # Where Ctrl-C meets certain imports, Python itself ends the process by that signal, which shells show as 130 too.
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in err
    assert err.decode().splitlines()[-1].startswith("gengfu: ")


def test_ctrl_c_that_an_import_turned_into_another_error_is_still_ctrl_c(
    place: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def handle(self: DbUpgrade) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise RuntimeError("Error calling __set_name__") from interrupt

    monkeypatch.setattr(DbUpgrade, "handle", handle)
    assert main(["db:upgrade"]) == 130
    assert capsys.readouterr().err == "gengfu: interrupted\n"


def test_an_unexpected_error_is_a_bug_with_its_trace_and_without_secrets(place: Home) -> None:
    place.set(**VENDOR)
    code = (
        "import sys; from gengfu.cli import console; from gengfu.cli.device_list import DeviceList\n"
        "def handle(self, **options):\n    raise RuntimeError(f'got {self.app.settings.api()[2].reveal()}')\n"
        "DeviceList.handle = handle\nsys.exit(console.main(['device:list', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=place.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "RuntimeError: got ******" in done.stderr
    assert "this is a bug in Gengfu" in done.stderr.splitlines()[-1]
    assert str(place.folder / "logs" / "device_list.log") in done.stderr.splitlines()[-1]
    assert json.loads(done.stdout)["error"]["type"] == "RuntimeError"
    assert "RuntimeError: got ******" in place.logged("device_list.log")
    assert "s3cret" not in done.stdout + done.stderr + place.logged("device_list.log")


def test_a_terminal_that_cannot_write_chinese_does_not_end_a_command(place: Home) -> None:
    done = subprocess.run(
        [*PROGRAM, "--help"],
        env=place.environment({"PYTHONIOENCODING": "latin-1"}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert rb"device:find \u5f20\u4e09" in done.stdout


@pytest.fixture
def output() -> Output:
    return Output(as_json=False, zone=lambda: "Asia/Shanghai")


def test_a_plain_table_has_one_line_a_row_and_no_empty_cell(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 1, 31, 16, 30, 5, tzinfo=UTC)
    rows = [[1, "张\t三", None, moment], [2, "a\nb", True, 0.5], [3, "", {"k": "值"}, False]]
    output.table([Column("id"), Column("name"), Column("x"), Column("y")], rows)
    assert capsys.readouterr().out.splitlines() == [
        "id\tname\tx\ty",
        "1\t张\\t三\t-\t2026-02-01 00:30:05",
        "2\ta\\nb\tyes\t0.50",
        '3\t-\t{"k": "值"}\tno',
    ]


def test_json_is_utf_8_with_moments_in_utc(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output = Output(as_json=True, zone=lambda: "Asia/Shanghai")
    output.say("for people")
    output.answer({"name": "张三\ud800", "at": datetime(2026, 1, 31, 16, 30, 5, tzinfo=UTC)})
    output.answer({"a second": "object"})
    said = capfdbinary.readouterr()
    assert said.out == '{"name": "张三'.encode() + b'\\ud800", "at": "2026-01-31T16:30:05+00:00"}\n'
    assert said.err == b"for people\n"


def test_progress_in_a_pipe_is_a_line_now_and_then(
    output: Output, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("gengfu.cli.output.monotonic", lambda: now[0])
    with output.progress("run 1", "pages") as bar:
        for page in range(12):
            now[0] += 1.0
            bar.show(page, 12, "pass 2")
    assert capsys.readouterr().err.splitlines() == ["run 1: 4 of 12 pages, pass 2", "run 1: 9 of 12 pages, pass 2"]


def test_nobody_is_asked_where_nobody_is(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert output.confirm("Really?") is None


def test_a_simulator_is_started_and_stopped(place: Home) -> None:
    process, master = place.start_on_terminal("simulate", "--port", "0", "--devices", "3")
    read_until(master, "listening on http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    read_terminal(master)


def test_the_verdicts_that_can_be_asked_for_are_those_there_are() -> None:
    assert tuple(Verdict) == VERDICTS


def test_what_is_set_in_vain_is_told_once_on_stderr_and_by_doctor(
    place: Home, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    place.set(API_PAGESIZE="50")
    assert main(["run:list", "--json"]) == 0
    said = capfdbinary.readouterr()
    remark = "API_PAGESIZE (.env, line 1) is no setting and is not used; did you mean API_PAGE_SIZE?"
    assert said.err.decode().count(f"gengfu: {remark}\n") == 1
    assert "API_PAGESIZE" not in said.out.decode()
    monkeypatch.setenv("GENGFU_PARENT", "1 2")
    assert main(["run:list", "--json"]) == 0
    assert "API_PAGESIZE" not in capfdbinary.readouterr().err.decode()
    monkeypatch.delenv("GENGFU_PARENT")
    main(["doctor", "--json"])
    assert remark in [each["text"] for each in json.loads(capfdbinary.readouterr().out)["checks"]]


def test_config_shows_values_and_places_and_no_secret(place: Home, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    place.set(API_PASSWORD="sesame", DATABASE_URL="mysql://u:sesame@db/x?passwd=sesame", API_CONCURRENCY="many")
    (place.folder / "gengfu.toml").write_text('api_password = "other"\n')
    assert main(["config", "--json"]) == 2
    said = capfdbinary.readouterr()
    told = json.loads(said.out)
    assert told["home"] == str(place.folder)
    by_name = {each.pop("name"): each for each in told["settings"]}
    assert by_name["API_PASSWORD"] == {
        "value": "******", "source": ".env, line 1", "overridden": ["gengfu.toml"], "problem": None
    }  # fmt: skip
    assert by_name["DATABASE_URL"]["value"] == "mysql://u:******@db/x?passwd=******"
    assert by_name["API_CONCURRENCY"]["problem"].startswith("API_CONCURRENCY (.env, line 3) is 'many', not a number")
    assert (by_name["API_PAGE_SIZE"]["value"], by_name["API_PAGE_SIZE"]["source"]) == (100, None)
    assert b"sesame" not in said.out + said.err
    assert main(["config"]) == 2
    assert b"sesame" not in b"".join(capfdbinary.readouterr())

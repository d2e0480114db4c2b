"""Log lines are one record each, in the zone of the settings, whole among many processes, and never carry a secret."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from gengfu import logs
from gengfu.errors import ConfigError
from gengfu.redaction import Redactor
from gengfu.settings import Address, Secret, Settings

log = logging.getLogger("gengfu.test")

WRITER = """
import logging, sys
from pathlib import Path
from gengfu import logs
logging.getLogger("gengfu").setLevel("INFO")
handler = logs.SharedFileHandler(Path(sys.argv[1]), max_bytes=20_000, kept=1_000)
handler.setFormatter(logging.Formatter("%(message)s"))
logging.getLogger("gengfu").addHandler(handler)
for number in range(int(sys.argv[3])):
    logging.getLogger("gengfu").info("%s-%05d-%s", sys.argv[2], number, "x" * 80)
"""


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "_secrets", Redactor())
    root, ours = logging.getLogger(), logging.getLogger("gengfu")
    before = list(root.handlers), root.level, ours.level
    yield
    for handler in set(root.handlers) - set(before[0]):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, api_password=Secret("p@ss wörd"))


def lines(settings: Settings, file: str = "worker.log") -> list[str]:
    return (settings.logs / file).read_text("utf-8").splitlines()


def handle(settings: Settings, **record: object) -> None:
    """Hands a record to the file's handler alone."""
    (ours,) = (one for one in logging.getLogger().handlers if isinstance(one, logs.SharedFileHandler))
    ours.handle(logging.makeLogRecord({"levelname": "INFO", **record}))


def test_a_line_is_time_level_message_and_pairs(settings: Settings) -> None:
    logs.setup(settings, file="worker.log")
    log.info("run closed", extra={"run": 7, "verdict": "complete", "reason": "", "note": 'said "no"', "share": 0.25})
    (line,) = lines(settings)
    time, rest = line.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00", time)
    assert rest == 'INFO run closed run=7 verdict=complete reason="" note="said \\"no\\"" share=0.25'


def test_times_are_those_of_the_configured_zone(settings: Settings) -> None:
    logs.setup(replace(settings, gengfu_timezone="America/St_Johns"), file="worker.log")
    handle(settings, msg="noon", created=1_767_225_599.9996)
    assert lines(settings) == ["2025-12-31T20:29:59.999-03:30 INFO noon"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain/路径:1,2", "plain/路径:1,2"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("back\\slash", '"back\\\\slash"'),
        ("one\ntwo", '"one\\ntwo"'),
        ("\x1b[31mred", '"\\x1b[31mred"'),
        ("\u2028", '"\\u2028"'),
        ("\ud800", '"\\ud800"'),
        (None, "None"),
    ],
)
def test_values_are_quoted_when_they_could_be_misread(settings: Settings, value: object, written: str) -> None:
    logs.setup(settings, file="worker.log")
    log.info("x", extra={"value": value})
    assert lines(settings)[0].endswith(f" INFO x value={written}")


def test_a_message_of_several_lines_is_one_line(settings: Settings) -> None:
    logs.setup(settings, file="worker.log")
    log.warning("first\nsecond\r\x00%s", "\x1b[2J")
    (line,) = lines(settings)
    assert line.endswith(" WARNING first\\nsecond\\r\\x00\\x1b[2J")


def test_a_traceback_follows_on_indented_lines(settings: Settings) -> None:
    logs.setup(settings, file="worker.log")
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        log.exception("job failed", extra={"job": 3})
    log.info("next")
    first, *trace, last = lines(settings)
    assert first.endswith(" ERROR job failed job=3")
    assert trace[0] == "    Traceback (most recent call last):"
    assert all(row.startswith("    ") for row in trace)
    assert last.endswith(" INFO next")


def test_a_message_whose_arguments_do_not_fit_is_still_written(settings: Settings) -> None:
    logs.setup(settings, file="worker.log")
    handle(settings, msg="%d devices", args=("many",))
    assert lines(settings)[0].endswith(" INFO %d devices ('many',)")


@pytest.mark.parametrize("secret", ["drowssap", 'p@ss "drow\\', "it's drow\n密码", "'\"drow\x00"])
@pytest.mark.parametrize("spelled", [str, repr, ascii, json.dumps, quote_plus, lambda text: repr(text.encode())])
def test_the_password_is_never_written(settings: Settings, spelled: Callable[[str], str], secret: str) -> None:
    logs.setup(replace(settings, api_password=Secret(secret)), file="worker.log")
    body = f"username=u&password={spelled(secret)}"
    try:
        raise RuntimeError(body)
    except RuntimeError:
        log.exception("sent %s", body, extra={"body": body, "parts": [body]})
    text = "\n".join(lines(settings))
    assert "drow" not in text
    assert text.count("******") == 4


def test_the_passwords_of_database_and_broker_are_never_written_but_their_hosts_are(settings: Settings) -> None:
    addresses = {
        "database_url": Address("postgresql://gengfu:s%40crum@db.example.com/gengfu?sslpassword=keyword1"),
        "redis_url": Address("redis://:drum5@redis.example.com/0"),
    }
    logs.setup(replace(settings, **addresses), file="worker.log")
    log.info("using %s and %s", *(address.reveal() for address in addresses.values()), extra={"password": "s@crum"})
    (line,) = lines(settings)
    assert "db.example.com" in line
    assert "redis.example.com" in line
    assert not any(word in line for word in ("crum", "keyword1", "drum5"))


def test_a_secret_that_is_registered_later_is_never_written(settings: Settings) -> None:
    logs.setup(settings, file="worker.log")
    logs.register_secret("token-abc")
    logs.register_secret("")
    log.info("authorization: bearer token-abc")
    assert lines(settings)[0].endswith(" INFO authorization: bearer ******")


def test_old_tokens_are_forgotten_and_the_password_is_not(settings: Settings) -> None:
    logs.setup(settings, file="worker.log")
    for number in range(100):
        logs.register_secret(f"<token {number}>")
    log.info("%s %s %s", "<token 0>", "<token 99>", "p@ss wörd")
    assert lines(settings)[0].endswith(" INFO <token 0> ****** ******")


def test_of_other_libraries_only_warnings_are_written(settings: Settings) -> None:
    logs.setup(settings, file="worker.log", level="debug")
    logging.getLogger("aiohttp").info("chatter")
    logging.getLogger("aiohttp").warning("trouble")
    log.debug("detail")
    assert [line.split(" ", 1)[1] for line in lines(settings)] == ["WARNING trouble", "DEBUG detail"]


def test_the_level_of_the_settings_holds_unless_another_is_asked_for(settings: Settings) -> None:
    quiet = replace(settings, log_level="error")
    logs.setup(quiet, file="worker.log")
    log.warning("no")
    logs.setup(quiet, file="worker.log", level="warning")
    log.warning("yes")
    assert [line.split(" ", 1)[1] for line in lines(settings)] == ["WARNING yes"]


def test_lines_go_to_stderr_where_asked(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(settings, to_stderr=True)
    log.info("hello")
    assert capsys.readouterr().err.endswith(" INFO hello\n")
    assert not settings.logs.exists()


def test_a_second_set_up_replaces_the_first(settings: Settings) -> None:
    logs.setup(settings, file="one.log")
    logs.setup(settings, file="two.log")
    log.info("hello")
    assert lines(settings, "one.log") == []
    assert len(lines(settings, "two.log")) == 1


def test_a_log_folder_that_cannot_be_made_is_named(settings: Settings) -> None:
    (settings.home / "logs").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match=r"LOG_DIR: .*logs cannot be written .* for example: LOG_DIR=logs"):
        logs.setup(settings, file="worker.log")


def test_a_log_file_that_cannot_be_written_is_named(settings: Settings) -> None:
    (settings.logs / "worker.log").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"worker\.log cannot be written \(Is a directory\)"):
        logs.setup(settings, file="worker.log")


def test_a_disk_that_fills_up_is_said_once_and_ends_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    handler = logs.SharedFileHandler(Path("/dev/full"))
    record = logging.makeLogRecord({"msg": "hello"})
    handler.handle(record)
    handler.handle(record)
    handler.close()
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_file_that_was_moved_away_is_made_anew(settings: Settings) -> None:
    logs.setup(settings, file="worker.log")
    log.info("before")
    (settings.logs / "worker.log").rename(settings.logs / "archived")
    log.info("after")
    assert "before" in lines(settings, "archived")[0]
    assert "after" in lines(settings)[0]


def test_a_long_file_is_set_aside_and_only_so_many_are_kept(tmp_path: Path) -> None:
    handler = logs.SharedFileHandler(tmp_path / "worker.log", max_bytes=100, kept=3)
    for number in range(20):
        handler.handle(logging.makeLogRecord({"msg": f"{number:02}".ljust(59, ".")}))
    handler.close()
    names = ["worker.log", "worker.log.1", "worker.log.2", "worker.log.3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [(tmp_path / name).read_text()[:2] for name in names] == ["19", "18", "17", "16"]


def test_a_file_whose_first_line_is_old_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("2026-11-01T10:00:00.000+08:00 INFO first\n2026-11-20T10:00:00.000+08:00 INFO last\n")
    handler = logs.SharedFileHandler(path)
    for day in (5, 9, 10):
        created = datetime(2026, 11, day, tzinfo=UTC).timestamp()
        handler.handle(logging.makeLogRecord({"msg": f"day {day}", "created": created}))
    handler.close()
    assert path.read_text() == "day 9\nday 10\n"
    assert (tmp_path / "worker.log.1").read_text().endswith("INFO last\nday 5\n")


def test_a_record_longer_than_a_file_is_written_whole(tmp_path: Path) -> None:
    handler = logs.SharedFileHandler(tmp_path / "worker.log", max_bytes=100, kept=3)
    handler.handle(logging.makeLogRecord({"msg": "x" * 1_000}))
    handler.close()
    assert (tmp_path / "worker.log").read_text() == "x" * 1_000 + "\n"


def test_processes_that_share_a_file_lose_no_line_while_it_rotates(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name, "2000"]) for name in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    files = list(tmp_path.iterdir())
    written = [line for file in files for line in file.read_text().splitlines()]
    assert sorted(written) == [f"{name}-{number:05}-{'x' * 80}" for name in "abcd" for number in range(2_000)]
    # Fewer than the sizes alone would give: who meets another that rotates goes on writing.
    assert len(files) > 3


def test_a_process_that_is_frozen_while_it_sets_a_file_aside_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    handler = logs.SharedFileHandler(path, max_bytes=100)
    handler.handle(logging.makeLogRecord({"msg": "x" * 100}))
    with path.open() as frozen:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        handler.handle(logging.makeLogRecord({"msg": "meanwhile"}))
    assert path.read_text().endswith("meanwhile\n")
    handler.handle(logging.makeLogRecord({"msg": "afterwards"}))
    handler.close()
    assert path.read_text() == "afterwards\n"


def test_logging_is_light_to_import() -> None:
    code = "import sys, gengfu.logs; print(*{'sqlalchemy', 'redis', 'aiohttp', 'rich'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""

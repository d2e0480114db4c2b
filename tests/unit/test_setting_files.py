"""`.env` and `gengfu.toml` as people really write them, and what is told of what is written in vain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gengfu.errors import ConfigError
from gengfu.schedule.entries import _READERS
from gengfu.schedule.policy import Schedule
from gengfu.setting_names import SCHEDULE_KEYS
from gengfu.settings import Settings, explain, load_settings

OLD = """\
APP_DEBUG = true

[APP]
DEFAULT_TIMEZONE = Asia/Shanghai

[DATABASE]
TYPE = mysql
HOSTNAME = 127.0.0.1
DATABASE = yi_54iis
USERNAME = root
PASSWORD = p@ss/w#rd%
HOSTPORT = 3306
CHARSET = utf8
PREFIX =

[REDIS]
HOST = 127.0.0.1
PORT = 6379
PASSWORD = r@dis
SELECT = 2

[QUEUE]
CONNECTOR = redis

[API]
WECHAT_URL = https://vendor.example.com/
USERNAME = operator
PASSWORD = open sesame
"""


def written(home: Path, text: str, name: str = ".env", **environ: str) -> Settings:
    (home / name).write_bytes(text.encode())
    return load_settings({"GENGFU_HOME": str(home), **environ})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("API_USERNAME=operator", "operator"),
        ("API_USERNAME = operator", "operator"),
        ("  export API_USERNAME=operator  ", "operator"),
        ("export\tAPI_USERNAME\t=\toperator", "operator"),
        ("API_USERNAME=operator # who", "operator"),
        ("API_USERNAME=operator\t# who", "operator"),
        ("API_USERNAME=operator#who", "operator#who"),
        ("API_USERNAME=#who", "#who"),
        ("API_USERNAME=op=erator", "op=erator"),
        ("API_USERNAME='op # erator'", "op # erator"),
        ("API_USERNAME='op # erator'   # who", "op # erator"),
        ("API_USERNAME='op\\nerator'", "op\\nerator"),
        ('API_USERNAME="op # erator" # who', "op # erator"),
        ('API_USERNAME="it\'s"', "it's"),
        ("API_USERNAME='say \"hi\"'", 'say "hi"'),
        ("API_USERNAME=it's", "it's"),
        ("API_USERNAME=操作员", "操作员"),
        ("API_USERNAME=", None),
        ("API_USERNAME=   # comment", None),
        ("API_USERNAME=\t# comment", None),
        ("API_USERNAME=''", None),
        ('API_USERNAME="" # none', None),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_a_line_means_what_docker_compose_and_python_dotenv_take_it_for(
    home: Path, line: str, value: str | None, end: str
) -> None:
    found = written(home, f"{line}{end}")
    assert found.api_username == value
    assert found.remarks == ()


def test_a_quoted_value_may_have_several_lines(home: Path) -> None:
    found = written(home, "API_PASSWORD='one\ntwo=2\n\nthree'\nAPI_USERNAME=operator\n")
    assert found.api_password is not None
    assert found.api_password.reveal() == "one\ntwo=2\n\nthree"
    assert found.api_username == "operator"


@pytest.mark.parametrize(
    ("line", "value", "remark"),
    [
        ('API_USERNAME="a\\"b\\\\c\\n"', 'a"b\\c', "a backslash within double quotes begins an escape"),
        ("API_USERNAME=op ; who", "op", 'a ";" after a space begins a comment'),
        ("API_USERNAME=${USER}", "${USER}", "a variable in it is not replaced"),
        ('API_USERNAME="${USER}"', "${USER}", "a variable in it is not replaced"),
    ],
)
def test_where_they_differ_it_is_told_what_was_done(home: Path, line: str, value: str, remark: str) -> None:
    found = written(home, f"\n{line}\n")
    assert found.api_username == value
    assert len(found.remarks) == 1
    assert found.remarks[0].startswith(f".env, line 2: API_USERNAME: {remark}")
    assert found.remarks[0].endswith("put it in single quotes to have it as it stands")


@pytest.mark.parametrize(
    "line",
    ["API_PASSWORD='sesame", 'API_PASSWORD="sesame', "API_PASSWORD='ses'ame", "API_PASSWORD='sesame\nAPI_USERNAME='x'"],
)
def test_a_quote_that_is_not_closed_is_told_by_its_line_alone(home: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"\.env, line 2: the quote is not closed") as caught:
        written(home, f"# one\n{line}\n")
    assert "ses" not in str(caught.value)


def test_a_quote_does_not_swallow_other_settings(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.env, line 1: the quote that begins there does not end in that line"):
        written(home, "API_PASSWORD='sesame\nAPI_USERNAME=x\nAPI_PAGE_SIZE=5'\n")


@pytest.mark.parametrize(
    "line", ["sesame", "mysql://u:sesame@db/x?a=b", "＝sesame", "API USERNAME=sesame", "1A=sesame"]
)
def test_a_line_that_is_no_setting_is_told_by_its_number_alone(home: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"\.env, line 1: expected NAME=value") as caught:
        written(home, line)
    assert "sesame" not in str(caught.value)


def test_a_setting_that_is_written_twice_is_told(home: Path) -> None:
    found = written(home, "API_USERNAME=a\n[api]\nusername=b\n")
    assert found.api_username == "b"
    assert found.remarks == ("API_USERNAME is written twice, in .env, line 1 and in line 3; the later one counts",)


def test_what_is_set_to_nothing_is_not_set(home: Path) -> None:
    (home / "gengfu.toml").write_text('redis_url = ""\napi_page_size = 7\n')
    found = written(home, "API_USERNAME=operator\nAPI_PAGE_SIZE=\n", API_USERNAME="", REDIS_URL=" ", LOG_DIR="")
    assert (found.api_username, found.redis_url, found.log_dir, found.api_page_size) == (
        "operator",
        None,
        Path("logs"),
        7,
    )


def test_the_old_systems_file_works_as_it_stands(home: Path) -> None:
    found = written(home, OLD)
    assert found.database_url.reveal() == "mysql://root:p%40ss%2Fw%23rd%25@127.0.0.1:3306/yi_54iis"
    assert found.redis_url is not None
    assert found.redis_url.reveal() == "redis://:r%40dis@127.0.0.1:6379/2"
    url, username, password = found.api()
    assert (url, username, password.reveal()) == ("https://vendor.example.com/", "operator", "open sesame")
    assert [remark.partition(" (")[0] for remark in found.remarks] == [
        "APP_DEBUG",
        "APP_DEFAULT_TIMEZONE",
        "QUEUE_CONNECTOR",
    ]
    assert "what counts here is GENGFU_TIMEZONE" in found.remarks[1]
    assert "what counts here is REDIS_URL" in found.remarks[2]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[database]\ntype=pgsql\nhostname=db\ndatabase=yi\nusername=u\npassword=\n", "postgresql://u@db/yi"),
        ("[database]\ntype=sqlite\ndatabase=/srv/yi.db\n", "sqlite:////srv/yi.db"),
        ("[database]\nhostname=::1\ndatabase=yi\n", "mysql://[::1]/yi"),
        (
            "DB_TYPE = mysql\nDB_HOST = db\nDB_NAME = yi\nDB_USER = u\nDB_PASS = 'a b'\nDB_PORT = 3307\n",
            "mysql://u:a%20b@db:3307/yi",
        ),
        ("database.hostname = db\ndatabase.database = yi\n", "mysql://db/yi"),
    ],
)
def test_the_parts_of_an_address_are_joined(home: Path, text: str, address: str) -> None:
    found = written(home, text)
    assert found.database_url.reveal() == address
    assert found.remarks == ()


def test_the_old_queue_names_the_redis_where_nothing_else_does(home: Path) -> None:
    found = written(home, "[queue]\nhost=r\nport=1\n")
    assert found.redis_url is not None
    assert found.redis_url.reveal() == "redis://r:1/0"


def test_parts_that_do_not_count_are_told(home: Path) -> None:
    text = "DATABASE_URL=sqlite:///var/a.db\n[database]\nhostname=db\ndatabase=x\nprefix=think_\ncharset=gbk\n"
    found = written(home, text)
    assert found.database_url.reveal() == "sqlite:///var/a.db"
    told = "\n".join(found.remarks)
    assert "DATABASE_HOSTNAME (.env, line 3) and what belongs to it do not count beside DATABASE_URL" in told
    assert "DATABASE_PREFIX (.env, line 5) is not used" in told
    assert "DATABASE_CHARSET (.env, line 6) is not used: the program always speaks utf8mb4" in told


def test_parts_without_a_database_are_told(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"DATABASE_HOSTNAME \(\.env, line 2\) .* name no database"):
        written(home, "[database]\nhostname=db\ndatabase=\n")


def test_a_kind_of_database_that_is_not_there_is_told(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"the type of the database \(\.env, line 2\) is 'sqlsrv', and there are"):
        written(home, "[database]\ntype=sqlsrv\nhostname=db\n")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("API_PAGESIZE", "API_PAGE_SIZE"),
        ("API_PASWORD", "API_PASSWORD"),
        ("API_USERNMAE", "API_USERNAME"),
        ("api_user_name", "API_USERNAME"),
        ("GENGFU_TIME_ZONE", "GENGFU_TIMEZONE"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE-URL", "DATABASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("REDISURL", "REDIS_URL"),
        ("LOGDIR", "LOG_DIR"),
        ("BACKUP_KEEP_DAYLY", "BACKUP_KEEP_DAILY"),
    ],
)
def test_a_misspelt_name_is_told_with_what_was_meant_wherever_it_stands(home: Path, name: str, meant: str) -> None:
    found = written(home, f"{name}=x\n")
    assert found.remarks == (f"{name.upper()} (.env, line 1) is no setting and is not used; did you mean {meant}?",)
    (home / ".env").unlink()
    found = written(home, f'{name} = "x"\n', "gengfu.toml")
    assert found.remarks == (f"{name.upper()} (gengfu.toml) is no setting and is not used; did you mean {meant}?",)
    (home / "gengfu.toml").unlink()
    (remark,) = load_settings({"GENGFU_HOME": str(home), name: "x"}).remarks
    assert remark == f"{name} (the environment) is no setting and is not used; did you mean {meant}?"


def test_every_table_of_toml_is_looked_through(home: Path) -> None:
    text = '[api]\npagesize = 5\n[shedule.nightly]\ncron = "@daily"\n[schedule.device_list]\ntiemout = "5m"\n'
    told = "\n".join(written(home, text, "gengfu.toml").remarks)
    assert "API_PAGESIZE (gengfu.toml, [api]) is no setting and is not used; did you mean API_PAGE_SIZE?" in told
    assert "SHEDULE_NIGHTLY_CRON (gengfu.toml, [shedule.nightly]) is no setting" in told
    assert "tiemout (gengfu.toml, [schedule.device_list]) is no setting and is not used; did you mean timeout?" in told


def test_the_names_of_others_in_the_environment_are_left_alone(home: Path) -> None:
    others = {"PATH": "/bin", "HOME": "/root", "LANG": "C", "LOGNAME": "root", "DB_HOST": "x", "TZ": "UTC", "MAIL": ""}
    assert load_settings({"GENGFU_HOME": str(home), **others, "GENGFU_TEST_X": "1", "GENGFU_PARENT": "1"}).remarks == ()


def test_every_key_of_an_entry_is_known() -> None:
    assert set(SCHEDULE_KEYS) == set(_READERS) == set(Schedule.__dataclass_fields__)


def test_a_setting_is_explained_with_its_place_and_what_it_overrides(home: Path) -> None:
    (home / "gengfu.toml").write_text("[api]\nusername = 't'\nconcurrency = 'x'\n")
    (home / ".env").write_text("API_USERNAME=d\n")
    _, found, _ = explain({"GENGFU_HOME": str(home), "API_USERNAME": "e"})
    by_name = {each.name: each for each in found}
    user = by_name["API_USERNAME"]
    assert (user.value, user.source, user.overridden) == (
        "e",
        "the environment",
        [".env, line 1", "gengfu.toml, [api]"],
    )
    assert by_name["API_CONCURRENCY"].problem == (
        "API_CONCURRENCY (gengfu.toml, [api]) is 'x', not a number; for example: API_CONCURRENCY=16"
    )
    assert by_name["LOG_DIR"].source is None


def test_a_file_that_may_not_be_read_is_told_with_its_owner(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "gengfu.toml").write_text("")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        ConfigError, match=r"\.toml cannot be read: Permission denied; run: chmod u\+rwX .*gengfu\.toml"
    ):
        load_settings({"GENGFU_HOME": str(home)})


def test_a_folder_that_cannot_be_is_told_at_once(home: Path) -> None:
    (home / "file").write_text("")
    found = load_settings({"GENGFU_HOME": str(home), "BACKUP_DIR": "file/backups"})
    assert found.remarks == (
        f"BACKUP_DIR (the environment) names {home}/file/backups, which cannot be reached: Not a directory",
    )


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_bytes_a_file_holds_it_is_read_or_refused_in_a_sentence(home: Path, content: bytes) -> None:
    for name in (".env", "gengfu.toml"):
        (home / name).write_bytes(content)
        try:
            load_settings({"GENGFU_HOME": str(home)})
        except ConfigError:
            continue
        finally:
            (home / name).unlink()


PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)


@given(PRINTABLE.filter(lambda text: "'" not in text and text.strip()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_single_quotes_everything_stands_for_itself(home: Path, value: str) -> None:
    found = written(home, f"API_PASSWORD='{value}' # a comment\n")
    assert found.api_password is not None
    assert found.api_password.reveal() == value

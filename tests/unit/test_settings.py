"""What may stand in the environment, in `.env` and in `gengfu.toml`, and what is said when it is wrong."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gengfu.errors import ConfigError
from gengfu.settings import Secret, Settings, load_settings

API = {
    "API_WECHAT_URL": "https://vendor.example.com/",
    "API_USERNAME": "operator",
    "API_PASSWORD": "open sesame",
}


def load(home: Path, **environ: str) -> Settings:
    return load_settings({"GENGFU_HOME": str(home), **environ})


def dotenv(home: Path, text: str) -> Settings:
    (home / ".env").write_text(text, "utf-8")
    return load(home)


def test_an_empty_folder_gives_the_defaults(home: Path) -> None:
    settings = load(home)
    assert settings.database_url.reveal() == "sqlite:///var/gengfu.db"
    assert settings.redis_url is None
    assert settings.api_verify_tls is True
    assert settings.api_concurrency == 16
    assert settings.gengfu_timezone == "Asia/Shanghai"
    assert settings.var == home / "var"
    assert settings.logs == home / "logs"
    assert (settings.guard_percent, settings.guard_minimum) == (20.0, 10)


def test_the_working_folder_is_the_current_one_unless_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENGFU_HOME")
    monkeypatch.chdir(home)
    assert load_settings().home == home.resolve()
    assert load_settings({}).home == home.resolve()


def test_a_working_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"GENGFU_HOME names .*nowhere, which is not a folder; for example: "):
        load(tmp_path / "nowhere")


def test_the_environment_is_above_dotenv_and_that_above_toml(home: Path) -> None:
    (home / "gengfu.toml").write_text('api_username = "toml"\napi_concurrency = 3\nlog_level = "debug"\n')
    (home / ".env").write_text("API_USERNAME=dotenv\nAPI_CONCURRENCY=4\n")
    settings = load(home, API_USERNAME="environment")
    assert settings.api_username == "environment"
    assert settings.api_concurrency == 4
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    "text",
    [
        "API_WECHAT_URL=https://vendor.example.com/\nAPI_USERNAME=operator\nAPI_PASSWORD=open sesame\n",
        "api.wechat_url = https://vendor.example.com/\napi.username = operator\napi.password = open sesame\n",
        "[api]\nwechat_url = https://vendor.example.com/\nusername = operator\npassword = open sesame\n",
        "[API]\nWECHAT_URL=https://vendor.example.com/\nUSERNAME=operator\nPASSWORD=open sesame\n",
        (
            "# who\nexport API_WECHAT_URL='https://vendor.example.com/' # live\r\n\r\n; old\r\n"
            "API_USERNAME=operator # who\r\n"
            'API_PASSWORD="open sesame"\r\n'
        ),
        "\ufeffAPI_WECHAT_URL=https://vendor.example.com\nAPI_USERNAME = operator\nAPI_PASSWORD = open sesame",
    ],
    ids=["names", "dots", "section", "loud section", "quotes and comments", "byte order mark"],
)
def test_every_spelling_of_dotenv_means_the_same(home: Path, text: str) -> None:
    url, username, password = dotenv(home, text).api()
    assert (url, username, password.reveal()) == tuple(API.values())


def test_quotes_keep_what_would_be_a_comment(home: Path) -> None:
    settings = dotenv(home, "API_PASSWORD='se#cret # not a comment'\nAPI_USERNAME=a#b\n")
    assert settings.api_password == Secret("se#cret # not a comment")
    assert settings.api_username == "a#b"


def test_a_password_may_hold_quotes_and_equals_signs(home: Path) -> None:
    assert dotenv(home, "API_PASSWORD=a=b'c\"d").api_password == Secret("a=b'c\"d")


def test_toml_takes_sections_and_its_own_types(home: Path) -> None:
    (home / "gengfu.toml").write_text(
        'guard_percent = 12.5\n[api]\nwechat_url = "https://vendor.example.com"\nverify_tls = false\nconcurrency = 48\n'
    )
    settings = load(home)
    assert settings.api_wechat_url == "https://vendor.example.com/"
    assert settings.api_verify_tls is False
    assert settings.api_concurrency == 48
    assert settings.guard_percent == 12.5


@pytest.mark.parametrize("text", ["API_USERNAME", "= operator"])
def test_a_line_of_dotenv_that_is_no_setting_is_named(home: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"\.env, line 2: expected NAME=value, for example: API_USERNAME=operator"):
        dotenv(home, f"# first\n{text}\n")


def test_toml_that_cannot_be_read_is_named(home: Path) -> None:
    (home / "gengfu.toml").write_text("api_username = \n[api]\n")
    with pytest.raises(ConfigError, match=r"gengfu\.toml is not valid TOML: .*line 1"):
        load(home)


@pytest.mark.parametrize("name", [".env", "gengfu.toml"])
def test_a_file_that_cannot_be_read_is_named(home: Path, name: str) -> None:
    (home / name).write_bytes("# 更夫\nAPI_USERNAME=".encode() + "操作员".encode("gb18030"))
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: line 2 is not UTF-8 .*GBK; save it as UTF-8"):
        load(home)
    (home / name).write_bytes("API_USERNAME=操作员\n".encode("utf-16"))
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: it is UTF-16; save it as UTF-8"):
        load(home)
    (home / name).write_bytes(b"\n\nAPI_USERNAME=op\0erator\n")
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: line 3 holds a NUL character"):
        load(home)
    (home / name).write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: it is larger than 1000 kB"):
        load(home)
    (home / name).unlink()
    (home / name).mkdir()
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: it is not a file but a folder"):
        load(home)
    (home / name).rmdir()
    os.mkfifo(home / name)
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: it is not a file but a pipe"):
        load(home)


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://vendor.example.com", "https://vendor.example.com/"),
        ("https://vendor.example.com/", "https://vendor.example.com/"),
        (" http://127.0.0.1:8080/gateway ", "http://127.0.0.1:8080/gateway/"),
        ("http://[::1]:8080/gateway//", "http://[::1]:8080/gateway/"),
    ],
)
def test_a_base_address_ends_with_one_slash(home: Path, given: str, base: str) -> None:
    assert load(home, API_WECHAT_URL=given).api_wechat_url == base


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("API_WECHAT_URL", "vendor.example.com", "is not an http:// or https:// address"),
        ("API_WECHAT_URL", "ftp://vendor.example.com", "is not an http:// or https:// address"),
        ("API_WECHAT_URL", "https://", "is not an http:// or https:// address"),
        ("API_WECHAT_URL", "https://vendor.example.com:port", "is not an http:// or https:// address"),
        ("API_WECHAT_URL", "https://vendor.example.com:0", "is not an http:// or https:// address"),
        ("API_WECHAT_URL", "https://[::1", "is not an http:// or https:// address"),
        ("API_WECHAT_URL", "https://u:p@vendor.example.com", "must not carry a user, a query or a fragment"),
        ("API_WECHAT_URL", "https://vendor.example.com/?a=1", "must not carry a user, a query or a fragment"),
        ("API_CA_FILE", "/nowhere/ca.pem", "names /nowhere/ca.pem, which is not a file"),
        ("API_VERIFY_TLS", "maybe", "is 'maybe', neither true nor false"),
        ("API_TIMEZONE", "Asia/Atlantis", "is 'Asia/Atlantis', not a time zone that this machine knows"),
        ("API_CONCURRENCY", "many", "is 'many', not a number"),
        ("API_CONCURRENCY", "0", "is 0, outside 1 to 256"),
        ("API_CONCURRENCY", "2.5", "is '2.5', not a number"),
        ("API_PAGE_SIZE", "10001", "is 10001, outside 1 to 10000"),
        ("API_CONNECT_TIMEOUT", "0", "is 0, outside 0.05 to 600"),
        ("API_READ_TIMEOUT", "nan", "is nan, outside 0.05 to 600"),
        ("API_TOTAL_TIMEOUT", "inf", "is inf, outside 0.05 to 3600"),
        ("DATABASE_URL", "oracle://db/gengfu", "is not a sqlite://, postgresql:// or mysql:// address"),
        ("DATABASE_URL", "gengfu.db", "is not a sqlite://, postgresql:// or mysql:// address"),
        ("REDIS_URL", "127.0.0.1:6379", "is not a redis://, rediss://, unix:// or redis+sentinel:// address"),
        ("LOG_LEVEL", "loud", "is 'loud', none of debug, info, warning, error"),
        ("GENGFU_TIMEZONE", "../etc/passwd", "is '../etc/passwd', not a time zone that this machine knows"),
        ("GUARD_PERCENT", "120", "is 120, outside 0 to 100"),
        ("GUARD_MINIMUM", "-1", "is -1, outside 0 to 1e+09"),
    ],
)
def test_a_malformed_setting_is_named_with_what_is_wrong_and_an_example(
    home: Path, name: str, value: str, wrong: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(home, **{name: value})
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} {wrong}; for example: {name}=")
    assert caught.value.exit_code == 2


def test_every_example_is_itself_accepted(home: Path, tmp_path: Path) -> None:
    examples = {f.name.upper(): f.metadata["example"] for f in fields(Settings) if f.metadata}
    examples |= {name: str(tmp_path / "ca.pem") for name in examples if name.endswith("_FILE")}
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    settings = load(home, **examples)
    assert settings.api_ca_file == tmp_path / "ca.pem"
    assert settings.redis_url is not None


@pytest.mark.parametrize("text", ["1", "TRUE", "yes", " on ", "0", "No", "off", "false"])
def test_flags_are_written_in_several_ways(home: Path, text: str) -> None:
    assert load(home, API_VERIFY_TLS=text).api_verify_tls is (text.strip().lower() in ("1", "true", "yes", "on"))


@pytest.mark.parametrize("missing", list(API))
def test_a_missing_login_setting_is_named_with_its_file_and_an_example(home: Path, missing: str) -> None:
    settings = load(home, **{name: value for name, value in API.items() if name != missing})
    with pytest.raises(ConfigError) as caught:
        settings.api()
    where = f"(in the environment, or in {home / '.env'})"
    assert str(caught.value).startswith(f"{missing} is not set {where}; for example: {missing}=")


def secret_settings(home: Path) -> Settings:
    return load(
        home, **API, DATABASE_URL="postgresql://u:open sesame@db/gengfu", REDIS_URL="redis://:open sesame@r:6379/0"
    )


def test_secrets_do_not_print(home: Path) -> None:
    settings = secret_settings(home)
    for shown in (repr(settings), str(settings), f"{settings.api_password}", repr(dataclasses.asdict(settings))):
        assert "sesame" not in shown
        assert "******" in shown


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_a_malformed_address_is_not_repeated_for_it_may_hold_a_password(home: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(home, **{name: "htp://u:sesame@host/"})
    assert "sesame" not in str(caught.value)


def test_secrets_are_equal_by_value_and_empty_ones_are_false() -> None:
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"
    assert not Secret("")


def test_settings_cannot_be_changed(home: Path) -> None:
    settings: Any = load(home)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.api_username = "someone else"


def test_an_absolute_log_folder_stands_as_it_is(home: Path, tmp_path: Path) -> None:
    assert load(home, LOG_DIR=str(tmp_path / "elsewhere")).logs == tmp_path / "elsewhere"


def test_reading_settings_is_light(home: Path) -> None:
    code = """
import sys
from gengfu.settings import load_settings
load_settings()
print(*{"sqlalchemy", "redis", "aiohttp", "rich", "click", "tomllib", "zoneinfo"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_a_whole_name_below_a_section_stands_for_itself(home: Path) -> None:
    text = "[api]\nusername = operator\nDATABASE_URL = sqlite:///elsewhere.db\nAPI_PASSWORD = open sesame\n"
    settings = dotenv(home, text)
    assert settings.api_username == "operator"
    assert settings.database_url.reveal() == "sqlite:///elsewhere.db"
    assert settings.api_password == Secret("open sesame")

"""Settings: environment variables, then `.env`, then `gengfu.toml` in the working folder; read once, then frozen."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gengfu.errors import ConfigError
from gengfu.language import language_of


class Secret:
    """A value that prints as stars, so that it cannot reach a log, an error or a page by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "******"


def _problem(name: str, wrong: str, example: str) -> ConfigError:
    return ConfigError(f"{name} {wrong}; for example: {name}={example}")


def _text(name: str, value: str, example: str) -> str:
    if not value.strip():
        raise _problem(name, "is empty", example)
    return value.strip()


def _secret(name: str, value: str, example: str) -> Secret:
    if not value:
        raise _problem(name, "is empty", example)
    return Secret(value)


def _http_url(name: str, value: str, example: str) -> str:
    value = value.strip()
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise _problem(name, "is not an http:// or https:// address", example)
    if parts.query or parts.fragment or parts.username:
        raise _problem(name, "must not carry a user, a query or a fragment", example)
    return value.rstrip("/") + "/"


def _database_url(name: str, value: str, example: str) -> Secret:
    scheme = value.strip().partition("://")[0].partition("+")[0]
    if "://" not in value or scheme not in ("sqlite", "postgresql", "postgres", "mysql", "mariadb"):
        raise _problem(name, "is not a sqlite://, postgresql:// or mysql:// address", example)
    return Secret(value.strip())


def _redis_url(name: str, value: str, example: str) -> Secret:
    if value.strip().partition("://")[0] not in ("redis", "rediss", "unix", "redis+sentinel"):
        raise _problem(name, "is not a redis://, rediss://, unix:// or redis+sentinel:// address", example)
    return Secret(value.strip())


def _flag(name: str, value: str, example: str) -> bool:
    word = value.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise _problem(name, f"is {value.strip()!r}, neither true nor false", example)


def _zone(name: str, value: str, example: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value.strip())
    except (ValueError, OSError, LookupError):
        raise _problem(name, f"is {value.strip()!r}, not a time zone that this machine knows", example) from None
    return value.strip()


def _language(name: str, value: str, example: str) -> str:
    word = value.strip().lower()
    if word[:2] not in ("en", "zh"):
        raise _problem(name, f"is {value.strip()!r}, neither zh_CN nor en", example)
    return language_of({name: word})


def _level(name: str, value: str, example: str) -> str:
    word = value.strip().lower()
    if word not in ("debug", "info", "warning", "error"):
        raise _problem(name, f"is {value.strip()!r}, not debug, info, warning or error", example)
    return word


def _file(name: str, value: str, example: str) -> Path:
    path = Path(_text(name, value, example)).expanduser()
    if not path.is_file():
        raise _problem(name, f"names {path}, which is not a file", example)
    return path


def _number(low: float, high: float, kind: Callable[[str], Any]) -> Callable[[str, str, str], Any]:
    def parse(name: str, value: str, example: str) -> Any:
        try:
            number = kind(value.strip())
        except ValueError:
            raise _problem(name, f"is {value.strip()!r}, not a number", example) from None
        if not low <= number <= high:
            raise _problem(name, f"is {value.strip()}, outside {low:g} to {high:g}", example)
        return number

    return parse


def _setting(parse: Callable[[str, str, str], Any], example: str, default: Any = None) -> Any:
    return field(default=default, metadata={"parse": parse, "example": example})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the working folder says. Field names are the settings' names in lower case; `None` means not set."""

    home: Path
    """The working folder: where `.env`, `gengfu.toml`, `var/` and `logs/` lie."""

    api_wechat_url: str | None = _setting(_http_url, "https://vendor.example.com/")
    """Base address of the vendor's API, always ending with one slash."""
    api_username: str | None = _setting(_text, "operator")
    api_password: Secret | None = _setting(_secret, "secret")
    api_ca_file: Path | None = _setting(_file, "/etc/ssl/vendor-ca.pem")
    """A file of PEM certificates to trust besides the system's."""
    api_verify_tls: bool = _setting(_flag, "true", default=True)
    api_timezone: str = _setting(_zone, "Asia/Shanghai", default="Asia/Shanghai")
    """The zone of the vendor's times, which carry none."""
    api_concurrency: int = _setting(_number(1, 256, int), "16", default=16)
    """The most requests at once per process; the client finds by itself how many of them the server bears."""
    api_page_size: int = _setting(_number(1, 10_000, int), "100", default=100)
    api_connect_timeout: float = _setting(_number(0.05, 600, float), "5", default=5.0)
    """Seconds until a connection must stand."""
    api_read_timeout: float = _setting(_number(0.05, 600, float), "15", default=15.0)
    """Seconds of silence in the middle of an answer."""
    api_total_timeout: float = _setting(_number(0.05, 3600, float), "60", default=60.0)
    """Seconds for one request as a whole."""
    api_longest_wait: float = _setting(_number(1, 86_400, float), "900", default=900.0)
    """Seconds for which no request is sent at most, whatever `Retry-After` says."""
    api_page_bytes: int = _setting(_number(10_000, 1_000_000_000, int), "32000000", default=32_000_000)
    """The most bytes of a page, unpacked; a longer answer is given up on while it comes in."""
    api_login_bytes: int = _setting(_number(1_000, 10_000_000, int), "64000", default=64_000)
    """The same for the answer to a login."""
    database_url: Secret = _setting(_database_url, "sqlite:///var/gengfu.db", default=Secret("sqlite:///var/gengfu.db"))
    redis_url: Secret | None = _setting(_redis_url, "redis://127.0.0.1:6379/0")
    """Where workers are told of jobs at once; without it they look for themselves."""
    redis_prefix: str = _setting(_text, "gengfu", default="gengfu")
    """What the names of all keys in Redis begin with."""
    redis_ca_file: Path | None = _setting(_file, "/etc/ssl/redis-ca.pem")
    """A file of PEM certificates to trust, in place of the system's, for `rediss://`."""
    log_dir: Path = _setting(
        lambda name, value, example: Path(_text(name, value, example)), "logs", default=Path("logs")
    )
    log_level: str = _setting(_level, "info", default="info")
    gengfu_timezone: str = _setting(_zone, "Asia/Shanghai", default="Asia/Shanghai")
    """The zone in which people read times and the schedule is written."""
    gengfu_lang: str | None = _setting(_language, "zh_CN")
    """The language of people's text, `zh_CN` or `en`; without it, that of the locale."""
    guard_percent: float = _setting(_number(0, 100, float), "20", default=20.0)
    """A run in which more than this share of the live rows vanished at once is held ..."""
    guard_minimum: int = _setting(_number(0, 1_000_000_000, int), "10", default=10)
    """... if at least this many vanished."""
    unreadable_percent: float = _setting(_number(0, 100, float), "1", default=1.0)
    """A run of which more than this share of the rows could not be read is partial ..."""
    unreadable_minimum: int = _setting(_number(1, 1_000_000_000, int), "3", default=3)
    """... if at least this many could not. So is one with a page of which no row could be read."""
    backup_dir: Path = _setting(
        lambda name, value, example: Path(_text(name, value, example)).expanduser(),
        "/mnt/backups/gengfu",
        default=Path("var/backups"),
    )
    backup_keep_daily: int = _setting(_number(0, 3660, int), "7", default=7)
    """The newest backup of each of so many days is kept, ..."""
    backup_keep_weekly: int = _setting(_number(0, 1000, int), "4", default=4)
    """... of each of so many weeks, ..."""
    backup_keep_monthly: int = _setting(_number(0, 1000, int), "6", default=6)
    """... and of each of so many months."""

    @property
    def var(self) -> Path:
        """The folder for what the program itself keeps: the database, where it is a file, and locks."""
        return self.home / "var"

    @property
    def logs(self) -> Path:
        """The folder of the log files, absolute."""
        return self.home / self.log_dir

    @property
    def backups(self) -> Path:
        """The folder of the backups, absolute."""
        return self.home / self.backup_dir

    def api(self) -> tuple[str, str, Secret]:
        """Base address, user name and password of the vendor's API.

        Raises:
            ConfigError: one of the three is not set.
        """
        for name in ("api_wechat_url", "api_username", "api_password"):
            if getattr(self, name) is None:
                example = next(f for f in fields(self) if f.name == name).metadata["example"]
                raise _problem(name.upper(), f"is not set (in the environment, or in {self.home / '.env'})", example)
        assert self.api_wechat_url and self.api_username and self.api_password
        return self.api_wechat_url, self.api_username, self.api_password


def working_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The working folder: `GENGFU_HOME`, or else the current folder; whether it is there or not.

    Raises:
        ConfigError: the current folder was removed.
    """
    named = (os.environ if environ is None else environ).get("GENGFU_HOME") or "."
    try:
        return Path(named).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"the working folder {named} cannot be found ({error}); go to a folder that is there"
        ) from None


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings of the working folder.

    Raises:
        ConfigError: a setting or one of the files is malformed.
    """
    environ = os.environ if environ is None else environ
    home = working_folder(environ)
    if not home.is_dir():
        raise ConfigError(f"GENGFU_HOME names {home}, which is not a folder; for example: GENGFU_HOME=/srv/gengfu")
    known = {f.name.upper(): f for f in fields(Settings) if f.metadata}
    found: dict[str, str] = _read_toml(home / "gengfu.toml")
    found.update(_read_dotenv(home / ".env", known))
    found.update((name, environ[name]) for name in known if name in environ)
    values: dict[str, Any] = {"home": home}
    for name, setting in known.items():
        if name in found:
            values[setting.name] = setting.metadata["parse"](name, found[name], setting.metadata["example"])
    return Settings(**values)


def _read_dotenv(path: Path, known: Container[str]) -> dict[str, str]:
    """`NAME=value`, `name.part = value`, and `[section]` followed by `part = value`; quotes and `#` comments.

    A whole name stands for itself below a section too, unless that section has a part of this name.
    """
    found: dict[str, str] = {}
    section = ""
    for number, line in enumerate(_lines(path), 1):
        line = line.strip().removeprefix("export ")
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip() + "."
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{path}, line {number}: expected NAME=value, for example: API_USERNAME=operator")
        name, whole = _canonical(section + key.strip()), _canonical(key.strip())
        found[whole if name not in known and whole in known else name] = _unquote(value.strip())
    return found


def _canonical(key: str) -> str:
    return key.replace(".", "_").upper()


def _unquote(value: str) -> str:
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        if end > 0:
            return value[1:end]
    comment = value.find(" #")
    return value[:comment].rstrip() if comment >= 0 else value


def _read_toml(path: Path) -> dict[str, str]:
    text = "\n".join(_lines(path))
    if not text:
        return {}
    import tomllib

    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    found: dict[str, str] = {}
    stack: list[tuple[str, Any]] = list(tree.items())
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            found[_canonical(key)] = str(value)
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None

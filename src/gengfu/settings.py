"""Settings: environment variables, then `.env`, then `gengfu.toml` in the working folder; read once, then frozen."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from gengfu import addresses, readers
from gengfu.errors import ConfigError
from gengfu.language import Message, tr
from gengfu.readers import Reader, file, flag, folder, http_url, number, path, text, unreachable, word, zone
from gengfu.setting_files import DOTENV, ENVIRONMENT, TOML, Contents, Given, flat, joined, read_dotenv, read_toml
from gengfu.setting_names import PROXIES, misspelt


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


class Address(Secret):
    """The address of a server; it prints with stars for its passwords."""

    __slots__ = ()

    def __repr__(self) -> str:
        return addresses.shown(self._value)


def _made(kind: Callable[[str], Any], read: Callable[[Any], str]) -> Reader:
    return lambda value: kind(read(value))


class _LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _setting(read: Reader, example: str, default: Any = None) -> Any:
    return field(default=default, metadata={"read": read, "example": example})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the working folder says. Field names are the settings' names in lower case; `None` means not set."""

    home: Path
    """The working folder: where `.env`, `gengfu.toml`, `var/` and `logs/` lie."""
    by_environment: bool = False
    """Whether the environment names the working folder, the vendor or the database."""
    remarks: tuple[Message, ...] = ()
    """What is written among the settings and not used, or not as it may be meant, in sentences."""

    api_wechat_url: str | None = _setting(http_url, "https://vendor.example.com/")
    """Base address of the vendor's API, always ending with one slash."""
    api_username: str | None = _setting(text, "operator")
    api_password: Secret | None = _setting(_made(Secret, readers.secret), "secret")
    api_ca_file: Path | None = _setting(file, "/etc/ssl/vendor-ca.pem")
    """A file of PEM certificates to trust besides the system's."""
    api_verify_tls: bool = _setting(flag, "true", default=True)
    api_proxy: Secret | None = _setting(_made(Address, readers.proxy_url), "http://proxy.example.com:3128")
    """The proxy by which the vendor is asked, or `none`; without it, what the next four say."""
    http_proxy: Secret | None = _setting(_made(Address, readers.secret), "http://proxy.example.com:3128")
    """The proxy for an address with `http://` ..."""
    https_proxy: Secret | None = _setting(_made(Address, readers.secret), "http://proxy.example.com:3128")
    """... with `https://` ..."""
    all_proxy: Secret | None = _setting(_made(Address, readers.secret), "http://proxy.example.com:3128")
    """... and with either, where there is none for it."""
    no_proxy: str | None = _setting(text, "localhost,10.0.0.0/8,.example.com")
    """Names, domains, addresses and networks, with or without a port, to which these three do not apply."""
    api_timezone: str = _setting(zone, "Asia/Shanghai", default="Asia/Shanghai")
    """The zone of the vendor's times, which carry none."""
    api_concurrency: int = _setting(number(1, 256, int), "16", default=16)
    """The most requests at once per process; the client finds by itself how many of them the server bears."""
    api_page_size: int = _setting(number(1, 10_000, int), "100", default=100)
    api_connect_timeout: float = _setting(number(0.05, 600, float), "5", default=5.0)
    """Seconds until a connection must stand."""
    api_read_timeout: float = _setting(number(0.05, 600, float), "15", default=15.0)
    """Seconds of silence in the middle of an answer."""
    api_total_timeout: float = _setting(number(0.05, 3600, float), "60", default=60.0)
    """Seconds for one request as a whole."""
    api_longest_wait: float = _setting(number(1, 86_400, float), "900", default=900.0)
    """Seconds for which no request is sent at most, whatever `Retry-After` says."""
    api_page_bytes: int = _setting(number(10_000, 1_000_000_000, int), "32000000", default=32_000_000)
    """The most bytes of a page, unpacked; a longer answer is given up on while it comes in."""
    api_login_bytes: int = _setting(number(1_000, 10_000_000, int), "64000", default=64_000)
    """The same for the answer to a login."""
    database_url: Secret = _setting(
        _made(Address, readers.database_url),
        "mysql://gengfu:secret@127.0.0.1:3306/gengfu",
        default=Address("sqlite:///var/gengfu.db"),
    )
    redis_url: Secret | None = _setting(_made(Address, readers.redis_url), "redis://127.0.0.1:6379/0")
    """Where workers are told of jobs at once; without it they look for themselves."""
    redis_prefix: str = _setting(text, "gengfu", default="gengfu")
    """What the names of all keys in Redis begin with."""
    redis_ca_file: Path | None = _setting(file, "/etc/ssl/redis-ca.pem")
    """A file of PEM certificates to trust, in place of the system's, for `rediss://`."""
    redis_cert_file: Path | None = _setting(file, "/etc/ssl/gengfu.pem")
    """A PEM file with the certificate that is shown to a `rediss://` server which asks for one ..."""
    redis_key_file: Path | None = _setting(file, "/etc/ssl/gengfu.key")
    """... and one with its key, where that is not in the same file."""
    log_dir: Path = _setting(folder, "logs", default=Path("logs"))
    log_level: str = _setting(word(_LogLevel), "info", default="info")
    gengfu_timezone: str = _setting(zone, "Asia/Shanghai", default="Asia/Shanghai")
    """The zone in which people read times and the schedule is written."""
    gengfu_lang: str | None = _setting(readers.language, "zh_CN")
    """The language of people's text, `zh_CN` or `en`; without it, that of the locale."""
    guard_percent: float = _setting(number(0, 100, float), "20", default=20.0)
    """A run in which more than this share of the live rows vanished at once is held ..."""
    guard_minimum: int = _setting(number(0, 1_000_000_000, int), "10", default=10)
    """... if at least this many vanished."""
    unreadable_percent: float = _setting(number(0, 100, float), "1", default=1.0)
    """A run of which more than this share of the rows could not be read is partial ..."""
    unreadable_minimum: int = _setting(number(1, 1_000_000_000, int), "3", default=3)
    """... if at least this many could not. So is one with a page of which no row could be read."""
    backup_dir: Path = _setting(folder, "/mnt/backups/gengfu", default=Path("var/backups"))
    backup_keep_daily: int = _setting(number(0, 3660, int), "7", default=7)
    """The newest backup of each of so many days is kept, ..."""
    backup_keep_weekly: int = _setting(number(0, 1000, int), "4", default=4)
    """... of each of so many weeks, ..."""
    backup_keep_monthly: int = _setting(number(0, 1000, int), "6", default=6)
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
                raise ConfigError(
                    tr(
                        "{name} is not set (in the environment, or in {file}); for example: {name}={example}",
                        name=name.upper(),
                        file=self.home / DOTENV,
                        example=example,
                    )
                )
        assert self.api_wechat_url and self.api_username and self.api_password
        return self.api_wechat_url, self.api_username, self.api_password


def working_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The working folder: `GENGFU_HOME`, or else the current folder; whether it is there or not.

    Raises:
        ConfigError: the current folder was removed, or its name cannot be written into a file of others.
    """
    named = (os.environ if environ is None else environ).get("GENGFU_HOME") or "."
    try:
        home = Path(named).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        sentence = tr(
            "the working folder {folder} cannot be found ({error}); go to a folder that is there",
            folder=named,
            error=error,
        )
        raise ConfigError(sentence) from None
    if any(part != part.strip() or re.search("[\0-\x1f\x7f]", part) for part in home.parts[1:]):
        raise ConfigError(
            tr(
                "a name in {folder!r} has a space at its end or a character that is not seen; rename that folder",
                folder=str(home),
            )
        )
    return home


def is_working_folder(home: Path) -> bool:
    """Whether something lies there that makes it one."""
    return any((home / name).exists() for name in (DOTENV, TOML, "app", "var"))


def no_working_folder(home: Path) -> Message:
    """What to say where it is none, with the one that is probably meant."""
    own = Path(sys.prefix).parent
    return tr(
        "{folder} is no working folder: it has neither .env nor gengfu.toml; go to the working folder, or name it: "
        "GENGFU_HOME={example}; to begin one here: gengfu init",
        folder=home,
        example=own if is_working_folder(own) else "/srv/gengfu",
    )


@dataclass(frozen=True, slots=True)
class Explained:
    """What became of one setting."""

    name: str
    value: Any
    """As it is used; the default where it is not set or wrong."""
    source: str | None
    """Where it is written; None for the default."""
    overridden: Sequence[str]
    """Other places where it is written, which do not count."""
    problem: Message | None
    """What is wrong with it, with an example."""

    @property
    def shown(self) -> bool | int | float | str | None:
        """The value for people and for JSON, with stars for secrets."""
        return str(self.value) if isinstance(self.value, (Secret, Path, StrEnum)) else self.value


def explain(environ: Mapping[str, str] | None = None) -> tuple[Path, list[Explained], list[Message]]:
    """The working folder, every setting in order, and what is written anywhere and not used, in sentences.

    Raises:
        ConfigError: one of the files cannot be read at all.
    """
    environ = os.environ if environ is None else environ
    home = working_folder(environ)
    if not home.is_dir():
        raise ConfigError(
            tr("GENGFU_HOME names {folder}, which is not a folder; for example: GENGFU_HOME=/srv/gengfu", folder=home)
        )
    known = {each.name.upper(): each for each in fields(Settings) if each.metadata}
    toml = read_toml(home / TOML)
    schedule = toml.pop("schedule", {})
    sources = [
        Contents(_in_environment(environ, known)),
        joined(read_dotenv(home / DOTENV, known), known),
        joined(Contents(list(flat(toml))), known),
    ]
    remarks = [remark for source in sources for remark in source.remarks]
    remarks += misspelt(
        [given for source in sources for given in source.given if given.name not in known], environ, schedule, known
    )
    explained = []
    for name, setting in known.items():
        # Compose sets a variable that has no value to nothing; as in a file, that is not to set it.
        written = [given for source in sources for given in source.given if given.name == name]
        counting = next((given for given in written if not _is_empty(given.value)), None)
        explained.append(_explained(home, setting, counting, [each.place for each in written if each is not counting]))
        problem = unreachable(explained[-1].value) if counting and setting.metadata["read"] is folder else None
        if counting and problem:
            remarks.append(tr("{name} ({place}) names {problem}", name=name, place=counting.place, problem=problem))
    return home, explained, remarks


def _in_environment(environ: Mapping[str, str], known: Iterable[str]) -> list[Given]:
    """What the environment says. Names of proxies are often written in small letters, and those count first."""
    spelt = [(name, form) for name in known for form in ((name.lower(), name) if name in PROXIES else (name,))]
    return [Given(name, environ[form], ENVIRONMENT) for name, form in spelt if form in environ]


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _explained(home: Path, setting: Field[Any], given: Given | None, overridden: list[str]) -> Explained:
    name, example, read = setting.name.upper(), setting.metadata["example"], setting.metadata["read"]
    if given is None:
        return Explained(name, setting.default, None, overridden, None)
    try:
        value = given.value
        if read in (file, folder):
            value = str(home / path(value))
        return Explained(name, read(value), given.place, overridden, None)
    except ValueError as wrong:
        values = {"name": name, "place": given.place, "wrong": wrong, "example": example}
        if given.place is ENVIRONMENT:
            problem = tr("{name} {wrong}; for example: {name}={example}", **values)
        else:
            problem = tr("{name} ({place}) {wrong}; for example: {name}={example}", **values)
        return Explained(name, setting.default, given.place, overridden, problem)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings of the working folder.

    Raises:
        ConfigError: a setting or one of the files is malformed.
    """
    environ = os.environ if environ is None else environ
    home, explained, remarks = explain(environ)
    for each in explained:
        if each.problem is not None:
            raise ConfigError(each.problem)
    values = {each.name.lower(): each.value for each in explained}
    by_environment = not {"GENGFU_HOME", "API_WECHAT_URL", "DATABASE_URL"}.isdisjoint(environ)
    return Settings(home=home, by_environment=by_environment, remarks=tuple(remarks), **values)

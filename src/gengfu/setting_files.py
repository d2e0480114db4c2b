"""Reads `.env` and `gengfu.toml` as people really write them, and says of what is written and not used.

`.env` is read as docker compose, python-dotenv and ThinkPHP agree on; where they differ, a remark says what is done.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gengfu.errors import ConfigError
from gengfu.language import Message, tr
from gengfu.ownership import why_refused

DOTENV = ".env"
TOML = "gengfu.toml"
ENVIRONMENT = tr("the environment")

LARGEST = 1_000_000
"""Bytes that a file of settings may have."""

_LINE = re.compile(
    r"""
    [^\S\n]*(?:
        (?:[#;][^\n]*)?
      | \[(?P<section>[^\]\n]*)\][^\S\n]*(?:[#;][^\n]*)?
      | (?:export[^\S\n]+)?(?P<key>[A-Za-z_][\w.\-\[\]]*)[^\S\n]*=(?:
            [^\S\n]*(?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")[^\S\n]*(?:[#;][^\n]*)?
          | (?P<plain>(?![^\S\n]*['"])[^\n]*)
        )
    )(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$", "'": "'"}
_VARIABLE = re.compile(r"\$\{\w+\}")


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written, and where."""

    name: str
    """As the environment would have it: `API_PAGE_SIZE`."""
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file of settings says."""

    given: Sequence[Given] = ()
    """In the order of the file; what is empty too."""
    remarks: Sequence[Message] = ()
    """What is written there and is perhaps not what was meant, in sentences."""


def read_dotenv(path: Path, known: Mapping[str, Any]) -> Contents:
    """`NAME=value`, `name.part = value`, and `[section]` followed by `part = value`; quotes and comments.

    A whole name of `known` stands for itself below a section too, unless that section has a part of this name.

    Raises:
        ConfigError: the file cannot be read, or a line is no setting. The text repeats nothing of it.
    """
    contents = _text(path).replace("\r\n", "\n").replace("\r", "\n")
    given: list[Given] = []
    remarks: list[Message] = []
    section, position = "", 0
    while position < len(contents):
        number = contents.count("\n", 0, position) + 1
        place = tr("{file}, line {number}", file=path.name, number=number)
        found = _LINE.match(contents, position)
        if found is None:
            raise _wrong_line(path, number, _wrong_with(contents, position))
        position = found.end()
        if found["section"] is not None:
            section = found["section"].strip() + "."
        if found["key"] is None:
            continue
        name, whole = canonical(section + found["key"]), canonical(found["key"])
        name = whole if name not in known and whole in known else name
        value, remark = _value(found)
        if any(canonical(line.partition("=")[0].strip()) in known for line in value.split("\n")[1:] if "=" in line):
            raise _wrong_line(path, number, tr("the quote that begins there does not end in that line"))
        if remark:
            remarks.append(tr("{place}: {name}: {remark}", place=place, name=name, remark=remark))
        twice = "{name} is written twice, in {place} and in line {number}; the later one counts"
        places = [other.place for other in given if other.name == name]
        remarks += [tr(twice, name=name, place=other, number=number) for other in places]
        given = [other for other in given if other.name != name]
        given.append(Given(name, value, place))
    return Contents(given, remarks)


def _wrong_line(path: Path, number: int, wrong: Message) -> ConfigError:
    return ConfigError(tr("{file}, line {number}: {wrong}", file=path, number=number, wrong=wrong))


def _value(found: re.Match[str]) -> tuple[str, Message | None]:
    """The value, and what must be said of how it was read."""
    if found["single"] is not None:
        return found["single"], None
    if found["double"] is not None:
        value = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), found["double"], flags=re.DOTALL)
        if value != found["double"]:
            return value, tr(
                "a backslash within double quotes begins an escape; put it in single quotes to have it as it stands"
            )
    else:
        value = re.split(r"\s[#;]", found["plain"], maxsplit=1)[0].strip()
        if re.search(r"\s;", found["plain"].partition(" #")[0]):
            return value, tr('a ";" after a space begins a comment; put it in single quotes to have it as it stands')
    if _VARIABLE.search(value):
        return value, tr("a variable in it is not replaced; put it in single quotes to have it as it stands")
    return value, None


def _wrong_with(contents: str, position: int) -> Message:
    line = contents[position:].partition("\n")[0]
    if re.search(r"=\s*['\"]", line):
        return tr("the quote is not closed, or more than a comment follows; a value with ' goes into double quotes")
    return tr("expected NAME=value, for example: API_USERNAME=operator")


def quoted(value: str) -> str:
    """The value as a line of `.env` has it, so that it is read as it is."""
    if "'" not in value:
        return f"'{value}'"
    escaped = re.sub(r'["\\$]', r"\\\g<0>", value)
    return f'"{escaped}"'


def canonical(key: str) -> str:
    """The name as the environment has it."""
    return key.replace(".", "_").upper()


def read_toml(path: Path) -> dict[str, Any]:
    """All that the file says.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    contents = _text(path)
    if not contents:
        return {}
    import tomllib

    try:
        return tomllib.loads(contents)
    except (ValueError, RecursionError) as error:
        raise ConfigError(tr("{file} is not valid TOML: {error}", file=path, error=error)) from None


def flat(tree: Mapping[str, Any], tables: tuple[str, ...] = ()) -> Iterator[Given]:
    """The values of all tables; the name of a table is the beginning of the names in it."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, (*tables, key))
        else:
            place = f"{TOML}, [{'.'.join(tables)}]" if tables else TOML
            yield Given(canonical(".".join((*tables, key))), value, place)


def _text(path: Path) -> str:
    """The file's text; empty where there is none. Whatever lies there in its place, nothing waits."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _unreadable(path, why_refused(error, path)) from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise _unreadable(path, tr("it is not a file but {kind}; move it away", kind=_kind(found.st_mode)))
        if found.st_size > LARGEST:
            raise _unreadable(
                path, tr("it is larger than {kilobytes} kB, so it holds no settings", kilobytes=LARGEST // 1000)
            )
        raw = b"".join(iter(partial(os.read, file, LARGEST), b""))
    finally:
        os.close(file)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _unreadable(path, tr("it is UTF-16; save it as UTF-8"))
    try:
        contents = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        raise _unreadable(
            path, tr("line {number} is not UTF-8 but perhaps GBK; save it as UTF-8", number=number)
        ) from None
    if "\0" in contents:
        number = contents.count("\n", 0, contents.index("\0")) + 1
        raise _unreadable(path, tr("line {number} holds a NUL character; save it as UTF-8 without it", number=number))
    return contents


def _unreadable(path: Path, reason: str) -> ConfigError:
    return ConfigError(tr("{file} cannot be read: {reason}", file=path, reason=reason))


def _kind(mode: int) -> Message:
    return tr("a folder") if stat.S_ISDIR(mode) else tr("a pipe") if stat.S_ISFIFO(mode) else tr("a device or a socket")


# The parts of an address, as ThinkPHP writes them in `[database]`, in `[redis]` and `[queue]`, and flat as `DB_HOST`.
_PARTS = {
    "TYPE": "type", "HOSTNAME": "host", "HOST": "host", "HOSTPORT": "port", "PORT": "port", "USERNAME": "user",
    "USER": "user", "PASSWORD": "password", "PASS": "password", "DATABASE": "database", "NAME": "database",
    "SELECT": "database", "CHARSET": "charset", "PREFIX": "prefix",
}  # fmt: skip
_SCHEMES = {"mysql": "mysql", "mariadb": "mysql", "pgsql": "postgresql", "postgresql": "postgresql", "sqlite": "sqlite"}
_CHARSETS = ("", "utf8", "utf8mb4", "utf8mb3", "utf-8")


def joined(contents: Contents, known: Mapping[str, Any]) -> Contents:
    """The contents with the addresses that the old system wrote in parts, where the file has no whole ones.

    Raises:
        ConfigError: the parts give no address.
    """
    names = {given.name for given in contents.given if given.value != ""}
    taken: list[Given] = []
    remarks = list(contents.remarks)
    for setting, prefixes in (("DATABASE_URL", ("DATABASE_", "DB_")), ("REDIS_URL", ("REDIS_", "QUEUE_"))):
        for prefix in prefixes:
            mine = [each for each in contents.given if each.name not in known and _part(each.name, prefix)]
            parts = {_part(each.name, prefix): str(each.value).strip() for each in mine}
            if not {"host", "database"} & {part for part, value in parts.items() if value}:
                continue
            taken += mine
            if setting in names:
                told = "{name} ({place}) and what belongs to it do not count beside {setting}"
                remarks.append(tr(told, name=mine[0].name, place=mine[0].place, setting=setting))
            else:
                address = _database(parts, mine[0]) if setting == "DATABASE_URL" else _redis(parts)
                names.add(setting)
                taken.append(Given(setting, address, mine[0].place))
            remarks += _idle(mine, prefix)
    rest = [each for each in contents.given if each not in taken]
    return Contents([*rest, *(each for each in taken if each.name in known)], remarks)


def _part(name: str, prefix: str) -> str | None:
    part = _PARTS.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
    return None if prefix in ("REDIS_", "QUEUE_") and part in ("type", "charset", "prefix") else part


def _idle(parts: Sequence[Given], prefix: str) -> Iterator[Message]:
    """What of the parts has no effect here."""
    for each in parts:
        part, value = _part(each.name, prefix), str(each.value).strip().lower()
        if part == "charset" and value not in _CHARSETS:
            told = "{name} ({place}) is not used: the program always speaks utf8mb4; take it out"
            yield tr(told, name=each.name, place=each.place)
        elif part == "prefix" and value:
            told = "{name} ({place}) is not used: tables have no prefix here; take a database of its own"
            yield tr(told, name=each.name, place=each.place)


def _database(parts: Mapping[str | None, str], first: Given) -> str:
    kind = parts.get("type", "").lower() or "mysql"
    if kind not in _SCHEMES:
        raise ConfigError(
            tr(
                "the type of the database ({place}) is {kind!r}, and there are mysql, pgsql and sqlite; for example: "
                "DATABASE_URL=mysql://user:secret@127.0.0.1:3306/gengfu",
                place=first.place,
                kind=kind,
            )
        )
    if not parts.get("database"):
        raise ConfigError(
            tr("{name} ({place}) and what belongs to it name no database", name=first.name, place=first.place)
        )
    if kind == "sqlite":
        return f"sqlite:///{parts['database']}"
    return f"{_SCHEMES[kind]}://{_login(parts)}{_host(parts)}/{quote(parts['database'], safe='')}"


def _redis(parts: Mapping[str | None, str]) -> str:
    return f"redis://{_login(parts)}{_host(parts)}/{quote(parts.get('database') or '0', safe='')}"


def _login(parts: Mapping[str | None, str]) -> str:
    user, password = (quote(parts.get(part, ""), safe="") for part in ("user", "password"))
    return f"{user}{':' if password else ''}{password}@" if user or password else ""


def _host(parts: Mapping[str | None, str]) -> str:
    host = parts.get("host") or "127.0.0.1"
    return f"{f'[{host}]' if ':' in host else host}{':' if parts.get('port') else ''}{parts.get('port', '')}"

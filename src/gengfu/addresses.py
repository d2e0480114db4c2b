"""Addresses of servers: checked, shown, and searched for passwords by functions that never repeat one.

Whoever reads an address elsewhere can rely on `wrong_with` having found nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus, urlsplit

from gengfu.language import Message, tr

STARS = "******"

_SECRET = re.compile("pass|pwd|secret|token|credential", re.IGNORECASE)
"""What the name of a parameter holds whose value is a secret."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%25\w+)?\]|[^\[\]:\s]*)(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class _Parts:
    scheme: str
    """With `://`; empty where the address has none, as that of a proxy may."""
    user: str
    password: str
    hosts: str
    path: str
    query: str

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Names and values, as they are written."""
        pairs = (each.partition("=") for each in self.query.split("&"))
        return [(name, value) for name, _, value in pairs]


def _split(address: str) -> _Parts:
    whole = address if "://" in address else f"://{address}"
    scheme, separator, rest = whole.partition("://")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    return _Parts(scheme and scheme + separator, user, password, hosts, slash + path, query)


def wrong_with(address: str) -> Message | None:
    """Why the address cannot be read as it was meant, and what to write instead; None where it can."""
    if not address.isprintable():
        return tr("holds a character that is not seen; in a password, write its bytes as %XX")
    if "#" in address:
        return tr('holds a "#"; in a password, write it as %23')
    if re.search("%(?![0-9A-Fa-f]{2})", address):
        return tr('holds a "%" that begins no code such as %40; in a password, write it as %25')
    authority, _, tail = re.sub("[?]", "/", address.partition("://")[2], count=1).partition("/")
    login, at, hosts = authority.rpartition("@")
    if address.count("@") > 1:
        return tr('holds more than one "@"; in a password, write it as %40')
    if not at and "@" in tail:
        return tr('holds an "@" behind a "/" or "?"; in a password, write / as %2F, ? as %3F and @ as %40')
    if set("[]") & set(login):
        return tr('holds a "[" or "]" before the host; in a password, write them as %5B and %5D')
    for host in hosts.split(","):
        found = _HOST.fullmatch(host)
        if found is None or not 0 < int(found["port"] or 1) < 65536:
            return tr("names a host or port that cannot be read; in a password, write : as %3A, / as %2F and @ as %40")
    try:
        urlsplit(address)
    except ValueError:
        return tr("cannot be read; in a password, write whatever is neither a letter nor a digit as %XX")
    return None


def shown(address: str) -> str:
    """The address as a person wrote it, with stars for passwords; of one that cannot be read, hardly anything."""
    parts = _split(address)
    if wrong_with(f"{parts.scheme or '://'}{address.removeprefix(parts.scheme)}") is not None:
        return f"{parts.scheme}{STARS}"
    login = f"{parts.user}:{STARS}@" if parts.password else f"{parts.user}@" if parts.user else ""
    told = [f"{name}={STARS if _SECRET.search(name) else value}" for name, value in parts.parameters if name]
    return f"{parts.scheme}{login}{parts.hosts}{parts.path}{'?' if told else ''}{'&'.join(told)}"


def passwords(address: str) -> list[str]:
    """The passwords in the address, as they are written and as they are meant."""
    parts = _split(address)
    raw = address.removeprefix(parts.scheme).rpartition("@")[0].partition(":")[2]
    found = [raw, parts.password, unquote(parts.password)]
    for name, value in parts.parameters:
        if _SECRET.search(name):
            found += [value, unquote(value), unquote_plus(value)]
    return [each for each in dict.fromkeys(found) if each]

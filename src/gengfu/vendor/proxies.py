"""The way to the vendor: straight, or by the proxy that `API_PROXY` or the usual variables name, as curl chooses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from gengfu.addresses import shown
from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.settings import Secret, Settings

STRAIGHT = "none"
"""What `API_PROXY` says where no proxy is to be used, whatever the environment names."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the setting that names it."""

    url: str
    """Scheme, host and port, without user and password."""
    user: str
    password: Secret
    setting: str


def proxy_for(settings: Settings) -> Proxy | None:
    """The proxy by which the vendor is asked; None for the straight way.

    `API_PROXY` is for the vendor alone, so `NO_PROXY` says nothing about it.

    Raises:
        ConfigError: the proxy is of a kind that Gengfu does not speak.
    """
    parts = urlsplit(settings.api_wechat_url or "")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if settings.api_proxy is not None:
        named = settings.api_proxy.reveal()
        return None if named == STRAIGHT else _parsed(named, "API_PROXY")
    for setting in (f"{parts.scheme}_proxy", "all_proxy"):
        found: Secret | None = getattr(settings, setting)
        if found is not None:
            is_left_out = is_listed(host, port, settings.no_proxy or "")
            return None if is_left_out else _parsed(found.reveal(), setting.upper())
    return None


def _parsed(text: str, setting: str) -> Proxy:
    whole = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(whole)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        scheme, host, port = "", "", None
    if scheme not in ("http", "https") or not host:
        raise ConfigError(
            tr(
                "{setting} names {proxy}, which is no http:// or https:// proxy; for example: "
                "API_PROXY=http://user:secret@10.0.0.1:3128, or API_PROXY=none for the straight way",
                setting=setting,
                proxy=shown(whole),
            )
        )
    place = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{place}:{port or (443 if scheme == 'https' else 80)}"
    return Proxy(address, unquote(parts.username or ""), Secret(unquote(parts.password or "")), setting)


def is_listed(host: str, port: int, listed: str) -> bool:
    """Whether `NO_PROXY` has the host: by `*`, its name or a domain above it, its address or a network around it, each
    with a port or for all ports."""
    name = host.rstrip(".").lower()
    for entry in re.split(r"[,\s]+", listed.lower()):
        place, number = entry, ""
        if not _is_network(entry):
            place, _, number = entry.rpartition(":") if re.search(r":\d+$", entry) else (entry, "", "")
        if place and (not number or int(number) == port) and _covers(place.strip("[]"), name):
            return True
    return False


def _covers(place: str, name: str) -> bool:
    if place == "*":
        return True
    if _is_network(name):
        return _is_network(place) and ip_address(name) in ip_network(place, strict=False)
    domain = place.removeprefix("*").strip(".")
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True

"""One harmless request to a web server, and what its answer tells of it."""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from gengfu.language import tr
from gengfu.settings import Settings
from gengfu.vendor.proxies import Proxy, proxy_for
from gengfu.vendor.tls import certificate_problem, tls_context


@dataclass(frozen=True, slots=True)
class Reachability:
    """What came of it."""

    encrypted: bool
    local: bool
    """Whether the server is on this very machine."""
    status: int = 0
    date: datetime | None = None
    """The server's time."""
    expires: datetime | None = None
    """The end of its certificate's life."""
    problem: str = ""
    """Why there was no answer."""
    untrusted: bool = False
    """Whether that was for its certificate."""


def reach(settings: Settings, seconds: float) -> Reachability:
    """Asks for the head of the vendor's address, by the way that the client takes. Any answer of a server is one,
    whatever its status.

    Args:
        seconds: for connecting, and again for the answer.

    Raises:
        ConfigError: the file of trusted certificates is not one, or the proxy is none.
    """
    url = settings.api_wechat_url or ""
    parts = urlsplit(url)
    host, encrypted = parts.hostname or "", parts.scheme == "https"
    start = Reachability(encrypted, _is_local(host))
    proxy = proxy_for(settings)
    link = _link(settings, proxy, seconds)
    headers = {"User-Agent": "gengfu", "Connection": "close"}
    try:
        if proxy is not None and not encrypted:
            link.request("HEAD", url, headers=headers | _login(proxy))
        else:
            link.connect()
            link.request("HEAD", parts.path or "/", headers=headers)
        expires = _expiry(link)
        answer = link.getresponse()
        if answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return replace(start, problem=tr("the proxy wants a user and a password, or other ones (407)"))
        return replace(start, status=answer.status, date=_date(answer.getheader("Date")), expires=expires)
    except ssl.SSLCertVerificationError as problem:
        return replace(start, problem=certificate_problem(problem, host, settings.api_ca_file), untrusted=True)
    except (OSError, http.client.HTTPException) as problem:
        said = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
        return replace(start, problem=said)
    finally:
        link.close()


def _link(settings: Settings, proxy: Proxy | None, seconds: float) -> http.client.HTTPConnection:
    """A connection to the vendor, or to the proxy before it; nothing is sent yet."""
    parts = urlsplit(settings.api_wechat_url or "")
    first = urlsplit(proxy.url) if proxy is not None else parts
    if "https" not in (parts.scheme, first.scheme):
        return http.client.HTTPConnection(first.hostname or "", first.port, timeout=seconds)
    context = tls_context(settings.api_ca_file, verify=settings.api_verify_tls)
    link = http.client.HTTPSConnection(first.hostname or "", first.port, timeout=seconds, context=context)
    if proxy is not None and parts.scheme == "https":
        link.set_tunnel(parts.hostname or "", parts.port, _login(proxy))
    return link


def _login(proxy: Proxy) -> dict[str, str]:
    if not proxy.user:
        return {}
    both = f"{proxy.user}:{proxy.password.reveal()}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(both).decode()}"}


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _expiry(link: http.client.HTTPConnection) -> datetime | None:
    sock = link.sock
    certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    text = (certificate or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if isinstance(text, str) else None


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)

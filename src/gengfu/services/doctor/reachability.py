"""One harmless request to a web server, and what its answer tells of it."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit


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


def reach(url: str, ca_file: Path | None, verify: bool, seconds: float) -> Reachability:
    """Asks for the head of `url`. Any answer of a server is one, whatever its status.

    Args:
        ca_file: certificates to trust besides the system's.
        seconds: for connecting, and again for the answer.
    """
    parts = urlsplit(url)
    host, encrypted = parts.hostname or "", parts.scheme == "https"
    start = Reachability(encrypted, _is_local(host))
    link: http.client.HTTPConnection | None = None
    try:
        if encrypted:
            context = _context(ca_file, verify)
            link = http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context)
        else:
            link = http.client.HTTPConnection(host, parts.port, timeout=seconds)
        link.connect()
        expires = _expiry(link)
        link.request("HEAD", parts.path or "/", headers={"User-Agent": "gengfu", "Connection": "close"})
        answer = link.getresponse()
        return Reachability(encrypted, start.local, answer.status, _date(answer.getheader("Date")), expires)
    except ssl.SSLCertVerificationError as problem:
        said = f"its certificate is not trusted: {problem.verify_message or problem.reason}"
        return Reachability(encrypted, start.local, problem=said, untrusted=True)
    except (OSError, http.client.HTTPException) as problem:
        said = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
        return Reachability(encrypted, start.local, problem=said)
    finally:
        if link is not None:
            link.close()


def _context(ca_file: Path | None, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


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

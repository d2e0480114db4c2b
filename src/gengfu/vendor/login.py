"""What a login is: who asks, what the answer means, how long the token may be kept; decisions only."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from gengfu.language import tr
from gengfu.settings import Secret
from gengfu.store.logins import LONGEST_TOKEN
from gengfu.vendor.answers import is_dead_login

_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_TOKEN = re.compile(r"[\x21-\x7e]+")


class LoginAnswerKind(StrEnum):
    """What the answer to a login is."""

    GRANTED = "granted"
    """There is a token."""
    REFUSED = "refused"
    """The vendor knows the credentials and does not want them; the same ones are not to be tried again."""
    THROTTLED = "throttled"
    """The vendor asks for a wait (429)."""
    TROUBLE = "trouble"
    """Nothing was said about the credentials; the next try may go well."""
    MISPLACED = "misplaced"
    """The address is not that of the vendor's login."""


class LoginAnswer(msgspec.Struct, frozen=True):
    """What a login came to: a token and the seconds to keep it, or why there is none."""

    kind: LoginAnswerKind
    why: str = ""
    token: Secret = Secret("")
    seconds: float = 0.0


@dataclass(frozen=True)
class Identity:
    """Who logs in where."""

    url: str
    """Base address, ending with a slash."""
    username: str
    password: Secret

    @cached_property
    def account(self) -> str:
        """The name under which processes share the login: one for each address and user, with nothing secret in it."""
        return hashlib.sha256(f"{self.url}\0{self.username}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def digest_of(username: str, password: Secret, salt: str | None = None) -> str:
    """A salted scrypt hash of the credentials, salt included, fit for a table."""
    salt = salt or secrets.token_hex(16)
    text = f"{username}\0{password.reveal()}".encode("utf-8", "surrogatepass")
    return f"scrypt${salt}${hashlib.scrypt(text, salt=salt.encode(), dklen=32, **_SCRYPT).hex()}"


def matches(digest: str, username: str, password: Secret) -> bool:
    """Whether the digest was made of these credentials."""
    scheme, _, rest = digest.partition("$")
    salt, _, _ = rest.partition("$")
    return scheme == "scrypt" and bool(salt) and hmac.compare_digest(digest_of(username, password, salt), digest)


def seconds_to_keep(expires_in: Any) -> float:
    """How long a token may be used: what the vendor promises less a tenth (at least 5 s, at most half), up to 600 s.

    A promise that is missing or no number counts as a long one: a dead token is found out anyway.
    """
    try:
        promised = min(float(expires_in), 2 * LONGEST_TOKEN)
    except (TypeError, ValueError, OverflowError):
        return LONGEST_TOKEN
    if isinstance(expires_in, bool) or promised != promised:
        return LONGEST_TOKEN
    margin = min(max(promised / 10, 5.0), promised / 2)
    return min(LONGEST_TOKEN, max(promised - margin, 1.0))


def judge_login(status: int, body: bytes, excerpt: Callable[[bytes], str], clean: Callable[[str], str]) -> LoginAnswer:
    """What the answer to a login means. Only an answer that speaks of the credentials refuses them.

    `excerpt` and `clean` turn a body and a text of the vendor into something fit for an error.
    """
    said = tr("answered {status}: {excerpt}", status=status, excerpt=excerpt(body))
    if status == 429:
        return LoginAnswer(LoginAnswerKind.THROTTLED, said)
    fields = _object(body)
    if status in (401, 403) or (status == 400 and fields is not None):
        return LoginAnswer(LoginAnswerKind.REFUSED, _reason(fields, clean) or said)
    if is_dead_login(body) or 300 <= status < 500:
        return LoginAnswer(
            LoginAnswerKind.MISPLACED, tr("{said} (is API_WECHAT_URL the vendor's own address?)", said=said)
        )
    if status != 200 or fields is None:
        return LoginAnswer(LoginAnswerKind.TROUBLE, said)
    token = fields.get("access_token")
    if token is None or token == "":
        return LoginAnswer(LoginAnswerKind.REFUSED, _reason(fields, clean) or "answered 200 without an access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return LoginAnswer(LoginAnswerKind.TROUBLE, "answered 200 with an access_token that cannot be sent in a header")
    return LoginAnswer(LoginAnswerKind.GRANTED, token=Secret(token), seconds=seconds_to_keep(fields.get("expires_in")))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _reason(fields: dict[str, Any] | None, clean: Callable[[str], str]) -> str:
    words = [str((fields or {}).get(name) or "") for name in ("error", "error_description", "message", "msg")]
    return clean(": ".join(dict.fromkeys(word for word in words if word)))

"""Logins: credentials, the tokens they earn, and the lock that closes after too many wrong ones."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gengfu_simulator.faults import Faults


@dataclass(slots=True)
class _Token:
    expires: float
    uses: int = 0


class Logins:
    """Gives out tokens for the right credentials alone, and knows of each token whether it is still good."""

    def __init__(self, username: str, password: str, clock: Callable[[], float]) -> None:
        self.username = username
        self.password = password
        self.good = 0
        self.wrong = 0
        self.locked = False
        self._in_a_row = 0
        self._clock = clock
        self._tokens: dict[str, _Token] = {}

    def login(self, username: str, password: str, faults: Faults) -> tuple[int, dict[str, Any]]:
        """Status and JSON answer of one login."""
        if (username, password) != (self.username, self.password):
            self.wrong += 1
            self._in_a_row += 1
            self.locked = self.locked or 0 < faults.lock_after <= self._in_a_row
        if self.locked:
            return 400, {"error": "invalid_grant", "error_description": "账号已被锁定,请联系管理员"}
        if (username, password) != (self.username, self.password):
            if faults.wrong_login == "no-token":
                return 200, {"code": 1, "message": "用户名或密码错误"}
            return 400, {"error": "invalid_grant", "error_description": "用户名或密码错误"}
        self.good += 1
        self._in_a_row = 0
        return 200, self._issue(faults)

    def use(self, authorization: str, faults: Faults) -> bool:
        """Whether an `authorization` header holds a good token; counts as one use of it."""
        scheme, _, value = authorization.partition(" ")
        token = self._tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        if token is None or token.expires <= self._clock():
            return False
        token.uses += 1
        return not 0 < faults.revoke_every < token.uses

    def revoke(self) -> None:
        """Every token issued so far is dead."""
        self._tokens.clear()

    def unlock(self) -> None:
        """The account opens again, and wrong logins are forgotten."""
        self.locked = False
        self._in_a_row = 0

    def reset_counts(self) -> None:
        """Counts from zero; the lock stays as it is."""
        self.good = self.wrong = 0

    def _issue(self, faults: Faults) -> dict[str, Any]:
        now = self._clock()
        self._tokens = {value: token for value, token in self._tokens.items() if token.expires > now}
        value = secrets.token_urlsafe(32)
        self._tokens[value] = _Token(now + faults.token_lifetime)
        answer: dict[str, Any] = {"access_token": value, "token_type": "bearer"}
        if faults.expires_in != "missing":
            answer["expires_in"] = _claimed(faults)
        if not faults.no_refresh_token:
            answer["refresh_token"] = secrets.token_urlsafe(32)
        return answer


def _claimed(faults: Faults) -> int | float | str | None:
    """The `expires_in` of the answer: the truth in whole seconds, or what the faults would have it be."""
    if faults.expires_in == "honest":
        return int(faults.token_lifetime)
    if faults.expires_in == "null":
        return None
    if faults.expires_in == "text":
        return str(int(faults.token_lifetime))
    seconds = float(faults.expires_in)
    return int(seconds) if seconds.is_integer() else seconds

"""The one login that every command, job and page of the program shares, across threads, processes and restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gengfu.clock import Clock, utcnow
from gengfu.settings import Settings
from gengfu.store.logins import Logins
from gengfu.vendor.http_loop import HttpLoop
from gengfu.vendor.login_client import LoginClient
from gengfu.vendor.shared_login import SharedLogin
from gengfu.vendor.single_flight import SingleFlight


class AuthState(StrEnum):
    """How things stand between the program and the vendor."""

    NONE = "none"
    """There is no token; the next call logs in."""
    VALID = "valid"
    """There is a token, shared by all processes."""
    REFUSED = "refused"
    """The vendor refused these credentials; no login is made until they change or `auth:reset` is run."""


@dataclass(frozen=True, slots=True)
class AuthStatus:
    """What `auth:status` shows; nothing in it is secret."""

    state: AuthState
    url: str
    username: str
    account: str
    """The name under which the processes share the login."""
    generation: int | None = None
    """The number of the login that gave the present token."""
    expires_in: float | None = None
    """Seconds for which the present token is used."""
    reason: str | None = None
    """Why the login was refused, in the vendor's words."""
    refused_at: datetime | None = None
    gate_until: datetime | None = None
    """Until when no request is sent, as the vendor asked; None where nothing is in the way."""
    gate_reason: str | None = None

    def json(self) -> dict[str, Any]:
        """What `--json` tells: the gate only where it is closed."""
        told = asdict(self)
        return {name: value for name, value in told.items() if value is not None or not name.startswith("gate_")}


class AuthService:
    """The shared login, for threads. The token and the password appear in no error and no log.

    How one login serves all is told by `SingleFlight`; what all processes know of it is kept by `Logins`.
    """

    def __init__(
        self,
        settings: Settings,
        logins: Logins,
        lease: Callable[[], int],
        clock: Clock = utcnow,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        """
        Args:
            lease: gives the id of this process's lease; asked before a login, may raise StoreError.
            reread: gives the settings as they are now; without it a change counts after a restart.
        """
        self.loop = HttpLoop(settings)
        self.shared = SharedLogin(settings, logins, clock, reread)
        self._client = LoginClient(settings, self.loop, self.shared.scrub, clock)
        self.tokens = SingleFlight(self.shared, self._client, self.loop, lease)

    def authorization(self) -> str:
        """The value of the `authorization` header, for any call to the vendor.

        Raises:
            LoginRefused, Postpone, VendorError, StoreError, ConfigError: as `SingleFlight.token`.
        """
        return "bearer " + self.loop.run(self.tokens.token()).value.reveal()

    def login(self) -> AuthStatus:
        """Logs in now, whether or not there is a token, and shares the new one.

        Raises:
            LoginRefused, Postpone, VendorError, StoreError, ConfigError: as `SingleFlight.token`.
        """
        self.loop.run(self.tokens.log_in())
        return self.status()

    def status(self) -> AuthStatus:
        """How things stand; makes no call to the vendor.

        Raises:
            StoreError, ConfigError: the database or the settings cannot say.
        """
        me = self.shared.identity
        found = self.shared.look()
        status = AuthState.NONE
        if found.refusal is not None:
            status = AuthState.REFUSED
        elif found.token is not None:
            status = AuthState.VALID
        is_valid = status is AuthState.VALID
        return AuthStatus(
            status,
            me.url,
            me.username,
            me.account,
            found.token.generation if is_valid and found.token else None,
            found.expires_in if is_valid else None,
            found.refusal.reason if found.refusal else None,
            found.refusal.refused_at if found.refusal else None,
            found.gate.until if found.gate else None,
            found.gate.reason if found.gate else None,
        )

    def reset(self) -> bool:
        """Forgets that the login was refused, the shared token, and the wait that the vendor asked for; says whether
        the login was refused.

        Raises:
            StoreError, ConfigError: the database cannot forget it, or the account is not set.
        """
        was_refused = self.shared.reset()
        self.tokens.forget()
        return was_refused

    def scrub(self, text: str) -> str:
        """The text with stars in place of the password and of every token of late."""
        return self.shared.scrub(text)

    @property
    def logins(self) -> int:
        """Login calls that this process has made."""
        return self._client.calls

    def close(self) -> None:
        """Ends the loop thread and its connections; harmless when nothing was started."""
        self.loop.close()

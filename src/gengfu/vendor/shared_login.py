"""The login of one account as this process sees it: its credentials, and what all processes know of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from gengfu.clock import Clock
from gengfu.errors import ConfigError, StoreError
from gengfu.logs import register_secret
from gengfu.redaction import Redactor
from gengfu.settings import Secret, Settings
from gengfu.store.logins import Logins, LoginState, Refusal
from gengfu.vendor.login import Identity, digest_of, matches

log = logging.getLogger(__name__)


class SharedLogin:
    """The account's rows in the database, seen with this process's credentials.

    A refusal counts only for the credentials that were refused. One that the database did not take is kept in memory
    until it does. Every method blocks for as long as the database takes, and raises StoreError when it cannot be used.
    """

    def __init__(self, settings: Settings, logins: Logins, clock: Clock, reread: Callable[[], Settings] | None) -> None:
        """`reread` gives the settings as they are now; without it a change counts after a restart."""
        self._settings = settings
        self.logins = logins
        self._clock = clock
        self._reread = reread
        self._changed: Identity | None = None
        self._unsaved: Refusal | None = None
        self._compared: tuple[str, bool] = ("", False)
        self._secrets = Redactor()
        if settings.api_password is not None:
            self._secrets.add(settings.api_password.reveal(), lasting=True)

    @property
    def identity(self) -> Identity:
        """Who logs in where.

        Raises:
            ConfigError: the settings do not say.
        """
        return self._changed or Identity(*self._settings.api())

    @property
    def account(self) -> str:
        """The name of the rows."""
        return self.identity.account

    def scrub(self, text: str) -> str:
        """The text with stars in place of the password and of every token of late."""
        return self._secrets.redact(text)

    def hide(self, secret: Secret) -> None:
        """From now on it shows as stars, here and in every log."""
        self._secrets.add(secret.reveal())
        register_secret(secret.reveal())

    def take_up_changes(self) -> bool:
        """Takes the credentials that the settings name now; says whether they are others. Another server, or a file
        that is half written, is left to the next start."""
        if self._reread is None:
            return False
        try:
            fresh, before = Identity(*self._reread().api()), self.identity
        except ConfigError:
            return False
        if fresh == before or fresh.url != before.url:
            return False
        self.hide(fresh.password)
        self._changed, self._unsaved = fresh, None
        log.info("credentials changed", extra={"user": fresh.username})
        return True

    def look(self) -> LoginState:
        """How things stand; the refusal, if any, is one of these credentials."""
        identity = self.identity
        state = self.logins.look(identity.account)
        if state.refusal is not None and self._is_ours(identity, state.refusal):
            return state
        return replace(state, refusal=self._unsaved)

    def _is_ours(self, identity: Identity, refusal: Refusal) -> bool:
        key = f"{refusal.digest} {hash(identity)}"
        if self._compared[0] != key:
            self._compared = (key, matches(refusal.digest, identity.username, identity.password))
        return self._compared[1]

    def refuse(self, reason: str, fence: int) -> Refusal:
        """Writes down that the vendor refused the credentials."""
        identity = self.identity
        refusal = Refusal(digest_of(identity.username, identity.password), reason, self._clock())
        self._write_down(refusal, fence)
        return refusal

    def write_down_unsaved(self) -> None:
        """Writes down the refusal that the database did not take before, if there is one."""
        if self._unsaved is not None:
            self._write_down(self._unsaved, None)

    def _write_down(self, refusal: Refusal, fence: int | None) -> None:
        try:
            self.logins.refuse(self.account, refusal, fence)
            self._unsaved = None
        except StoreError as error:
            self._unsaved = refusal
            log.error("that the login was refused could not be written down", extra={"error": str(error)})

    def reset(self) -> bool:
        """Forgets the refusal, the token and the gate; says whether there was a refusal."""
        was_refused = self.logins.reset(self.account) or self._unsaved is not None
        self._unsaved = None
        return was_refused

"""The commands around the shared login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gengfu.cli.base import BaseCommand
from gengfu.language import tr

if TYPE_CHECKING:
    from gengfu.vendor.auth import AuthStatus


class _Login(BaseCommand):
    """Shows how things stand with the vendor."""

    def show(self, status: AuthStatus) -> None:
        """The state, and never the token."""
        left = round(status.expires_in) if status.expires_in is not None else None
        pairs = [
            (tr("login"), tr(status.state)),
            (tr("server"), status.url),
            (tr("user"), status.username),
            (tr("number"), status.generation),
            (tr("used for"), tr("{left} s more", left=left) if left is not None else None),
            (tr("refused"), status.refused_at),
            (tr("reason"), status.reason),
            (tr("no request before"), status.gate_until),
            (tr("because"), status.gate_reason),
        ]
        self.out.record([(name, value) for name, value in pairs if value is not None])
        if status.refused_at is not None:
            self.out.note("no login is made until the credentials change, or someone runs: gengfu auth:reset")
        if status.gate_until is not None:
            self.out.note("requests are sent again then, or as soon as someone runs: gengfu auth:reset")
        self.out.answer(status.json())


class AuthStatusCommand(_Login):
    """Show the shared login: cached, none, or refused; calls nobody

    Example:
      gengfu auth:status --json
    """

    name = "auth:status"

    def handle(self) -> int:
        self.show(self.app.auth.status())
        return 0


class AuthLogin(_Login):
    """Log in now, which tests the credentials

    The new token is shared by all. A login that the vendor refused before is not
    tried again with the same credentials, lest the account be locked: run
    auth:reset first.

    Example:
      gengfu auth:login
    """

    name = "auth:login"

    def handle(self) -> int:
        self.show(self.app.auth.login())
        return 0


class AuthReset(_Login):
    """Forget a refused login, the cached token, and a wait that the vendor asked for

    Example:
      gengfu auth:reset
    """

    name = "auth:reset"

    def handle(self) -> int:
        was_refused = self.app.auth.reset()
        refusal = "The refusal is forgotten" if was_refused else "The login was not refused"
        self.out.say(tr("{refusal}; the next call logs in anew.", refusal=tr(refusal)))
        jobs = self.app.queue.call_back()
        if jobs:
            self.out.say(tr("{jobs} jobs that were put off go on now.", jobs=jobs))
        self.out.answer({"was_refused": was_refused, "jobs": jobs})
        return 0

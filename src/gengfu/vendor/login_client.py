"""Asks the vendor for a token over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode

from aiohttp import ClientResponse
from yarl import URL

from gengfu.clock import Clock
from gengfu.errors import Postpone, VendorError
from gengfu.language import tr
from gengfu.settings import Settings
from gengfu.vendor.answers import AnswerKind, clean, excerpt, judge_error, retry_after
from gengfu.vendor.http_loop import HttpLoop
from gengfu.vendor.limits import LONGEST_WAIT, backoff, full_jitter, wait_reason
from gengfu.vendor.login import Identity, LoginAnswer, LoginAnswerKind, judge_login

log = logging.getLogger(__name__)

TRIES = 4
"""Calls of one login, as long as the answers say nothing about the credentials."""


class LoginClient:
    """Asks for logins: once when the answer is about the credentials, a few times when it is not.

    `scrub` takes secrets out of what the vendor says. Lives in the loop.
    """

    def __init__(self, settings: Settings, loop: HttpLoop, scrub: Callable[[str], str], clock: Clock) -> None:
        self.calls = 0
        """Login calls so far."""
        self._settings = settings
        self._loop = loop
        self._scrub = scrub
        self._clock = clock

    async def ask(self, me: Identity) -> LoginAnswer:
        """Asks for a token until it is granted or refused.

        Raises:
            Postpone: the vendor asks to wait for long.
            VendorError: it says nothing about the credentials.
            ConfigError: the CA file is not one.
        """
        tries, waited = 1, 0.0
        while True:
            answer, wait = await self._post(me)
            if answer.kind in (LoginAnswerKind.GRANTED, LoginAnswerKind.REFUSED):
                return answer
            sentence = tr("POST {me.url}token {answer.why}", me=me, answer=answer)
            if answer.kind is LoginAnswerKind.THROTTLED:
                longest = self._settings.api_longest_wait
                pause = min(max(wait or 0.0, backoff(tries)), longest)
                if pause > LONGEST_WAIT or waited + pause > 2 * LONGEST_WAIT:
                    raise Postpone(
                        tr("{wait_reason} with the login", wait_reason=wait_reason(wait, longest)),
                        max(pause, LONGEST_WAIT),
                    )
                waited += pause
            elif answer.kind is LoginAnswerKind.MISPLACED or tries == TRIES:
                raise VendorError(tr("the login failed, though not for the credentials: {sentence}", sentence=sentence))
            else:
                pause = full_jitter(backoff(tries, base=0.25))
                tries += 1
            log.warning("the login is tried again", extra={"cause": sentence, "pause": round(pause, 2)})
            await asyncio.sleep(pause)

    async def _post(self, me: Identity) -> tuple[LoginAnswer, float | None]:
        """One login call: what the answer means, and the wait that it asks for."""
        form = urlencode(
            {"grant_type": "password", "username": me.username, "password": me.password.reveal()},
            errors="surrogateescape",
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._loop.warn_unverified()
        self.calls += 1

        def judged(response: ClientResponse, body: bytes) -> tuple[LoginAnswer, float | None]:
            shown, cleaned = partial(excerpt, scrub=self._scrub), partial(clean, scrub=self._scrub)
            asked = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"), self._clock())
            return judge_login(response.status, body, shown, cleaned), asked

        try:
            url, most = URL(me.url + "token"), self._settings.api_login_bytes
            return await self._loop.ask("POST", url, most, judged, data=form.encode(), headers=headers)
        except Exception as error:
            told = judge_error(error)
            kind = LoginAnswerKind.MISPLACED if told.kind is AnswerKind.REJECTED else LoginAnswerKind.TROUBLE
            return LoginAnswer(kind, told.why), None

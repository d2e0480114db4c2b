"""Begins a working folder: a login that works, and what else of this machine may be of use."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from gengfu.clock import Clock
from gengfu.errors import FileError, GengfuError, LoginRefused
from gengfu.language import tr
from gengfu.logs import redact, register_secret
from gengfu.ownership import why_refused
from gengfu.setting_files import DOTENV, quoted
from gengfu.settings import Secret, Settings

REDIS = "redis://127.0.0.1:6379/0"
DATABASES = {"MySQL": 3306, "PostgreSQL": 5432}
"""Servers that may be on this machine, and where they listen."""
_PATIENCE = 0.5


def try_login(settings: Settings, clock: Clock) -> None:
    """Sees whether the vendor takes the credentials; nothing is kept of it.

    Raises:
        LoginRefused, VendorError, Postpone, ConfigError: it does not, or cannot be asked.
    """
    from gengfu.vendor.http_loop import HttpLoop
    from gengfu.vendor.login import Identity, LoginAnswerKind
    from gengfu.vendor.login_client import LoginClient

    me, loop = Identity(*settings.api()), HttpLoop(settings)
    register_secret(me.password.reveal())
    try:
        answer = loop.run(LoginClient(settings, loop, redact, clock).ask(me))
    finally:
        loop.close()
    if answer.kind is LoginAnswerKind.REFUSED:
        raise LoginRefused(tr("the vendor refused the login of {user}: {reason}", user=me.username, reason=answer.why))


def redis_here(settings: Settings) -> bool:
    """Whether a Redis of this machine can be used as it is."""
    from gengfu.queue.redis_server import RedisServer

    try:
        RedisServer(settings, Secret(REDIS)).probe()
    except GengfuError:
        return False
    return True


def databases_here() -> list[str]:
    """The database servers that listen on this machine."""
    return [name for name, port in DATABASES.items() if _listens(port)]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), _PATIENCE).close()
    except OSError:
        return False
    return True


def write_settings(home: Path, values: Mapping[str, str]) -> Path:
    """Writes `.env`, for its owner alone.

    Raises:
        FileError: it is there already, or cannot be written.
    """
    path = home / DOTENV
    lines = "".join(f"{name}={quoted(value)}\n" for name, value in values.items())
    try:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(lines)
    except FileExistsError:
        raise FileError(tr("{file} is there already; see: {command}", file=path, command="gengfu config")) from None
    except OSError as error:
        raise FileError(tr("{file} cannot be written: {reason}", file=path, reason=why_refused(error, path))) from None
    return path

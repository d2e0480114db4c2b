"""What an error of a database driver means: whether it may pass, and what a person has to do about it."""

from __future__ import annotations

import re
import sqlite3
from typing import NamedTuple

from gengfu.errors import StoreError, StoreRefused, TooLarge
from gengfu.language import Message, tr
from gengfu.redaction import Redactor


class _Permanent(NamedTuple):
    """A kind of error that no further try helps with."""

    codes: frozenset[str]
    """SQLSTATEs of PostgreSQL and numbers of MySQL; a connection that was refused has none on PostgreSQL."""
    text: str
    """What servers, poolers and drivers say."""
    remedy: Message
    error: type[StoreError]


def _kind(codes: str, text: str, remedy: Message, error: type[StoreError] = StoreRefused) -> _Permanent:
    return _Permanent(frozenset(codes.split()), text, remedy, error)


_PERMANENT = (
    _kind(
        "",
        "transaction blocks not allowed in statement pooling mode",
        tr("the pooler before it has pool_mode = statement, which gives no transactions: set pool_mode = transaction"),
    ),
    _kind(
        "",
        "unsupported startup parameter: options",
        tr(
            "the pooler before it takes no options: leave them out of DATABASE_URL, and in place of a search_path "
            "there, run in the database: ALTER ROLE CURRENT_USER SET search_path = ..."
        ),
    ),
    _kind(
        "", "unsupported startup parameter", tr("leave that parameter out of DATABASE_URL, or have the pooler take it")
    ),
    _kind(
        "3D000 1049",
        r"no such database|database \S+ does not exist|unknown database",
        tr("make that database, or correct its name in DATABASE_URL"),
    ),
    _kind(
        "28P01 28000 1045 1698",
        r"authentication failed|access denied for user|no password supplied|no such user|role \S+ does not exist|"
        r"password is required|auth failed",
        tr("correct the user and the password in DATABASE_URL"),
    ),
    _kind("1130", "no pg_hba.conf entry|not allowed to connect", tr("let this machine and this user in on the server")),
    _kind(
        "42501 1044 1142 1143 1227 1370",
        "permission denied",
        tr("give the user of DATABASE_URL the right to make, read and write tables there"),
    ),
    _kind(
        "",
        r"name or service not known|failed to resolve host|nodename nor servname|no address associated|errno -[25]\b",
        tr("correct the name of the host in DATABASE_URL"),
    ),
    _kind(
        "2026",
        "does not support ssl|certificate verify failed|root certificate file|ssl certificate|certificate is not valid",
        tr("correct the parameters for TLS in DATABASE_URL, such as sslmode and sslrootcert, or ssl_ca"),
    ),
    _kind(
        "25006 1290 1792 1836",
        "read-only transaction|session is read-only|session is not read-only|server is in hot standby|"
        "attempt to write a readonly database",
        tr("Gengfu writes: name the server that takes writes, and see that the user may write"),
    ),
    _kind("1153", "max_allowed_packet", tr("raise max_allowed_packet on the server"), TooLarge),
    _kind(
        "",
        "invalid connection option|definition of service",
        tr("correct that parameter of DATABASE_URL"),
    ),
    _kind(
        "13 1021 1114 53100",
        "database or disk is full|no space left on device",
        tr("make room on its disk"),
        StoreError,
    ),
    _kind("", "unable to open database file", tr("see that this user may write the file and its folder"), StoreError),
    _kind(
        "", "file is not a database|disk image is malformed", tr("put it aside and restore a backup of it"), StoreError
    ),
)

_MYSQL_TRANSIENT = {1040, 1053, 1203, 1205, 1213, 2002, 2003, 2006, 2013, 2055}
_POSTGRES_TRANSIENT = ("08", "40", "53", "55P03", "57P")
_SQLITE_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_transient(cause: BaseException, *, lost: bool = False, operational: bool = False) -> bool:
    """Whether the same transaction may well succeed in a moment: connection lost or refused, lock, deadlock.

    Args:
        cause: an error of a driver.
        lost: whether the connection ended.
        operational: whether it is an error of the database rather than of the statement.
    """
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_TRANSIENT
    if _permanent(cause) is not None:
        return False
    code, state = _number(cause), getattr(cause, "sqlstate", None)
    if lost or code is not None:
        return lost or code in _MYSQL_TRANSIENT
    return str(state).startswith(_POSTGRES_TRANSIENT) if state is not None else operational


def explained(where: str, cause: BaseException, secrets: list[str] | None = None) -> StoreError:
    """The error as one sentence that names the database and what to do, and none of the secrets."""
    redactor = Redactor()
    for secret in secrets or ():
        redactor.add(secret, common=secret in where)
    text = redactor.redact(" ".join(str(cause).split()))
    if "no such table" in text or getattr(cause, "sqlstate", None) == "42P01" or _number(cause) == 1146:
        what = tr("the database {where} lacks a table: {text}", where=where, text=text[:200])
        return StoreError(
            tr("{what}; run: {command}", what=what, command="gengfu db:upgrade"), what=what, remedy="gengfu db:upgrade"
        )
    kind = _permanent(cause)
    what = tr("the database {where} failed: {text}", where=where, text=text[:500])
    if kind is None:
        return StoreError(what)
    sentence = tr("{what}; {remedy}", what=what, remedy=kind.remedy)
    return kind.error(sentence, what=what, remedy=kind.remedy)


def _permanent(cause: BaseException) -> _Permanent | None:
    # PyMySQL tells both; its SQLSTATEs say little.
    code = str(_number(cause) or getattr(cause, "sqlstate", None) or "")
    text = " ".join(str(cause).split())
    for kind in _PERMANENT:
        if code in kind.codes or re.search(kind.text, text, re.IGNORECASE):
            return kind
    return None


def _number(cause: BaseException) -> int | None:
    code = cause.args[0] if cause.args else None
    return code if isinstance(code, int) else None

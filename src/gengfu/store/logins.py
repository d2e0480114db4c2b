"""The logins that all processes share: who may log in, the token, the refusal, and the gate that a 429 closes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, literal, literal_column, select, update
from sqlalchemy.sql import ColumnElement

from gengfu.clock import Clock, utcnow
from gengfu.settings import Secret
from gengfu.store.core_statements import CoreStatements
from gengfu.store.database import Database
from gengfu.store.tables import Moment, lease, login, login_token

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for which a database that is away is asked again."""
LONGEST_GATE = 86_400.0
"""Seconds for which a gate stays closed at most; API_LONGEST_WAIT says how many of them are wanted."""
LONGEST_TOKEN = 600.0
"""Seconds for which a token is used at most."""
SKEW = 5.0
"""Seconds by which a moment in the past may lie ahead, as after the change to another server. One that lies further
ahead was written before the clock was set back, and counts for nothing."""

_SERVER_TIME = {"postgresql": "clock_timestamp()", "mysql": "UTC_TIMESTAMP(6)"}


@dataclass(frozen=True, slots=True)
class Token:
    """What a login gave. `generation` grows by one with each login of the account."""

    value: Secret
    generation: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A login that was refused. `digest` is a salted hash of the credentials."""

    digest: str
    reason: str
    refused_at: datetime


@dataclass(frozen=True, slots=True)
class Gate:
    """Why the vendor is sent no request, until when, and for how many seconds more that is."""

    reason: str
    until: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class LoginState:
    """What is known of an account at one look."""

    token: Token | None = None
    """That of the last login; None when it has expired."""
    expires_in: float = 0.0
    """Seconds for which the token may be used."""
    refusal: Refusal | None = None
    holder: int | None = None
    """The lease of the process that logs in; None where nobody does, or where that process is dead."""
    gate: Gate | None = None
    """None where it is open."""


class Logins:
    """Reads and writes the logins of all accounts. Time is the database server's, or this host's for a file on it.

    1. One process at a time may log in: the one that `take` gave a fencing number, until it ends that by `grant`,
       `refuse` or `release`, or until its lease is lost.
    2. What was fetched under a fencing number that has passed to another is not stored.

    Every method raises StoreError where the database cannot do it.
    """

    def __init__(self, db: Database, clock: Clock = utcnow) -> None:
        """`clock`: this host's time, for an SQLite database."""
        self._db = db
        self._clock = clock

    def look(self, account: str) -> LoginState:
        """How things stand with the account."""
        query = (
            select(
                login,
                login_token.c.value,
                login_token.c.expires_at,
                lease.c.id.label("holder"),
                self._now().label("now"),
            )
            .select_from(
                login.outerjoin(login_token, login_token.c.account == login.c.account).outerjoin(
                    lease, (lease.c.id == login.c.lease_id) & lease.c.lost_at.is_(None)
                )
            )
            .where(login.c.account == account)
        )
        row = self._db.look(lambda connection: connection.execute(query).one_or_none(), PATIENCE)
        if row is None:
            return LoginState()
        left = (row.expires_at - row.now).total_seconds() if row.expires_at is not None else 0.0
        is_good = 0.0 < left <= LONGEST_TOKEN + SKEW
        return LoginState(
            Token(Secret(row.value), row.generation) if is_good else None,
            left if is_good else 0.0,
            Refusal(row.refused_digest, row.refused_reason, row.refused_at) if row.refused_digest else None,
            row.holder,
            _gate(row),
        )

    def take(self, account: str, lease_id: int) -> int | None:
        """Gives the right to log in to the process with that lease, which may have it already; its fencing number, or
        None where another process has it."""

        def work(connection: Connection) -> int | None:
            row = self._locked(connection, account)
            if row.lease_id not in (None, lease_id):
                held = select(lease.c.id).where(lease.c.id == row.lease_id, lease.c.lost_at.is_(None))
                if connection.scalar(held) is not None:
                    return None
            fence: int = row.fence + 1
            self._set(connection, account, lease_id=lease_id, fence=fence)
            return fence

        return self._write(work)

    def grant(self, account: str, fence: int, value: Secret, seconds: float, known: int) -> Token | None:
        """Puts a new token in place of the last one, under a generation above it and above `known`, and ends the right
        to log in. None, with nothing changed, where that right has passed to another."""

        def work(connection: Connection) -> Token | None:
            row = self._locked(connection, account)
            if row.fence != fence:
                return None
            token = Token(value, max(row.generation, known) + 1)
            self._set(connection, account, generation=token.generation, lease_id=None)
            self._forget_token(connection, account)
            expires_at = row.now + timedelta(seconds=min(seconds, LONGEST_TOKEN))
            stored = {"account": account, "value": value.reveal(), "expires_at": expires_at}
            connection.execute(insert(login_token).values(stored))
            return token

        return self._write(work)

    def refuse(self, account: str, refusal: Refusal, fence: int | None = None) -> None:
        """Keeps a refusal, in place of an older one, and ends the right to log in that has this fencing number."""

        def work(connection: Connection) -> None:
            row = self._locked(connection, account)
            values = {"refused_digest": refusal.digest, "refused_reason": refusal.reason}
            ended = {"lease_id": None} if row.fence == fence else {}
            self._set(connection, account, **values, refused_at=refusal.refused_at, **ended)

        self._write(work)

    def release(self, account: str, fence: int) -> None:
        """Ends the right to log in that has this fencing number; harmless where it has ended."""
        ended = update(login).where(login.c.account == account, login.c.fence == fence).values(lease_id=None)
        self._write(lambda connection: connection.execute(ended))

    def reset(self, account: str) -> bool:
        """Forgets the refusal, the token and the gate; says whether there was a refusal."""

        def work(connection: Connection) -> bool:
            row = self._locked(connection, account)
            refusal = dict.fromkeys(("refused_digest", "refused_reason", "refused_at"))
            gate = dict.fromkeys(("gate_reason", "gate_set_at", "gate_until"))
            self._set(connection, account, **refusal, **gate)
            self._forget_token(connection, account)
            return row.refused_digest is not None

        return self._write(work)

    def gate(self, account: str) -> Gate | None:
        """The gate, where it is closed."""
        query = select(login.c.gate_reason, login.c.gate_set_at, login.c.gate_until, self._now().label("now"))
        query = query.where(login.c.account == account)
        row = self._db.look(lambda connection: connection.execute(query).one_or_none())
        return _gate(row) if row is not None else None

    def close_gate(self, account: str, reason: str, seconds: float) -> None:
        """Asks all processes to send nothing for so long; a gate that stays closed longer is left alone."""

        def work(connection: Connection) -> None:
            row = self._locked(connection, account)
            there, asked = _gate(row), min(seconds, LONGEST_GATE)
            if there is None or there.seconds < asked:
                until = row.now + timedelta(seconds=asked)
                self._set(connection, account, gate_reason=reason, gate_set_at=row.now, gate_until=until)

        self._write(work)

    def _now(self) -> ColumnElement[datetime]:
        if self._db.kind == "sqlite":
            return literal(self._clock(), Moment())
        return literal_column(_SERVER_TIME[self._db.kind], Moment())

    def _locked(self, connection: Connection, account: str) -> Any:
        """The account's row, which nobody else may change before the transaction ends, and the time as `now`."""
        query = select(login, self._now().label("now")).where(login.c.account == account).with_for_update()
        found = connection.execute(query).one_or_none()
        if found is None:
            fresh = {"account": account, "generation": 0, "fence": 0}
            CoreStatements(connection).insert("login", fresh, or_ignore=True)
            found = connection.execute(query).one()
        return found

    def _set(self, connection: Connection, account: str, **values: Any) -> None:
        connection.execute(update(login).where(login.c.account == account).values(values))

    def _forget_token(self, connection: Connection, account: str) -> None:
        connection.execute(delete(login_token).where(login_token.c.account == account))

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._db.write(work, PATIENCE)


def _gate(row: Any) -> Gate | None:
    """The gate of a row, unless its time is over or is one that the clock has yet to reach again."""
    if row.gate_until is None or not row.gate_set_at - timedelta(seconds=SKEW) <= row.now < row.gate_until:
        return None
    return Gate(row.gate_reason, row.gate_until, (row.gate_until - row.now).total_seconds())

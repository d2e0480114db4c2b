"""The logins that the vendor refused, remembered across processes and restarts, so that trying locks no account."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from gengfu.clock import monotonic
from gengfu.errors import StoreError
from gengfu.store.database import Database, is_transient
from gengfu.store.tables import auth_refusal

PATIENCE = 10.0
"""Seconds for which the question is asked again while the database is briefly away."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A login that was refused. `digest` is a salted hash of the credentials."""

    digest: str
    reason: str
    refused_at: datetime


class RefusalStore:
    """One refusal per account; a newer one takes the place of the older."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, account: str) -> Refusal | None:
        """The refusal of the account's last login; `None` when it was not refused.

        Raises:
            StoreError: the database cannot say.
        """
        query = select(auth_refusal.c.digest, auth_refusal.c.reason, auth_refusal.c.refused_at)
        deadline = monotonic() + PATIENCE
        while True:
            try:
                with self._db.read() as connection:
                    row = connection.execute(query.where(auth_refusal.c.account == account)).one_or_none()
                    return Refusal(*row) if row is not None else None
            except StoreError as error:
                cause = error.__cause__
                if not (isinstance(cause, SQLAlchemyError) and is_transient(cause)) or monotonic() > deadline:
                    raise
            time.sleep(0.25)

    def remember(self, account: str, digest: str, reason: str, when: datetime) -> None:
        """Keeps the refusal.

        Raises:
            StoreError: the database cannot keep it.
        """
        values = {"digest": digest, "reason": reason, "refused_at": when}

        def keep(connection: Connection) -> None:
            found = connection.execute(update(auth_refusal).where(auth_refusal.c.account == account).values(values))
            if not found.rowcount:
                connection.execute(insert(auth_refusal).values(account=account, **values))

        try:
            self._db.write(keep, PATIENCE)
        except StoreError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            # Another process put its row in between our two statements: now there is one to update.
            self._db.write(keep, PATIENCE)

    def forget(self, account: str) -> bool:
        """Lets the account log in again; says whether it was refused.

        Raises:
            StoreError: the database cannot forget it.
        """

        def drop(connection: Connection) -> bool:
            return connection.execute(delete(auth_refusal).where(auth_refusal.c.account == account)).rowcount > 0

        return self._db.write(drop, PATIENCE)

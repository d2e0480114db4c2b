"""Sources: the logins at vendors' servers that rows, runs and changes are of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.store.statements import Statements, look, transact

if TYPE_CHECKING:
    from gengfu.settings import Settings
    from gengfu.store.database import Database


DEFAULT = "default"
"""The name of the source that `API_*` describe, which is meant where none is named."""


@dataclass(frozen=True, slots=True)
class Source:
    """One login at one server, as it is configured; its name is what tells it from others."""

    name: str
    url: str | None
    username: str | None


def default_source(settings: Settings) -> Source:
    """The one that `API_WECHAT_URL` and `API_USERNAME` describe."""
    return Source(DEFAULT, settings.api_wechat_url, settings.api_username)


def source_id(db: Database | Path, source: Source) -> int:
    """Its number; it is recorded when it is first asked for, and when it has changed.

    Raises:
        StoreError: the database cannot do it.
    """
    known = look(db, lambda statements: _known(statements, source))
    return known if known is not None else transact(db, lambda statements: record_source(statements, source))


def record_source(statements: Statements, source: Source) -> int:
    """The same within an open transaction."""
    known = _known(statements, source)
    if known is not None:
        return known
    values = {"name": source.name, "url": source.url, "username": source.username}
    if not statements.change("UPDATE source SET url = :url, username = :username WHERE name = :name", values):
        statements.insert("source", values, or_ignore=True)
    row = statements.one("SELECT id FROM source WHERE name = :name", {"name": source.name})
    assert row is not None
    return int(row["id"])


def _known(statements: Statements, source: Source) -> int | None:
    row = statements.one("SELECT id, url, username FROM source WHERE name = :name", {"name": source.name})
    is_same = row is not None and (row["url"], row["username"]) == (source.url, source.username)
    return int(row["id"]) if row is not None and is_same else None

"""The old way: page after page, and for each row a SELECT, then an INSERT or UPDATE and its commit, by the ORM."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Session

from benchmarks.floor import PAGE_SIZE
from gengfu.mirror.device import DEVICE
from gengfu.mirror.resource import Kind


class _Base(DeclarativeBase):
    pass


class _Device(_Base):
    __table__ = DEVICE.table


def mirror(engine: Engine, url: str, token: str, devices: int) -> float:
    """Seconds that it takes to bring a migrated database up to date, with the first so many devices of the list."""
    started = perf_counter()
    with Session(engine) as session:
        for row in islice(_rows(url, token), devices):
            stored = session.get(_Device, (1, row["id"]))
            if stored is None:
                now = datetime.now(UTC)
                session.add(_Device(source_id=1, **row, first_seen_at=now, updated_at=now, row_hash=0, content_hash=0))
            else:
                for name, value in row.items():
                    setattr(stored, name, value)
            session.commit()
    return perf_counter() - started


def _rows(url: str, token: str) -> Iterator[dict[str, Any]]:
    before, after = DEVICE.listing_of(DEVICE.scope("0")).target(PAGE_SIZE)
    headers = {"client": "system", "authorization": f"bearer {token}"}
    with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as connection:
        page = 0
        while True:
            connection.request("GET", f"/{before}{page}{after}", headers=headers)
            rows = json.loads(connection.getresponse().read())["results"]
            if not rows:
                return
            yield from map(_columns, rows)
            page += 1


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"id": row.pop("id")}
    for field in DEVICE.fields:
        value = row.pop(field.name, None)
        if value is not None and field.kind is Kind.TEXT:
            value = str(value)
        elif value is not None and field.kind is Kind.FLAG:
            value = bool(value)
        elif field.kind is Kind.MOMENT:
            value = datetime.fromisoformat(value).astimezone(UTC) if value and not value.startswith("0001") else None
        found[field.column] = value
    return found | {"other": row or None}

"""Compares a mirror with what the simulator knows to be true."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from sqlalchemy import Table, select

from gengfu.mirror.device import DEVICE
from gengfu.mirror.rows import RowReader
from gengfu.mirror.values import MISSING
from gengfu.store.database import Database
from gengfu.store.tables import device
from gengfu_simulator.testing import Simulator

READER = RowReader(DEVICE, "Asia/Shanghai")


def mirrored(db: Database, table: Table = device, *, live: bool = True) -> dict[int, dict[str, Any]]:
    """The rows that are there, or those that are gone, by id."""
    where = table.c.gone_at.is_(None) if live else table.c.gone_at.is_not(None)
    with db.read() as connection:
        return {row["id"]: dict(row) for row in connection.execute(select(table).where(where)).mappings()}


def encoded(row: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(row)
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
        return json.dumps(row).encode()


def assert_true_copy(sim: Simulator, db: Database) -> None:
    """Every live device of the simulator, with every field, and no other."""
    truth = sim.snapshot("unDeleted")
    copy = mirrored(db)
    assert copy.keys() == truth.keys()
    rows = READER.rows([*truth], [msgspec.Raw(encoded(row)) for row in truth.values()])
    for key, expected in zip(truth, rows, strict=True):
        for column, value in zip(READER.columns, expected, strict=True):
            wanted = None if value is MISSING else value
            if column in ("wechat_accounts", "extra", "other") and wanted is not None:
                wanted = msgspec.json.decode(wanted)
            assert copy[key][column] == wanted, (key, column)

"""The types and steps that migrations are written in, one meaning on every database.

MySQL commits each statement of a migration by itself, so an upgrade that was interrupted leaves its first tables behind
and is run again from the start: there the steps leave alone what is already made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, sqlite

from gengfu.errors import StoreError
from gengfu.language import tr

_MY = ("mysql", "mariadb")

TEXT = sa.Text().with_variant(mysql.LONGTEXT(), *_MY)
BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), *_MY)
SERIAL = sa.BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
JSON = sa.JSON().with_variant(mysql.LONGTEXT(), *_MY)
MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *_MY)
FLAG = sa.Boolean()

_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in _MY
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}
"""`utf8mb4_bin`: two keys are the same only if their characters are, as on the other databases."""


def create_table(name: str, *items: sa.schema.SchemaItem, **options: Any) -> None:
    """Creates a table of columns and unique constraints; its indexes follow by `create_index`.

    Raises:
        StoreError: the database has another table of that name.
    """
    inspector = sa.inspect(op.get_bind())
    if inspector.has_table(name):
        ours = {item.name for item in items if isinstance(item, sa.Column)}
        if op.get_bind().dialect.name not in _MY or {column["name"] for column in inspector.get_columns(name)} != ours:
            raise StoreError(
                tr(
                    "the database already has a table named {name} that is not Gengfu's; give Gengfu a database of its "
                    "own",
                    name=name,
                )
            )
        return
    op.create_table(name, *items, **_OPTIONS, **options)


def create_index(name: str, table: str, columns: Sequence[str], **options: Any) -> None:
    """Creates an index that is not unique."""
    if op.get_bind().dialect.name in _MY:
        made = sa.inspect(op.get_bind()).get_indexes(table)
        if name in (index["name"] for index in made):
            return
    op.create_index(name, table, columns, **options)


def prefix(column: str) -> dict[str, Any]:
    """Of an index by a text: how much of it MySQL takes, which cannot take all."""
    return {f"{dialect}_length": {column: 64} for dialect in _MY}


def create_mirror(name: str, columns: Mapping[str, Any]) -> None:
    """Creates the table of a mirrored list: the key, these columns with their types, and what every mirror has."""
    create_table(
        name,
        sa.Column("source_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(column, kind) for column, kind in columns.items()),
        sa.Column("other", JSON),
        sa.Column("search", TEXT),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("gone_at", MOMENT),
        sa.Column("row_hash", sa.BigInteger, nullable=False),
        sa.Column("content_hash", sa.BigInteger, nullable=False),
    )
    create_index(f"ix_{name}_gone_at", name, ["source_id", "gone_at", "id"])
    create_index(f"ix_{name}_updated_at", name, ["source_id", "updated_at"])


def add_columns(name: str, columns: Mapping[str, Any]) -> None:
    """Adds columns that may be NULL; those that are there already are left alone."""
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(name)}
    for column, kind in columns.items():
        if column not in there:
            op.add_column(name, sa.Column(column, kind))

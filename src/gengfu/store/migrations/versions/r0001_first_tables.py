"""The first tables, as this program knows them."""

from __future__ import annotations

from gengfu.store.migrations.steps import create_as_described
from gengfu.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates every table."""
    for table in metadata.sorted_tables:
        create_as_described(table)

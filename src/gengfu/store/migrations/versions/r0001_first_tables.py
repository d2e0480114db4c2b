"""The first tables, as this program knows them."""

from __future__ import annotations

from alembic import op

from gengfu.store.migrations.steps import create_as_described
from gengfu.store.schema import create_views
from gengfu.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates every table and view."""
    for table in metadata.sorted_tables:
        create_as_described(table)
    create_views(op.get_bind())

"""Alembic runs this file for each upgrade; the connection, in its transaction, comes from `gengfu.store.schema`."""

from __future__ import annotations

from alembic import context

from gengfu.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can alter a table only by copying it.
    render_as_batch=True,
)
context.run_migrations()

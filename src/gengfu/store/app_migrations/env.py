"""Alembic runs this file for each upgrade of the working folder's own tables; the connection comes from `app_schema`."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="app_version",
    # SQLite can alter a table only by copying it.
    render_as_batch=True,
)
context.run_migrations()

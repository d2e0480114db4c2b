"""Alembic runs this file for the working folder's own migrations; `app_schema` gives it the connection."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="app_version",
    # SQLite can alter a table only by copying it.
    render_as_batch=True,
)
context.run_migrations()

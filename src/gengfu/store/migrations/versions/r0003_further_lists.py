"""The lists of device groups and of accounts, and the changes of all lists but the devices'."""

from __future__ import annotations

import sqlalchemy as sa

from gengfu.store.migrations.steps import JSON, MOMENT, SERIAL, TEXT, create_index, create_mirror, create_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Creates the tables."""
    create_mirror(
        "device_group",
        {"tenant_id": TEXT, "group_name": TEXT, "group_memo": TEXT, "count": TEXT, "create_time": MOMENT},
    )
    create_mirror(
        "account",
        {
            "tenant_id": TEXT,
            "user_name": TEXT,
            "real_name": TEXT,
            "phone": TEXT,
            "department_id": TEXT,
            "create_time": MOMENT,
        },
    )
    create_table(
        "row_change",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("row_id", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("field", sa.String(64), nullable=False),
        sa.Column("old", JSON),
        sa.Column("new", JSON),
        sa.Column("changed_at", MOMENT, nullable=False),
    )
    create_index("ix_row_change_row", "row_change", ["resource", "row_id", "id"])
    create_index("ix_row_change_run", "row_change", ["run_id"])

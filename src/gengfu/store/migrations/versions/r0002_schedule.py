"""The schedule's tables, and the processes that serve."""

from __future__ import annotations

import sqlalchemy as sa

from gengfu.store.migrations.steps import JSON, MOMENT, SERIAL, TEXT, create_index, create_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates the tables."""
    _schedule()
    _processes()


def _schedule() -> None:
    create_table(
        "schedule_entry",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(255), nullable=False),
        sa.Column("planned_until", MOMENT, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("paused_at", MOMENT),
        sa.Column("paused_by", sa.String(255)),
        sa.Column("pause_reason", TEXT),
    )
    create_table(
        "schedule_tick",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", TEXT),
        sa.Column("covers", sa.Integer, nullable=False),
        sa.Column("until_at", MOMENT),
        sa.Column("command", JSON, nullable=False),
        sa.Column("scheduler", sa.String(255)),
        sa.Column("pid", sa.Integer),
        sa.Column("claim", sa.Integer, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("output", TEXT),
        sa.Column("claimed_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.UniqueConstraint("entry", "due_at", "turn", name="uq_schedule_tick_moment"),
    )
    create_index("ix_schedule_tick_state", "schedule_tick", ["state"])


def _processes() -> None:
    create_table(
        "process",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("birth", sa.String(64), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("progress", TEXT),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("beat_at", MOMENT, nullable=False),
        sa.UniqueConstraint("name", name="uq_process_name"),
    )

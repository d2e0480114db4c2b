"""The first tables and the view."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gengfu.store.migrations.steps import (
    BLOB,
    FLAG,
    JSON,
    MOMENT,
    SERIAL,
    TEXT,
    create_index,
    create_mirror,
    create_table,
    prefix,
)

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates everything."""
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
        "change",
        sa.Column("seq", SERIAL, primary_key=True, autoincrement=False),
        sa.Column("source_id", sa.BigInteger, nullable=False),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("row_id", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("field", sa.String(64)),
        sa.Column("old", JSON),
        sa.Column("new", JSON),
        sa.Column("changed_at", MOMENT, nullable=False),
    )
    create_index("ix_change_changed_at", "change", ["changed_at"])
    create_index("ix_change_row", "change", ["source_id", "resource", "row_id", "seq"])
    create_index("ix_change_run", "change", ["run_id"])
    create_table(
        "change_counter",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
    )
    create_mirror(
        "device",
        {
            "imei": TEXT,
            "user_name": TEXT,
            "nickname": TEXT,
            "real_name": TEXT,
            "memo": TEXT,
            "phone": TEXT,
            "brand": TEXT,
            "model": TEXT,
            "operating_system": TEXT,
            "software_version": TEXT,
            "group_id": TEXT,
            "group_name": TEXT,
            "tenant_id": TEXT,
            "current_account_id": TEXT,
            "wechat_accounts": JSON,
            "extra": JSON,
            "alive": FLAG,
            "rooted": FLAG,
            "x_posed": FLAG,
            "is_deleted": FLAG,
            "deleted_and_stop": FLAG,
            "create_time": MOMENT,
            "delete_time": MOMENT,
            "last_alive_time": MOMENT,
            "last_update_time": MOMENT,
        },
    )
    create_index("ix_device_group_id", "device", ["source_id", "group_id"], **prefix("group_id"))
    create_index("ix_device_group_name", "device", ["source_id", "group_name"], **prefix("group_name"))
    create_mirror(
        "device_group",
        {
            "tenant_id": TEXT,
            "group_name": TEXT,
            "group_memo": TEXT,
            "count": TEXT,
            "create_time": MOMENT,
        },
    )
    create_table(
        "job",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("args", JSON, nullable=False),
        sa.Column("subject", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_id", sa.BigInteger),
        sa.Column("available_at", MOMENT, nullable=False),
        sa.Column("cause", TEXT),
        sa.Column("note", TEXT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
    )
    create_index("ix_job_due", "job", ["state", "queue", "available_at", "id"])
    create_index("ix_job_finished", "job", ["state", "finished_at"])
    create_index("ix_job_subject", "job", ["subject"])
    create_table(
        "job_attempt",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("fence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(255), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("cause", TEXT),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
    )
    create_table(
        "lease",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("birth", sa.String(64), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("renewals", sa.BigInteger, nullable=False),
        sa.Column("progress", TEXT),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("renewed_at", MOMENT, nullable=False),
        sa.Column("lost_at", MOMENT),
        sa.UniqueConstraint("name", name="uq_lease_name"),
        sqlite_autoincrement=True,
    )
    create_table(
        "login",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("lease_id", sa.BigInteger),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("refused_digest", sa.String(255)),
        sa.Column("refused_reason", TEXT),
        sa.Column("refused_at", MOMENT),
        sa.Column("gate_reason", TEXT),
        sa.Column("gate_set_at", MOMENT),
        sa.Column("gate_until", MOMENT),
    )
    create_table(
        "login_token",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
    )
    create_table(
        "schedule_entry",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(255), nullable=False),
        sa.Column("planned_until", MOMENT, nullable=False),
        sa.Column("clock_epoch", sa.Integer, nullable=False),
        sa.Column("paused_at", MOMENT),
        sa.Column("paused_by", sa.String(255)),
        sa.Column("pause_reason", TEXT),
    )
    create_table(
        "schedule_tick",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("clock_epoch", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", TEXT),
        sa.Column("covers", sa.Integer, nullable=False),
        sa.Column("until_at", MOMENT),
        sa.Column("command", JSON, nullable=False),
        sa.Column("scheduler", sa.String(255)),
        sa.Column("lease_id", sa.BigInteger),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("birth", sa.String(64)),
        sa.Column("cancel", FLAG, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("output", TEXT),
        sa.Column("run_id", sa.BigInteger),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("claimed_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.UniqueConstraint("entry", "due_at", "clock_epoch", name="uq_schedule_tick_moment"),
    )
    create_index("ix_schedule_tick_claimed_at", "schedule_tick", ["claimed_at"])
    create_index("ix_schedule_tick_state", "schedule_tick", ["state"])
    create_table(
        "source",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("url", TEXT),
        sa.Column("username", sa.String(255)),
        sa.UniqueConstraint("name", name="uq_source_name"),
    )
    create_table(
        "sync_absence",
        sa.Column("source_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("resource", sa.String(64), primary_key=True),
        sa.Column("row_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("held", FLAG, nullable=False),
    )
    create_table(
        "sync_page",
        sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("pass_number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("page", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("window_id", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("ids", BLOB),
        sa.Column("rejected", sa.Integer, nullable=False),
        sa.Column("took_ms", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("fetched_at", MOMENT, nullable=False),
    )
    create_table(
        "sync_reject",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("raw", TEXT, nullable=False),
    )
    create_index("ix_sync_reject_run", "sync_reject", ["run_id"])
    create_table(
        "sync_run",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("source_id", sa.BigInteger, nullable=False),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("tick_id", sa.BigInteger),
        sa.Column("active_key", sa.String(128)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("reason", TEXT),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("pass_number", sa.Integer, nullable=False),
        sa.Column("page_size", sa.Integer),
        sa.Column("pages", sa.Integer),
        sa.Column("windows", sa.Integer, nullable=False),
        sa.Column("windows_done", sa.Integer, nullable=False),
        sa.Column("pages_done", sa.Integer, nullable=False),
        sa.Column("shifted", FLAG, nullable=False),
        sa.Column("closer", sa.BigInteger),
        sa.Column("total_first", sa.BigInteger),
        sa.Column("total_last", sa.BigInteger),
        sa.Column("seen", sa.BigInteger),
        sa.Column("new", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("heartbeat", sa.BigInteger, nullable=False),
        sa.Column("unchanged", sa.BigInteger, nullable=False),
        sa.Column("returned", sa.BigInteger, nullable=False),
        sa.Column("gone", sa.BigInteger, nullable=False),
        sa.Column("absent", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("doubled", sa.BigInteger, nullable=False),
        sa.Column("differing", sa.BigInteger, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("retries", sa.BigInteger, nullable=False),
        sa.Column("throttled", sa.BigInteger, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.Column("decision", sa.String(16)),
        sa.Column("decided_by", sa.String(255)),
        sa.Column("decided_at", MOMENT),
        sa.UniqueConstraint("active_key", name="uq_sync_run_active_key"),
    )
    create_index("ix_sync_run_finished_at", "sync_run", ["finished_at"])
    create_index("ix_sync_run_resource", "sync_run", ["source_id", "resource", "scope", "id"])
    create_table(
        "sync_window",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("pass_number", sa.Integer, nullable=False),
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("first_page", sa.Integer, nullable=False),
        sa.Column("last_page", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("reason", TEXT),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.UniqueConstraint("run_id", "pass_number", "first_page", name="uq_sync_window_place"),
    )
    op.execute("DROP VIEW IF EXISTS device_change")
    change = "`change`" if op.get_bind().dialect.name in ("mysql", "mariadb") else "change"
    columns = "seq AS id, source_id, row_id AS device_id, run_id, kind, field, old, new, changed_at"
    op.execute(f"CREATE VIEW device_change AS SELECT {columns} FROM {change} WHERE resource = 'device'")

"""The first tables: the mirror, its runs, the ledger, the refused login."""

from __future__ import annotations

import sqlalchemy as sa

from gengfu.store.migrations.steps import BLOB, JSON, MOMENT, SERIAL, TEXT, create_index, create_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates every table."""
    _mirror()
    _runs()
    _windows()
    _ledger()
    _login()


def _mirror() -> None:
    create_table(
        "device",
        sa.Column("id", SERIAL, primary_key=True, autoincrement=False),
        sa.Column("imei", TEXT),
        sa.Column("user_name", TEXT),
        sa.Column("nickname", TEXT),
        sa.Column("real_name", TEXT),
        sa.Column("memo", TEXT),
        sa.Column("phone", TEXT),
        sa.Column("brand", TEXT),
        sa.Column("model", TEXT),
        sa.Column("operating_system", TEXT),
        sa.Column("software_version", TEXT),
        sa.Column("group_id", TEXT),
        sa.Column("group_name", TEXT),
        sa.Column("tenant_id", TEXT),
        sa.Column("current_account_id", TEXT),
        sa.Column("wechat_accounts", JSON),
        sa.Column("extra", JSON),
        sa.Column("alive", sa.Boolean),
        sa.Column("rooted", sa.Boolean),
        sa.Column("x_posed", sa.Boolean),
        sa.Column("is_deleted", sa.Boolean),
        sa.Column("deleted_and_stop", sa.Boolean),
        sa.Column("create_time", MOMENT),
        sa.Column("delete_time", MOMENT),
        sa.Column("last_alive_time", MOMENT),
        sa.Column("last_update_time", MOMENT),
        sa.Column("other", JSON),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("gone_at", MOMENT),
        sa.Column("row_hash", sa.BigInteger, nullable=False),
        sa.Column("content_hash", sa.BigInteger, nullable=False),
    )
    create_index("ix_device_gone_at", "device", ["gone_at"])
    create_table(
        "device_change",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("device_id", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("field", sa.String(64), nullable=False),
        sa.Column("old", JSON),
        sa.Column("new", JSON),
        sa.Column("changed_at", MOMENT, nullable=False),
    )
    create_index("ix_device_change_device", "device_change", ["device_id", "id"])
    create_index("ix_device_change_run", "device_change", ["run_id"])


def _runs() -> None:
    create_table(
        "sync_run",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(32), nullable=False),
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
        sa.Column("shifted", sa.Boolean, nullable=False),
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
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("retries", sa.BigInteger, nullable=False),
        sa.Column("throttled", sa.BigInteger, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.UniqueConstraint("active_key", name="uq_sync_run_active_key"),
    )
    create_index("ix_sync_run_resource", "sync_run", ["resource", "scope", "id"])


def _windows() -> None:
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
    create_table(
        "sync_page",
        sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("pass_number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("page", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("window_id", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("ids", BLOB),
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
        "sync_absence",
        sa.Column("resource", sa.String(64), primary_key=True),
        sa.Column("row_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
    )


def _ledger() -> None:
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
        sa.Column("claim", sa.Integer, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.String(255)),
        sa.Column("available_at", MOMENT, nullable=False),
        sa.Column("nudges", sa.Integer, nullable=False),
        sa.Column("cause", TEXT),
        sa.Column("note", TEXT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
    )
    create_index("ix_job_state", "job", ["state", "queue", "available_at"])
    create_index("ix_job_subject", "job", ["subject"])
    create_table(
        "job_attempt",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("claim", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(255), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("cause", TEXT),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
    )


def _login() -> None:
    create_table(
        "auth_refusal",
        sa.Column("account", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(255), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("refused_at", MOMENT, nullable=False),
    )

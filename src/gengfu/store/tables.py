"""The tables, as SQLAlchemy Core sees them; `migrations/` is how a database gets there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeDecorator, TypeEngine

from gengfu.errors import ConfigError
from gengfu.language import kept, recalled, tr

_MY = ("mysql", "mariadb")


def _number(text: str) -> float | str:
    return number if isfinite(number := float(text)) else text


def _whole(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


_JSON = json.JSONDecoder(parse_float=_number, parse_constant=str)
_LONG_JSON = json.JSONDecoder(parse_float=_number, parse_constant=str, parse_int=_whole)


def json_value(text: str) -> Any:
    """What a JSON text holds. A number that Python cannot hold is given as its digits.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deep.
    """
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _LONG_JSON.decode(text)


def stored_json(stored: Any) -> Any:
    """What a column holds that should hold JSON; a text that is none, or that nobody can read, as it stands there."""
    try:
        text = stored.decode() if isinstance(stored, bytes) else stored
        return json_value(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return str(stored)


class Json(TypeDecorator[Any]):
    """A JSON value, None being SQL's NULL; reading one never fails. MySQL's own type is not used: MariaDB refuses what
    is nested 32 deep."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return mysql.LONGTEXT() if dialect.name in _MY else JSON(none_as_null=True)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return json.dumps(value, ensure_ascii=False) if dialect.name in _MY and value is not None else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return stored_json(value) if dialect.name in _MY and value is not None else value


class _Readable(sqlite.DATETIME):
    """A text of SQLite that is no moment, which only others can have written, is none."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        read: Any = super().result_processor(dialect, coltype)

        def moment(stored: Any) -> datetime | None:
            try:
                found: datetime | None = read(stored)
            except (ValueError, TypeError):
                return None
            return found

        return moment


class Sentence(TypeDecorator[str]):
    """Text for people, which may be a sentence that is worded when it is shown; see `language.kept`."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return mysql.LONGTEXT() if dialect.name in _MY else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else kept(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else recalled(value)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, to the microsecond: aware in Python, `timestamptz` on PostgreSQL, UTC without zone elsewhere."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        if dialect.name in _MY:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(_Readable())  # type: ignore[no-untyped-call]

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

_text = Text().with_variant(mysql.LONGTEXT(), *_MY)
_blob = LargeBinary().with_variant(mysql.LONGBLOB(), *_MY)
_serial = BigInteger().with_variant(sqlite.INTEGER(), "sqlite")

COLUMN_TYPES: Mapping[str, Any] = {"text": _text, "flag": Boolean, "moment": Moment, "json": Json}
"""By the name of a field's kind: the type of the column that keeps it."""


PREFIX = 64
"""MySQL cannot index a long text whole, only so many of its first characters."""


def text_index(name: str, column: str) -> Index:
    """An index of the rows of a source by one of their texts."""
    lengths: dict[str, Any] = {f"{dialect}_length": {column: PREFIX} for dialect in _MY}
    return Index(name, "source_id", column, **lengths)


def mirror_table(name: str, *columns: SchemaItem, to: MetaData = metadata) -> Table:
    """A table that mirrors a vendor list: the key, these columns of the vendor's, what else its rows hold, and ours.

    `search` holds the searched fields in lower case; `row_hash` covers the vendor's row, `content_hash` all of it but
    the volatile fields. The index by `gone_at` ends with the key, so that the live rows are listed from it alone.
    """
    return Table(
        name,
        to,
        Column("source_id", BigInteger, primary_key=True, autoincrement=False),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        *columns,
        Column("other", Json),
        Column("search", _text),
        Column("first_seen_at", Moment, nullable=False),
        Column("updated_at", Moment, nullable=False),
        Column("gone_at", Moment),
        Column("row_hash", BigInteger, nullable=False),
        Column("content_hash", BigInteger, nullable=False),
        Index(f"ix_{name}_gone_at", "source_id", "gone_at", "id"),
        Index(f"ix_{name}_updated_at", "source_id", "updated_at"),
    )


device = mirror_table(
    "device",
    Column("imei", _text),
    Column("user_name", _text),
    Column("nickname", _text),
    Column("real_name", _text),
    Column("memo", _text),
    Column("phone", _text),
    Column("brand", _text),
    Column("model", _text),
    Column("operating_system", _text),
    Column("software_version", _text),
    Column("group_id", _text),
    Column("group_name", _text),
    Column("tenant_id", _text),
    Column("current_account_id", _text),
    Column("wechat_accounts", Json),
    Column("extra", Json),
    Column("alive", Boolean),
    Column("rooted", Boolean),
    Column("x_posed", Boolean),
    Column("is_deleted", Boolean),
    Column("deleted_and_stop", Boolean),
    Column("create_time", Moment),
    Column("delete_time", Moment),
    Column("last_alive_time", Moment),
    Column("last_update_time", Moment),
    text_index("ix_device_group_name", "group_name"),
    text_index("ix_device_group_id", "group_id"),
)
"""One row per vendor device."""

device_group = mirror_table(
    "device_group",
    Column("tenant_id", _text),
    Column("group_name", _text),
    Column("group_memo", _text),
    Column("count", _text),
    Column("create_time", Moment),
)
"""One row per device group."""

account = mirror_table(
    "account",
    Column("tenant_id", _text),
    Column("user_name", _text),
    Column("real_name", _text),
    Column("phone", _text),
    Column("department_id", _text),
    Column("create_time", Moment),
)
"""One row per account of the tenant."""

change = Table(
    "change",
    metadata,
    Column("seq", _serial, primary_key=True, autoincrement=False),
    Column("source_id", BigInteger, nullable=False),
    Column("resource", String(64), nullable=False),
    Column("row_id", BigInteger, nullable=False),
    Column("run_id", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("field", String(64)),
    Column("old", Json),
    Column("new", Json),
    Column("changed_at", Moment, nullable=False),
    Index("ix_change_row", "source_id", "resource", "row_id", "seq"),
    Index("ix_change_run", "run_id"),
    Index("ix_change_changed_at", "changed_at"),
)
"""What changed in every mirrored list, in the order in which it was committed: who has read up to a `seq` never misses
a lower one. It has gaps. `field` is NULL for a row that came to be."""

change_counter = Table(
    "change_counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last_seq", BigInteger, nullable=False),
)
"""Its one row is taken at the end of each transaction that records changes, and held until that commits."""

VIEWS: Mapping[str, Select[Any]] = {
    "device_change": select(
        change.c.seq.label("id"),
        change.c.source_id,
        change.c.row_id.label("device_id"),
        *(change.c[name] for name in ("run_id", "kind", "field", "old", "new", "changed_at")),
    ).where(change.c.resource == device.name)
}
"""By name: what is read like a table but kept in another."""


source = Table(
    "source",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("url", _text),
    Column("username", String(255)),
    UniqueConstraint("name", name="uq_source_name"),
)
"""One row per login at a vendor's server; every mirrored row, run and change is of one source."""

sync_run = Table(
    "sync_run",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("source_id", BigInteger, nullable=False),
    Column("resource", String(64), nullable=False),
    Column("scope", String(32), nullable=False),
    Column("tick_id", BigInteger),
    Column("active_key", String(128)),
    Column("state", String(16), nullable=False),
    Column("verdict", String(16)),
    Column("reason", Sentence),
    Column("fence", Integer, nullable=False),
    Column("pass_number", Integer, nullable=False),
    Column("page_size", Integer),
    Column("pages", Integer),
    Column("windows", Integer, nullable=False),
    Column("windows_done", Integer, nullable=False),
    Column("pages_done", Integer, nullable=False),
    Column("shifted", Boolean, nullable=False),
    Column("closer", BigInteger),
    Column("total_first", BigInteger),
    Column("total_last", BigInteger),
    Column("seen", BigInteger),
    Column("new", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("heartbeat", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False),
    Column("gone", BigInteger, nullable=False),
    Column("absent", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("doubled", BigInteger, nullable=False),
    Column("differing", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("retries", BigInteger, nullable=False),
    Column("throttled", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("decision", String(16)),
    Column("decided_by", String(255)),
    Column("decided_at", Moment),
    UniqueConstraint("active_key", name="uq_sync_run_active_key"),
    Index("ix_sync_run_resource", "source_id", "resource", "scope", "id"),
    Index("ix_sync_run_finished_at", "finished_at"),
)
"""One row per run. `active_key` is set while the run is active, and unique: that is what makes two starts one run.
`tick_id` is the tick of the schedule that started it. `decision` is what a person decided of a held run.
`rejected`: rows that could not be read and were set aside; `doubled`: rows that came again in the same pass, and
`differing`: those of them seen to hold other values than before.
`shifted`: its pages are known to be of different states of the list. `closer` is the job that closes it; `fence` grows
with each job that takes the plan or the close."""

sync_window = Table(
    "sync_window",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("run_id", BigInteger, nullable=False),
    Column("pass_number", Integer, nullable=False),
    Column("job_id", BigInteger, nullable=False),
    Column("first_page", Integer, nullable=False),
    Column("last_page", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("reason", Sentence),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    UniqueConstraint("run_id", "pass_number", "first_page", name="uq_sync_window_place"),
)
"""The consecutive pages that one job fetches, both ends included. `fence` grows each time that the job takes it up."""

sync_page = Table(
    "sync_page",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("pass_number", Integer, primary_key=True, autoincrement=False),
    Column("page", Integer, primary_key=True, autoincrement=False),
    Column("window_id", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("ids", _blob),
    Column("rejected", Integer, nullable=False),
    Column("took_ms", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fetched_at", Moment, nullable=False),
)
"""One row per page read. `ids`: its keys in the page's order, 8 bytes each; NULL once the run ended well."""

sync_reject = Table(
    "sync_reject",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("run_id", BigInteger, nullable=False),
    Column("page", Integer, nullable=False),
    Column("reason", Sentence, nullable=False),
    Column("raw", _text, nullable=False),
    Index("ix_sync_reject_run", "run_id"),
)
"""The rows of a run that could not be read: set aside with the reason and their first 2 000 characters."""

sync_absence = Table(
    "sync_absence",
    metadata,
    Column("source_id", BigInteger, primary_key=True, autoincrement=False),
    Column("resource", String(64), primary_key=True),
    Column("row_id", BigInteger, primary_key=True, autoincrement=False),
    Column("run_id", BigInteger, nullable=False),
    Column("held", Boolean, nullable=False),
)
"""The live rows that run `run_id`, the last complete one, did not list; `held` ones wait for a person. A row that is
listed again leaves this table."""

job = Table(
    "job",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("queue", String(64), nullable=False),
    Column("name", String(128), nullable=False),
    Column("args", Json, nullable=False),
    Column("subject", String(64)),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_id", BigInteger),
    Column("available_at", Moment, nullable=False),
    Column("cause", Sentence),
    Column("note", Sentence),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Index("ix_job_due", "state", "queue", "available_at", "id"),
    Index("ix_job_subject", "subject"),
    Index("ix_job_finished", "state", "finished_at"),
)
"""The ledger. `attempts` is the only authority on tries; `fence` grows with each lease, and the worker that holds the
job works under `lease_id`."""

job_attempt = Table(
    "job_attempt",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("fence", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(255), nullable=False),
    Column("outcome", String(16)),
    Column("cause", Sentence),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
)

login = Table(
    "login",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("lease_id", BigInteger),
    Column("fence", Integer, nullable=False),
    Column("refused_digest", String(255)),
    Column("refused_reason", Sentence),
    Column("refused_at", Moment),
    Column("gate_reason", Sentence),
    Column("gate_set_at", Moment),
    Column("gate_until", Moment),
)
"""One row per account at a vendor's server, named by a hash of address and user. `generation` is the number of the last
token; `lease_id` names the process that logs in, and `fence` grows with each that does. `refused_digest`: a salted hash
of the credentials that the vendor refused, which no longer matches when they change. Nobody sends the vendor a request
before `gate_until`."""

login_token = Table(
    "login_token",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("value", _text, nullable=False),
    Column("expires_at", Moment, nullable=False),
)
"""The token of an account's last login. A table of its own, since backups leave its rows out."""

schedule_entry = Table(
    "schedule_entry",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("fingerprint", String(255), nullable=False),
    Column("planned_until", Moment, nullable=False),
    Column("clock_epoch", Integer, nullable=False),
    Column("paused_at", Moment),
    Column("paused_by", String(255)),
    Column("pause_reason", _text),
)
"""What the schedule remembers of an entry. Every tick up to and including `planned_until` has been accounted for;
`fingerprint` tells the expression and zone for which; `clock_epoch` grows when the clock was set back."""

schedule_tick = Table(
    "schedule_tick",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("entry", String(64), nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("clock_epoch", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Sentence),
    Column("covers", Integer, nullable=False),
    Column("until_at", Moment),
    Column("command", Json, nullable=False),
    Column("scheduler", String(255)),
    Column("lease_id", BigInteger),
    Column("fence", Integer, nullable=False),
    Column("pid", Integer),
    Column("birth", String(64)),
    Column("cancel", Boolean, nullable=False),
    Column("exit_code", Integer),
    Column("output", _text),
    Column("run_id", BigInteger),
    Column("job_id", BigInteger),
    Column("claimed_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    UniqueConstraint("entry", "due_at", "clock_epoch", name="uq_schedule_tick_moment"),
    Index("ix_schedule_tick_state", "state"),
    Index("ix_schedule_tick_claimed_at", "claimed_at"),
)
"""One row per due moment of an entry; that it is unique is what makes a tick fire once. A row may stand for `covers`
ticks in a row, up to `until_at`, that share one fate, as where no scheduler was running. A scheduler holds it
under its lease `lease_id`, and `fence` grows with each that takes it; `pid` and `birth` are those of its command's
process; `cancel` asks the scheduler to end it. `run_id` and `job_id` are what was queued in place of a process."""

lease = Table(
    "lease",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("birth", String(64), nullable=False),
    Column("details", Json, nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("progress", _text),
    Column("started_at", Moment, nullable=False),
    Column("renewed_at", Moment, nullable=False),
    Column("lost_at", Moment),
    UniqueConstraint("name", name="uq_lease_name"),
    sqlite_autoincrement=True,  # the number of a lost lease must not become another's
)
"""One row per process that works on jobs, ticks or logins, which name it by its id. `renewals` grows as long as it
lives; `lost_at` is set when others took it for dead, from when on what it works on is anybody's; `birth` tells a
process from a later one with the same `pid`. A process that ends well removes its row. See `gengfu.store.leases`."""


ListTable = Table
"""A table that mirrors a list."""


def list_table(name: str, kinds: Mapping[str, str]) -> ListTable:
    """The table that mirrors the list of that name: the program's own, or else one with these columns, each with the
    name of its field's kind.

    Raises:
        ConfigError: the program has a table of that name for something else.
    """
    known = metadata.tables.get(name)
    if name in VIEWS or (known is not None and "row_hash" not in known.c):
        raise ConfigError(
            tr("the list {name} needs another name: Gengfu has a table of that name for itself", name=name)
        )
    if known is not None:
        return known
    return mirror_table(name, *(Column(column, COLUMN_TYPES[kind]) for column, kind in kinds.items()), to=MetaData())

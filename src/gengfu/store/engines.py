"""The engine of each kind of database: what the address says passes through, and what Gengfu sets beside it."""

from __future__ import annotations

import logging
import re
import shlex
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gengfu.errors import ConfigError, StoreError
from gengfu.language import tr
from gengfu.settings import Secret
from gengfu.store.tables import stored_json

SLEEPER_AFTER = 10
"""Seconds for which a transaction that may write stands idle before the server ends it: a process that was frozen, or
whose machine is gone without a word, must not keep the rows that it locked from the one that takes over its work, also
where it has changed none of them yet."""

CONNECT_TIMEOUT = 10
"""Seconds until a server must have answered, where the address says nothing else."""

SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
)
"""WAL lets readers go on while a run writes. It is brought into the file at 16 MB, so that pages which a run writes
over and over are copied once. With NORMAL, a power cut may undo the latest transactions, all of them together, which
is work that is then done once more; what `enqueue` records is on the disk before anyone is told."""

# Comments that only the one or the other server reads; MySQL knows such a limit for connections alone.
_MARIADB_SLEEPERS = f"/*M!100300 , idle_transaction_timeout = {SLEEPER_AFTER} */"
_MYSQL_SLEEPERS = f"/*!50700 , wait_timeout = {2 * SLEEPER_AFTER} */"

_DRIVERS = {"postgres": "psycopg", "postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}

_POSTGRESQL_OURS = ("timezone", "idle_in_transaction_session_timeout")
"""Server settings that each transaction sets for itself, so that they also hold behind a pooler."""
_MYSQL_OURS = re.compile(r"\b(time_zone|names|character[ _]set\w*|autocommit)\b", re.IGNORECASE)

_FILES = (
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "passfile",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
    "read_default_file",
)
"""Parameters that name a file; a relative one lies in the working folder."""


def _whether(value: str) -> bool:
    word = value.strip().lower()
    if word not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError
    return word in ("1", "true", "yes", "on")


_MYSQL_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "connect_timeout": int,
    "read_timeout": float,
    "write_timeout": float,
    "charset": str,
    "collation": str,
    "unix_socket": str,
    "bind_address": str,
    "sql_mode": str,
    "init_command": str,
    "read_default_file": str,
    "read_default_group": str,
    "program_name": str,
    "password": str,
    "passwd": str,
    "ssl": _whether,
    "ssl_disabled": _whether,
    "ssl_ca": str,
    "ssl_capath": str,
    "ssl_cert": str,
    "ssl_key": str,
    "ssl_key_password": str,
    "ssl_cipher": str,
    "ssl_check_hostname": _whether,
    "ssl_verify_identity": _whether,
    "ssl_verify_cert": _whether,
}
"""What PyMySQL takes of an address, with the kind of each value."""


class Begin(Enum):
    """How a transaction begins, by what it is for; told by the option `gengfu_begin` of its connection. The drivers
    begin none by themselves."""

    READ = "read"
    """To read at leisure, on one snapshot where the server gives one without ending it for being idle. It begins with a
    statement, which shows a lost connection."""
    LOOK = "look"
    """To read by statements of which each stands alone."""
    WRITE = "write"


def parse_address(url: Secret, home: Path, path: Path | None) -> URL:
    """`DATABASE_URL` as the toolkit takes it, for the driver that Gengfu uses.

    Raises:
        ConfigError: it cannot be read, or says something that Gengfu cannot obey.
    """
    if path is not None:
        return URL.create("sqlite", database=str(path))
    try:
        parsed = make_url(url.reveal())
    except (ArgumentError, ValueError):
        raise _wrong("cannot be read") from None
    scheme, _, driver = parsed.drivername.partition("+")
    wanted = _DRIVERS[scheme]
    if driver not in ("", wanted):
        raise _wrong(
            tr(
                "begins with {parsed.drivername}://, and Gengfu has no driver but {scheme}+{wanted}://",
                parsed=parsed,
                scheme=scheme,
                wanted=wanted,
            )
        )
    query: dict[str, str | Sequence[str]] = dict(parsed.query)
    for name in _FILES:
        if isinstance(value := query.get(name), str) and value != "system":
            query[name] = str(home / Path(value).expanduser())
    if wanted == "pymysql" and not (parsed.database or "read_default_file" in query):
        raise _wrong_mysql("names no database")
    return parsed.set(drivername=f"{'mysql' if wanted == 'pymysql' else 'postgresql'}+{wanted}", query=query)


def _wrong(what: str) -> ConfigError:
    return ConfigError(
        tr("DATABASE_URL {what}; for example: DATABASE_URL=postgresql://user:secret@127.0.0.1:5432/gengfu", what=what)
    )


def _wrong_mysql(what: str) -> ConfigError:
    return ConfigError(
        tr("DATABASE_URL {what}; for example: DATABASE_URL=mysql://user:secret@127.0.0.1:3306/gengfu", what=what)
    )


def make_engine(url: URL) -> Engine:
    """The engine; nothing is connected yet.

    Raises:
        ConfigError: the address has a parameter that the driver does not know, or that Gengfu cannot obey.
    """
    # Whoever used a connection that was lost tells of it; the pool would add a stack trace.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    for name in _FILES:
        if isinstance(file := url.query.get(name, "system"), str) and file != "system" and not Path(file).is_file():
            raise _wrong(tr("says {name}={file}, which is not a file", name=name, file=file))
    kind = url.get_backend_name()
    return {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mysql}[kind](url)


def _sqlite(url: URL) -> Engine:
    connect = {"timeout": 10.0, "check_same_thread": False}
    engine = create_engine(url, connect_args=connect, json_deserializer=stored_json)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Connection) -> None:
    if (begin := _begin(connection)) is not Begin.LOOK:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if begin is Begin.WRITE else "BEGIN")


def _begin(connection: Connection) -> Begin:
    begin: Begin = connection.get_execution_options().get("gengfu_begin", Begin.READ)
    return begin


def _postgresql(url: URL) -> Engine:
    """Asks for nothing that a pooler in transaction mode does not give: no startup options beside those of the address,
    prepared statements of the server itself alone; each transaction sets what it needs as it begins."""
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for name, value in url.query.items():
        if name not in known:
            raise _wrong(tr("has the parameter {name}, which PostgreSQL does not know", name=name))
        if name == "client_encoding" and str(value).lower() not in ("utf8", "utf-8", "auto"):
            raise _wrong(tr("says client_encoding={value}, and Gengfu writes UTF-8: leave it out", value=value))
    asked = _options(url)
    for name in _POSTGRESQL_OURS:
        if name in asked:
            raise _wrong(tr("has the option {name}, which Gengfu sets for each transaction: leave it out", name=name))
    options: dict[str, Any] = {"autocommit": True}
    if "connect_timeout" not in url.query and "service" not in url.query:
        options["connect_timeout"] = CONNECT_TIMEOUT
    engine = create_engine(url, connect_args=options, json_deserializer=stored_json)
    event.listen(engine, "connect", _prepare_nothing_in_a_pooler)
    event.listen(engine, "begin", _begin_postgresql)
    if "search_path" in asked:
        event.listen(engine, "connect", _demand_search_path(asked["search_path"]))
    return engine


def _prepare_nothing_in_a_pooler(connection: Any, _record: object) -> None:
    """A pooler, which may give each transaction another session, names a process of the server that is none."""
    (process,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    if process != connection.info.backend_pid:
        connection.prepare_threshold = None


def _options(url: URL) -> dict[str, str]:
    """The server settings that the address asks for, by name."""
    try:
        words = shlex.split(str(url.query.get("options", "")))
    except ValueError:
        words = []
    text = re.sub(r"(^|\n)(?:-c\n?|--)", r"\1\n", "\n".join(words))
    pairs = (line.partition("=") for line in text.split("\n"))
    return {name.strip().lower().replace("-", "_"): value for name, equals, value in pairs if equals}


def _demand_search_path(wanted: str) -> Callable[..., None]:
    """A pooler may ignore the options of the address; the tables would then be made in another schema."""

    def demand(connection: Any, _record: object) -> None:
        found = str(connection.execute("SHOW search_path").fetchone()[0])
        if [_bare(name) for name in found.split(",")] != [_bare(name) for name in wanted.split(",")]:
            raise StoreError(
                tr(
                    "the database works with the search_path {found}, not with {wanted} as DATABASE_URL says: what "
                    "stands between ignores the options; leave them out, and run in the database: ALTER ROLE "
                    "CURRENT_USER SET search_path = {wanted}",
                    found=found,
                    wanted=wanted,
                )
            )

    return demand


def _bare(name: str) -> str:
    return name.strip().strip('"')


_BEGIN_POSTGRESQL = {
    Begin.READ: "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL TimeZone = 'UTC'",
    Begin.WRITE: (
        f"BEGIN; SET LOCAL TimeZone = 'UTC'; SET LOCAL idle_in_transaction_session_timeout = '{SLEEPER_AFTER}s'"
    ),
}


def _begin_postgresql(connection: Connection) -> None:
    if statement := _BEGIN_POSTGRESQL.get(_begin(connection)):
        connection.exec_driver_sql(statement, execution_options={"stream_results": False, "yield_per": None})


def _mysql(url: URL) -> Engine:
    given: dict[str, Any] = {}
    for name, value in url.query.items():
        convert = _MYSQL_PARAMETERS.get(name)
        if convert is None:
            raise _wrong_mysql(
                tr(
                    "has the parameter {name}, which is none of {known}",
                    name=name,
                    known=sorted(_MYSQL_PARAMETERS),
                )
            )
        try:
            given[name] = convert(str(value))
        except ValueError:
            raise _wrong_mysql(tr("says {name}={value}, which is no such value", name=name, value=value)) from None
    if given.setdefault("charset", "utf8mb4").lower() != "utf8mb4":
        raise _wrong_mysql(
            tr("says charset={charset}, and Gengfu writes utf8mb4: leave it out", charset=given["charset"])
        )
    command = given.pop("init_command", None)
    if command is not None and (named := _MYSQL_OURS.search(command)):
        raise _wrong_mysql(
            tr("has an init_command with {named}, which Gengfu sets itself: leave it out", named=named[0])
        )
    given.setdefault("connect_timeout", CONNECT_TIMEOUT)
    arguments = {name: value for name, value in given.items() if not name.startswith("ssl")}
    arguments |= {"autocommit": True, **_mysql_tls(given)}
    # Every transaction is ended where it was begun, so none is rolled back once more on its way to the pool.
    engine = create_engine(url.set(query={}), connect_args=arguments, pool_recycle=1800, pool_reset_on_return=None)
    event.listen(engine, "begin", _begin_mysql)
    event.listen(engine, "do_connect", _connect_mysql)
    event.listen(engine, "connect", _prepare_mysql(command))
    return engine


def _mysql_tls(given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("ssl_disabled"):
        return {"ssl_disabled": True}
    names = {"ca": "ssl_ca", "capath": "ssl_capath", "cert": "ssl_cert", "key": "ssl_key", "cipher": "ssl_cipher"}
    names |= {"password": "ssl_key_password", "verify_mode": "ssl_verify_cert"}
    names |= {"check_hostname": "ssl_verify_identity" if "ssl_verify_identity" in given else "ssl_check_hostname"}
    tls = {part: given[name] for part, name in names.items() if name in given}
    if given.get("ssl_verify_identity"):
        tls["verify_mode"] = True
    elif given.get("ssl") and not tls:
        tls["verify_mode"] = False
    return {"ssl": tls} if tls else {}


def _connect_mysql(dialect: Any, _record: object, arguments: Sequence[Any], named: dict[str, Any]) -> Any:
    from gengfu.store import mysql_connection

    try:
        return mysql_connection.Connection(*arguments, **named)
    except dialect.dbapi.Error:
        raise
    except (OSError, ValueError) as error:
        # Files without certificates, and values that the driver refuses.
        raise _wrong_mysql(tr("has a parameter that cannot be used: {error}", error=error)) from None


def _prepare_mysql(command: str | None) -> Callable[..., None]:
    """Sets up a connection: ours first, then the `init_command` of the address."""

    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW VARIABLES WHERE variable_name IN ('log_bin', 'binlog_format', 'max_allowed_packet')")
            told = {name: value.upper() for name, value in cursor.fetchall()}
            connection.max_allowed_packet = int(told["max_allowed_packet"])
            # InnoDB refuses to write with READ COMMITTED where statements are what is replicated.
            by_statement = told.get("log_bin") == "ON" and told.get("binlog_format") == "STATEMENT"
            level = "REPEATABLE READ" if by_statement else "READ COMMITTED"
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
            cursor.execute(f"SET time_zone = '+00:00' {_MARIADB_SLEEPERS} {_MYSQL_SLEEPERS}")
            if command is not None:
                cursor.execute(command)

    return prepare


def _begin_mysql(connection: Connection) -> None:
    # A reader at leisure has no transaction, which the server would end between two pages of a stream.
    if (begin := _begin(connection)) is not Begin.LOOK:
        connection.exec_driver_sql("BEGIN" if begin is Begin.WRITE else "DO 0")

"""PostgreSQL: copied with pg_dump out of one exported snapshot; put back with psql in one transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.backup.clients import Client, find_program, running, version_text
from gengfu.backup.dumps import VERSION_TABLE
from gengfu.backup.kinds import Contents, Copied
from gengfu.backup.streams import Progress, Unpacked, packed
from gengfu.errors import BackupError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.store.database import Database

PACKAGE = "postgresql-client"
LOCK_PATIENCE = 30
"""Seconds that a restore waits for the tables before it gives up, with nothing changed."""

_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "options": "PGOPTIONS",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


class PostgresKind:
    """The tables, views and sequences of the schema that the program uses. What is put back is there whole or not at
    all: its rows are counted before the one transaction is committed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._password = str(db.url.password or "")

    def size(self) -> int:
        from sqlalchemy import text

        with self._db.read() as connection:
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)

    def room(self, size: int) -> int:
        return size // 2

    def tables(self) -> Mapping[str, int]:
        with self._db.read() as connection:
            return _count(connection, _schema(connection))

    def copy(self, target: Path, scratch: Path, progress: Progress) -> Copied:
        program = find_program(["pg_dump"], PACKAGE)
        with self._snapshot() as connection:
            self._fits(program, connection)
            schema = _schema(connection)
            tables = _count(connection, schema)
            if not tables:
                raise BackupError(f"the database {self._db.where} has no tables yet; run: gengfu db:upgrade")
            name = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
            argv = [program, "--no-password", "--format=plain", "--encoding=UTF8", f"--snapshot={name}"]
            argv += ["--no-owner", "--no-privileges", "--clean", "--if-exists", f"--table={_quoted(schema)}.*"]
            with packed(target) as packer, self._running(argv, feeds=False) as client:
                for piece in client.pieces(progress, "dumping"):
                    packer.write(piece)
        return Copied(packer.sha256, tables)

    def restore(self, backup: Path, contents: Contents, scratch: Path, progress: Progress) -> None:
        program = find_program(["psql"], PACKAGE)
        with self._db.read() as connection:
            self._fits(program, connection)
            schema = _schema(connection)
            present = list(_count(connection, schema))
        dump = Unpacked(backup, progress, "restoring")
        argv = [program, "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
        # The transaction is ended by what follows the dump, so nothing stays where this process dies on the way.
        with self._running(argv, feeds=True) as client:
            self._feed(client, schema, present, contents, dump)

    def _feed(self, client: Client, schema: str, present: list[str], contents: Contents, dump: Unpacked) -> None:
        client.feed(f"BEGIN;\nSET LOCAL lock_timeout = '{LOCK_PATIENCE}s';\n".encode())
        if present:
            names = ", ".join(_place(schema, table) for table in present)
            client.feed(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE;\n".encode())
        for table in sorted((_known() & set(present)) - set(contents.tables)):
            client.feed(f"DROP TABLE {_place(schema, table)};\n".encode())
        for piece in dump.pieces():
            client.feed(piece)
        for table, rows in contents.tables.items():
            client.feed(_demand(_place(schema, table), rows).encode())
        if dump.sha256 != contents.sha256:
            raise BackupError("the backup has been changed since it was checked")
        client.feed(b"COMMIT;\n")

    def _running(self, argv: list[str], *, feeds: bool) -> AbstractContextManager[Client]:
        return running(argv, feeds=feeds, secret=self._password, environment=self._environment())

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with self._db.read() as connection:
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield connection

    def _fits(self, program: str, connection: Connection) -> None:
        """Raises BackupError where the program is older than the server, whose dumps it then cannot make or read."""
        server = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10000
        found = re.search(r"\(PostgreSQL\) (\d+)", told := version_text(program))
        if found is None:
            raise BackupError(f"{program} does not tell its version: {told[:200] or 'it said nothing'}")
        if int(found[1]) < server:
            raise BackupError(
                f"{program} is of version {found[1]}, older than the server's {server}; "
                f"on Debian and Ubuntu: sudo apt-get install {PACKAGE}-{server}"
            )

    def _environment(self) -> dict[str, str]:
        url = self._db.url
        given = {name: value for name, value in url.query.items() if isinstance(value, str)}
        if url.host:
            given["host"] = url.host
        if url.port:
            given["port"] = str(url.port)
        found = {_VARIABLES[name]: value for name, value in given.items() if name in _VARIABLES}
        whose = {"PGUSER": url.username, "PGDATABASE": url.database, "PGPASSWORD": self._password}
        return found | {name: value for name, value in whose.items() if value} | {"PGCLIENTENCODING": "UTF8"}


def _known() -> set[str]:
    """The tables of this program's version, which a restore of an older one must take away."""
    from gengfu.store.tables import metadata

    return {*metadata.tables, VERSION_TABLE}


def _schema(connection: Connection) -> str:
    schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one_or_none()
    if schema is None:
        raise StoreError("the database user has no schema to work in; see its search_path")
    return str(schema)


def _count(connection: Connection, schema: str) -> dict[str, int]:
    from sqlalchemy import text

    listed = text(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = :schema AND c.relkind = 'r' ORDER BY c.relname"
    )
    names = [str(name) for name in connection.scalars(listed, {"schema": schema})]
    counted = "SELECT count(*) FROM "
    return {name: int(connection.scalar(text(counted + _place(schema, name))) or 0) for name in names}


def _demand(place: str, rows: int) -> str:
    """A statement that fails unless the table has so many rows."""
    literal = place.replace("'", "''")
    return (
        f"DO $demand$ BEGIN IF (SELECT count(*) FROM {place}) <> {rows} THEN"
        f" RAISE EXCEPTION '% must have % rows', '{literal}', {rows}; END IF; END $demand$;\n"
    )


def _place(schema: str, table: str) -> str:
    return f"{_quoted(schema)}.{_quoted(table)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

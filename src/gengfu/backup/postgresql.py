"""PostgreSQL: copied with pg_dump out of one exported snapshot; put back with psql in one transaction.

The dump is plain SQL, since pg_restore could not count the rows before the one transaction is committed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gengfu.backup.contents import LEFT_OUT, VERSION_TABLE, Contents, Copied
from gengfu.backup.programs import Program, find_program, running, version_text
from gengfu.backup.server import LOCK_PATIENCE, DumpReader, ServerCopier, surplus
from gengfu.backup.streams import Progress, Unpacked, packed
from gengfu.errors import BackupError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

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


class PostgresCopier(ServerCopier):
    """The tables, views and sequences of the schema that the program uses. What is put back is there whole or not at
    all: its rows are counted before the one transaction is committed."""

    package = "postgresql-client"
    size_query = "SELECT pg_database_size(current_database())"

    def copy(self, target: Path, scratch: Path, progress: Progress) -> Copied:
        program = find_program(["pg_dump"], self.package)
        with self._snapshot() as connection:
            self._demand_fit(program, connection)
            schema = _quoted(_schema(connection))
            tables = self._count(connection)
            self._demand_tables(tables)
            name = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
            argv = [program, "--no-password", "--format=plain", "--encoding=UTF8", f"--snapshot={name}"]
            argv += ["--no-owner", "--no-privileges", "--clean", "--if-exists", f"--table={schema}.*"]
            argv += [f"--exclude-table-data={schema}.{table}" for table in sorted(LEFT_OUT & set(tables))]
            with packed(target) as packer, self._running(argv, feeds=False) as dump:
                for chunk in dump.chunks(progress, "dumping"):
                    packer.write(chunk)
        return Copied(packer.sha256, tables)

    def restore(self, backup: Path, contents: Contents, scratch: Path, progress: Progress) -> None:
        program = find_program(["psql"], self.package)
        with self._db.read() as connection:
            self._demand_fit(program, connection)
            present = list(self._names(connection))
            places = {name: self._place(connection, name) for name in {*present, *contents.tables}}
        dump = Unpacked(backup, progress, "restoring")
        argv = [program, "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
        # The transaction is ended by what follows the dump, so nothing stays where this process dies on the way.
        with self._running(argv, feeds=True) as psql:
            psql.feed(f"BEGIN;\nSET LOCAL lock_timeout = '{LOCK_PATIENCE}s';\n".encode())
            if present:
                names = ", ".join(places[table] for table in present)
                psql.feed(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE;\n".encode())
            for table in surplus(present, contents):
                psql.feed(f"DROP TABLE {places[table]};\n".encode())
            for chunk in dump.chunks():
                psql.feed(chunk)
            for table in sorted(contents.tables.keys() - LEFT_OUT):
                psql.feed(_demand(places[table], contents.tables[table]).encode())
            if dump.sha256 != contents.sha256:
                raise BackupError("the backup has been changed since it was checked")
            psql.feed(b"COMMIT;\n")

    def _running(self, argv: list[str], *, feeds: bool) -> AbstractContextManager[Program]:
        return running(argv, feeds=feeds, secret=self._password, environment=self._environment())

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with self._db.read() as connection:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield connection

    def _demand_fit(self, program: str, connection: Connection) -> None:
        """Raises BackupError where the program is older than the server, whose dumps it then cannot make or read."""
        server = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10000
        found = re.search(r"\(PostgreSQL\) (\d+)", told := version_text(program))
        if found is None:
            raise BackupError(f"{program} does not tell its version: {told[:200] or 'it said nothing'}")
        if int(found[1]) < server:
            raise BackupError(
                f"{program} is of version {found[1]}, older than the server's {server}; "
                f"on Debian and Ubuntu: sudo apt-get install {self.package}-{server}"
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

    def _names(self, connection: Connection) -> list[str]:
        from sqlalchemy import text

        listed = text(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = :schema AND c.relkind = 'r' ORDER BY c.relname"
        )
        return [str(name) for name in connection.scalars(listed, {"schema": _schema(connection)})]

    def _place(self, connection: Connection, table: str) -> str:
        return f"{_quoted(_schema(connection))}.{_quoted(table)}"


class _Reader(DumpReader):
    """In a COPY block a line is a row."""

    END = b"-- PostgreSQL database dump complete"
    _COPY = re.compile(rb'COPY (?:"?[^".]+"?\.)?"?([^".(]+?)"? \(.*\) FROM stdin;\n')
    _CREATE = re.compile(rb'CREATE TABLE (?:"?[^".]+"?\.)?"?([^".(]+?)"? \(\n')

    def take_statement(self, line: bytes) -> bool:
        if made := self._CREATE.fullmatch(line):
            self.found_table(made[1])
        elif found := self._COPY.fullmatch(line):
            self.table = self.found_table(found[1])
        else:
            return False
        return True

    def take_rows(self, line: bytes) -> None:
        assert self.table is not None
        if line == b"\\.\n":
            self.table = None
            return
        self.tables[self.table] += 1
        if self.table == VERSION_TABLE:
            self.version = line.decode("utf-8", "replace").strip()


def read_postgresql(backup: Path, progress: Progress) -> Contents:
    """Reads a dump of pg_dump.

    Raises:
        BackupError: it is damaged, cut off, or no such dump.
    """
    return _Reader().read(backup, progress)


def _schema(connection: Connection) -> str:
    schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one_or_none()
    if schema is None:
        raise StoreError("the database user has no schema to work in; see its search_path")
    return str(schema)


def _demand(place: str, rows: int) -> str:
    """A statement that fails unless the table has so many rows."""
    literal = place.replace("'", "''")
    return (
        f"DO $demand$ BEGIN IF (SELECT count(*) FROM {place}) <> {rows} THEN"
        f" RAISE EXCEPTION '% must have % rows', '{literal}', {rows}; END IF; END $demand$;\n"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

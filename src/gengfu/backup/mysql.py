"""MySQL and MariaDB: copied with their dump program out of one transaction; put back with their client."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gengfu.backup.contents import LEFT_OUT, VERSION_TABLE, Contents, Copied, difference
from gengfu.backup.programs import find_program, running, version_text
from gengfu.backup.server import LOCK_PATIENCE, DumpReader, ServerCopier, surplus
from gengfu.backup.streams import Packer, Progress, Unpacked, packed
from gengfu.errors import BackupError
from gengfu.store.schema import create_views

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SANDBOX = b"/*M!999999"
"""Begins the first line of MariaDB's dumps, at which MySQL's client stops."""
_TLS = {"ssl_ca": "ssl-ca", "ssl_cert": "ssl-cert", "ssl_key": "ssl-key"}


class MysqlCopier(ServerCopier):
    """The tables of one database on such a server. Statements that make tables are committed one by one there, so a
    restore that fails on the way leaves a part; it can be run again."""

    package = "default-mysql-client"
    size_query = "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()"

    def copy(self, target: Path, scratch: Path, progress: Progress) -> Copied:
        with self._db.read() as connection:
            tables = self._names(connection)
            program = self._program(connection, "mariadb-dump", "mysqldump")
        self._demand_tables(tables)
        argv = [program, "--single-transaction", "--quick", "--hex-blob", "--no-tablespaces", "--max-allowed-packet=1G"]
        if "MariaDB" not in version_text(program):
            argv += ["--set-gtid-purged=OFF", "--column-statistics=0"]
        left_out = [table for table in tables if table in LEFT_OUT]
        with packed(target) as packer:
            if left_out:
                self._dump([*argv, "--no-data"], left_out, packer, progress)
            self._dump(argv, [table for table in tables if table not in LEFT_OUT], packer, progress)
        return Copied(packer.sha256, None)

    def _dump(self, argv: list[str], tables: list[str], packer: Packer, progress: Progress) -> None:
        with self._options() as options:
            # Tables by name, so that views stay out of it: they are made anew where tables are put back.
            argv = [argv[0], f"--defaults-file=/dev/fd/{options.fileno()}", *argv[1:], self._database, *tables]
            with running(argv, feeds=False, secret=self._password, fd=options.fileno()) as dump:
                for chunk in dump.chunks(progress, "dumping"):
                    packer.write(chunk)

    def restore(self, backup: Path, contents: Contents, scratch: Path, progress: Progress) -> None:
        with self._db.read() as connection:
            program = self._program(connection, "mariadb", "mysql")
            stale = surplus(self._names(connection), contents)
        is_mariadb = "MariaDB" in version_text(program)
        dump = Unpacked(backup, progress, "restoring")
        with self._options() as options:
            argv = [program, f"--defaults-file=/dev/fd/{options.fileno()}", "--batch", "--binary-mode"]
            argv += ["--max-allowed-packet=1G", self._database]
            with running(argv, feeds=True, secret=self._password, fd=options.fileno()) as client:
                client.feed(f"SET SESSION lock_wait_timeout = {LOCK_PATIENCE};\n".encode())
                for number, line in enumerate(dump.lines()):
                    if number or is_mariadb or not line.startswith(_SANDBOX):
                        client.feed(line)
                client.feed("".join(f"DROP TABLE {_quoted(table)};\n" for table in stale).encode())
        self._db.write(create_views)
        found = self.tables()
        if problem := difference(contents.tables, {name: found.get(name, 0) for name in contents.tables}):
            raise BackupError(f"the database {self._db.where} does not hold the backup ({problem}); restore it again")

    @property
    def _database(self) -> str:
        return str(self._db.url.database)

    def _program(self, connection: Connection, mariadb: str, mysql: str) -> str:
        """The server's own client is taken rather than the other's."""
        names = (
            [mariadb, mysql] if "MariaDB" in str(connection.exec_driver_sql("SELECT version()").scalar_one()) else []
        )
        return find_program(names or [mysql, mariadb], self.package)

    @contextmanager
    def _options(self) -> Iterator[IO[bytes]]:
        """A file without a name that says how to connect: no list of processes or files shows the password."""
        url = self._db.url
        query = {name: value for name, value in url.query.items() if isinstance(value, str)}
        said: dict[str, Any] = {"user": url.username, "password": self._password, "default-character-set": "utf8mb4"}
        if "unix_socket" in query:
            said |= {"protocol": "socket", "socket": query["unix_socket"]}
        else:
            said |= {"protocol": "tcp", "host": url.host or "127.0.0.1", "port": url.port or 3306}
        said |= {option: query[name] for name, option in _TLS.items() if name in query}
        if "ssl_ca" not in query:
            said["loose-ssl-verify-server-cert"] = 0
        lines = [f"{name}={_option(str(value))}" for name, value in said.items() if value is not None]
        with tempfile.TemporaryFile() as file:
            file.write("\n".join(["[client]", *lines, ""]).encode())
            file.flush()
            file.seek(0)
            yield file

    def _names(self, connection: Connection) -> list[str]:
        from sqlalchemy import text

        listed = text(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = database() AND table_type = 'BASE TABLE' ORDER BY table_name"
        )
        return [str(name) for name in connection.scalars(listed)]

    def _place(self, connection: Connection, table: str) -> str:
        return _quoted(table)


class _Reader(DumpReader):
    """A statement may hold many rows, on one line or on many. Outside of strings a parenthesis opens a row."""

    END = b"-- Dump completed"
    _CREATE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?`([^`]+)`")
    _INSERT = re.compile(rb"INSERT INTO `([^`]+)` (?:\(.*?\) )?VALUES\s*")
    _STRING = re.compile(rb"'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL)

    def take_statement(self, line: bytes) -> bool:
        if made := self._CREATE.match(line):
            self.found_table(made[1])
        elif found := self._INSERT.match(line):
            self.table = self.found_table(found[1])
            self.take_rows(line[found.end() :])
        else:
            return False
        return True

    def take_rows(self, line: bytes) -> None:
        assert self.table is not None
        rows = self._STRING.sub(b"", line)
        self.tables[self.table] += rows.count(b"(")
        if self.table == VERSION_TABLE and (text := self._STRING.search(line)):
            self.version = text[0].strip(b"'").decode("utf-8", "replace")
        if rows.endswith(b";\n"):
            self.table = None


def read_mysql(backup: Path, progress: Progress) -> Contents:
    """Reads a dump of mysqldump or mariadb-dump.

    Raises:
        BackupError: it is damaged, cut off, or no such dump.
    """
    return _Reader().read(backup, progress)


def _option(value: str) -> str:
    """A value as it is written in an option file."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

"""MySQL and MariaDB: copied with their dump program out of one transaction; put back with their client."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gengfu.backup.clients import find_program, running, version_text
from gengfu.backup.dumps import VERSION_TABLE
from gengfu.backup.kinds import Contents, Copied
from gengfu.backup.streams import Progress, Unpacked, packed
from gengfu.errors import BackupError
from gengfu.store.schema import create_views

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gengfu.store.database import Database

PACKAGE = "default-mysql-client"
LOCK_PATIENCE = 30
"""Seconds that a restore waits for a table before it gives up."""

_SANDBOX = b"/*M!999999"
"""Begins the first line of MariaDB's dumps, at which MySQL's client stops."""
_TLS = {"ssl_ca": "ssl-ca", "ssl_cert": "ssl-cert", "ssl_key": "ssl-key"}


class MysqlKind:
    """The tables of one database on such a server. Statements that make tables are committed one by one there, so a
    restore that fails on the way leaves a part; it can be run again."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._password = str(db.url.password or "")

    def size(self) -> int:
        from sqlalchemy import text

        sizes = "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()"
        with self._db.read() as connection:
            return int(connection.scalar(text(sizes)) or 0)

    def room(self, size: int) -> int:
        return size // 2

    def tables(self) -> Mapping[str, int]:
        from sqlalchemy import text

        with self._db.read() as connection:
            counted = "SELECT count(*) FROM "
            return {name: int(connection.scalar(text(counted + _quoted(name))) or 0) for name in _tables(connection)}

    def copy(self, target: Path, scratch: Path, progress: Progress) -> Copied:
        with self._db.read() as connection:
            tables = _tables(connection)
            program = self._program(connection, "mariadb-dump", "mysqldump")
        if not tables:
            raise BackupError(f"the database {self._db.where} has no tables yet; run: gengfu db:upgrade")
        switches = ["--single-transaction", "--quick", "--hex-blob", "--no-tablespaces", "--max-allowed-packet=1G"]
        if "MariaDB" not in version_text(program):
            switches += ["--set-gtid-purged=OFF", "--column-statistics=0"]
        with self._options() as options:
            # Tables by name, so that views stay out of it: they are made anew where tables are put back.
            argv = [program, f"--defaults-file=/dev/fd/{options.fileno()}", *switches, self._database, *tables]
            with (
                packed(target) as packer,
                running(argv, feeds=False, secret=self._password, fd=options.fileno()) as client,
            ):
                for piece in client.pieces(progress, "dumping"):
                    packer.write(piece)
        return Copied(packer.sha256, None)

    def restore(self, backup: Path, contents: Contents, scratch: Path, progress: Progress) -> None:
        with self._db.read() as connection:
            program = self._program(connection, "mariadb", "mysql")
            stale = sorted((_known() & set(_tables(connection))) - set(contents.tables))
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
        if (found := self.tables()) != {**found, **contents.tables}:
            raise BackupError(
                f"the database {self._db.where} does not hold the rows of {backup.name}; restore it again"
            )

    @property
    def _database(self) -> str:
        return str(self._db.url.database)

    def _program(self, connection: Connection, mariadb: str, mysql: str) -> str:
        """The server's own client is taken rather than the other's."""
        names = (
            [mariadb, mysql] if "MariaDB" in str(connection.exec_driver_sql("SELECT version()").scalar_one()) else []
        )
        return find_program(names or [mysql, mariadb], PACKAGE)

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


def _known() -> set[str]:
    """The tables of this program's version, which a restore of an older one must take away."""
    from gengfu.store.tables import metadata

    return {*metadata.tables, VERSION_TABLE}


def _tables(connection: Connection) -> list[str]:
    from sqlalchemy import text

    listed = text(
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = database() AND table_type = 'BASE TABLE' ORDER BY table_name"
    )
    return [str(name) for name in connection.scalars(listed)]


def _option(value: str) -> str:
    """A value as it is written in an option file."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

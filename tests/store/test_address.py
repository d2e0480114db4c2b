"""What `DATABASE_URL` says is obeyed, or refused by name."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from gengfu.errors import ConfigError, GengfuError, StoreRefused
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from gengfu.store.engines import _options
from servers import DatabaseServer, absent
from system import System


def opened(url: str, home: Path = Path("/")) -> Database:
    return Database(Secret(url), home)


def with_query(url: str, **query: str) -> str:
    return make_url(url).update_query_dict(query).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://h/d?colour=red", "has the parameter colour, which PostgreSQL does not know"),
        ("postgresql://h/d?prepare_threshold=5", "has the parameter prepare_threshold"),
        ("postgresql://h/d?client_encoding=GBK", "says client_encoding=GBK"),
        ("postgresql://h/d?options=-ctimezone%3DAsia/Shanghai", "has the option timezone"),
        ("postgresql://h/d?options=-c%20TimeZone%3DUTC%20--work-mem%3D4MB", "has the option timezone"),
        ("postgresql+psycopg2://h/d", r"begins with postgresql\+psycopg2://, .* but postgresql\+psycopg://"),
        ("postgresql://h:five/d", "cannot be read"),
        ("mysql://h/d?charset=gbk", "says charset=gbk"),
        ("mysql://h/d?colour=red", "has the parameter colour, which is none of bind_address"),
        ("mysql://h/d?connect_timeout=soon", "says connect_timeout=soon"),
        ("mysql://h/d?init_command=SET%20time_zone%3D%27SYSTEM%27", "has an init_command with time_zone"),
        ("mysql://h/d?autocommit=true", "has the parameter autocommit"),
        ("mysql+mysqldb://h/d", r"begins with mysql\+mysqldb://"),
        ("mysql://root@h/", "names no database"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_name(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        opened(url).engine  # noqa: B018


@pytest.mark.parametrize(
    "parameter", ["mysql://root@127.0.0.1/d?ssl_ca", "mysql://h/d?ssl_key", "postgresql://h/d?sslrootcert"]
)
def test_a_file_of_the_address_is_looked_for_in_the_working_folder(parameter: str, tmp_path: Path) -> None:
    url = f"{parameter}=pem/ca.pem"
    with pytest.raises(ConfigError, match=f"={tmp_path}/pem/ca.pem, which is not a file"):
        opened(url, tmp_path).engine  # noqa: B018
    (tmp_path / "pem").mkdir()
    (tmp_path / "pem" / "ca.pem").write_text("rubbish")
    with pytest.raises(GengfuError, match=r"parameter that cannot be used|failed"), opened(url, tmp_path).read():
        pass


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@h/d?sslpassword=hidden1&sslmode=require",
        "mysql://h/d?password=hidden1&ssl_key_password=hidden2",
    ],
)
def test_no_password_of_the_address_is_shown(url: str) -> None:
    shown = opened(url).where
    assert "s3cret" not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgres://u@h/d", "postgres://u@h/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:******@h/d"),
        ("mariadb://u@h/d?charset=utf8mb4", "mariadb://u@h/d?charset=utf8mb4"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
    ],
)
def test_an_address_is_shown_in_the_spelling_of_its_user(written: str, shown: str) -> None:
    assert opened(written).where == shown


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_works(empty_database_url: str, scheme: str) -> None:
    url = make_url(empty_database_url).set(drivername=scheme).render_as_string(hide_password=False)
    assert len(schema.upgrade(opened(url))) == len(schema.REVISIONS)


@pytest.mark.parametrize("database_kind", ["mysql"], indirect=True)
@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"])
def test_every_spelling_of_mysql_works(empty_database_url: str, scheme: str) -> None:
    url = make_url(empty_database_url).set(drivername=scheme).render_as_string(hide_password=False)
    assert len(schema.upgrade(opened(url))) == len(schema.REVISIONS)


def told(database: Database, sql: str) -> str:
    with database.read() as connection:
        return str(connection.exec_driver_sql(sql).scalar_one())


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_tables_are_made_in_the_schema_that_the_address_names(empty_database_url: str) -> None:
    with opened(empty_database_url).engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA fleet")
    database = opened(with_query(empty_database_url, options="-csearch_path=fleet", application_name="ops"))
    schema.upgrade(database)
    schema.ensure(database)
    assert told(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    assert told(database, "SELECT count(*) FROM pg_tables WHERE tablename = 'device' AND schemaname = 'fleet'") == "1"
    assert told(database, "SHOW application_name") == "ops"


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({"sslmode": "require"}, "SSL"),
        ({"target_session_attrs": "standby"}, "standby"),
        ({"service": "nowhere"}, "nowhere"),
        ({"options": "-c no_such_setting=1"}, "no_such_setting"),
    ],
)
def test_parameters_reach_the_driver(
    empty_database_url: str, query: dict[str, str], wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(GengfuError, match=wrong), opened(with_query(empty_database_url, **query), tmp_path).read():
        pass


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_unix_socket_and_a_time_limit_of_the_address_hold(empty_database_url: str) -> None:
    name = make_url(empty_database_url).database
    database = opened(f"postgresql://postgres@/{name}?host=/var/run/postgresql&connect_timeout=3&keepalives_idle=5")
    try:
        assert told(database, "SELECT coalesce(host(inet_server_addr()), 'socket')") == "socket"
    except GengfuError as error:
        # The socket lets in whoever is that user of the machine.
        assert "/var/run/postgresql" in str(error)  # noqa: PT017


@pytest.mark.parametrize("database_kind", ["mysql"], indirect=True)
def test_the_init_command_of_the_address_has_the_last_word(empty_database_url: str) -> None:
    command = "SET SESSION lock_wait_timeout = 7, SESSION wait_timeout = 77"
    database = opened(with_query(empty_database_url, init_command=command, charset="utf8mb4", read_timeout="30"))
    assert told(database, "SELECT CONCAT(@@lock_wait_timeout, ' ', @@wait_timeout)") == "7 77"


@pytest.mark.parametrize("database_kind", ["mysql"], indirect=True)
def test_tls_of_the_address_is_asked_for(empty_database_url: str) -> None:
    with pytest.raises(GengfuError, match="SSL"), opened(with_query(empty_database_url, ssl="true")).read():
        pass


def test_the_name_of_a_database_may_hold_anything(tmp_path: Path) -> None:
    url = URL.create("postgresql", "ann", "p@ss/w:rd#%", "h", 5432, "d").render_as_string(hide_password=False)
    assert opened(url, tmp_path).url.password == "p@ss/w:rd#%"


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("postgresql", {"database": "gengfu_none"}, "make that database, or correct its name"),
        ("postgresql", {"username": "nobody_here"}, "correct the user and the password"),
        ("postgresql", {"host": "no-such-host.invalid"}, "correct the name of the host"),
        ("mysql", {"database": "gengfu_none"}, "make that database, or correct its name"),
        ("mysql", {"username": "nobody_here", "password": "s3cret"}, "correct the user and the password"),
        ("mysql", {"host": "no-such-host.invalid"}, "correct the name of the host"),
    ],
)
def test_what_no_further_try_helps_with_is_refused_at_once(
    database_servers: dict[str, DatabaseServer], kind: str, change: dict[str, str], told: str
) -> None:
    server = database_servers[kind]
    if server.absence is not None:
        absent(server.label, server.absence)
    wrong = opened(server.url.set(**{"database": "gengfu", **change}).render_as_string(hide_password=False))  # type: ignore[arg-type]
    with pytest.raises(StoreRefused, match=f"{told}.* DATABASE_URL") as caught:
        wrong.write(lambda connection: None, 60)
    assert caught.value.exit_code == 2
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("command", ["queue:work", "schedule:work", "up"])
def test_whoever_is_to_last_ends_where_the_database_refuses(
    open_system: Callable[..., System], database_servers: dict[str, DatabaseServer], command: str
) -> None:
    server = database_servers["mysql"]
    if server.absence is not None:
        absent(server.label, server.absence)
    url = server.url.set(database="gengfu_none").render_as_string(hide_password=False)
    ended = open_system(database_url=url).home.run(command)
    assert ended.code == 2
    assert "make that database, or correct its name in DATABASE_URL" in ended.out + ended.err


@pytest.mark.parametrize(
    "options",
    [
        "-c TimeZone=UTC",
        "-cTimeZone=UTC",
        "--timezone=UTC",
        "-c work_mem=4MB -c 'timezone=Asia/Shanghai'",
        "-c   timezone=UTC",
    ],
)
def test_a_conflict_is_found_however_the_options_are_written(options: str) -> None:
    with pytest.raises(ConfigError, match="has the option timezone"):
        opened(with_query("postgresql://h/d", options=options)).engine  # noqa: B018


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{2,10}", fullmatch=True), st.from_regex(r"[\w ,\\\"']{0,12}", fullmatch=True)
    )
)
def test_options_are_read_as_the_server_reads_them(settings: dict[str, str]) -> None:
    for form in ("-c {}", "-c{}", "--{}"):
        words = " ".join(form.format(shlex.quote(f"{name}={value}")) for name, value in settings.items())
        assert _options(make_url(with_query("postgresql://h/d", options=words))) == settings

"""PostgreSQL behind PgBouncer, which gives no session to its clients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from gengfu.errors import StoreError
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from servers import PgBouncer
from system import SMALL_PAGES, System

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@pytest.fixture
def pooled(empty_database_url: str, pgbouncer: Callable[..., PgBouncer]) -> Callable[..., Database]:
    """`pooled("transaction", option=...)`: the database of the test behind a pooler of that mode."""

    def make(mode: str, **options: str) -> Database:
        return Database(Secret(pgbouncer(empty_database_url, mode, **options).url), Path("/"))

    return make


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_everything_works_behind_a_pooler(
    empty_database_url: str, pgbouncer: Callable[..., PgBouncer], open_system: Callable[..., System], mode: str
) -> None:
    pooler = pgbouncer(empty_database_url, mode, size=4 if mode == "transaction" else 40)
    system = open_system({"devices": 700}, database_url=pooler.url, **SMALL_PAGES)
    system.tell("db:upgrade")
    system.tell("db:upgrade")
    workers = [system.worker("--concurrency", "4").ready() for _ in range(2)]
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=700)
    changed = system.sim.fleet("change", count=7, pick="random", fields={"memo": "换机"})
    system.assert_complete(system.ask("device:list", "--wait")["run"], changed=len(changed))
    for command in (["health"], ["schedule:run"], ["schedule:history"], ["device:find", "换机"], ["run:show", "1"]):
        system.tell(*command)
    found = {check["check"]: check["state"] for check in system.ask("doctor")["checks"]}
    assert found["database"] == "ok"
    assert found["login"] == "ok"
    assert [worker.told_to_stop() for worker in workers] == [0, 0]


def test_upgrades_at_once_behind_a_pooler_with_one_connection_do_not_wait_for_ever(
    pooled: Callable[..., Database],
) -> None:
    database = pooled("transaction", size=1)
    assert schema.upgrade(database) == list(schema.REVISIONS)
    assert schema.upgrade(database) == []


def test_a_pooler_in_statement_mode_is_refused_with_what_to_set(pooled: Callable[..., Database]) -> None:
    with pytest.raises(StoreError, match=r"pool_mode = statement.*pool_mode = transaction"):
        schema.upgrade(pooled("statement"))


def test_what_the_pooler_refuses_is_refused_at_once(pooled: Callable[..., Database]) -> None:
    database = pooled("transaction")
    wrong = Database(Secret(database.url.set(database="none").render_as_string(hide_password=False)), Path("/"))
    with pytest.raises(StoreError, match="no such database"):
        wrong.write(lambda connection: None, 30)


def test_options_of_the_address_are_obeyed_or_refused_behind_a_pooler(
    pooled: Callable[..., Database], empty_database_url: str
) -> None:
    with Database(Secret(empty_database_url), Path("/")).engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA fleet")

    def asking(database: Database) -> Database:
        url = make_url(database.url).update_query_dict({"options": "-csearch_path=fleet"})
        return Database(Secret(url.render_as_string(hide_password=False)), Path("/"))

    with pytest.raises(StoreError, match=r"options.*ALTER ROLE"):
        schema.upgrade(asking(pooled("transaction")))
    with pytest.raises(StoreError, match=r'search_path "\$user", public, not with fleet'):
        schema.upgrade(asking(pooled("transaction", ignore_startup_parameters="options")))


def test_the_search_path_of_a_role_holds_behind_a_pooler(
    empty_database_url: str, pgbouncer: Callable[..., PgBouncer]
) -> None:
    role = f"fleet_{make_url(empty_database_url).database}"
    direct = Database(Secret(empty_database_url), Path("/"))
    with direct.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        connection.exec_driver_sql(f"CREATE SCHEMA fleet AUTHORIZATION {role}")
        connection.exec_driver_sql(f"ALTER ROLE {role} SET search_path = fleet")
    theirs = make_url(empty_database_url).set(username=role).render_as_string(hide_password=False)
    pooled = Database(Secret(pgbouncer(theirs, "transaction").url), Path("/"))
    try:
        schema.upgrade(pooled)
        schema.ensure(pooled)
        with direct.engine.connect() as connection:
            made = "SELECT count(DISTINCT schemaname), min(schemaname) FROM pg_tables WHERE tablename = 'device'"
            assert connection.exec_driver_sql(made).one() == (1, "fleet")
    finally:
        pooled.dispose()
        with direct.engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
        direct.dispose()

"""MySQL and MariaDB servers as people set them up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from gengfu.errors import StoreError, TooLarge
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from servers import MariaDb
from system import System


def test_a_server_that_replicates_statements_is_served(
    mariadb: Callable[..., MariaDb], open_system: Callable[..., System]
) -> None:
    server = mariadb("--log-bin=binlog", "--binlog-format=STATEMENT", "--server-id=1")
    system = open_system({"devices": 400}, database_url=server.url)
    system.tell("db:upgrade")
    worker = system.worker("--concurrency", "4").ready()
    system.assert_complete(system.ask("device:list", "--wait")["run"], new=400)
    changed = system.sim.fleet("change", count=7, pick="random", fields={"memo": "换机"})
    system.assert_complete(system.ask("device:list", "--wait")["run"], changed=len(changed))
    assert system.ask("queue:failed")["count"] == 0
    assert worker.told_to_stop() == 0


def test_an_upgrade_that_was_refused_half_way_is_told_as_such(mariadb: Callable[..., MariaDb]) -> None:
    server = mariadb()
    root = Database(Secret(server.url), Path("/"))
    with root.engine.begin() as connection:
        connection.execute(text("CREATE USER half@'%' IDENTIFIED BY 'secret'"))
        connection.execute(
            text("GRANT CREATE, SELECT, INSERT, UPDATE, DELETE, INDEX, REFERENCES ON gengfu.* TO half@'%'")
        )
    half = Database(Secret(server.url.replace("root@", "half:secret@")), Path("/"))
    with pytest.raises(StoreError, match=r"denied.*give the user of DATABASE_URL the right"):
        schema.upgrade(half)
    with pytest.raises(StoreError, match="has some of its tables: an upgrade was interrupted; run: gengfu db:upgrade"):
        schema.ensure(half)
    assert schema.upgrade(root) == list(schema.REVISIONS)
    schema.ensure(half)


def test_statements_fit_what_the_server_takes(
    mariadb: Callable[..., MariaDb], open_system: Callable[..., System]
) -> None:
    """A row that is larger is set aside, and so is one whose change is; every other row is right."""
    server = mariadb("--max-allowed-packet=1M")
    system = open_system({"devices": 1500}, database_url=server.url, API_PAGE_SIZE="100")
    system.tell("db:upgrade")
    large, larger = system.sim.fleet("change", count=2, pick="random", fields={"model": "x" * 600_000})
    system.sim.fleet("change", ids=[larger], fields={"model": "重" * 400_000})
    checks = system.ask("doctor")["checks"]
    assert [check["state"] for check in checks if "max_allowed_packet is 1048576" in check["text"]] == ["warning"]
    worker = system.worker("--concurrency", "2").ready()
    told = system.ask("device:list", "--wait")
    assert (told["verdict"], told["new"], told["rejected"]) == ("complete", 1499, 1)
    assert "max_allowed_packet is 1048576" in system.tell("run:show", str(told["run"])).out
    assert system.ask("device:show", str(large))["device"]["model"] == "x" * 600_000

    system.sim.fleet("change", ids=[large], fields={"model": "y" * 600_000})
    (other,) = system.sim.fleet("change", ids=[larger], fields={"model": "换机"})
    told = system.ask("device:list", "--wait")
    assert (told["verdict"], told["new"], told["rejected"]) == ("complete", 1, 1)
    assert system.ask("device:show", str(other))["device"]["model"] == "换机"
    assert system.ask("device:show", str(large))["device"]["model"] == "x" * 600_000
    assert worker.told_to_stop() == 0


def test_a_statement_that_is_too_long_does_not_cost_the_connection(mariadb: Callable[..., MariaDb]) -> None:
    database = Database(Secret(mariadb("--max-allowed-packet=1M").url), Path("/"))
    with (
        pytest.raises(TooLarge, match=r"max_allowed_packet is 1048576'\); raise max_allowed_packet"),
        database.read() as found,
    ):
        found.execute(text("SELECT :text"), {"text": "x" * 2_000_000})
    with database.read() as connection:
        assert connection.scalar(text("SELECT length(:text)"), {"text": "x" * 900_000}) == 900_000


def test_a_server_is_reached_by_its_socket_and_by_an_option_file(
    mariadb: Callable[..., MariaDb], tmp_path: Path
) -> None:
    server = mariadb()
    (tmp_path / "client.cnf").write_text(f"[client]\nuser=root\nsocket={server.socket}\ndatabase=gengfu\n")
    for url in (f"mysql://root@/gengfu?unix_socket={server.socket}", "mysql://?read_default_file=client.cnf"):
        database = Database(Secret(url), tmp_path)
        schema.upgrade(database)
        schema.ensure(database)
        database.dispose()

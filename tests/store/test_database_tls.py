"""TLS to database servers, as the parameters of the address ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from certificates import Certificates
from gengfu.errors import ConfigError, StoreRefused
from gengfu.settings import Secret
from gengfu.store import schema
from gengfu.store.database import Database
from servers import MariaDb, PostgreSql


@pytest.fixture
def certificates() -> Iterator[Certificates]:
    # Where the users of the servers may look, too.
    with TemporaryDirectory(prefix="gengfu-test-") as folder:
        Path(folder).chmod(0o755)
        yield Certificates(Path(folder))


def works(url: str, parameters: str, home: Path) -> str:
    """Empty where the tables can be made over it; else what is said."""
    database = Database(Secret(f"{url}?{parameters}"), home)
    try:
        schema.upgrade(database)
        schema.ensure(database)
    except (ConfigError, StoreRefused) as error:
        return str(error)
    finally:
        database.dispose()
    return ""


def test_postgresql_by_every_mode(postgresql: Callable[..., PostgreSql], certificates: Certificates) -> None:
    pem, key = certificates.readable("leaf", "postgres")
    url = postgresql("ssl=on", f"ssl_cert_file={pem}", f"ssl_key_file={key}").url
    home = certificates.folder
    for mode in ("disable", "prefer", "require"):
        assert works(url, f"sslmode={mode}", home) == ""
    # A relative file lies in the working folder; the server sends no chain.
    (home / "both.pem").write_text(certificates.text("between") + certificates.text("root"))
    assert works(url, "sslmode=verify-full&sslrootcert=both.pem", home) == ""
    assert "correct the parameters for TLS" in works(url, "sslmode=verify-full&sslrootcert=root.pem", home)
    by_name = url.replace("127.0.0.1", "localhost.localdomain")
    assert "correct the" in works(by_name, "sslmode=verify-full&sslrootcert=both.pem", home)


def test_mariadb_by_every_mode(mariadb: Callable[..., MariaDb], certificates: Certificates) -> None:
    pem, key = certificates.readable("own", "mysql")
    url = mariadb(f"--ssl-cert={pem}", f"--ssl-key={key}", f"--ssl-ca={pem}").url
    home = certificates.folder
    for parameters in ("ssl=true", "ssl_disabled=true", "ssl_ca=own.pem", "ssl_ca=own.pem&ssl_verify_identity=true"):
        assert works(url, parameters, home) == "", parameters
    assert "correct the parameters for TLS" in works(url, "ssl_ca=renewed.pem", home)

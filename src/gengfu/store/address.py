"""What `DATABASE_URL` names, told without loading a driver."""

from __future__ import annotations

from pathlib import Path

from gengfu.errors import ConfigError
from gengfu.settings import Secret


def sqlite_path(url: Secret, home: Path) -> Path | None:
    """The file that a `sqlite:///` address names, relative ones from the working folder; `None` for other databases.

    Raises:
        ConfigError: it names none.
    """
    scheme, _, rest = url.reveal().partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    name = rest.removeprefix("/")
    if not name or name == ":memory:":
        raise ConfigError("DATABASE_URL must name a file; for example: DATABASE_URL=sqlite:///var/gengfu.db")
    return home / name

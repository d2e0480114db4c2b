"""A scheduler at a database, for every test of the schedule."""

from __future__ import annotations

from pathlib import Path

import pytest

from gengfu.store.database import Database
from schedulers import Rig


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    """On each kind of database."""
    return Rig(database, tmp_path)


@pytest.fixture
def light(sqlite_database: Database, tmp_path: Path) -> Rig:
    """On SQLite alone, for what does not depend on the database."""
    return Rig(sqlite_database, tmp_path)

"""What the tests of backups stand on: a working folder with a database in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backups import BackupHome


@pytest.fixture
def place(home: Path, database_url: str) -> Iterator[BackupHome]:
    """One on each database."""
    opened = BackupHome(home, database_url)
    yield opened
    opened.db.dispose()


@pytest.fixture
def small(home: Path, sqlite_database_url: str) -> Iterator[BackupHome]:
    """One on SQLite, for what is the same everywhere."""
    opened = BackupHome(home, sqlite_database_url)
    yield opened
    opened.db.dispose()

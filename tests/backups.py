"""What the tests of backups share: databases full of odd rows, and a way to compare them row by row."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String, Table, insert, select, text
from sqlalchemy.sql.expression import func

from gengfu.backup.folder import BackupFolder
from gengfu.backup.making import BackupMaker, MadeBackup
from gengfu.backup.manifest import manifest_path
from gengfu.backup.restoring import Restorer
from gengfu.backup.rows import LEFT_OUT
from gengfu.backup.streams import Progress
from gengfu.clock import Clock, utcnow
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from gengfu.store.tables import Json, Moment, metadata
from terminal import Home

ODD_TEXTS = (
    "张三丰",
    "😀 emoji 👩‍👩‍👧",
    'it\'s "quoted" `so`\\',
    "two\nlines\r\n\tand a tab",
    "(1,'a'),(2,'b');\n-- Dump completed",
    "\\.\n\\N",
    "COPY public.job (id) FROM stdin;",
    "INSERT INTO `job` VALUES (1);",
    "",
    "%s %(x)s :x ${x} \\x41",
    "Ünal\u00a0\u2028",
)


class BackupHome:
    """A working folder for the program, with a database, and the same database for the test to look into."""

    def __init__(self, folder: Path, url: str, **settings: str) -> None:
        self.home = Home(folder, DATABASE_URL=url, **settings)
        self.db = Database(Secret(url), folder)
        self.settings = Settings(home=folder, database_url=Secret(url))

    @property
    def folder(self) -> Path:
        return self.settings.backups

    def maker(self, clock: Clock = utcnow, progress: Progress | None = None) -> BackupMaker:
        return BackupMaker(self.db, self.settings, clock, progress or Progress())

    def restorer(self, progress: Progress | None = None) -> Restorer:
        """Of the newest backup."""
        backup = BackupFolder(self.folder).find("latest", self.db.kind, self.folder)
        return Restorer(self.db, self.settings, utcnow, backup, progress or Progress())

    def make(self, clock: Clock = utcnow) -> MadeBackup:
        return self.maker(clock).make()

    def keep(self, daily: int) -> None:
        """From now on so many days' backups are kept, and no others."""
        self.settings = replace(self.settings, backup_keep_daily=daily, backup_keep_weekly=0, backup_keep_monthly=0)

    @property
    def files(self) -> set[str]:
        """What lies in the folder of backups, but for the lock."""
        return {path.name for path in self.folder.iterdir()} - {".lock"}


def rewrite(
    path: Path,
    change: Callable[[list[bytes]], object] = lambda lines: None,
    *,
    versions: Mapping[str, Any] = MappingProxyType({}),
    manifest: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Makes another backup of one, with a manifest that fits unless something of it is given."""
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    lines[0] = json.dumps(json.loads(lines[0]) | dict(versions)).encode() + b"\n"
    change(lines)
    path.write_bytes(gzip.compress(b"".join(lines)))
    vouch(path, **{"unpacked": sum(map(len, lines)), **manifest})


def vouch(path: Path, **told: Any) -> None:
    """Lets the manifest beside a backup fit what the file is now, and say that besides."""
    beside = manifest_path(path)
    fitting = {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    beside.write_text(json.dumps(json.loads(beside.read_text()) | fitting | told))


def fill(db: Database, rows: int = 12) -> None:
    """Gives every table so many rows with every kind of value that its columns take."""
    dice = random.Random(4711)

    def work(connection: Any) -> None:
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if column is not table.autoincrement_column]
            found = [{column.name: _value(column, number, dice) for column in columns} for number in range(rows)]
            connection.execute(insert(table), found)

    db.write(work)


def _value(column: Column[Any], number: int, dice: random.Random) -> Any:
    if column.nullable and number % 5 == 4:
        return None
    kind = column.type
    if isinstance(kind, Json):
        return [{"name": ODD_TEXTS[number % len(ODD_TEXTS)], "list": [1, 2.5, None, True]}, [], "x", 7][number % 4]
    if isinstance(kind, Moment):
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(microseconds=dice.randrange(10**15))
    if isinstance(kind, Boolean):
        return bool(number % 2)
    if isinstance(kind, LargeBinary):
        return bytes(range(256)) + dice.randbytes(number)
    if isinstance(kind, (Integer, BigInteger)):
        return number + 1
    words = ODD_TEXTS[number % len(ODD_TEXTS)]
    return f"{number} {words}"[: kind.length or None] if isinstance(kind, String) else words


def contents(db: Database) -> dict[str, list[Sequence[Any]]]:
    """Every row of every table of which backups hold the rows."""
    with db.read() as connection:
        tables = [table for table in metadata.sorted_tables if table.name not in LEFT_OUT]
        return {table.name: [tuple(row) for row in connection.execute(_ordered(table))] for table in tables}


def _ordered(table: Table) -> Any:
    return select(table).order_by(*table.primary_key.columns)


def count(db: Database, table: str) -> int:
    with db.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(metadata.tables[table])) or 0)


def swell(db: Database, rows: int, width: int) -> None:
    """Gives `sync_reject` so many rows that pack badly, made by the database itself."""
    digits = " UNION ALL ".join(f"SELECT {digit} AS n" for digit in range(10))
    number = "a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n"
    noise = {
        "sqlite": f"hex(randomblob({width // 2}))",
        "postgresql": " || ".join(["md5(random()::text)"] * (width // 32)),
        "mysql": "CONCAT(" + ", ".join(["MD5(RAND())"] * (width // 32)) + ")",
    }[db.kind]
    tables = ", ".join(f"({digits}) {name}" for name in "abcde")
    sql = (
        f"INSERT INTO sync_reject (run_id, page, reason, raw) SELECT 1, {number}, '原因 (x)', {noise} "
        f"FROM {tables} WHERE {number} < {rows}"
    )
    db.write(lambda connection: connection.execute(text(sql)))

"""Reads what pg_dump and mysqldump wrote, line by line: which tables, how many rows, and whether it is whole."""

from __future__ import annotations

import re
from pathlib import Path

from gengfu.backup.kinds import Contents
from gengfu.backup.streams import Progress, Unpacked
from gengfu.errors import BackupError

VERSION_TABLE = "alembic_version"
"""Its only row is the version of the tables."""

_COPY = re.compile(rb'COPY (?:"?[^".]+"?\.)?"?([^".(]+?)"? \(.*\) FROM stdin;\n')
_POSTGRES_END = b"-- PostgreSQL database dump complete"
_CREATE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?`([^`]+)`")
_INSERT = re.compile(rb"INSERT INTO `([^`]+)` (?:\(.*?\) )?VALUES\s*")
_STRING = re.compile(rb"'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL)
_MYSQL_END = b"-- Dump completed"
READING = "reading back"


def read_postgresql(backup: Path, progress: Progress) -> Contents:
    """Reads a dump of pg_dump; in its COPY blocks a line is a row.

    Raises:
        BackupError: it is damaged, cut off, or no such dump.
    """
    dump = Unpacked(backup, progress, READING)
    tables: dict[str, int] = {}
    version: str | None = None
    table: str | None = None
    whole = False
    for line in dump.lines():
        if table is not None:
            if line == b"\\.\n":
                table = None
                continue
            tables[table] += 1
            if table == VERSION_TABLE:
                version = line.decode().strip()
        elif found := _COPY.fullmatch(line):
            table = found[1].decode()
            tables[table] = 0
        whole = whole or line.startswith(_POSTGRES_END)
    return _whole(backup, whole and table is None, tables, version, dump)


def read_mysql(backup: Path, progress: Progress) -> Contents:
    """Reads a dump of mysqldump or mariadb-dump. Outside of strings a parenthesis opens a row.

    Raises:
        BackupError: it is damaged, cut off, or no such dump.
    """
    dump = Unpacked(backup, progress, READING)
    tables: dict[str, int] = {}
    version: str | None = None
    table: str | None = None
    whole = False
    for line in dump.lines():
        values = line
        if table is None:
            if made := _CREATE.match(line):
                tables[made[1].decode()] = 0
            whole = whole or line.startswith(_MYSQL_END)
            found = _INSERT.match(line)
            if found is None:
                continue
            table, values = found[1].decode(), line[found.end() :]
            whole = False
        rows = _STRING.sub(b"", values)
        tables[table] = tables.get(table, 0) + rows.count(b"(")
        if table == VERSION_TABLE and (text := _STRING.search(values)):
            version = text[0].strip(b"'").decode()
        if rows.endswith(b";\n"):
            table = None
    return _whole(backup, whole and table is None, tables, version, dump)


def _whole(backup: Path, whole: bool, tables: dict[str, int], version: str | None, dump: Unpacked) -> Contents:
    if not whole:
        raise BackupError(f"the backup {backup} is cut off: the mark at the end of a dump is missing")
    return Contents(tables, version, dump.sha256)

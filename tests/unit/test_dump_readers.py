"""Reading a dump back: its rows are counted, and damage is told, wherever it lies."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gengfu.backup.contents import Contents
from gengfu.backup.mysql import read_mysql
from gengfu.backup.postgresql import read_postgresql
from gengfu.backup.streams import Progress
from gengfu.errors import BackupError

POSTGRESQL = b"".join(
    b"CREATE TABLE public.t%d (\n    a integer\n);\nCOPY public.t%d (a) FROM stdin;\n1\n(2\n3\n\\.\n\n" % (n, n)
    for n in range(20)
)
MYSQL = b"".join(
    b"CREATE TABLE `t%d` (\n  `a` int\n);\nINSERT INTO `t%d` VALUES (1,'(a'),\n(2,'b'),(3,'c\\'(');\n" % (n, n)
    for n in range(20)
)
DUMPS = [
    (read_postgresql, POSTGRESQL, b"-- PostgreSQL database dump complete\n"),
    (read_mysql, MYSQL, b"-- Dump completed on 2026-11-22\n"),
]


@pytest.mark.parametrize(("read", "dump", "end"), DUMPS)
def test_damage_anywhere_is_told_as_damage(
    read: Callable[[Path, Progress], Contents], dump: bytes, end: bytes, tmp_path: Path
) -> None:
    dice, file = random.Random(4711), tmp_path / "dump.gz"
    whole = {f"t{number}": 3 for number in range(20)}
    for level in (0, 6):
        packed = gzip.compress(dump + end, level)
        file.write_bytes(packed)
        assert read(file, Progress()).tables == whole
        for _ in range(300):
            data = bytearray(packed)
            data[dice.randrange(10, len(data))] ^= 1 << dice.randrange(8)
            file.write_bytes(data)
            try:
                # A bit that means nothing may well be another.
                assert read(file, Progress()).tables == whole
            except BackupError:
                continue


@pytest.mark.parametrize(("read", "dump", "end"), DUMPS)
def test_a_dump_without_its_end_is_cut_off(
    read: Callable[[Path, Progress], Contents], dump: bytes, end: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "dump.gz"
    for text in (b"", dump, dump + end + dump, dump[:-8] + end):
        file.write_bytes(gzip.compress(text))
        with pytest.raises(BackupError, match="is cut off"):
            read(file, Progress())

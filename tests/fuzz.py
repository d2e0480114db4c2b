"""Feeds the reading of answers and rows with random bytes, for as long as it is let; `make fuzz` runs it.

Whatever comes, an answer is judged, and a row is read into what every reader of JSON reads back, or refused as one that
cannot be read.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import atheris

with atheris.instrument_imports(include=["gengfu.vendor", "gengfu.mirror"]):
    from gengfu.mirror.device import DEVICE
    from gengfu.mirror.rows import RowReader
    from gengfu.mirror.values import UnreadableRow
    from gengfu.store.rows import SQLITE
    from gengfu.vendor.answers import AnswerKind, Expected, excerpt, judge

READER = RowReader(DEVICE, "Asia/Shanghai", SQLITE)
JSON = [READER.columns.index(name) for name in ("wechat_accounts", "extra", "other")]


def read(data: bytes) -> None:
    """One answer, first with the bytes as its row, then as a whole."""
    for body in (b'{"results":[{"id":1,%b}],"total":1}' % data, data):
        page = judge(200, body, Expected(0, 100), partial(excerpt, scrub=str))
        assert page.kind in (AnswerKind.PAGE, AnswerKind.FAULT, AnswerKind.DEAD_LOGIN)
        for raw in page.rows:
            try:
                key = READER.key(raw)
                (values,) = READER.rows([key], [raw], None)
            except UnreadableRow:
                continue
            READER.content_hashes([raw])
            READER.volatile([raw])
            for place in JSON:
                json.dumps(json.loads(values[place] or "null"), allow_nan=False).encode()


atheris.Setup(sys.argv, read)
atheris.Fuzz()

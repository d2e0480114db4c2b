"""What is read of a vendor row: key, hashes, values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.mirror.device import DEVICE
from gengfu.mirror.device_group import DEVICE_GROUP
from gengfu.mirror.rows import RowReader, UnreadableRow
from gengfu.mirror.values import MISSING
from gengfu.store.rows import PYTHON, SQLITE, Codec

READER = RowReader(DEVICE, "Asia/Shanghai")


def raw(row: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(row).encode() if not isinstance(row, bytes) else row)


def values(row: Any) -> dict[str, Any]:
    return dict(zip(READER.columns, READER.rows(READER.keys([raw(row)]), [raw(row)])[0], strict=True))


@pytest.mark.parametrize(
    ("row", "key"), [({"id": 7}, 7), ({"id": "7"}, 7), ({"id": " -3 "}, -3), ({"id": 2**63 - 1}, 2**63 - 1)]
)
def test_a_key_is_a_whole_number_however_it_is_written(row: Any, key: int) -> None:
    assert READER.key(raw(row)) == key


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "not an object"),
        ("text", "not an object"),
        ([1], "not an object"),
        ({}, "has no id"),
        ({"id": None}, "null"),
        ({"id": "seven"}, "seven"),
        ({"id": 7.5}, "7.5"),
        ({"id": True}, "true"),
        ({"id": 2**63}, "64 bits"),
        ({"id": "9" * 19}, "64 bits"),
    ],
)
def test_a_row_without_a_usable_key_says_why(row: Any, reason: str) -> None:
    with pytest.raises(UnreadableRow, match=reason):
        READER.key(raw(row))


def test_missing_null_and_empty_are_three_things() -> None:
    row = values({"id": 1, "imei": None, "userName": ""})
    assert (row["imei"], row["user_name"], row["nickname"]) == (None, "", MISSING)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0001-01-01T00:00:00", None),
        ("", None),
        ("2026-01-02T08:00:00", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T08:00:00.1234567", datetime(2026, 1, 2, 0, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        ("1988-07-01T09:00:00", datetime(1988, 7, 1, tzinfo=UTC)),
    ],
)
def test_times_are_the_vendors_local_time(text: str, moment: datetime | None) -> None:
    as_text = RowReader(DEVICE, "Asia/Shanghai", SQLITE)
    for _ in range(2):
        kept = as_text.rows([1], [raw({"id": 1, "createTime": text})])[0][READER.columns.index("create_time")]
        assert (kept and SQLITE.decode(kept)) == moment
        assert values({"id": 1, "createTime": text})["create_time"] == moment


def test_a_value_that_does_not_fit_its_column_is_kept_beside_the_unknown_fields() -> None:
    row = values({"id": 1, "createTime": "soon", "alive": "maybe", "memo": {"a": 1}, "wifi": "on"})
    assert (row["create_time"], row["alive"], row["memo"]) == (None, None, None)
    as_text = RowReader(DEVICE, "Asia/Shanghai", SQLITE)
    for text in ("2026-01-02T08:00:00", "2026-01-02T08:61:00"):
        kept = as_text.rows([1], [raw({"id": 1, "createTime": text})])[0]
    assert kept[READER.columns.index("create_time")] is None
    assert json.loads(row["other"]) == {"wifi": "on", "createTime": "soon", "alive": "maybe", "memo": {"a": 1}}


@pytest.mark.parametrize(("value", "flag"), [(True, True), (0, False), (1, True), ("false", False), ("1", True)])
def test_flags_come_in_several_spellings(value: Any, flag: bool) -> None:
    assert values({"id": 1, "alive": value})["alive"] is flag


def test_numbers_in_text_fields_keep_their_digits() -> None:
    assert values({"id": 1, "phone": 13800138000, "tenantId": 7})["phone"] == "13800138000"


def test_an_object_in_a_string_is_the_object() -> None:
    assert json.loads(values({"id": 1, "extra": '{"a": 1}'})["extra"]) == {"a": 1}
    assert json.loads(values({"id": 1, "extra": {"a": 1}})["extra"]) == {"a": 1}
    assert json.loads(values({"id": 1, "extra": "free text"})["extra"]) == "free text"


def test_what_no_database_can_keep_in_text_is_replaced_by_a_visible_sign() -> None:
    row = values(rb'{"id": 1, "memo": "a\u0000b\ud83d", "nickname": "\ud83d\ude00", "extra": "{\"x\": \"\\u0000\"}"}')
    assert (row["memo"], row["nickname"], row["extra"]) == ("a\u2400b\ufffd", "😀", '{"x":"\u2400"}')


def test_invalid_utf8_is_replaced_not_refused() -> None:
    assert values(b'{"id": 1, "memo": "\xff"}')["memo"] == "\ufffd"


DEVICES = st.dictionaries(
    st.sampled_from(["memo", "imei", "alive", "extra", "lastAliveTime", "lastUpdateTime", "wifi"]),
    st.none()
    | st.text(max_size=5)
    | st.booleans()
    | st.dictionaries(st.sampled_from(["lastAliveTime", "a"]), st.text(max_size=3)),
)
VOLATILE = ("lastAliveTime", "lastUpdateTime")


@given(row=DEVICES, beat=st.sampled_from(["", "2026-01-01T00:00:00", 'a"}\\,']))
def test_a_heartbeat_alone_moves_the_row_hash_but_not_the_content_hash(row: dict[str, Any], beat: str) -> None:
    row = {**row, "id": 1, "lastAliveTime": "2020-01-01T00:00:00", "lastUpdateTime": None}
    later = {**row, "lastAliveTime": beat, "lastUpdateTime": beat}
    assert READER.content_hashes([raw(row)]) == READER.content_hashes([raw(later)])
    assert READER.row_hashes([raw(row)]) != READER.row_hashes([raw(later)])


@given(
    row=DEVICES,
    field=st.sampled_from(["memo", "extra"]),
    value=st.dictionaries(st.just("lastAliveTime"), st.text(), min_size=1),
)
def test_a_change_of_content_moves_the_content_hash(row: dict[str, Any], field: str, value: dict[str, str]) -> None:
    """Also where a nested object carries a field named like a volatile one."""
    row = {"id": 1, **row}
    changed = {**row, field: value}
    if row.get(field) != value:
        assert READER.content_hashes([raw(row)]) != READER.content_hashes([raw(changed)])


def test_hashes_fit_in_a_signed_column() -> None:
    for number in range(200):
        (row_hash,) = READER.row_hashes([raw({"id": number})])
        assert -(2**63) <= row_hash < 2**63


ODD = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(["2026-01-02T08:00:00", "2026-01-02T08:00:00.1234567", "0001-01-01T00:00:00", "soon", '{"a": 1}'])
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.sampled_from(["lastAliveTime", "a"]), st.text(max_size=3), max_size=2)
)
NAMES = (
    "imei",
    "memo",
    "tenantId",
    "alive",
    "rooted",
    "extra",
    "createTime",
    "lastAliveTime",
    "lastUpdateTime",
    "wifi",
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), ODD), max_size=12)


@given(rows=ROWS, absent=st.sampled_from([MISSING, None]), codec=st.sampled_from([PYTHON, SQLITE]))
def test_rows_are_read_together_as_one_by_one(rows: list[dict[str, Any]], absent: Any, codec: Codec) -> None:
    raws = [raw({**row, "id": number}) for number, row in enumerate(rows)]
    together = RowReader(DEVICE, "Asia/Shanghai", codec)
    keys = together.keys(raws)
    assert keys == [*range(len(rows))]
    for _ in range(2):  # what the first time has taught is used the second time
        read = together.rows(keys, raws, absent)
        alone = [RowReader(DEVICE, "Asia/Shanghai", codec) for _ in rows]
        assert [_parsed(row) for row in read] == [
            _parsed(reader.rows([key], [one], absent)[0]) for reader, key, one in zip(alone, keys, raws, strict=True)
        ]
        assert together.volatile(raws) == [reader.volatile([one])[0] for reader, one in zip(alone, raws, strict=True)]
    assert list(together.content_hashes(raws)) == [together.content_hashes([one])[0] for one in raws]
    assert list(together.row_hashes(raws)) == [together.row_hashes([one])[0] for one in raws]


def test_rows_without_volatile_fields_are_read_like_others() -> None:
    reader = RowReader(DEVICE_GROUP, "Asia/Shanghai")
    assert not DEVICE_GROUP.volatile
    raws = [raw({"id": number, "groupName": f"floor {number}"}) for number in range(3)]
    assert reader.volatile(raws) == [(), (), ()]
    assert reader.content_hashes(raws) == reader.row_hashes(raws)
    assert [row[0] for row in reader.rows(reader.keys(raws), raws)] == [0, 1, 2]


def _parsed(row: tuple[Any, ...]) -> list[Any]:
    """JSON columns as what they mean, since only objects that needed no reading keep the vendor's way to write them."""
    places = {READER.columns.index(name) for name in ("extra", "wechat_accounts", "other")}
    return [
        json.loads(value) if place in places and isinstance(value, str) else value for place, value in enumerate(row)
    ]

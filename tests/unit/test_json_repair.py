"""What is made of JSON that is not quite JSON: the same where it is sound, and never more than was there."""

from __future__ import annotations

import json
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.vendor.answers import AnswerKind, Expected, excerpt, judge
from gengfu.vendor.json_repair import MOST_LEVELS, cut_off, levels, repaired

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
PIECES = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b",",
            b":",
            b"\\",
            b"\\u",
            b"\\ud83d",
            b"\\ude00",
            b"NaN",
            b"-Infinity",
            b"1e400",
            b"null",
        ),
        *(
            b'"results":',
            b'"total":',
            b'{"id":1}',
            b"\x00",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\n",
            b" ",
            b"9" * 400,
            b"[" * 400,
        ),
    ]
)
RUBBISH = st.binary(max_size=60) | st.lists(PIECES, max_size=30).map(b"".join)


@given(VALUES, st.booleans())
def test_what_is_sound_stays_as_it_is(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")
    sound = repaired(text)
    assert "\\ud" in text.decode() or sound == text
    assert cut_off(text) == text


@pytest.mark.parametrize(
    ("broken", "value"),
    [
        (b"[NaN, -Infinity, Infinity, -1]", ["NaN", "-Infinity", "Infinity", -1]),
        (rb'["\x41", "\u12", "\ud83d", "\ud83d\ude00", "\\NaN"]', ["\\x41", "\\u12", "\ufffd", "😀", "\\NaN"]),
        (b'["a\x00\x1f\nb"]', ["a\x00\x1f\nb"]),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ],
)
def test_what_is_broken_is_written_as_json_has_it(broken: bytes, value: object) -> None:
    assert json.loads(repaired(broken)) == value


@given(st.integers(0, 800), st.sampled_from([(b"[", b"]"), (b'{"]":', b"}")]))
def test_what_is_nested_too_deep_is_cut_off(depth: int, pair: tuple[bytes, bytes]) -> None:
    text = pair[0] * depth + b'"[["' + pair[1] * depth
    assert levels(text) == depth
    assert levels(cut_off(text)) == min(depth, MOST_LEVELS)
    assert len(cut_off(text)) <= len(text)
    msgspec.json.decode(cut_off(text))


@given(RUBBISH)
def test_no_answer_is_more_than_an_answer(body: bytes) -> None:
    for text in (body, b'{"results":[%b],"total":1}' % body):
        found = judge(200, text, Expected(0, 100), partial(excerpt, scrub=str))
        assert found.kind in (AnswerKind.PAGE, AnswerKind.FAULT)
        assert bool(found.why) is (found.kind is AnswerKind.FAULT)

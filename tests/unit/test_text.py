"""What others wrote controls no terminal, turns no line and hides nothing where it is shown."""

from __future__ import annotations

import ast
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengfu.text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("张三 (Ångström), 1 %", "张三 (Ångström), 1 %"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("one\ntwo\r\tthree\x00", "one\\ntwo\\r\\tthree\\x00"),
        ("\x1b[2J\x9b2J\x7f", "\\x1b[2J\\x9b2J\\x7f"),
        ("\u202eexe.txt\u2066\u200f", "\\u202eexe.txt\\u2066\\u200f"),
        ("a\u200bb\ufeffc\u2060d\u00ade\u3164f\ufe0f", "a\\u200bb\\ufeffc\\u2060d\\xade\\u3164f\\ufe0f"),
        ("a\u200db\u200cc", "a\\u200db\\u200cc"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
        ("👨‍👩‍👧 ❤️‍🔥 1️⃣ ©️ 👍🏽", "👨‍👩‍👧 ❤️‍🔥 1️⃣ ©️ 👍🏽"),
    ],
)
def test_what_is_not_seen_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}


@given(st.text())
def test_any_text_is_one_line_of_what_can_be_seen(text: str) -> None:
    shown = visible(text)
    assert {each for each in shown if unicodedata.category(each) in HIDDEN} <= {"\u200d"}
    assert len(shown.splitlines()) <= 1
    assert visible(shown) == shown


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1, max_size=9))
def test_what_is_shown_is_what_python_would_write(text: str) -> None:
    assert ast.literal_eval(f"'{visible(text)}'") == text

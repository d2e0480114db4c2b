"""No spelling in which a message may carry a secret shows it, and words keep their meaning where they are no secret."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gengfu.addresses import STARS
from gengfu.redaction import Redactor

SPELLINGS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda text: repr(text.encode()),
    "url": quote_plus,
    "path": lambda text: quote(text, safe=""),
    "path in small letters": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "url twice": lambda text: quote(quote(text, safe=""), safe=""),
    "json": json.dumps,
    "json as it stands": lambda text: json.dumps(text, ensure_ascii=False),
    "json with slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "html": html.escape,
    "html in numbers": lambda text: re.sub("[^A-Za-z0-9]", lambda found: f"&#{ord(found[0])};", text),
    "html in hex": lambda text: re.sub("[^A-Za-z0-9]", lambda found: f"&#x{ord(found[0]):X};", text),
    "shell": lambda text: "".join(f"\\{each}" if not each.isalnum() else each for each in text),
    "sql": lambda text: text.replace("'", "''"),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "basic authorization": lambda text: b64encode(f"operator:{text}".encode()).decode(),
    "basic authorization of another": lambda text: b64encode(f"root1:{text}".encode()).decode(),
    "base64 of json": lambda text: b64encode(json.dumps({"p": text}, ensure_ascii=False).encode()).decode(),
    "base64 for addresses": lambda text: urlsafe_b64encode(f"a:{text}!".encode()).decode(),
    "hex": lambda text: text.encode().hex(),
}  # fmt: skip
MARK = "xyzzy"


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
@settings(max_examples=40)
@given(st.text(max_size=10), st.text(max_size=10))
def test_no_spelling_of_a_secret_is_left(spelled: Callable[[str], str], before: str, after: str) -> None:
    secret = f"{before}q{MARK}7{after}"
    redactor = Redactor()
    redactor.add(secret)
    try:
        written = spelled(secret)
    except UnicodeEncodeError:
        assume(False)
    shown = redactor.redact(f"sent <{written}> to the server")
    assert STARS in shown
    assert shown.startswith("sent <")
    assert shown.endswith("> to the server")
    assert MARK not in shown
    for kept in (b64encode(MARK.encode()).decode()[:5], MARK.encode().hex()):
        assert kept not in shown


@given(st.text(), st.text(min_size=4))
def test_any_text_is_redacted_and_then_has_the_secret_no_more(text: str, secret: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    shown = redactor.redact(text + secret + text)
    assert secret not in shown.replace(STARS, "") or redactor.redact(f"password={secret}") == f"password={STARS}"


@pytest.mark.parametrize("word", ["gengfu", "device", "Queue", "run", "a", "7", "123456", "密码", "ok"])
def test_a_common_word_is_hidden_only_where_a_secret_stands(word: str) -> None:
    redactor = Redactor()
    redactor.add(word)
    line = f"{word} list of {word}s closed run=7 queue={word} in 123456 s"
    assert redactor.redact(line) == line
    for before, after in (
        ("password=", ""),
        ("password = ", " "),
        ('"password": "', '"'),
        ("'password': '", "'"),
        ('\\"password\\": \\"', '\\"'),
        ("API_PASSWORD=", ""),
        ("mysql://root:", "@db/gengfu"),
        ("token: ", ""),
        ("password is ", ""),
        ("using password '", "'"),
        ("密码：", ""),
    ):
        assert redactor.redact(f"{before}{word}{after}") == f"{before}{STARS}{after}"


def test_a_word_that_is_common_here_is_what_the_caller_says() -> None:
    redactor = Redactor()
    redactor.add("operator17", common=True)
    assert redactor.redact("operator17 logs in with password=operator17") == f"operator17 logs in with password={STARS}"


@given(st.text(min_size=8, max_size=20), st.data())
def test_a_secret_that_is_cut_between_two_texts_is_hidden(secret: str, data: st.DataObject) -> None:
    assume(not secret.isdecimal() and not secret.isalpha() and STARS not in secret)
    at = data.draw(st.integers(1, len(secret) - 1))
    redactor = Redactor()
    redactor.add(secret)
    shown = redactor.redact_all(["sent", secret[:at], secret[at:], "7"])
    assert secret not in "".join(shown)
    assert secret not in " ".join(shown)
    assert STARS in shown
    assert shown[3] == "7" or STARS in shown


def test_the_same_text_comes_back_where_nothing_is_hidden() -> None:
    class Text(str):
        pass

    redactor = Redactor()
    redactor.add("s3cret word")
    text = Text("nothing")
    assert redactor.redact(text) is text


def test_old_secrets_make_room_and_lasting_ones_stay() -> None:
    redactor = Redactor()
    redactor.add("s3cret/word", lasting=True)
    for number in range(100):
        redactor.add(f"token-{number:03}-x")
    assert redactor.redact("token-000-x token-099-x s3cret/word") == f"token-000-x {STARS} {STARS}"

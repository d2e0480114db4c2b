"""Addresses are refused where they would be read otherwise than meant, and nothing repeats their passwords."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from gengfu import addresses
from gengfu.errors import ConfigError
from gengfu.settings import load_settings

SESAME = "sesame"


@pytest.mark.parametrize(
    ("address", "write"),
    [
        ("mysql://root:s@sesame@db/gengfu", "%40"),
        ("mysql://root:sesame/x@db/gengfu", "%2F"),
        ("mysql://root:sesame?x@db/gengfu", "%3F"),
        ("mysql://root:sesame#x@db/gengfu", "%23"),
        ("redis://:sesame#x@db:6379/0", "%23"),
        ("redis://:s@sesame@db:6379/0", "%40"),
        ("rediss://:s/sesame@db:6379/0", "%2F"),
        ("mysql://root:sesame%x@db/gengfu", "%25"),
        ("mysql://root:sesame%4@db/gengfu", "%25"),
        ("mysql://root:[sesame]@db/gengfu", "%5B"),
        ("mysql://root:sesame\x07@db/gengfu", "%XX"),
        ("mysql://root:sesame\n@db/gengfu", "%XX"),
        ("postgresql://root:ses\u2100ame@db/gengfu", "%XX"),
        ("mysql://root:sesame", "%3A"),
        ("mysql://root:x@db:sesame/gengfu", "%3A"),
        ("mysql://root:x@db:99999/gengfu", "%3A"),
        ("mysql://root:x@[::1/gengfu", "%3A"),
        ("mysql://root:x@[sesame]/gengfu", "%3A"),
        ("redis://:x@db:6379/sesame", "/0"),
    ],
)
def test_what_would_be_read_otherwise_is_refused_with_what_to_write(home: object, address: str, write: str) -> None:
    name = "REDIS_URL" if address.startswith("redis") else "DATABASE_URL"
    with pytest.raises(ConfigError) as caught:
        load_settings({"GENGFU_HOME": str(home), name: address})
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} ")
    assert write in sentence
    assert SESAME not in sentence
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://root:s%40same@db:3306/gengfu", "mysql://root:******@db:3306/gengfu"),
        ("postgres://db/gengfu", "postgres://db/gengfu"),
        ("postgresql+psycopg://u@db/gengfu", "postgresql+psycopg://u@db/gengfu"),
        ("redis://:s%40same@db/0", "redis://:******@db/0"),
        ("redis+sentinel://u:s@a:1,b:2/mymaster/0", "redis+sentinel://u:******@a:1,b:2/mymaster/0"),
        ("unix:///run/redis.sock?db=1&password=s%40same", "unix:///run/redis.sock?db=1&password=******"),
        ("mysql://db/x?passwd=s%40same&ssl_ca=/a", "mysql://db/x?passwd=******&ssl_ca=/a"),
        ("http://user:ses/ame@proxy:3128", "http://******"),
        ("user:s@same@proxy:3128", "******"),
        ("sqlite:///var/gengfu.db", "sqlite:///var/gengfu.db"),
        ("user:sesame@proxy:3128", "user:******@proxy:3128"),
        ("proxy:3128", "proxy:3128"),
    ],
)
def test_an_address_is_shown_as_it_was_written_with_stars(address: str, shown: str) -> None:
    assert addresses.shown(address) == shown


PASSWORD = st.text(min_size=1, max_size=12)


@given(PASSWORD, st.sampled_from(["", "@", "/", "?", "#", "%"]))
def test_no_raw_password_is_repeated_whatever_it_holds(password: str, sign: str) -> None:
    marked = f"xyzzy{sign}{password}plugh"
    address = f"mysql://root:{marked}@db.example.com:3306/gengfu"
    wrong = addresses.wrong_with(address)
    if wrong is None:
        assert make_url(address).host == "db.example.com"
        assert urlsplit(address).hostname == "db.example.com"
        assert addresses.shown(address) == "mysql://root:******@db.example.com:3306/gengfu"
    else:
        assert addresses.shown(address) == "mysql://******"
        assert marked in addresses.passwords(address)
        assert "xyzzy" not in wrong
        assert "plugh" not in wrong


@given(PASSWORD)
def test_an_escaped_password_is_taken_and_found(password: str) -> None:
    address = f"postgresql://root:{quote(password, safe='')}@db:5432/gengfu?sslpassword={quote(password, safe='')}"
    assert addresses.wrong_with(address) is None
    assert make_url(address).password == password
    assert password in addresses.passwords(address)
    assert quote(password, safe="") in addresses.passwords(address)
    assert addresses.shown(address) == "postgresql://root:******@db:5432/gengfu?sslpassword=******"


@given(st.text(max_size=40))
def test_any_text_is_checked_shown_and_searched(text: str) -> None:
    for address in (text, f"redis://{text}"):
        addresses.wrong_with(address)
        addresses.shown(address)
        addresses.passwords(address)

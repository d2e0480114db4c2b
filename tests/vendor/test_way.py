"""The way to the vendor: proxies, and certificates of every sort."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller import LISTING, Caller
from certificates import Certificates
from gengfu.clock import utcnow
from gengfu.errors import ConfigError, VendorError
from gengfu.services.doctor.reachability import reach
from gengfu.settings import load_settings
from gengfu.vendor.proxies import is_listed, proxy_for
from gengfu_simulator.testing import Simulator
from http_proxy import HttpProxy
from system import System


@pytest.fixture
def proxy() -> Iterator[Callable[..., HttpProxy]]:
    with ExitStack() as opened:

        def start(**options: object) -> HttpProxy:
            made = HttpProxy(**options)  # type: ignore[arg-type]
            opened.callback(made.close)
            return made

        yield start


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(devices=20) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def secure(certificates: Certificates) -> Iterator[Callable[[str, str], str]]:
    """`secure("leaf", "leaf.chain")`: the address of a vendor with that key, and that file of certificates."""
    with ExitStack() as opened:
        made: dict[tuple[str, str], str] = {}

        def start(name: str, file: str) -> str:
            if (name, file) not in made:
                files = {"tls_cert": certificates / f"{file}.pem", "tls_key": certificates / f"{name}.key"}
                made[name, file] = opened.enter_context(Simulator(devices=20, **files)).url
            return made[name, file]

        yield start


def total(start: Callable[..., Caller], url: str, **settings: object) -> int:
    return start(url=url, **settings).client.page(LISTING, 0, 10).total


# Which way.


@pytest.mark.parametrize(
    ("listed", "host", "port", "expected"),
    [
        ("", "vendor.example.com", 443, False),
        ("*", "vendor.example.com", 443, True),
        ("example.com", "vendor.example.com", 443, True),
        (".example.com", "vendor.example.com", 443, True),
        ("*.example.com", "vendor.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("ample.com", "example.com", 443, False),
        ("EXAMPLE.com.", "vendor.example.COM", 443, True),
        ("vendor.example.com:8443", "vendor.example.com", 443, False),
        ("vendor.example.com:443", "vendor.example.com", 443, True),
        ("a.net, b.net  vendor.example.com", "vendor.example.com", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8:8080", "10.1.2.3", 80, False),
        ("10.0.0.0/8:80", "10.1.2.3", 80, True),
        ("10.1.2.3/33", "10.1.2.3", 80, False),
        ("10.1.2.3", "10.1.2.3", 80, True),
        ("127.0.0.1:80", "127.0.0.1", 80, True),
        ("2.3", "10.1.2.3", 80, False),
        ("fd00::/8", "fd00::1", 80, True),
        ("[fd00::1]:80", "fd00::1", 80, True),
        ("[fd00::1]:81", "fd00::1", 80, False),
        ("::1", "::1", 80, True),
        ("localhost", "127.0.0.1", 80, False),
        (",, ,", "vendor.example.com", 80, False),
    ],
)
def test_who_needs_no_proxy(listed: str, host: str, port: int, expected: bool) -> None:
    assert is_listed(host, port, listed) is expected


@given(st.text(max_size=60), st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5}){0,2}", fullmatch=True))
def test_any_list_can_be_read_and_a_host_in_it_is_found(rubbish: str, host: str) -> None:
    assert is_listed(host, 80, rubbish) in (True, False)
    assert is_listed(host, 80, f"{host},{rubbish}")


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, ("http://p:1", "HTTPS_PROXY")),
        ({"https_proxy": "p:1"}, ("http://p:1", "HTTPS_PROXY")),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, ("http://a:1", "HTTPS_PROXY")),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, ("http://b:1", "HTTPS_PROXY")),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"ALL_PROXY": "http://p"}, ("http://p:80", "ALL_PROXY")),
        ({"all_proxy": "https://p"}, ("https://p:443", "ALL_PROXY")),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "vendor.example.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": ".example.com:443"}, None),
        ({"HTTPS_PROXY": "http://p:1", "API_PROXY": "none"}, None),
        ({"HTTPS_PROXY": "http://p:1", "API_PROXY": "http://q:2", "NO_PROXY": "*"}, ("http://q:2", "API_PROXY")),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, ("http://[fd00::1]:3128", "HTTPS_PROXY")),
    ],
)
def test_the_way_is_chosen_as_curl_does(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], way: tuple[str, str] | None
) -> None:
    for name, value in {"API_WECHAT_URL": "https://vendor.example.com", **environment}.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(load_settings())
    assert (found and (found.url, found.setting)) == way
    assert [remark for remark in load_settings().remarks if "proxy" in remark.lower()] == []


def test_a_proxy_may_stand_in_the_file_of_settings(home: Path) -> None:
    (home / ".env").write_text("API_WECHAT_URL=http://vendor.example.com\nHTTP_PROXY=http://ann:p%40ss@p:1\n")
    found = proxy_for(load_settings())
    assert found is not None
    assert (found.url, found.user, found.password.reveal()) == ("http://p:1", "ann", "p@ss")
    assert "p@ss" not in repr(found)
    assert "p%40ss" not in repr(load_settings())


@pytest.mark.parametrize("named", ["socks5://ann:s3cret@p:1", "ftp://p", "http://", "http://p:port"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("API_WECHAT_URL", "https://vendor.example.com")
    monkeypatch.setenv("ALL_PROXY", named)
    with pytest.raises(ConfigError, match=r"ALL_PROXY names .*API_PROXY=none") as caught:
        proxy_for(load_settings())
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("API_PROXY", named)
    with pytest.raises(ConfigError, match="API_PROXY") as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


# Through a proxy.


def through(home: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, object]:
    """The settings of the way that this environment gives."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = load_settings()
    names = ("api_proxy", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "api_ca_file")
    return {name: getattr(found, name) for name in names}


def test_a_vendor_without_tls_is_asked_through_the_proxy(
    start: Callable[..., Caller],
    vendor: Simulator,
    proxy: Callable[..., HttpProxy],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    passing = proxy(login="ann:p@ss wörd:1")
    way = through(home, monkeypatch, HTTP_PROXY=f"http://ann:p%40ss%20w%C3%B6rd%3A1@{passing.place}")
    assert total(start, vendor.url, **way) == 20
    assert passing.seen[0] == ("POST", f"{vendor.url}token")
    assert {method for method, _ in passing.seen} == {"POST", "GET"}
    assert "p@ss" not in caplog.text
    assert "p%40ss" not in caplog.text


def test_a_vendor_with_tls_is_asked_through_a_tunnel(
    start: Callable[..., Caller],
    secure: Callable[[str, str], str],
    certificates: Certificates,
    proxy: Callable[..., HttpProxy],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passing, url = proxy(login="ann:secret"), secure("leaf", "leaf.chain")
    way = through(
        home,
        monkeypatch,
        https_proxy=f"ann:secret@{passing.place}",
        API_CA_FILE=str(certificates / "root.pem"),
        API_WECHAT_URL=url,
    )
    assert total(start, url, **way) == 20
    assert {method for method, _ in passing.seen} == {"CONNECT"}
    found = reach(load_settings(), 5)
    assert (found.status, found.problem) == (200, "")
    assert found.expires is not None
    assert found.expires > utcnow()
    assert len(passing.seen) > 1


def test_what_needs_no_proxy_is_asked_straight(
    start: Callable[..., Caller],
    vendor: Simulator,
    proxy: Callable[..., HttpProxy],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passing = proxy()
    way = through(home, monkeypatch, HTTP_PROXY=f"http://{passing.place}", NO_PROXY="127.0.0.0/8")
    assert total(start, vendor.url, **way) == 20
    assert passing.seen == []


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"login": "ann:right"}, r"did not get past the proxy, which answered 407: it wants a user and a password"),
        ({"status": 403}, r"403"),
        ({"status": 503}, r"503"),
    ],
)
def test_a_proxy_that_refuses_is_told_from_the_vendor(
    start: Callable[..., Caller],
    vendor: Simulator,
    secure: Callable[[str, str], str],
    proxy: Callable[..., HttpProxy],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    encrypted: bool,
    options: dict[str, object],
    told: str,
) -> None:
    passing = proxy(**options)
    url = secure("leaf", "leaf.chain") if encrypted else vendor.url
    way = through(home, monkeypatch, API_PROXY=f"http://ann:wr0ng@{passing.place}", API_WECHAT_URL=url)
    with pytest.raises(VendorError, match=told) as caught:
        total(start, url, **way)
    assert "wr0ng" not in str(caught.value)
    assert len(passing.seen) == (4 if options.get("status") == 503 else 1)
    if "login" in options:
        assert "407" in reach(load_settings(), 5).problem


def test_a_proxy_that_is_not_there_is_named(
    start: Callable[..., Caller], vendor: Simulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = through(home, monkeypatch, API_PROXY="http://127.0.0.1:9", API_WECHAT_URL=vendor.url)
    with pytest.raises(VendorError, match=r"did not get to the proxy 127\.0\.0\.1:9"):
        total(start, vendor.url, **way)
    assert reach(load_settings(), 5).problem


# Certificates.


@pytest.mark.parametrize(
    ("name", "file", "trusted"),
    [
        ("leaf", "leaf.chain", "root"),
        ("leaf", "leaf.chain", "between"),
        ("leaf", "leaf.chain", "leaf"),
        ("leaf", "leaf", "between"),
        ("leaf", "leaf", "leaf"),
        ("own", "own", "own"),
    ],
)
def test_a_root_a_link_and_the_certificate_itself_are_trusted(
    start: Callable[..., Caller],
    secure: Callable[[str, str], str],
    certificates: Certificates,
    name: str,
    file: str,
    trusted: str,
) -> None:
    assert total(start, secure(name, file), api_ca_file=certificates / f"{trusted}.pem") == 20


@pytest.mark.parametrize(
    ("name", "file", "trusted", "told"),
    [
        (
            "leaf",
            "leaf",
            "root",
            r"issuer is neither in API_CA_FILE \(.*root\.pem\) nor sent along: a link .* is missing",
        ),
        ("leaf", "leaf", None, r"not trusted: its issuer is neither known .* have the vendor send the whole chain"),
        ("leaf", "leaf.chain", None, "not trusted: .*API_CA_FILE"),
        ("own", "own", None, "self-signed certificate; .*set API_CA_FILE"),
        ("renewed", "renewed", "own", r"self-signed certificate that is not the one in API_CA_FILE \(.*own\.pem\)"),
        ("old", "old.chain", "root", "has expired"),
        ("early", "early.chain", "root", "not valid yet"),
        ("other", "other.chain", "root", r"not for 127\.0\.0\.1: write the name"),
    ],
)
def test_each_certificate_that_is_refused_has_its_sentence(
    start: Callable[..., Caller],
    secure: Callable[[str, str], str],
    certificates: Certificates,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    file: str,
    trusted: str | None,
    told: str,
) -> None:
    url = secure(name, file)
    trusting = certificates / f"{trusted}.pem" if trusted else None
    with pytest.raises(VendorError, match=told) as caught:
        total(start, url, api_ca_file=trusting)
    assert trusted is None or "set API_CA_FILE" not in str(caught.value)
    monkeypatch.setenv("API_WECHAT_URL", url)
    if trusting is not None:
        monkeypatch.setenv("API_CA_FILE", str(trusting))
    assert re.search(told, reach(load_settings(), 5).problem)


def test_a_relative_file_lies_in_the_working_folder(
    certificates: Certificates, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "ca.pem").write_text(certificates.text("root"))
    monkeypatch.chdir("/")
    monkeypatch.setenv("API_CA_FILE", "ca.pem")
    assert load_settings().api_ca_file == home / "ca.pem"


def test_a_vendor_on_ipv6_alone_is_asked(start: Callable[..., Caller]) -> None:
    with Simulator(devices=20, host="::1") as simulator:
        assert "[::1]" in simulator.url
        assert total(start, simulator.url) == 20


def test_a_whole_run_goes_by_the_proxy_and_doctor_shows_the_way(
    open_system: Callable[..., System], proxy: Callable[..., HttpProxy]
) -> None:
    passing = proxy(login="ann:p4ssw0rd")
    system = open_system({"devices": 150})
    environment = {"http_proxy": f"http://ann:p4ssw0rd@{passing.place}"}
    system.tell("device:list", "--now", **environment)
    assert len(passing.seen) >= 3
    told = system.tell("doctor", **environment).out
    assert f"by the proxy http://{passing.place} (HTTP_PROXY) answers (200)" in told
    assert "set in this shell only, where cron does not find it: HTTP_PROXY" in told
    assert "p4ssw0rd" not in told
    system.set(API_PROXY=f"http://ann:another@{passing.place}")
    system.tell("device:list", "--now", code=1)
    told = system.tell("doctor", code=1).out
    assert f"by the proxy http://{passing.place} (API_PROXY) cannot be used" in told
    assert "407" in told

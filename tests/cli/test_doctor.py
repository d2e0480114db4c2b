"""What is wrong with an installation is found, told with how to fix it, and fixed where that is safe."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from gengfu.cli.catalogue import Catalogue
from gengfu.clock import utcnow
from gengfu.locks import held
from gengfu.queue.notify import Notifier
from gengfu.schedule.entries import load_entries
from gengfu.services.doctor import checks_ground, checks_running, checks_services
from gengfu.services.doctor.checks import CHECKS, examine
from gengfu.services.doctor.findings import Check, DoctorContext, Finding, Level, ok
from gengfu.services.doctor.reachability import Reachability
from gengfu.settings import load_settings
from gengfu.store.database import Database
from gengfu.store.logins import Logins
from gengfu_simulator.testing import Simulator
from stage import wait_for
from system import System
from terminal import Home

if TYPE_CHECKING:
    from servers import SmallDisk

VENDOR = {"API_WECHAT_URL": "http://127.0.0.1:9/", "API_USERNAME": "operator", "API_PASSWORD": "s3cret word"}


@pytest.fixture
def place(home: Path, sqlite_template: Path) -> Home:
    """A working folder in which all is well, as far as it goes without a vendor."""
    for name in ("var", "logs"):
        (home / name).mkdir()
    shutil.copy(sqlite_template, home / "var" / "gengfu.db")
    made = Home(home, **VENDOR)
    (home / ".env").chmod(0o600)
    return made


def context(**more: Any) -> DoctorContext:
    settings = load_settings()
    db = Database(settings.database_url, settings.home)

    catalogue = Catalogue(settings.home)

    def nobody() -> Any:
        raise AssertionError("no login service")

    return DoctorContext(
        settings,
        utcnow,
        lambda: db,
        Notifier(settings).server,
        nobody,
        lambda: load_entries(settings, catalogue),
        list,
        lambda text: None,
        **more,
    )


def levels(findings: Any) -> list[tuple[Level, str]]:
    return [(finding.level, finding.text) for finding in findings]


def told(place: Home, *arguments: str, code: int = 1) -> dict[str, list[dict[str, Any]]]:
    """What the command says, by check."""
    ended = place.ask("doctor", "--json", *arguments)
    assert ended.code == code, ended
    found: dict[str, list[dict[str, Any]]] = {}
    for line in ended.json["checks"]:
        found.setdefault(line["check"], []).append(line)
    return found


def test_a_sound_installation_has_no_error_and_each_check_speaks(open_system: Callable[..., System]) -> None:
    system = open_system()
    up = system.start("up", "--without", "scheduler")
    wait_for(lambda: "\nok\tworker " in system.home.ask("health").out, 30, every=0.3)
    ended = system.tell("doctor", "--login")
    states = {(row[1], row[0]) for row in ended.rows[1:]}
    assert {name for name, _ in states} == {check.name for check in CHECKS}
    assert "error" not in {state for _, state in states}
    assert ("login", "ok") in states
    assert [call["path"] for call in system.sim.calls()].count("/token") == 1
    up.terminate()
    assert up.wait(40) == 0


def test_what_is_safe_to_fix_is_fixed_when_asked_and_told(place: Home) -> None:
    folder = place.folder
    (folder / ".env").chmod(0o644)
    (folder / "logs").rmdir()
    shutil.rmtree(folder / "var")
    (folder / "var").mkdir()
    (folder / "var" / "up.lock").write_text("123\n")
    before = told(place)
    for check in ("settings", "folders", "database", "leftovers"):
        assert (before[check][0]["state"], before[check][0]["fixed"]) == ("warning", None), before[check]
    after = told(place, "--fix")
    assert after["settings"][0]["fixed"] == f"{folder / '.env'} can be read by its owner only"
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert after["folders"][0]["fixed"] == f"{folder / 'logs'} was made"
    assert after["database"][0]["fixed"].startswith("upgraded to ")
    assert after["leftovers"][0]["fixed"] == f"{folder / 'var' / 'up.lock'} was removed"
    assert not (folder / "var" / "up.lock").exists()
    again = told(place)
    for check in ("settings", "folders", "database", "leftovers"):
        assert {line["state"] for line in again[check]} == {"ok"}, again[check]


def test_a_lock_that_is_held_is_no_leftover(place: Home) -> None:
    with held(place.folder / "var" / "up.lock"):
        assert levels(checks_ground.leftovers(context())) == [(Level.OK, "nothing was left behind by killed processes")]


def test_a_check_that_fails_itself_is_an_error_line(place: Home) -> None:
    def broken(_: DoctorContext) -> Iterator[Finding]:
        yield ok("so far")
        raise RuntimeError("no\nidea")

    def unfixable() -> str:
        raise OSError("the disk is gone")

    def fixed(_: DoctorContext) -> Iterator[Finding]:
        yield Finding(Level.WARNING, "bent", "bend it", unfixable)

    found = list(examine(context(), fix=True, checks=[Check("a", broken), Check("b", fixed)]))
    assert [(line.finding.level, line.finding.text) for line in found] == [
        (Level.OK, "so far"),
        (Level.ERROR, "this cannot be checked: no idea"),
        (Level.WARNING, "bent; it could not be fixed: the disk is gone"),
    ]


def test_a_malformed_setting_is_the_only_line(home: Path) -> None:
    place = Home(home, **VENDOR, API_CONCURRENCY="many")
    assert [line["text"] for line in told(place)["settings"]] == [
        "API_CONCURRENCY (.env, line 4) is 'many', not a number; for example: API_CONCURRENCY=16"
    ]


def test_settings_that_only_this_shell_knows_are_named(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    place.set(API_WECHAT_URL=VENDOR["API_WECHAT_URL"], API_USERNAME="operator")
    monkeypatch.setenv("API_PASSWORD", "s3cret")
    finding = next(checks_ground.settings(context()))
    assert finding.text == "set in this shell only, where cron does not find it: API_PASSWORD"


def test_an_interpreter_that_cron_cannot_start_is_an_error(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [finding.level for finding in checks_ground.interpreter(context())] == [Level.OK]
    script = tmp_path / "gengfu"
    script.write_text("#!/bin/sh\necho $PATH >&2\nexit 1\n")
    monkeypatch.setattr(checks_ground, "program", lambda: [str(script)])
    assert "Permission denied" in next(checks_ground.interpreter(context())).text
    script.chmod(0o755)
    assert next(checks_ground.interpreter(context())).text.endswith("as cron would start it: /usr/bin:/bin")


def test_a_folder_that_cannot_be_written_is_an_error(small_disk: SmallDisk, place: Home) -> None:
    place.set(**VENDOR, LOG_DIR=str(small_disk.folder))
    (place.folder / ".env").chmod(0o600)
    wait_for(lambda: small_disk.remount("ro"))
    assert levels(checks_ground.folders(context())) == [
        (Level.ERROR, f"{small_disk.folder} cannot be written: Read-only file system")
    ]
    assert small_disk.remount("rw")
    assert [finding.level for finding in checks_ground.disk(context())] == [Level.OK, Level.ERROR]


def test_files_of_another_user_are_told(place: Home) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    (place.folder / "var" / "gengfu.db-wal").touch()
    os.chown(place.folder / "var" / "gengfu.db-wal", 1, 1)
    (finding,) = checks_ground.folders(context())
    assert finding.level is Level.WARNING
    assert finding.remedy == f"chown -R {checks_ground._user(os.geteuid())} {place.folder / 'var'}"
    os.chown(place.folder, 1, 1)
    assert "this is root" in next(checks_ground.folders(context())).text


def test_a_log_that_nobody_rotates_is_told(place: Home) -> None:
    with (place.folder / "logs" / "cron.log").open("wb") as file:
        file.truncate(50_000_000)
    first, second = checks_ground.logs(context())
    assert first.text == f"{place.folder / 'logs' / 'cron.log'} has 50 MB: whoever writes it does not rotate it"
    assert (first.level, second.level) == (Level.WARNING, Level.OK)


def test_a_database_is_looked_at_on_each_server(place: Home, database_url: str) -> None:
    place.set(**VENDOR, DATABASE_URL=database_url)
    assert [finding.level for finding in checks_services.database(context())] == [Level.OK]
    assert {finding.level for finding in checks_services.clock(context())} == {Level.OK}
    seen = list(checks_running.processes(context()))
    assert [finding.level for finding in seen] == [Level.OK, Level.WARNING]


def test_a_database_without_tables_is_told(place: Home, empty_database_url: str, database_kind: str) -> None:
    place.set(**VENDOR, DATABASE_URL=empty_database_url)
    (finding,) = checks_services.database(context())
    assert finding.level is (Level.WARNING if database_kind == "sqlite" else Level.ERROR)
    assert finding.remedy == "gengfu db:upgrade"
    assert (finding.fix is not None) == (database_kind == "sqlite")
    assert [found.level for found in checks_services.login(context())] == [Level.WARNING]


def test_a_database_that_is_damaged_or_away_is_an_error(place: Home) -> None:
    with (place.folder / "var" / "gengfu.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"x" * 4096 * 3)
    assert [finding.level for finding in checks_services.database(context())] == [Level.ERROR]
    place.set(**VENDOR, DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    (line,) = examine(context(), checks=[Check("database", checks_services.database)])
    assert line.finding.level is Level.ERROR


def test_a_redis_is_asked_whether_it_takes_a_hint(place: Home, redis_url: str) -> None:
    place.set(**VENDOR)
    assert levels(checks_services.redis(context())) == [
        (Level.OK, "Redis is not in use: REDIS_URL is not set, so workers look for jobs by themselves")
    ]
    place.set(**VENDOR, REDIS_URL=redis_url)
    assert levels(checks_services.redis(context())) == [
        (Level.OK, f"Redis at {redis_url} takes and gives what wakes workers")
    ]
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", "1mb")
        try:
            (finding,) = checks_services.redis(context())
        finally:
            client.config_set("maxmemory", "0")
    assert finding.level is Level.ERROR
    assert "OOM" in finding.text or "maxmemory" in finding.text


def test_a_closed_port_is_an_error(place: Home) -> None:
    place.set(**VENDOR, REDIS_URL="redis://127.0.0.1:9/0")
    assert [finding.level for finding in checks_services.redis(context())] == [Level.ERROR]
    assert levels(checks_services.vendor(context())) == [
        (Level.ERROR, "http://127.0.0.1:9/ cannot be used: Connection refused")
    ]


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.4, Level.OK), (-6.0, Level.WARNING), (6.0, Level.WARNING), (-61.0, Level.ERROR)]
)
def test_how_far_clocks_may_differ(ahead: float, level: Level) -> None:
    finding = checks_services._difference(ahead)
    assert finding.level is level
    assert f"{abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} this one" in finding.text


def test_a_vendor_whose_clock_differs_or_whose_certificate_ends_soon_is_told(place: Home) -> None:
    now = datetime(2026, 3, 4, tzinfo=UTC)
    late = Reachability(True, False, 200, now + timedelta(seconds=90), now + timedelta(days=13))
    assert [found.text for found in checks_services._vendor_clock(late, now)] == [
        "the vendor's clock is 90 s ahead of this one"
    ]
    here = DoctorContext(load_settings(), lambda: now, *[lambda: None] * 6)  # type: ignore[arg-type]
    assert levels(checks_services._tls(late, here)) == [
        (Level.WARNING, "the vendor's certificate is valid until 2026-03-17")
    ]
    assert [found.level for found in checks_services._tls(Reachability(False, False), here)] == [Level.WARNING]
    assert levels(checks_services._tls(Reachability(False, True), here)) == []


OPENSSL_CA = """
[ca]
default_ca = own
[own]
new_certs_dir = .
database = index
unique_subject = no
serial = serial
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = IP:127.0.0.1
"""


def test_a_certificate_that_has_expired_is_an_error(place: Home, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl: not reachable (no such program)")
    for name, text in (("ca.cnf", OPENSSL_CA), ("index", ""), ("serial", "01\n")):
        (tmp_path / name).write_text(text)
    key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -keyout key.pem -out asked.pem"
    sign = "ca -batch -selfsign -config ca.cnf -keyfile key.pem -in asked.pem -notext -startdate 200101000000Z"
    for command in (key, f"{sign} -enddate 210101000000Z -out old.pem", f"{sign} -enddate 491231000000Z -out new.pem"):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    said = []
    for name in ("old.pem", "new.pem"):
        with Simulator(devices=1, tls_cert=tmp_path / name, tls_key=tmp_path / "key.pem") as sim:
            place.set(**VENDOR | {"API_WECHAT_URL": sim.url, "API_CA_FILE": str(tmp_path / name)})
            said.append(list(checks_services.vendor(context())))
    assert [(finding.level, finding.remedy) for finding in said[0]] == [(Level.ERROR, "")]
    assert "certificate that has expired" in said[0][0].text
    assert [finding.level for finding in said[1]] == [Level.OK, Level.OK]


def test_a_login_that_was_refused_is_told_and_not_tried_again(open_system: Callable[..., System]) -> None:
    system = open_system()
    system.set(API_PASSWORD="wrong")
    assert system.home.run("auth:login").code == 1
    (line,) = told(system.home, "--login")["login"]
    assert line["state"] == "error"
    assert "it is not tried again, lest the account be locked" in line["text"]
    assert line["remedy"].endswith("gengfu auth:reset")
    assert [call["path"] for call in system.sim.calls()].count("/token") == 1
    assert system.home.run("auth:reset").code == 0
    assert told(system.home, code=0)["login"][0]["state"] == "ok"
    assert [call["path"] for call in system.sim.calls()].count("/token") == 1


def test_a_wait_that_the_vendor_asked_for_is_told(open_system: Callable[..., System]) -> None:
    system = open_system()
    account = system.home.ask("auth:status", "--json").json["account"]
    Logins(system.db).close_gate(account, "the vendor asks for a wait of 600 s", 600)
    line = told(system.home, code=0)["login"][0]
    assert line["state"] == "warning"
    assert line["text"].endswith("UTC: the vendor asks for a wait of 600 s")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("* * * * * cd /srv/x && gengfu schedule:run", "cron does not find 'gengfu', which needs its full path"),
        ("* * * * * cd /srv/x && /srv/x/bin/gengfu schedule:run", "/srv/x/bin/gengfu is not there, or cannot be run"),
        ("* * * * * cd /srv/gengfu && /bin/true", ""),
        ("@reboot gengfu up", "cron does not find 'gengfu', which needs its full path"),
        ("*/5 * * * * cd /srv/gengfu&&/nowhere/gengfu health", "/nowhere/gengfu is not there, or cannot be run"),
        ("* * * * * echo 'half", "quotes that do not match"),
    ],
)
def test_what_is_wrong_with_a_crontab_line(line: str, wrong: str) -> None:
    assert checks_running.wrong_with(line) == wrong


@pytest.mark.parametrize(
    ("text", "named"),
    [("cd /srv/a && x", True), ("/srv/a/bin/x", True), ("cd /srv/ab", False), ("/srv/a-b /srv/a", True), ("", False)],
)
def test_whether_a_text_names_a_folder(text: str, named: bool) -> None:
    assert checks_running.names(text, Path("/srv/a")) is named


def test_crontab_lines_without_cron_and_broken_lines_are_errors(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"# a comment on {place.folder}\\n0 1 * * * other\\n* * * * * cd {place.folder} && gengfu schedule:run\\n"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "crontab").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    (tmp_path / "bin" / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(checks_running, "CRONS", ("no-such-cron",))
    found = list(checks_running.cron(context()))
    assert found[0].text == f"the crontab has 1 line for {place.folder}, and cron does not run"
    assert "cron does not find 'gengfu'" in found[1].text
    monkeypatch.setattr(checks_running, "CRONS", (Path(sys.executable).name, "python3"))
    assert next(checks_running.cron(context())).level is Level.OK
    assert levels(checks_running.autostart(context(root=tmp_path))) == [
        (Level.OK, "started by the crontab of this user")
    ]


def test_what_is_installed_is_found_where_systems_keep_it(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = tmp_path / "root"
    assert [finding.level for finding in checks_running.autostart(context(root=root))] == [Level.WARNING]
    for name in (
        "etc/systemd/system/gengfu-worker@.service",
        "etc/supervisor/conf.d/gengfu.conf",
        "etc/supervisor/conf.d/other.conf",
        "www/server/cron/abc",
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("cd /srv/other" if "other" in name else f"# x\ncd {place.folder} && run\n")
    found = list(checks_running.autostart(context(root=root)))
    assert found[-1].text == "started by systemd (gengfu-worker@.service); supervisor (gengfu.conf); cron (abc)"


def test_a_folder_that_others_may_write_into_is_told_and_closed(place: Home) -> None:
    for name in (".", "logs"):
        (place.folder / name).chmod(0o777)
    assert [line["state"] for line in told(place)["folders"]].count("warning") == 2
    fixed = told(place, "--fix")["folders"]
    assert {line["fixed"] for line in fixed} >= {f"{place.folder / 'logs'} can be written by its owner alone now"}
    assert (place.folder / "logs").stat().st_mode & 0o777 == 0o755
    assert {line["state"] for line in told(place)["folders"]} == {"ok"}


def test_a_worker_of_the_release_before_is_told(tmp_path: Path, sqlite_database_url: str) -> None:
    settings = VENDOR | {"DATABASE_URL": sqlite_database_url}
    releases = [Home(tmp_path / "releases" / number, **settings) for number in ("1", "2")]
    current = tmp_path / "current"
    current.symlink_to(releases[0].folder)
    place = Home(current, **settings)
    worker = place.start("queue:work")
    try:
        assert worker.stderr is not None
        while b"worker ready" not in worker.stderr.readline():
            assert worker.poll() is None
        words = f"still runs in {releases[0].folder}, and {releases[1].folder} is the folder now"
        assert not [line for line in told(place)["processes"] if "still runs in" in line["text"]]
        current.unlink()
        current.symlink_to(releases[1].folder)
        assert [line["state"] for line in told(place)["processes"] if words in line["text"]] == ["warning"]
    finally:
        worker.terminate()
        worker.communicate()

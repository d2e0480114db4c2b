"""`gengfu deploy`: what it prints, writes, asks, installs and removes; the texts for systemd and the panel."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from pwd import getpwuid

import pytest

from gengfu.deploy import panel, supervisor, systemd
from gengfu.deploy.plan import Plan
from gengfu.errors import UsageError
from gengfu.process.supervisor import KILL_AFTER
from gengfu.queue.options import GRACE
from servers import absent
from terminal import Home

PROGRAM = "/srv/gengfu/.venv/bin/gengfu"


def plan(folder: str = "/srv/gengfu", **more: object) -> Plan:
    usual = {"program": (PROGRAM,), "user": "www", "logs": Path(folder, "logs")} | more
    return Plan(folder=Path(folder), **usual)  # type: ignore[arg-type]


def unit(name: str, **more: object) -> configparser.ConfigParser:
    how = {key: more.pop(key) for key in ("timers", "for_user") if key in more}
    text = next(file.text for file in systemd.files_of(plan(**more), **how) if file.name == name)  # type: ignore[arg-type]
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("target", ["crontab", "systemd", "supervisor", "bt"])
def test_by_default_it_prints_and_changes_nothing(place: Home, target: str) -> None:
    place.set(API_PASSWORD="Kiefer4711", DATABASE_URL="mysql://root:Kiefer4711@db/x")
    shown = place.ask("deploy", target, "--workers", "3", "--queue", "urgent,device_list", "--user", "www")
    assert shown.code == 0, shown.err
    assert str(place.folder) in shown.out
    assert "Kiefer" not in shown.out + shown.err
    assert "urgent,device_list" in shown.out
    assert [path.name for path in place.folder.iterdir()] == [".env"]
    answer = place.ask("deploy", target, "--json").json
    assert (answer["status"], answer["folder"]) == ("shown", str(place.folder))
    assert all(piece["text"].endswith("\n") for piece in answer["files"])


def test_what_is_printed_can_be_redirected_as_it_is(place: Home) -> None:
    for target in ("crontab", "supervisor"):
        written = place.ask("deploy", target, "--write", "--json").json
        assert place.ask("deploy", target).out == written["files"][0]["text"]
        assert (place.folder / "deploy" / written["files"][0]["name"]).read_text() == written["files"][0]["text"]


def test_files_are_written_once_and_foreign_ones_only_when_agreed(place: Home, tmp_path: Path) -> None:
    to = ("--to", str(tmp_path / "units"))
    first = place.ask("deploy", "systemd", "--write", *to)
    assert first.out.count("written: ") == 3
    assert place.ask("deploy", "systemd", "--write", *to).out.count("unchanged: ") == 3
    foreign = tmp_path / "units" / "gengfu.target"
    foreign.write_text("[Unit]\n")
    refused = place.ask("deploy", "systemd", "--write", *to)
    assert (refused.code, foreign.read_text()) == (2, "[Unit]\n")
    assert f"{foreign} was not written for this folder; to replace it without being asked: --yes" in refused.err
    assert place.on_terminal("deploy", "systemd", "--write", *to, typed="n\n").code == 1
    assert foreign.read_text() == "[Unit]\n"
    assert place.ask("deploy", "systemd", "--write", "--yes", *to).out.count("written: ") == 1


def test_the_processes_run_as_the_owner_of_the_folder(place: Home) -> None:
    owner = getpwuid(place.folder.stat().st_uid).pw_name
    assert f"\nuser={owner}\n" in place.ask("deploy", "supervisor").out
    if os.geteuid() == 0:
        shutil.chown(place.folder, "nobody")
        assert "\nuser=nobody\n" in place.ask("deploy", "supervisor").out


def test_a_setting_of_the_shell_alone_is_told_since_the_processes_do_not_see_it(place: Home) -> None:
    shown = place.ask("deploy", "crontab", LOG_DIR="elsewhere", API_PASSWORD="Kiefer4711")
    assert "elsewhere" not in shown.out
    for name in ("LOG_DIR", "API_PASSWORD"):
        assert f"{name} of this shell is not what the processes will find" in shown.err
    assert "Kiefer" not in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("crontab", "--install", "--remove"), "exclude each other"),
        (("crontab", "--timers"), "for systemd only"),
        (("bt", "--install"), "forms of its own"),
        (("crontab", "--folder", "/no/such"), "--folder names /no/such"),
        (("crontab", "--install", "--to", "/tmp"), "one place only"),
        (("crontab", "--folder", "/"), "the working folder is /"),
        (("systemd", "--to", "/tmp"), "--to goes with --write"),
        (("supervisor", "--name", "Gengfu"), "--name is 'Gengfu'"),
        (("supervisor", "--user", "a b"), "--user is 'a b'"),
        (("supervisor", "--queue", "a,,b"), "--queue names ''"),
        (("supervisor", "--user", "no-such-user", "--install"), "there is no account 'no-such-user' here"),
    ],
)
def test_what_cannot_be_meant_is_refused(place: Home, arguments: tuple[str, ...], words: str) -> None:
    refused = place.ask("deploy", *arguments)
    assert refused.code == 2
    assert words in refused.err


def test_a_folder_without_settings_is_asked_about(place: Home) -> None:
    (place.folder / ".env").unlink()
    assert "is it the working folder?" in place.ask("deploy", "crontab").err
    (place.folder / "gengfu.toml").touch()
    assert "is it the working folder?" not in place.ask("deploy", "crontab").err


def test_a_host_without_crontab_is_told_what_to_do(place: Home, tmp_path: Path) -> None:
    refused = place.ask("deploy", "crontab", "--install", PATH=str(tmp_path))
    assert refused.code == 1
    assert "install cron, for example: apt-get install cron" in refused.err


def test_a_stop_takes_no_longer_than_the_grace_and_half_a_minute(place: Home) -> None:
    limit = str(int(GRACE + KILL_AFTER))
    text = place.ask("deploy", "supervisor").out
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert {parser.get(name, "stopwaitsecs") for name in parser.sections() if "program" in name} == {limit}
    assert {unit(f"gengfu-{kind}.service")["Service"]["TimeoutStopSec"] for kind in ("worker@", "scheduler")} == {limit}
    assert f"stopwaitsecs={limit}\n" in place.ask("deploy", "bt").out
    for page in ("docs/deployment.md", "docs/deployment.zh-CN.md"):
        told = re.findall(
            r"(?:stopwaitsecs|TimeoutStopSec)=(\d+)", (Path(__file__).parents[2] / page).read_text("utf-8")
        )
        assert set(told) == {limit}


def test_supervisor_has_a_watchdog_and_keeps_what_is_printed_out_of_the_folder(place: Home) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(place.ask("deploy", "supervisor", "--name", "mine").out)
    watchdog = parser["program:mine_watchdog"]
    assert re.fullmatch(r"/bin/sh -c 'while sleep 60; do \S.* health --restart --quiet; done'", watchdog["command"])
    assert parser["group:mine"]["programs"] == "mine_worker,mine_scheduler,mine_watchdog"
    for name in ("worker", "scheduler", "watchdog"):
        assert parser[f"program:mine_{name}"]["stdout_logfile"] == "AUTO"


def test_another_folder_of_this_host_is_left_alone(place: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    for target in ("systemd", "supervisor"):
        to = ("--to", str(tmp_path / target))
        assert other.ask("deploy", target, "--install", "--user", "root", *to).code == 0
        before = {path: path.read_text() for path in (tmp_path / target).iterdir()}
        refused = place.ask("deploy", target, "--install", "--user", "root", "--yes", *to)
        assert refused.code == 2
        assert f"is of the working folder {other.folder}; give this one another name" in refused.err
        assert place.ask("deploy", target, "--remove", *to).code == 0
        assert {path: path.read_text() for path in (tmp_path / target).iterdir()} == before
        assert place.ask("deploy", target, "--install", "--user", "root", "--name", "gengfu-2", *to).code == 0
        assert {path: path.read_text() for path in before} == before


@pytest.mark.parametrize("target", ["systemd", "supervisor"])
def test_another_place_for_the_files_touches_nothing_else(place: Home, tmp_path: Path, target: str) -> None:
    tools = {"systemctl": "running", "supervisorctl": "4711", "crontab": "", "mkdir": ""}
    told = [fake(tmp_path / "bin", name, answer) for name, answer in tools.items()]
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    before = sorted(place.folder.rglob("*"))
    for action in ("--install", "--install", "--remove"):
        done = place.ask("deploy", target, action, "--user", "root", "--to", str(tmp_path / "to"), **environment)
        assert (done.code, "does not run here" in done.out) == (0, False), done.err
    assert [path.name for path in told if path.exists()] == []
    assert sorted(place.folder.rglob("*")) == before


def test_the_folder_is_named_as_one_went_there(place: Home, tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    (releases / "1").mkdir(parents=True)
    (releases / "1" / ".env").touch()
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    there = Home(current)
    for target in ("crontab", "systemd", "supervisor", "bt"):
        ways = [
            place.ask("deploy", target, GENGFU_HOME=str(current)),
            place.ask("deploy", target, "--folder", str(current)),
            there.run("deploy", target, GENGFU_HOME="", PWD=str(current)),
        ]
        for shown in ways:
            assert str(current) in shown.out
            assert "releases" not in shown.out
    assert str(releases / "1") in there.run("deploy", "crontab", GENGFU_HOME="", PWD="/elsewhere").out


def test_folders_behind_links_may_be_written(place: Home, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (place.folder / "var").symlink_to(tmp_path / "shared")
    assert f"\nReadWritePaths=-{tmp_path / 'shared'}\n" in place.ask("deploy", "systemd").out


def test_supervisor_is_not_given_what_it_takes_for_a_comment() -> None:
    for folder in ("/srv/a ;b", "/srv/a #b"):
        with pytest.raises(UsageError, match="for a comment"):
            supervisor.files_of(plan(folder))


# systemd


@pytest.mark.parametrize("timers", [False, True])
@pytest.mark.parametrize("folder", ["/srv/gengfu", "/srv/更夫 100% now"])
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path, timers: bool, folder: str) -> None:
    if shutil.which("systemd-analyze") is None:
        absent("systemd-analyze", "there is no such program")
    program = tmp_path / "bin 100%" / "gengfu"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    def verify(*names: str) -> str:
        done = subprocess.run(
            ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)], capture_output=True, text=True
        )
        return done.stdout + done.stderr

    for file in systemd.files_of(plan(folder, program=(str(program),), user="root"), timers=timers):
        (tmp_path / file.name).write_text(file.text)
    names = sorted(path.name for path in tmp_path.glob("gengfu*"))
    assert len(names) == (4 if timers else 3)
    said = verify(*names)
    assert "gengfu" not in said, said
    worker = tmp_path / "gengfu-worker@.service"
    worker.write_text(worker.read_text().replace("WatchdogSec=30", "WatchdogSec=soon"))
    assert "gengfu-worker@.service:12: Failed to parse" in verify(worker.name), "it does look"


def test_units_restart_for_ever_and_are_watched_by_progress() -> None:
    for name in ("gengfu-worker@.service", "gengfu-scheduler.service"):
        found = unit(name)
        service = found["Service"]
        assert (service["Type"], service["NotifyAccess"], service["WatchdogSec"]) == ("notify", "main", "30")
        assert (service["Restart"], found["Unit"]["StartLimitIntervalSec"]) == ("always", "0")
        assert service["KillMode"] == "mixed"
        assert "RestartPreventExitStatus" not in service
        assert found["Unit"]["PartOf"] == "gengfu.target"
    wants = unit("gengfu.target", workers=2)["Unit"]["Wants"]
    assert wants == "gengfu-scheduler.service gengfu-worker@1.service gengfu-worker@2.service"


def test_a_timer_looks_each_minute_and_makes_up_for_a_pause() -> None:
    timer = unit("gengfu-schedule.timer", timers=True)["Timer"]
    assert (timer["OnCalendar"], timer["Persistent"]) == ("*-*-* *:*:00", "true")
    assert unit("gengfu-schedule.service", timers=True)["Service"]["ExecStart"] == f"{PROGRAM} schedule:run"
    assert unit("gengfu.target", timers=True)["Unit"]["Wants"].startswith("gengfu-schedule.timer gengfu-worker@1")


def test_units_are_fenced_in_as_far_as_their_folders_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", "/srv/gengfu/.venv")
    monkeypatch.setattr("sys.base_prefix", "/usr")
    service = unit("gengfu-scheduler.service")["Service"]
    assert (service["ProtectSystem"], service["ReadWritePaths"]) == ("strict", "-/srv/gengfu")
    assert (service["ProtectHome"], service["PrivateTmp"], service["NoNewPrivileges"]) == ("true", "true", "true")
    at_home = unit("gengfu-scheduler.service", folder="/home/w/更夫 1%")["Service"]
    assert (at_home["ProtectHome"], at_home["ReadWritePaths"]) == ("read-only", '"-/home/w/更夫 1%%"')
    assert unit("gengfu-scheduler.service", folder="/tmp/x")["Service"]["PrivateTmp"] == "false"
    mine = unit("gengfu-scheduler.service", for_user=True)
    assert "User" not in mine["Service"]
    assert "ProtectSystem" not in mine["Service"]
    assert unit("gengfu.target", for_user=True)["Install"]["WantedBy"] == "default.target"


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({}, "true"),
        ({"REDIS_URL": "unix:///tmp/redis.sock"}, "false"),
        ({"DATABASE_URL": "mysql://u@localhost/x?unix_socket=/tmp/mysql.sock"}, "false"),
    ],
)
def test_a_socket_under_tmp_stays_in_sight(tmp_path: Path, settings: dict[str, str], own: str) -> None:
    folder = Path("/var/lib", f"gengfu-test-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError as error:
        absent("/var/lib", str(error))
    try:
        Home(folder, **settings)
        text = Home(tmp_path).ask("deploy", "systemd", "--folder", str(folder)).out
        assert f"\nPrivateTmp={own}\n" in text
        assert f"\nReadWritePaths=-{folder}\n" in text
    finally:
        shutil.rmtree(folder)


def fake(folder: Path, name: str, answer: str) -> Path:
    """A service manager that notes what it is told."""
    told = folder / f"{name}.told"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\necho "$*" >> {told}\necho {answer}\n')
    (folder / name).chmod(0o755)
    return told


def test_units_are_installed_started_and_removed_as_often_as_one_likes(place: Home, tmp_path: Path) -> None:
    told = fake(tmp_path / "bin", "systemctl", "running")
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    units = tmp_path / "config" / "systemd" / "user"

    def deploy(*arguments: str) -> list[str]:
        """What systemd was told."""
        told.write_text("")
        done = place.ask("deploy", "systemd", "--user-units", *arguments, **environment)
        assert done.code == 0, done.err
        said = told.read_text().replace("--user ", "").splitlines()
        return [line for line in said if line != "is-system-running"]

    assert deploy("--install") == ["daemon-reload", "enable gengfu.target", "restart gengfu.target"]
    assert (place.folder / "logs").is_dir()
    assert deploy("--install") == ["daemon-reload", "enable gengfu.target", "start gengfu.target"]
    (units / "other.service").write_text("")
    told_to = deploy("--install", "--timers")
    assert told_to[0] == "stop gengfu-scheduler.service"
    assert told_to[-1] == "restart gengfu.target"
    names = {"gengfu.target", "gengfu-worker@.service", "gengfu-schedule.service", "gengfu-schedule.timer"}
    assert {path.name for path in units.iterdir()} == names | {"other.service"}
    assert deploy("--remove") == ["disable --now gengfu.target", "daemon-reload"]
    assert {path.name for path in units.iterdir()} == {"other.service"}
    assert deploy("--remove") == []


def test_what_belongs_to_another_folder_is_neither_stopped_nor_removed(place: Home, tmp_path: Path) -> None:
    told = fake(tmp_path / "bin", "systemctl", "running")
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    systemd_of = ("deploy", "systemd", "--user-units")
    assert place.ask(*systemd_of, "--install", **environment).code == 0
    told.write_text("")
    other = Home(tmp_path / "other")
    refused = other.ask(*systemd_of, "--install", **environment)
    assert (refused.code, f"is of the working folder {place.folder}" in refused.err) == (2, True)
    removed = other.ask(*systemd_of, "--remove", **environment)
    assert removed.out.count("left alone, since it is not of this folder: ") == 3
    assert told.read_text() == ""
    second = other.ask(*systemd_of, "--install", "--name", "second", **environment)
    assert (second.code, "enable second.target" in told.read_text()) == (0, True)


def test_a_manager_that_does_not_run_is_left_to_a_person(place: Home, tmp_path: Path) -> None:
    fake(tmp_path / "bin", "systemctl", "offline")
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = place.ask("deploy", "systemd", "--user-units", "--install", **environment)
    first, *_, last = done.out.splitlines()
    assert first == "systemd does not run here, so files are all that is changed"
    assert last.startswith("to do where it runs: systemctl --user ")
    assert done.code == 0


def test_a_cron_that_does_not_run_is_told_before_its_table_is_written(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path / "bin", "crontab", "")
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for running in (False, True, None):
        monkeypatch.setattr("gengfu.services.deployment.runs", lambda _, running=running: running)
        done = place.ask("deploy", "crontab", "--install", "--user", getpwuid(os.geteuid()).pw_name, **environment)
        assert done.code == 0, done.err
        assert done.out.startswith("cron does not run here, so files are all that is changed\n") is (running is False)


# the BT panel


@pytest.mark.parametrize("code", [0, 1, 2, 130])
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_script_of_the_panel_ends_with_the_true_code_and_says_it_last(tmp_path: Path, user: str, code: int) -> None:
    if user == "nobody" and os.geteuid() != 0:
        absent("su", "only root may become another user")
    folder = Path(f"/tmp/gengfu-test-{os.getpid()} 更夫 100%")
    folder.mkdir()
    folder.chmod(0o755)
    try:
        program = folder / "gengfu"
        program.write_text(f'#!/bin/sh\nid -un\npwd\necho "$*"\necho wrong >&2\nexit {code}\n')
        program.chmod(0o755)
        files = {file.name: file for file in panel.files_of(plan(str(folder), program=(str(program),), user=user))}
        script = files["gengfu-bt-schedule.sh"].text
        assert script in files["gengfu-bt.txt"].text
        done = subprocess.run(["bash"], input=script, capture_output=True, text=True, cwd="/")
    finally:
        shutil.rmtree(folder)
    assert done.returncode == code
    me = user if user == "nobody" else getpwuid(os.geteuid()).pw_name
    result = "ok" if code == 0 else "failed"
    assert done.stdout.splitlines() == [me, str(folder), "schedule:run", "wrong", f"GENGFU RESULT {result} code={code}"]


def test_the_panel_s_page_speaks_chinese_and_english(place: Home) -> None:
    text = place.ask("deploy", "bt", "--workers", "4", "--user", "www").out
    for words in ("计划任务", "进程守护管理器", "Scheduled task", "Process manager", "Processes 4", "User      www"):
        assert words in text
    assert json.loads(place.ask("deploy", "bt", "--write", "--json").out)["status"] == "written"
    assert sorted(path.name for path in (place.folder / "deploy").iterdir()) == [
        "gengfu-bt-schedule.sh",
        "gengfu-bt-watchdog.sh",
        "gengfu-bt.txt",
    ]

"""What people and scripts see of every command, as it was recorded: its help, its --json, its exit code.

Where a difference is meant: GENGFU_TEST_RECORD=1 .venv/bin/pytest tests/cli/test_golden.py writes the records anew.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gengfu_simulator.testing import Simulator
from recorded import Change, Markers, Record, as_record, without_machine
from terminal import Ended, Home

GOLDEN = Path(__file__).with_name("golden")
PASSWORD = "Kiefer4711"
ENGLISH = {"COLUMNS": "80", "LC_ALL": "C.UTF-8"}

TABLES = {"tables": "<rows by table>", "rows": "<number>"}
MACHINE = ("interpreter", "disk", "logs", "leftovers", "clock", "cron", "autostart")
"""The checks of doctor that speak of the machine."""

YEARLY = """
[schedule.device_list]
enabled = false
[schedule.yearly]
command = "device:show 999"
cron = "0 0 1 1 *"
"""
TOCK = """
[schedule.tock]
command = "run:list --limit 3"
cron = "* * * * * *"
"""


class Story:
    """A working folder and a vendor of 120 devices, commands run one after the other, and the record of each.

    Each step is in this process, unless it is started apart. `also`: what stands in the record for further keys.
    """

    def __init__(self, name: str, folder: Path, vendor: Simulator, wait_until: Callable[..., None]) -> None:
        self.vendor = vendor
        self._wait_until = wait_until
        self.home = Home(folder)
        self.settings()
        self.record = Record(GOLDEN / name)
        self._markers = Markers({vendor.url: "<vendor>", str(folder): "<home>"})

    def settings(self, **more: str) -> None:
        usual = {"API_WECHAT_URL": self.vendor.url, "API_USERNAME": "operator", "API_PASSWORD": PASSWORD}
        self.home.set(**usual | {"API_PAGE_SIZE": "50", "GENGFU_TIMEZONE": "UTC"} | more)
        (self.home.folder / ".env").chmod(0o600)

    def entries(self, text: str) -> None:
        (self.home.folder / "gengfu.toml").write_text(text)

    def tell(self, name: str, *words: str, also: dict[str, object] | None = None, change: Change | None = None) -> Any:
        """The answer of a command in this process."""
        return self._held(name, words, self.home.ask(*words, "--json", **ENGLISH), also, change)

    def start(self, name: str, *words: str, also: dict[str, object] | None = None) -> Any:
        """The answer of a command in a process of its own."""
        return self._held(name, words, self.home.run(*words, "--json", **ENGLISH), also)

    def until_told_to_stop(self, name: str, *words: str, ready: str) -> None:
        """The answer of a command that works until SIGTERM, which it gets as soon as it has said `ready`."""
        log = self.home.folder / f"{name}.err"
        with log.open("wb") as sink:
            process = self.home.start(*words, "--json", stderr=sink)
        try:
            self._wait_until(lambda: ready in log.read_text("utf-8") or process.poll() is not None, timeout=60)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
        finally:
            _end(process)
        self._held(name, words, Ended(process.returncode, out.decode(), log.read_text("utf-8")))

    def _held(
        self,
        name: str,
        words: tuple[str, ...],
        ended: Ended,
        also: dict[str, object] | None = None,
        change: Change | None = None,
    ) -> Any:
        assert ended.out, ended.err
        answer = ended.json
        shown = answer if change is None else change(json.loads(ended.out))
        command = self._markers.text(" ".join(("gengfu", *words)))
        self.record.check(f"{name}.json", as_record(command, ended.code, self._markers.value(shown, also or {})))
        return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.fixture
def story(home: Path, wait_until: Callable[..., None]) -> Iterator[Callable[[str], Story]]:
    """`story(name)`: a story told in a fresh folder; its records are compared at the end."""
    told: list[Story] = []
    with ExitStack() as opened:

        def begin(name: str) -> Story:
            vendor = opened.enter_context(Simulator(120, deleted=5, stopped=3, username="operator", password=PASSWORD))
            told.append(Story(name, home, vendor, wait_until))
            return told[0]

        yield begin
    for each in told:
        each.record.close()


def test_the_help_of_every_command_is_as_recorded(home: Path) -> None:
    place, record = Home(home), Record(GOLDEN / "help")
    whole = place.ask("--help", **ENGLISH)
    assert whole.code == 0, whole.err
    record.check("gengfu.txt", whole.out)
    names = re.findall(r"^  ([a-z_]+(?::[a-z_]+)?)  +\S", whole.out.partition("\nCommands:\n")[2], re.MULTILINE)
    assert {"device:list", "queue:work", "up"} <= set(names)
    for name in names:
        shown = place.ask(name, "--help", **ENGLISH)
        assert shown.code == 0, shown.err
        record.check(f"{name.replace(':', '-')}.txt", shown.out)
    record.close()


def test_runs_and_devices(story: Callable[[str], Story]) -> None:
    now = story("runs")
    tell, vendor = now.tell, now.vendor
    tell("upgrade", "db:upgrade", also={"applied": "<revisions>"})
    tell("upgrade-again", "db:upgrade")
    tell("run-list-empty", "run:list")
    tell("queue-status-empty", "queue:status")
    tell("queue-failed-empty", "queue:failed")
    tell("list-accepted", "device:list")
    tell("list-skipped", "device:list")
    tell("run-show-waiting", "run:show", "1")
    tell("queue-status-queued", "queue:status")
    now.start("work-until-empty", "queue:work", "--stop-when-empty")
    tell("queue-status-done", "queue:status")
    tell("run-show-first", "run:show", "1", "--pages")
    vendor.fleet("change", ids=[100001], fields={"memo": "new", "realName": "张三丰"})
    vendor.fleet("delete", ids=[100010, 100011])
    vendor.fleet("add", count=2)
    tell("list-now", "device:list", "--now")
    tell("run-show-second", "run:show", "2", "--pages", "--all")
    tell("list-now-deleted", "device:list", "--now", "--is-del", "1")
    tell("list-now-stopped", "device:list", "--now", "--is-del", "2")
    vendor.fleet("restore", ids=[100010])
    vendor.control(row=["word-id:100007"])
    tell("list-now-returned-and-set-aside", "device:list", "--now")
    tell("run-show-set-aside", "run:show", "5")
    vendor.control(clear=True)
    tell("account-list", "account:list", "--now")
    tell("device-group-list", "device_group:list", "--now")
    tell("run-list", "run:list")
    tell("run-list-filtered", "run:list", "--scope", "1", "--verdict", "complete", "--resource", "device")
    tell("run-list-limited", "run:list", "--limit", "1")
    tell("device-show", "device:show", "100001")
    tell("device-show-gone", "device:show", "100011")
    tell("device-show-returned", "device:show", "100010")
    tell("find", "device:find", "张三丰")
    tell("find-limited", "device:find", "1", "--limit", "2")
    tell("find-gone", "device:find", "100011", "--gone")
    tell("find-nothing", "device:find", "nobody at all")
    tell("export-csv", "device:export", "fleet.csv", "--columns", "id,imei,gone_at", "--all")
    tell("export-is-there", "device:export", "fleet.csv")
    tell("export-jsonl", "device:export", "fleet.jsonl", "--gone")
    tell("export-xlsx", "device:export", "fleet.xlsx", "--alive")
    with now.home.worker():
        now.start("list-wait", "device:list", "--wait")
        tell("health-with-worker", "health")


def test_a_held_run(story: Callable[[str], Story]) -> None:
    now = story("held")
    tell = now.tell
    assert now.home.ask("device:list", "--now").code == 0
    now.vendor.control(visible=0.5)
    tell("list-held", "device:list", "--now")
    tell("run-show-held", "run:show", "2")
    tell("run-list-held", "run:list", "--verdict", "held")
    tell("health-held", "health")
    tell("approve-unasked", "device:approve", "2")
    tell("discard-unasked", "device:discard", "2")
    tell("discard", "device:discard", "2", "--yes")
    tell("discard-again", "device:discard", "2", "--yes")
    tell("run-show-discarded", "run:show", "2")
    tell("list-held-again", "device:list", "--now")
    tell("approve", "device:approve", "3", "--yes")
    tell("approve-again", "device:approve", "3", "--yes")
    tell("run-show-approved", "run:show", "3")
    tell("find-gone", "device:find", "100119", "--gone")
    tell("approve-unknown", "device:approve", "99", "--yes")


def test_login_failures_and_jobs_tried_again(story: Callable[[str], Story]) -> None:
    now = story("login")
    tell = now.tell
    tell("status-none", "auth:status")
    tell("login", "auth:login")
    tell("status-valid", "auth:status")
    tell("reset", "auth:reset")
    now.settings(API_PASSWORD="wrong")
    tell("login-refused", "auth:login")
    tell("login-held-back", "auth:login")
    tell("status-refused", "auth:status")
    tell("list-accepted", "device:list")
    now.start("work-once", "queue:work", "--once")
    tell("failed", "queue:failed")
    tell("failed-one", "queue:failed", "1")
    tell("failed-unknown", "queue:failed", "99")
    tell("run-show-failed", "run:show", "1")
    tell("queue-status-failed", "queue:status")
    tell("health-refused", "health")
    now.settings()
    tell("reset-refused", "auth:reset")
    tell("retry-unknown", "queue:retry", "99")
    tell("retry", "queue:retry", "1")
    tell("retry-again", "queue:retry", "1")
    now.start("work-until-empty", "queue:work", "--stop-when-empty")
    tell("run-show-complete", "run:show", "1")
    tell("failed-none", "queue:failed")
    tell("retry-nothing", "queue:retry", "all")
    tell("reset-valid", "auth:reset")
    now.settings(API_PASSWORD="wrong")
    tell("list-now-refused", "device:list", "--now")
    tell("retry-all", "queue:retry", "all")
    tell("queue-status-retried", "queue:status")


def test_the_schedule(story: Callable[[str], Story]) -> None:
    now = story("schedule")
    tell = now.tell
    tell("list-declared", "schedule:list")
    tell("next-one", "schedule:next", "device_list", "--count", "2")
    tell("simulate-declared", "schedule:simulate", "--days", "1", "--from", "2024-01-01", also={"ticks": "<ticks>"})
    tell("why-no-scheduler", "schedule:why", "device_list", "2024-01-01T00:05:00Z")
    tell("history-empty", "schedule:history")
    now.entries(YEARLY)
    tell("simulate-ticks", "schedule:simulate", "--days", "3", "--from", "2023-12-31", "--ticks")
    now.entries(YEARLY + TOCK)
    tell("list", "schedule:list")
    tell("next", "schedule:next", "--count", "2")
    ran = tell("run", "schedule:run")
    tell("history", "schedule:history", "tock")
    tell("history-filtered", "schedule:history", "--state", "missed", "--limit", "1")
    tell("why-done", "schedule:why", "tock", ran["ticks"][0]["due_at"])
    tell("why-not-due", "schedule:why", "yearly", "2024-01-01T00:05:00Z")
    tell("why-disabled", "schedule:why", "device_list")
    tell("pause", "schedule:pause", "yearly", "--reason", "the vendor upgrades")
    tell("pause-again", "schedule:pause", "yearly")
    tell("pause-all", "schedule:pause", "all")
    tell("list-paused", "schedule:list")
    tell("resume", "schedule:resume", "yearly")
    tell("resume-all", "schedule:resume", "all")
    tell("resume-again", "schedule:resume", "yearly")
    now.start("test", "schedule:test", "tock")
    now.start("test-failing", "schedule:test", "yearly")
    tell("test-unknown", "schedule:test", "tick")
    tell("pause-unknown", "schedule:pause", "tick")
    tell("why-unknown", "schedule:why", "tick")
    tell("why-no-time", "schedule:why", "tock", "half past never")
    tell("simulate-no-time", "schedule:simulate", "--from", "never")
    now.entries('[schedule.bad]\ncommand = "run:list"\ncron = "61 * * * *"\n')
    tell("list-with-a-problem", "schedule:list")


def test_backups(story: Callable[[str], Story]) -> None:
    now = story("backups")
    tell = now.tell
    assert now.home.ask("device:list", "--now").code == 0
    tell("list-empty", "backup:list")
    tell("restore-nothing", "backup:restore", "latest", "--yes")
    tell("data", "backup:data", also=TABLES)
    tell("list", "backup:list", also=TABLES)
    tell("list-checked", "backup:list", "--check", also=TABLES)
    tell("restore-unasked", "backup:restore", "latest")
    tell("restore", "backup:restore", "latest", "--yes", also=TABLES)
    tell("restore-unknown", "backup:restore", "no-such-file", "--yes")
    tell("data-queued", "backup:data", "--queue")
    now.start("work", "queue:work", "--stop-when-empty", "--queue", "backup")
    tell("queue-status", "queue:status")


def test_deploying(story: Callable[[str], Story]) -> None:
    now = story("deploy")
    for target in ("crontab", "systemd", "supervisor", "bt"):
        now.tell(target, "deploy", target, "--user", "www")
        now.tell(f"{target}-written", "deploy", target, "--user", "www", "--write", also={"text": "<text>"})
    now.tell("systemd-timers", "deploy", "systemd", "--user", "www", "--timers", "--queue", "urgent,device_list")
    now.tell("no-target", "deploy")
    now.tell("unknown-target", "deploy", "windows")


def test_making(story: Callable[[str], Story]) -> None:
    now = story("make")
    tell = now.tell
    tell("job", "make:job", "report_daily", "--queue", "reports")
    tell("command", "make:command", "report:daily", "--schedule", "0 2 * * *", "--job", "report_daily")
    tell("command-is-there", "make:command", "report:daily")
    tell("command-bad-name", "make:command", "Report Daily!")
    now.start("made-command", "report:daily")
    now.start("made-job", "queue:work", "--stop-when-empty", "--queue", "reports")
    tell("resource", "make:resource", "friend", "api/Friend/offset")
    tell("resource-not-there", "make:resource", "material", "api/Material/page")
    tell("made-resource", "friend:list", "--now")
    tell("migration-up-to-date", "make:migration", "friend")
    tell("migration-unknown", "make:migration", "material")
    tell("upgrade", "db:upgrade", also={"applied": "<revisions>"})
    (now.home.folder / "app" / "commands" / "broken.py").write_text("import no_such_module\n")
    tell("queue-status-with-broken-code", "queue:status")
    tell("schedule-list-with-broken-code", "schedule:list")


def test_the_installation_and_lasting_processes(story: Callable[[str], Story]) -> None:
    now = story("installation")
    tell = now.tell
    now.entries(YEARLY)
    tell("health-fresh", "health")
    tell("doctor-fresh", "doctor", change=without_machine(MACHINE))
    tell("doctor-fix", "doctor", "--fix", change=without_machine(MACHINE))
    tell("doctor-login", "doctor", "--login", change=without_machine(MACHINE))
    tell("health-quiet", "health", "--quiet")
    now.until_told_to_stop("schedule-work", "schedule:work", ready="scheduler ready")
    now.until_told_to_stop("queue-work", "queue:work", ready="worker ready")
    now.until_told_to_stop("up", "up", ready="worker ready")
    tell("health-after", "health")


def test_the_demonstration(story: Callable[[str], Story]) -> None:
    # Its fleet lives on by itself.
    by_chance = {"heartbeat": "<number>", "unchanged": "<number>"}
    story("demo").start("demo", "demo", "--devices", "200", also=by_chance)


def test_mistakes_and_outages(story: Callable[[str], Story]) -> None:
    now = story("mistakes")
    tell = now.tell
    tell("unknown-command", "devise:list")
    tell("unknown-option", "device:list", "--deleted")
    tell("unknown-choice", "device:list", "--is-del", "7")
    tell("missing-argument", "device:show")
    tell("no-number", "run:show", "first")
    tell("wait-and-now", "device:list", "--wait", "--now")
    tell("no-device", "device:show", "7")
    tell("no-run", "run:show", "7")
    tell("export-no-format", "device:export", "-")
    tell("export-no-folder", "device:export", "no/such/folder/fleet.csv")
    tell("export-no-column", "device:export", "fleet.csv", "--columns", "id,colour")
    tell("export-no-time", "device:export", "fleet.csv", "--changed-since", "never")
    tell("no-queue", "queue:work", "--queue", "")
    now.settings(GENGFU_TIMEZONE="Nowhere/Land")
    tell("bad-setting", "run:list")
    now.settings(API_PASSWORD="")
    tell("no-password", "device:list", "--now")
    now.settings(DATABASE_URL="postgresql://u:hidden@127.0.0.1:1/x")
    tell("no-database", "run:list")
    tell("health-no-database", "health")
    now.settings(REDIS_URL="redis://127.0.0.1:1/0")
    tell("no-redis", "device:list")
    now.settings(API_WECHAT_URL="http://127.0.0.1:9/")
    tell("no-vendor", "auth:login")

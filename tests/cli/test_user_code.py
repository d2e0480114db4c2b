"""Jobs of user code in the hands of real workers: queued by one line, done, put off, failed, and never lost."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gengfu.app import App
from gengfu.cli.catalogue import Catalogue
from gengfu.clock import utcnow
from gengfu.settings import load_settings
from gengfu.store.database import Database
from gengfu.store.jobs import AttemptRecord, JobRecord, JobState, Outcome
from gengfu.store.tables import job as job_table
from gengfu.store.tables import login_token
from stage import wait_for
from system import System
from terminal import Home
from usercode import job, write

COMMAND = """\
from typing import Any

from gengfu import BaseCommand, Option


class Start(BaseCommand):
    \"\"\"Queue a job\"\"\"

    name = "start"
    options = (Option(["--delay"], type=float, default=0.0),)

    def handle(self, delay: float) -> int:
        from app.jobs.report import ReportJob

        job = self.app.dispatch(ReportJob, subject="report", delay=delay, day="2026-01-01")
        self.out.answer({"job": job})
        return 0
"""
NOTE = """\
from sqlalchemy import text

                with self.app.db.read() as connection:
                    devices = connection.execute(text("SELECT count(*) FROM device")).scalar_one()
                return f"{args['day']}: {devices} devices, {self.app.settings.api()[1]}, {self.app.vendor is not None}"
"""


def shown(system: System, job_id: int) -> tuple[JobRecord, list[AttemptRecord]]:
    found = system.ledger.show(job_id)
    assert found is not None
    return found


def record(system: System, job_id: int) -> JobRecord:
    return shown(system, job_id)[0]


def await_state(system: System, job_id: int, state: JobState) -> JobRecord:
    wait_for(lambda: record(system, job_id).state is state, 30)
    return record(system, job_id)


@pytest.fixture
def system(open_system: Callable[..., System]) -> System:
    opened = open_system(sim={"devices": 5})
    write(opened.home.folder, "app/commands/start.py", COMMAND)
    return opened


def test_a_users_job_is_queued_in_one_line_and_done_by_a_worker(system: System) -> None:
    write(system.home.folder, "app/jobs/report.py", job("ReportJob", NOTE, "queue = 'reports'"))
    worker = system.worker("--queue", "reports").ready()
    done = await_state(system, system.ask("start")["job"], JobState.DONE)
    assert (done.note, done.subject) == ("2026-01-01: 0 devices, operator, True", "report")
    assert worker.told_to_stop() == 0


def test_a_job_can_be_queued_for_later(system: System) -> None:
    write(system.home.folder, "app/jobs/report.py", job("ReportJob"))
    found = record(system, system.ask("start", "--delay", "600")["job"])
    assert 590 < (found.available_at - utcnow()).total_seconds() <= 600
    assert found.state is JobState.QUEUED


def test_a_job_whose_file_is_broken_waits_until_the_file_is_corrected(system: System) -> None:
    path = write(system.home.folder, "app/jobs/report.py", job("ReportJob"))
    good = path.read_text()
    job_id = system.ask("start")["job"]
    path.write_text(good.replace("def fire(", "def 1fire("))
    ended = system.ask("queue:work", "--stop-when-empty")
    assert ended["broken"] == [
        {"file": "app/jobs/report.py", "line": 13, "problem": "SyntaxError: invalid decimal literal"}
    ]
    assert "user code cannot be used file=app/jobs/report.py line=13" in system.home.logged("queue_worker.log")
    found = record(system, job_id)
    assert (found.state, found.attempts) == (JobState.QUEUED, 0)
    assert [attempt.outcome for attempt in shown(system, job_id)[1]] == [Outcome.POSTPONED]
    path.write_text(good)
    soon = update(job_table).values(available_at=utcnow())
    system.db.write(lambda connection: connection.execute(soon))
    assert system.ask("queue:work", "--stop-when-empty")["broken"] == []
    assert record(system, job_id).state is JobState.DONE


def test_a_job_whose_file_is_gone_fails_with_a_sentence_and_can_be_sent_again(system: System) -> None:
    path = write(system.home.folder, "app/jobs/report.py", job("ReportJob", more="tries = 1"))
    job_id = system.ask("start")["job"]
    path.rename(path.with_suffix(".away"))
    system.ask("queue:work", "--stop-when-empty")
    found = record(system, job_id)
    assert (found.state, found.cause) == (
        JobState.FAILED,
        "this version of the program knows no job named 'ReportJob'",
    )
    path.with_suffix(".away").rename(path)
    system.ask("queue:retry", str(job_id))
    system.ask("queue:work", "--stop-when-empty")
    assert record(system, job_id).state is JobState.DONE


def test_a_job_that_cannot_be_made_fails_alone(system: System) -> None:
    making = "def __init__(self, app: App) -> None:\n                raise GengfuError('no such day')"
    text = job("ReportJob", more=making).replace("JobContext", "JobContext, GengfuError", 1)
    write(system.home.folder, "app/jobs/report.py", text)
    write(system.home.folder, "app/jobs/broken.py", "import nothing_of_that_name\n")
    job_id, run_id = system.ask("start")["job"], system.accept()
    system.worker().ready()
    system.assert_complete(run_id)
    found = await_state(system, job_id, JobState.FAILED)
    assert (found.cause, found.attempts) == ("no such day", 3)


def test_broken_user_code_does_not_touch_the_device_list(system: System) -> None:
    write(system.home.folder, "app/jobs/broken.py", "import sys\nsys.exit('gone')\n")
    assert system.ask("device:list", "--now")["verdict"] == "complete"


def test_jobs_are_queued_on_every_database(database: Database, home: Path, database_url: str, redis_url: str) -> None:
    Home(home, DATABASE_URL=database_url, REDIS_URL=redis_url)
    write(home, "app/jobs/report.py", job("ReportJob", more="tries = 7"))
    app = App(load_settings(), Catalogue(home))
    try:
        job_id = app.dispatch(app.catalogue.jobs["ReportJob"], subject="report", day="2026-01-01", names=["张三"])
        with pytest.raises(ValueError, match="a job cannot be delayed by 901 seconds"):
            app.dispatch(app.catalogue.jobs["ReportJob"], delay=901)
    finally:
        app.close()
    with database.read() as connection:
        row = connection.execute(job_table.select()).one()
    assert (row.id, row.name, row.subject, row.tries) == (job_id, "ReportJob", "report", 7)
    assert row.args == json.loads('{"day": "2026-01-01", "names": ["张三"]}')


LEAK = """\
import base64, json
                    from gengfu import VendorError
                    login = self.app.auth.authorization()
                    password = self.app.settings.api()[2].reveal()
                    basic = base64.b64encode(f"operator:{password}".encode()).decode()
                    raise VendorError(f"{password} {login} {basic} {json.dumps({'p': password})}")
"""


def test_what_is_kept_of_a_failed_job_holds_no_secret(system: System) -> None:
    leak = job("ReportJob", LEAK.replace(" " * 20, " " * 16), "tries = 1")
    write(system.home.folder, "app/jobs/report.py", leak)
    job_id = system.ask("start")["job"]
    system.ask("queue:work", "--stop-when-empty")
    found, (attempt,) = shown(system, job_id)
    basic = b64encode(f"operator:{system.sim.password}".encode()).decode()
    assert found.cause == f'****** bearer ****** {basic[:12]}******U= {{"p": "******"}}'
    assert attempt.cause == found.cause
    system.ask("backup:data")
    with system.db.read() as connection:
        token = connection.execute(select(login_token.c.value)).scalar_one()
    told = system.tell("queue:failed", "--json").out
    files = [path for folder in ("logs", "var/backups") for path in (system.home.folder / folder).rglob("*")]
    kept = [
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in files
        if path.is_file()
    ]
    for secret in (system.sim.password, token, basic[12:-4]):
        assert secret not in told
        assert all(secret.encode() not in content for content in kept)


def test_code_that_a_running_process_has_not_loaded_is_told_with_the_remedy(system: System) -> None:
    path = write(system.home.folder, "app/jobs/report.py", job("ReportJob"))
    system.worker().ready()

    def told() -> tuple[str, list[str]]:
        # A stopped clock of this machine, or a vendor without rows, is no matter here.
        parts = json.loads(system.home.run("health", "--json").out)["components"]
        checks = json.loads(system.home.run("doctor", "--json").out)["checks"]
        (part,) = (part for part in parts if part["name"] == "user code")
        assert part["ok"]
        return part["text"], [check["text"] for check in checks if "app/ was changed" in check["text"]]

    assert told() == ("every process works by it as it is now", [])
    good = path.read_text()
    path.write_text(good + "\nMORE = 1\n")
    text, (finding,) = told()
    assert text.startswith("app/ was changed since these began: worker ")
    assert "restart them: systemctl restart, supervisorctl restart" in text
    assert finding.endswith(": app/ was changed since it began")
    path.write_text(good)
    assert told()[1] == []
    write(system.home.folder, "app/resources/more.py", "")
    assert len(told()[1]) == 1


TALK = """\
from gengfu import BaseCommand


class Talk(BaseCommand):
    \"\"\"Say too much\"\"\"

    name = "talk"

    def handle(self) -> int:
        print("token:", self.app.auth.authorization())
        raise SystemExit(self.app.settings.api()[2].reveal())
"""


def test_what_a_command_of_the_schedule_prints_is_kept_without_tokens(system: System) -> None:
    write(system.home.folder, "app/commands/talk.py", TALK)
    ended = system.home.run("talk", GENGFU_TICK="1")
    assert ended.out == "token: bearer ******\n"
    assert system.sim.password not in ended.err

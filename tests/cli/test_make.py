"""Making commands and jobs: what is written runs at once and passes its test, and nothing is overwritten."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gengfu.cli.catalogue import Catalogue
from gengfu.errors import NotFound
from gengfu.testing import Trial
from terminal import PROGRAM, Home
from usercode import job, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(home: Path) -> Home:
    return Home(home)


def files(folder: Path) -> list[str]:
    found = [path.relative_to(folder) for path in (folder / "app").rglob("*") if path.is_file()]
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)


def tool(place: Home, *arguments: str) -> None:
    """Runs a tool in the working folder, as a person would; it must be content."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        cwd=place.folder,
        env=place.environment({"PYTEST_ADDOPTS": "-p no:cacheprovider -p no:xdist"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_made_runs_passes_its_tests_and_the_checks(place: Home) -> None:
    made = place.run("make:command", "report:daily", "--schedule", "0  2 * * *", "--job", "report_daily", "--json")
    assert made.json == {
        "status": "written",
        "files": [
            "app/jobs/report_daily.py",
            "app/tests/test_report_daily_job.py",
            "app/commands/report_daily.py",
            "app/tests/test_report_daily.py",
        ],
        "command": "report:daily",
        "class": "ReportDaily",
        "schedule": "0 2 * * *",
        "job": "ReportDailyJob",
        "next": [
            "gengfu report:daily",
            "gengfu queue:work --stop-when-empty",
            "pytest app/tests",
            "gengfu schedule:list",
        ],
    }
    assert place.run("make:command", "hello-all").code == 0
    assert place.run("make:job", "QuiteAnotherJob", "--queue", "other").code == 0
    assert files(place.folder) == [
        *("app/commands/hello_all.py", "app/commands/report_daily.py", "app/jobs/quite_another.py"),
        *("app/jobs/report_daily.py", "app/tests/test_hello_all.py", "app/tests/test_quite_another_job.py"),
        *("app/tests/test_report_daily.py", "app/tests/test_report_daily_job.py"),
    ]
    assert place.run("hello-all").out == "Hello from hello-all.\n"
    assert place.run("report:daily").out.startswith("Job 1 is queued for 20")
    shown = place.run("--help").out
    assert "hello-all" in shown
    assert re.search(r"report:daily +Queue the job ReportDailyJob", shown)
    tool(place, "pytest", "-q")
    tool(place, "ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), "app")
    tool(place, "ruff", "format", "--no-cache", "--check", "--config", str(ROOT / "pyproject.toml"), "app")


def test_what_is_made_is_typed(place: Home) -> None:
    assert place.ask("make:command", "report:daily", "--job", "report_daily").code == 0
    assert place.ask("make:command", "hello").code == 0
    tool(place, "mypy", "--strict", "--cache-dir", os.devnull, "-p", "app")


def test_the_schedule_stands_on_the_class_and_the_queue_on_the_job(place: Home) -> None:
    assert place.ask("make:command", "report:weekly", "--schedule", "@weekly").code == 0
    assert place.ask("make:job", "report_weekly", "--queue", "reports").code == 0
    catalogue = Catalogue(place.folder)
    made = catalogue.command("report:weekly")
    assert made is not None
    assert (made.schedule, made.log_file, made.__name__) == ("@weekly", "report_weekly.log", "ReportWeekly")
    assert {name: job.queue for name, job in catalogue.jobs.items()} == {"ReportWeeklyJob": "reports"}
    assert catalogue.broken == []


def test_a_command_can_queue_a_job_that_is_there(place: Home) -> None:
    write(place.folder, "app/jobs/all.py", job("ReportDailyJob"))
    assert place.ask("make:command", "report:daily", "--job", "report_daily").code == 0
    assert files(place.folder) == ["app/commands/report_daily.py", "app/jobs/all.py", "app/tests/test_report_daily.py"]
    text = (place.folder / "app/commands/report_daily.py").read_text()
    assert "        from app.jobs.all import ReportDailyJob\n" in text


def test_names_that_look_alike_get_files_and_classes_of_their_own(place: Home) -> None:
    assert place.ask("make:command", "report:job", "--job", "report").code == 0
    assert place.ask("make:command", "base:command").code == 0
    assert files(place.folder) == [
        *("app/commands/base_command.py", "app/commands/report_job.py", "app/jobs/report.py"),
        *("app/tests/test_base_command.py", "app/tests/test_report_job.py", "app/tests/test_report_job_command.py"),
    ]
    tool(place, "pytest", "-q")


@pytest.mark.parametrize("command", [["make:command", "report:daily"], ["make:job", "report_daily"]], ids="-".join)
def test_nothing_is_overwritten_unasked(place: Home, command: list[str]) -> None:
    assert place.run(*command).code == 0
    (made,) = (place.folder / "app").glob("[cj]*/*.py")
    text = made.read_text()
    made.write_text(text + "# mine\n")
    refused = place.run(*command)
    assert refused.code == 1
    assert f"{made} exists already; choose another name, or overwrite it with --force" in refused.err
    assert made.read_text() == text + "# mine\n"
    assert place.run(*command, "--force").code == 0
    assert made.read_text() == text


def test_a_test_that_is_there_is_not_overwritten_either_and_then_nothing_is_written(place: Home) -> None:
    write(place.folder, "app/tests/test_report_daily.py", "mine\n")
    assert place.ask("make:command", "report:daily").code == 1
    assert files(place.folder) == ["app/tests/test_report_daily.py"]


def test_two_who_make_the_same_at_once_do_not_overwrite_each_other(place: Home) -> None:
    started = [
        subprocess.Popen([*PROGRAM, "make:command", "report:daily"], env=place.environment(), stderr=subprocess.DEVNULL)
        for _ in range(3)
    ]
    assert sorted(process.wait(60) for process in started) == [0, 1, 1]
    assert files(place.folder) == ["app/commands/report_daily.py", "app/tests/test_report_daily.py"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["make:command", "Report:Daily"], 2, "'Report:Daily' is no name for a command"),
        (["make:command", "../report"], 2, "'../report' is no name for a command"),
        (["make:command", "report:daily:again"], 2, "is no name for a command"),
        (["make:command", "r" * 41], 2, "with at most 40 of them"),
        (["make:command", "import"], 2, "'import' is a word of Python's own"),
        (["make:command", "device:list"], 2, "the command device:list is there already (gengfu.cli.device_list)"),
        (["make:command", "report:good"], 1, "the command report:good is there already, in app/commands/all.py"),
        (["make:command", "report:x", "--schedule", "daily"], 2, "the cron expression 'daily' has 1 field"),
        (["make:command", "report:x", "--schedule", "61 2 * * *"], 2, "cannot be read: bad minute"),
        (["make:command", "report:x", "--job", "a b"], 2, "'a b' is no name for a job"),
        (["make:job", "DeviceListJob"], 2, "'DeviceListJob' is a name that Python or Gengfu has for itself"),
        (["make:job", "GoodJob"], 1, "the job GoodJob is there already, in app.jobs.all"),
        (["make:job", "x", "--queue", "a b"], 2, "--queue names 'a b'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_names_that_cannot_be_are_refused_and_nothing_is_written(
    place: Home, arguments: list[str], code: int, sentence: str
) -> None:
    text = "from gengfu import BaseCommand\n\n\nclass Good(BaseCommand):\n    name = 'report:good'\n"
    write(place.folder, "app/commands/all.py", text)
    write(place.folder, "app/jobs/all.py", job("GoodJob"))
    ended = place.ask(*arguments)
    assert ended.code == code
    assert sentence in ended.err
    assert [name for name in files(place.folder) if name.endswith(".py")] == ["app/commands/all.py", "app/jobs/all.py"]


def test_a_folder_that_cannot_be_written_is_one_sentence(place: Home) -> None:
    (place.folder / "app").write_text("a file")
    ended = place.ask("make:command", "report:daily")
    assert ended.code == 1
    assert "app/commands/report_daily.py cannot be written: Not a directory" in ended.err


def test_a_trial_sees_the_user_code_and_nothing_else_of_the_working_folder(place: Home, tmp_path: Path) -> None:
    place.set(LOG_LEVEL="nonsense", DATABASE_URL="sqlite:///elsewhere.db")
    write(
        place.folder, "app/jobs/report.py", job("ReportJob", "return f\"{args['day']} {self.app.settings.log_level}\"")
    )
    write(place.folder, "app/jobs/broken.py", "class BrokenJob(:\n")
    folder = tmp_path / "trial"
    folder.mkdir()
    trial = Trial(folder, place.folder / "app", LOG_LEVEL="debug")
    assert trial.perform("ReportJob", day="2026-01-01") == "2026-01-01 debug"
    assert Trial(folder, place.folder / "app", LOG_LEVEL="debug").queued() == []
    with pytest.raises(NotFound, match=r"no job 'BrokenJob', since this cannot be used: app/jobs/broken.py, line 1"):
        trial.perform("BrokenJob")
    with pytest.raises(NotFound, match=r"there is no job 'OtherJob'$"):
        trial.perform("OtherJob")
    with trial.app() as app:
        assert app.settings.home == folder
    assert not (place.folder / "var").exists()

"""Finding user code: any file, any name, packages too; what is broken is told by file and line and stops nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from gengfu.cli.catalogue import Catalogue
from gengfu.discovery import Broken
from terminal import Home
from usercode import command, job, package, write

GOOD = command("report:good", "well")


@pytest.fixture
def place(home: Path) -> Home:
    return Home(home)


def broken(home: Path) -> list[str]:
    return [str(each) for each in Catalogue(home).broken]


def test_a_command_of_any_name_is_found_in_any_file(place: Home) -> None:
    write(place.folder, "app/commands/anything.py", command("report:daily", "the report"))
    assert place.run("report:daily").out == "the report\n"
    shown = place.run("--help")
    assert re.search("report:daily +Say the report", shown.out)
    assert shown.err == ""


def test_files_share_code_without_being_packages_and_see_nothing_else_of_the_working_folder(place: Home) -> None:
    write(place.folder, "app/commands/_common.py", "WORD = 'shared'\n")
    write(place.folder, "app/words.py", "OTHER = 'words'\n")
    write(place.folder, "secrets.py", "raise RuntimeError('the working folder is on the path')\n")
    text = dedent(command("report:daily", "x")).replace("'x'", "f'{WORD} {OTHER}'")
    imports = "import secrets\n\nfrom app.commands._common import WORD\nfrom app.words import OTHER\n"
    write(place.folder, "app/commands/report.py", imports + text)
    ended = place.run("report:daily")
    assert (ended.code, ended.out) == (0, "shared words\n"), ended.err


def test_a_working_folder_may_make_app_a_package(home: Path) -> None:
    write(home, "app/__init__.py", "NAME = 'report:daily'\n")
    write(home, "app/commands/__init__.py", "")
    write(
        home,
        "app/commands/report.py",
        command("x").replace("'x'", "NAME").replace("from", "from app import NAME\n        from", 1),
    )
    assert list(Catalogue(home).commands).count("report:daily") == 1


def test_another_working_folder_has_another_app(tmp_path: Path) -> None:
    for number in ("1", "2", "1"):
        write(tmp_path / number, "app/commands/report.py", command(f"report:r{number}"))
        assert Catalogue(tmp_path / number).command(f"report:r{number}") is not None


def test_without_a_working_folder_there_is_no_user_code(home: Path) -> None:
    write(home, "app/commands/report.py", GOOD)
    assert "report:good" not in Catalogue().commands


def test_no_user_code_is_imported_for_a_command_of_the_program(place: Home) -> None:
    place.set(API_WECHAT_URL="http://127.0.0.1:9/", API_USERNAME="o", API_PASSWORD="p")
    for kind in ("commands", "jobs", "resources"):
        write(place.folder, f"app/{kind}/device_list.py", "import sys\nsys.exit('imported')\n")
    assert place.run("db:upgrade").code == 0
    code = (
        "import sys; from gengfu.cli.console import main; code = main(['device:list']);"
        "print([name for name in sys.modules if name.split('.')[0] == 'app' or name == 'importlib.metadata']);"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=place.environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n[]\n")


def test_a_command_is_found_without_importing_files_that_do_not_mention_it(place: Home) -> None:
    write(place.folder, "app/commands/a.py", "raise RuntimeError('imported')\n")
    write(place.folder, "app/commands/z.py", GOOD)
    assert place.run("report:good").out == "well\n"
    write(place.folder, "app/commands/z.py", GOOD.replace("'report:good'", "'report:' + 'good'"))
    assert place.run("report:good").out == "well\n"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("import os\n\nclass A(:\n    pass\n", 3, "SyntaxError: invalid syntax"),
        ("\n\nimport nothing_of_that_name\n", 3, "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("from gengfu import Nothing\n", 1, "ImportError: cannot import name 'Nothing' from 'gengfu'"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", 2, "it ends the program when it is imported (SystemExit: 3)"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError: Expecting property name"),
        (command("").replace("Report", "Nameless"), 4, "the class Nameless has no name; for example: name = 'report:"),
        (
            command("Report Daily"),
            4,
            "the class Report is named 'Report Daily'; a command is named like 'report:daily'",
        ),
        (command("device:list"), 4, "the command 'device:list' is Gengfu's own; choose another name"),
        (command("report:good"), 4, "the command 'report:good' is in app/commands/a_good.py already"),
    ],
    ids=lambda value: value.split(":")[0].replace(" ", "-") if isinstance(value, str) and "\n" not in value else "",
)
def test_a_broken_file_is_told_by_line_and_stops_nothing_else(home: Path, text: str, line: int, problem: str) -> None:
    write(home, "app/commands/a_good.py", GOOD)
    write(home, "app/commands/broken.py", text)
    catalogue = Catalogue(home)
    (found,) = catalogue.broken
    assert (found.file, found.line) == ("app/commands/broken.py", line)
    assert found.problem.startswith(problem)
    good = catalogue.command("report:good")
    assert good is not None
    assert good.__module__ == "app.commands.a_good"
    device_list = catalogue.command("device:list")
    assert device_list is not None
    assert device_list.__module__ == "gengfu.cli.device_list"


def test_an_error_in_a_shared_file_is_told_where_it_is(home: Path) -> None:
    write(home, "app/commands/_common.py", "\nname = undefined\n")
    write(home, "app/commands/report.py", "from app.commands._common import name\n")
    assert broken(home) == [
        (
            "app/commands/_common.py, line 2: NameError: name 'undefined' is not defined"
            " (imported by app/commands/report.py)"
        )
    ]


def test_a_file_that_python_cannot_import_by_name_is_told(home: Path) -> None:
    write(home, "app/commands/my-report.py", GOOD)
    assert broken(home) == [
        (
            "app/commands/my-report.py: its name is none that Python can import;"
            " name it with letters, digits and underscores"
        )
    ]


def test_a_command_that_is_broken_says_why(place: Home) -> None:
    write(place.folder, "app/commands/broken.py", command("report:daily").replace("BaseCommand)", "BaseCommand("))
    ended = place.run("report:daily", "--json")
    sentence = (
        "there is no command 'report:daily', since this cannot be used: app/commands/broken.py, line 4: SyntaxError"
    )
    assert ended.code == 1
    assert ended.json["error"]["type"] == "CodeError"
    assert ended.json["error"]["message"].startswith(sentence)
    assert ended.err.startswith(f"gengfu: {sentence}")


def test_help_shows_what_is_broken(place: Home) -> None:
    write(place.folder, "app/commands/broken.py", "class A(:\n")
    write(place.folder, "app/jobs/broken.py", "import nothing_of_that_name\n")
    write(place.folder, "app/resources/broken.py", "1 / 0\n")
    shown = place.run("--help")
    assert shown.code == 0
    assert "\nThis cannot be used until it is corrected:\n" in shown.out
    assert "  app/commands/broken.py, line 1: SyntaxError: invalid syntax\n" in shown.out
    assert "  app/jobs/broken.py, line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'\n" in shown.out
    assert "  app/resources/broken.py, line 1: ZeroDivisionError: division by zero\n" in shown.out


def test_an_unknown_command_is_unknown_though_something_else_is_broken(place: Home) -> None:
    write(place.folder, "app/commands/broken.py", "class A(:\n")
    ended = place.run("devce:list")
    assert (ended.code, ended.err) == (2, "gengfu: there is no command 'devce:list'; did you mean device:list?\n")


def test_what_user_code_prints_when_it_is_imported_does_not_mix_with_json(place: Home) -> None:
    text = "print('loaded')\n" + dedent(command("report:daily"))
    write(place.folder, "app/commands/report.py", text.replace("return 0", "self.out.answer({'a': 1})"))
    ended = place.run("report:daily", "--json")
    assert ended.json == {"a": 1}
    assert ended.err == "loaded\ndone\n"


def test_an_error_in_a_users_command_names_its_line(place: Home) -> None:
    text = command("report:daily").replace("self.out.say('done')", "raise ValueError('no data')")
    path = write(place.folder, "app/commands/report.py", text)
    ended = place.run("report:daily")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == f"gengfu: {path}, line 10: ValueError: no data; its trace is above"
    # What led to it within the program is no matter of whoever wrote the file.
    assert "console.py" not in ended.err


def test_an_error_in_a_package_is_not_called_a_bug_in_gengfu(place: Home, tmp_path: Path) -> None:
    text = command("acme:sync").replace("self.out.say('done')", "raise ValueError('no data')")
    package(tmp_path / "site", "acme", {"tasks": text}, "[gengfu.commands]\nsync = acme.tasks\n")
    ended = place.run("acme:sync", PYTHONPATH=f"{place.environment()['PYTHONPATH']}:{tmp_path / 'site'}")
    assert ended.err.splitlines()[-1] == "gengfu: acme failed: ValueError; its trace is above"


def test_a_word_in_a_broken_file_is_not_taken_for_its_command(place: Home) -> None:
    write(place.folder, "app/commands/broken.py", "run = 'run:everything'\nclass A(:\n")
    assert place.run("run").err == "gengfu: there is no command 'run'; did you mean run:list or run:show?\n"


def test_a_working_folder_that_was_removed_is_one_sentence(place: Home, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from gengfu.cli.console import main; sys.exit(main(['--help']))"
    environment = place.environment({"GENGFU_HOME": ""})
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=gone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("gengfu: the working folder . cannot be found")


def test_jobs_and_resources_are_found_by_name(home: Path) -> None:
    write(home, "app/jobs/reports.py", job("DailyJob") + job("WeeklyJob"))
    resource = """\
        from gengfu.mirror.device import DEVICE
        from dataclasses import replace

        GROUPS = replace(DEVICE, name="phone_group")
        SAME = GROUPS
        CLASH = replace(DEVICE, name="device")
    """
    write(home, "app/resources/groups.py", resource)
    catalogue = Catalogue(home)
    assert {name: job.__module__ for name, job in catalogue.jobs.items()} == {
        "DailyJob": "app.jobs.reports",
        "WeeklyJob": "app.jobs.reports",
    }
    assert list(catalogue.resources) == ["phone_group"]
    assert [each.problem for each in catalogue.broken] == ["the resource 'device' is Gengfu's own; choose another name"]


def test_jobs_with_wrong_queues_or_names_of_the_programs_own_are_told(home: Path) -> None:
    write(home, "app/jobs/a.py", job("AJob", more="queue = 'a b'"))
    write(home, "app/jobs/b.py", job("DeviceListJob"))
    assert broken(home) == [
        "app/jobs/a.py, line 6: the job AJob names the queue 'a b'; a queue is named like 'reports'",
        "app/jobs/b.py, line 6: the job 'DeviceListJob' is Gengfu's own; choose another name",
    ]
    assert dict(Catalogue(home).jobs) == {}


def test_installed_packages_bring_commands_and_jobs(place: Home, tmp_path: Path) -> None:
    site = tmp_path / "site"
    modules = {
        "tasks": command("acme:sync", "synced") + command("report:good", "badly", "Clash"),
        "jobs": job("AcmeJob"),
        "broken": "\nimport nothing_of_that_name\n",
    }
    entry_points = """\
        [gengfu.commands]
        sync = acme.tasks
        broken = acme.broken:Broken

        [gengfu.jobs]
        AcmeJob = acme.jobs:AcmeJob
    """
    package(site, "acme", modules, entry_points)
    write(place.folder, "app/commands/report.py", GOOD)
    ended = place.run("acme:sync", PYTHONPATH=f"{place.environment()['PYTHONPATH']}:{site}")
    assert (ended.code, ended.out) == (0, "synced\n"), ended.err
    assert place.run("report:good", PYTHONPATH=f"{place.environment()['PYTHONPATH']}:{site}").out == "well\n"
    shown = place.run("--help", PYTHONPATH=f"{place.environment()['PYTHONPATH']}:{site}").out
    where = f"{site}/acme/broken.py (entry point broken of the package acme), line 2: ModuleNotFoundError"
    assert f"  {where}: No module named 'nothing_of_that_name'\n" in shown
    clash = "the command 'report:good' is in app/commands/report.py already"
    assert f"  entry point sync of the package acme: {clash}\n" in shown


def test_what_is_broken_is_one_line_for_people_and_an_object_for_programs() -> None:
    found = Broken("app/commands/a.py", 3, "SyntaxError: invalid syntax")
    assert str(found) == "app/commands/a.py, line 3: SyntaxError: invalid syntax"
    assert found.told() == {"file": "app/commands/a.py", "line": 3, "problem": "SyntaxError: invalid syntax"}

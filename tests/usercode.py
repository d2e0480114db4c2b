"""User code as people write it, for tests: files in the working folder, packages with entry points."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent


def write(home: Path, name: str, text: str) -> Path:
    """Writes a file of the working folder."""
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), "utf-8")
    return path


def command(name: str, says: str = "done", class_name: str = "Report") -> str:
    """The text of a file with one command."""
    return f'''\
        from gengfu import BaseCommand


        class {class_name}(BaseCommand):
            """Say {says}"""

            name = {name!r}

            def handle(self) -> int:
                self.out.say({says!r})
                return 0
        '''


def job(name: str, body: str = "return 'done'", more: str = "") -> str:
    """The text of a file with one job."""
    return f'''\
        from typing import Any

        from gengfu import App, Job, JobContext


        class {name}(Job):
            """A job of the test's."""

            app: App
            backoff = (0.1,)
            {more}

            def fire(self, context: JobContext, **args: Any) -> str:
                {body}
        '''


def package(site: Path, name: str, modules: dict[str, str], entry_points: str) -> None:
    """Lays a package with its metadata where an installer would have put it."""
    for module, text in modules.items():
        write(site, f"{name}/{module}.py", text)
    write(site, f"{name}/__init__.py", "")
    info = site / f"{name}-1.0.dist-info"
    write(info, "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    write(info, "entry_points.txt", entry_points)

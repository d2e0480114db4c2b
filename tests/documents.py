"""Reads the documents: their headings, links, tables and fenced blocks, and runs the commands that they show."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gengfu_simulator.testing import Simulator

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
ENGLISH = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if ".zh-CN" not in path.name)]
ALL = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

VENDOR = "https://vendor.example.com/"
"""What the documents call the vendor, which is a simulator here."""

_FENCE = re.compile(r"^( *)```(\w*)$")
_DIRECTIVE = re.compile(r"^<!-- vendor: (\w+) (\d+) -->$")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d)?|\d{8}T\d{6}Z")
_DECIMAL = re.compile(r"\d+\.\d+")
_COUNTS = re.compile(r"\d+ tables, \d+ rows")


def language(path: Path) -> str:
    """The language of a page."""
    return "zh_CN" if path.stem.endswith(".zh-CN") else "en"


def chinese(path: Path) -> Path:
    """The Chinese face of an English page."""
    return path.with_name(f"{path.stem}.zh-CN.md")


@dataclass(frozen=True)
class Block:
    """A fenced block; `vendor` is what a comment before it lets happen at the vendor: an action and a number."""

    kind: str
    text: str
    vendor: tuple[str, int] | None = None
    named: str | None = None
    """The file that the text before it names as its place."""


def _split(path: Path) -> tuple[list[str], list[Block]]:
    """The lines outside of fences, and the fenced blocks."""
    prose: list[str] = []
    blocks: list[Block] = []
    inside: tuple[str, str] | None = None
    held: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        fence = _FENCE.match(line)
        if inside is not None and fence is not None and not fence[2]:
            before = [text for text in prose[-4:] if text.strip()]
            directive = _DIRECTIVE.match(before[-1]) if before else None
            named = re.search(r"`(app/[\w/.]+)`[:：]$", before[-1]) if before else None
            blocks.append(
                Block(
                    inside[1],
                    "\n".join(text.removeprefix(inside[0]) for text in held) + "\n",
                    (directive[1], int(directive[2])) if directive else None,
                    named[1] if named else None,
                )
            )
            inside = None
        elif inside is not None:
            held.append(line)
        elif fence is not None:
            inside, held = (fence[1], fence[2]), []
        else:
            prose.append(line)
    assert inside is None, f"{path}: a fence is not closed"
    return prose, blocks


def blocks(path: Path, *kinds: str) -> list[Block]:
    """The fenced blocks of the page, of these kinds."""
    return [block for block in _split(path)[1] if not kinds or block.kind in kinds]


def headings(path: Path) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    found = (re.match(r"(#+) (.*)", line) for line in _split(path)[0])
    return [(len(match[1]), match[2]) for match in found if match]


def anchors(path: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    return {re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-") for _, text in headings(path)}


def prose(path: Path) -> str:
    """The page without its fenced blocks."""
    return "\n".join(_split(path)[0])


def links(path: Path) -> list[str]:
    """The targets of all links."""
    text = re.sub(r"`[^`]*`", "", prose(path))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def code_spans(path: Path) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(path))


def rows(path: Path, width: int) -> list[list[str]]:
    """The rows of all tables with that many columns, titles included, as cells."""
    found = []
    for line in _split(path)[0]:
        if line.strip().startswith("|") and not set(line) <= set("|-: "):
            cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
            found.append([cell.strip().replace("\\|", "|") for cell in cells])
    return [row for row in found if len(row) == width]


def plain(cell: str) -> str:
    """A cell without the backticks around it."""
    return cell.strip("`")


def texts_of_the_program() -> list[str]:
    """Every piece of text in the source, those of f-strings between two values each."""
    found: list[str] = []
    for path in SOURCE.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        found += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return found


def shown(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that the page shows as its output."""
    command: str | None = None
    output: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, output
            command, output = line[2:], []
        elif line.strip():
            output.append(line)
    if command is not None:
        yield command, output


class Walk:
    """Does what a page shows, in a working folder of its own, against a vendor of its own."""

    def __init__(self, folder: Path, sim: Simulator, language: str = "en") -> None:
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / ".env").write_text(
            f"API_WECHAT_URL={sim.url}\nAPI_USERNAME={sim.username}\nAPI_PASSWORD={sim.password}\n"
        )
        program = folder / "bin" / "gengfu"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m gengfu "$@"\n')
        program.chmod(0o755)
        tester = folder / "bin" / "pytest"
        tester.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m pytest -p no:cacheprovider "$@"\n')
        tester.chmod(0o755)
        self._sim = sim
        self._environment = os.environ | {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCE),
            "LC_ALL": "C.UTF-8",
            "GENGFU_LANG": language,
        }
        self._workers: list[subprocess.Popen[bytes]] = []

    def follow(self, page: Path) -> None:
        """Writes each file of user code and runs each command of the page, in order; one that shows nothing is run
        once."""
        done: set[str] = set()
        for block in blocks(page, "console", "python"):
            if block.kind == "python" and block.named is not None:
                (self.home / block.named).write_text(block.text)
                continue
            if block.vendor is not None:
                self._sim.fleet(block.vendor[0], count=block.vendor[1])
            for command, expected in shown(block):
                if command == "gengfu queue:work":
                    self._start_worker()
                elif expected or command not in done:
                    self._do(command, expected)
                    done.add(command)

    def _do(self, command: str, expected: list[str]) -> None:
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        said = done.stdout.decode().replace(self._sim.url, VENDOR)
        lines = iter(said.splitlines())
        for line in expected:
            assert any(_alike(line, other) for other in lines), f"$ {command}\n{said}\n-- does not say:\n{line}"
        assert done.returncode == 0 or (done.returncode == 1 and expected), f"$ {command}: {done.returncode}\n{said}"

    def _start_worker(self) -> None:
        log = self.home / "logs" / "queue_worker.log"
        self._workers.append(
            subprocess.Popen(
                ["gengfu", "queue:work"],
                executable=str(self._environment["PATH"].partition(os.pathsep)[0] + "/gengfu"),
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        deadline = time.monotonic() + 30
        while not (log.exists() and "worker ready" in log.read_text()):
            assert self._workers[-1].poll() is None, "the worker ended at once"
            assert time.monotonic() < deadline, "the worker was not ready within 30 s"
            time.sleep(0.02)

    def close(self) -> None:
        """Ends the workers; they must end well."""
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)
        codes = [worker.wait(30) for worker in self._workers]
        assert not any(codes), codes


def _alike(shown_line: str, line: str) -> bool:
    """Whether both say the same but for moments, decimals, spaces, what a database holds, and one whole number."""
    left, right = _words(shown_line), _words(line)
    if len(left) != len(right):
        return False
    different = [pair for pair in zip(left, right, strict=True) if pair[0] != pair[1]]
    return not different or (len(different) == 1 and all(word.isdigit() for word in different[0]))


def _words(line: str) -> list[str]:
    return _COUNTS.sub("counts", _DECIMAL.sub("0.0", _MOMENT.sub("2026-01-01", line))).split()

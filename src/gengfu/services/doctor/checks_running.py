"""Checks of what keeps the program running: cron and its lines, service managers, schedulers and workers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from gengfu.language import joined, tr
from gengfu.services.doctor.findings import PATIENCE, DoctorContext, Finding, error, ok, warning
from gengfu.services.within import within

CRONS = ("cron", "crond", "fcron", "busybox crond")
CRONTABS = ("etc/crontab", "etc/cron.d/*", "www/server/cron/*")
"""Where others than this user have lines and scripts; the last is where BT panel has them."""
UNITS = ("etc/systemd/system/*.service", "etc/systemd/system/*.timer")
SUPERVISED = (
    "etc/supervisor/conf.d/*",
    "etc/supervisord.d/*",
    "etc/supervisord.conf",
    "www/server/panel/plugin/supervisor/profile/*",
)
INSTALL = "gengfu deploy crontab --install, or run: gengfu up"


def cron(context: DoctorContext) -> Iterator[Finding]:
    """Whether the lines for this folder can be run, and whether anybody runs them."""
    lines = _own_lines(context)
    running = runs(CRONS)
    home = context.settings.home
    many = tr("{number} lines for {home}", number=len(lines), home=home)
    count = many if lines[1:] else tr("1 line for {home}", home=home)
    if not lines:
        told = tr("runs") if running else tr("does not run")
        yield ok(tr("the crontab of this user has no line for {home}; cron {told}", home=home, told=told))
        return
    if running is None:
        yield ok(tr("the crontab of this user has {count}", count=count))
    elif running:
        yield ok(tr("cron runs; the crontab of this user has {count}", count=count))
    else:
        yield error(
            tr("the crontab has {count}, and cron does not run", count=count),
            "systemctl enable --now cron (crond on Red Hat), or: service cron start",
        )
    for line in lines:
        wrong = wrong_with(line)
        if wrong:
            yield error(
                tr("the crontab has a line that cannot work, for {wrong}: {line}", wrong=wrong, line=line), "crontab -e"
            )


def wrong_with(line: str) -> str:
    """What keeps a line of a crontab from starting the program; empty where nothing does."""
    try:
        words = shlex.split(re.sub(r"(&&|\|\||[;|])", r" \1 ", line))
    except ValueError:
        return "quotes that do not match"
    begins = True
    for word in words[1 if line.startswith("@") else 5 :]:
        called, begins = begins, word in ("&&", "||", "|", ";")
        if called and os.path.basename(word) == "gengfu":
            if not os.path.isabs(word):
                return tr("cron does not find {word!r}, which needs its full path", word=word)
            if not os.access(word, os.X_OK):
                return tr("{word} is not there, or cannot be run", word=word)
    return ""


def _own_lines(context: DoctorContext) -> list[str]:
    """The lines of this user's crontab that concern the folder."""
    if shutil.which("crontab") is None:
        return []
    asked = subprocess.run(
        ["crontab", "-l"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return _lines_for(context.settings.home, asked.stdout) if asked.returncode == 0 else []


def _lines_for(home: Path, text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", ";")) and names(line, home)]


def names(text: str, folder: Path) -> bool:
    """Whether the text names that folder, or something in it, and not only one whose name begins alike."""
    place, rest = str(folder), text
    while place in rest:
        rest = rest.partition(place)[2]
        if not rest[:1].isalnum() and rest[:1] not in ("-", "_", "."):
            return True
    return False


def autostart(context: DoctorContext) -> Iterator[Finding]:
    """Whether anything starts the program after a restart of the machine."""
    home, root = context.settings.home, context.root
    found: list[str] = []
    units = _files_for(home, root, UNITS)
    if units:
        found.append(tr("systemd ({units})", units=units))
        yield from _inactive(units, root)
    supervised = _files_for(home, root, SUPERVISED)
    if supervised:
        found.append(tr("supervisor ({supervised})", supervised=supervised))
        if runs(("supervisord",)) is False:
            yield error("supervisor has a configuration for this folder and does not run", "systemctl start supervisor")
    shared = _files_for(home, root, CRONTABS)
    if shared:
        found.append(tr("cron ({shared})", shared=shared))
    if _own_lines(context):
        found.append("the crontab of this user")
    if found:
        yield ok(tr("started by {found}", found=joined("; ", found)))
    else:
        yield warning(
            tr("nothing starts the schedule or a worker for {home} after a restart of this machine", home=home), INSTALL
        )


def _files_for(home: Path, root: Path, patterns: Sequence[str]) -> list[str]:
    """The names of the files that concern the folder, as far as this user may read them."""
    found = []
    for pattern in patterns:
        for file in sorted(root.glob(pattern)):
            try:
                if file.is_file() and _lines_for(home, file.read_text("utf-8", "replace")):
                    found.append(file.name)
            except OSError:
                continue
    return found


def _inactive(units: Sequence[str], root: Path) -> Iterator[Finding]:
    """The units that are there and do not run; templates and what timers start aside."""
    if shutil.which("systemctl") is None or not (root / "run/systemd/system").is_dir():
        return
    started_by_timer = {unit.removesuffix(".timer") + ".service" for unit in units if unit.endswith(".timer")}
    for unit in units:
        if "@." in unit or unit in started_by_timer:
            continue
        asked = subprocess.run(
            ["systemctl", "is-active", unit], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if asked.returncode != 0:
            yield error(
                tr("{unit} is {state}", unit=unit, state=asked.stdout.strip() or tr("not active")),
                f"systemctl enable --now {unit}",
            )


def runs(named: Sequence[str]) -> bool | None:
    """Whether a process of one of these names runs; None where the system does not tell."""
    processes = list(Path("/proc").glob("[0-9]*"))
    if not processes:
        return None
    for folder in processes:
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        first, *more = (os.path.basename(word) for word in words)
        second = more[0] if more else ""
        if {first, f"{first} {second}"} & set(named) or (first.startswith("python") and second in named):
            return True
    return False


def processes(context: DoctorContext) -> Iterator[Finding]:
    """What `gengfu health` says of the schedule, the processes, the queues and the runs."""
    from gengfu.discovery import version_of
    from gengfu.process.pids import host_name, is_here
    from gengfu.services.health import RESTART, examine, name_of, outdated
    from gengfu.services.health_snapshot import look
    from gengfu.store import schema

    db = context.db()
    place = db.path or db
    if within(PATIENCE, "the database", lambda: schema.pending(db)):
        yield warning("nothing is known of processes before the database has its tables", "gengfu db:upgrade")
        return
    entries = context.entries().entries
    for part in examine(lambda: look(place, entries, context.clock()), host_name(), context.clock, context.tell):
        told = tr("{name}: {part.text}", name=tr(part.name), part=part)
        remedy = "gengfu health --restart" if part.process is not None else INSTALL
        yield ok(told) if part.ok else error(told, remedy)
    seen = look(place, entries, context.clock())
    for process in outdated(seen.processes, version_of(context.settings.home)):
        yield warning(tr("{name}: app/ was changed since it began", name=name_of(process)), RESTART)
    for process in seen.processes:
        left = _left_behind(process.pid, context.settings.home) if is_here(process.birth) else None
        if left is not None:
            yield warning(
                tr(
                    "{name}: it still runs in {left}, and {home} is the folder now",
                    name=name_of(process),
                    left=left,
                    home=context.settings.home,
                ),
                RESTART,
            )
    if not seen.processes and not seen.entries:
        yield warning("neither a scheduler nor a worker is up", INSTALL)


def _left_behind(pid: int, home: Path) -> Path | None:
    """Where a process works that was started in this folder by a link, before that was led to another release; None
    where it works in the folder, or that cannot be seen."""
    process = Path("/proc", str(pid))
    try:
        place = (process / "cwd").readlink()
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    named = [value.partition(b"=")[2] for value in environment if value.startswith((b"GENGFU_HOME=/", b"PWD=/"))]
    return place if place != home and os.fsencode(home) in map(os.path.realpath, named) else None


def schedule(context: DoctorContext) -> Iterator[Finding]:
    """Whether every entry can be used."""
    entries = context.entries()
    enabled = [name for name, entry in entries.entries.items() if entry.schedule.enabled]
    if not entries.problems:
        yield ok(tr("entries: {enabled}", enabled=enabled or tr("none")))
    for problem in entries.problems:
        yield warning(problem, "correct it, then look with: gengfu schedule:list")


def user_code(context: DoctorContext) -> Iterator[Finding]:
    """Whether all of it can be used."""
    broken = context.broken()
    if not broken:
        yield ok("nothing in app/ is broken")
    for part in broken:
        yield warning(str(part), tr("correct {part.file}", part=part))

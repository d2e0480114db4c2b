"""The sentences that people may be shown, and the catalogue that has them in Chinese.

`python tests/translations.py` adds what the catalogue lacks, removes what is no longer said, and compiles it. Then
write the Chinese of what is empty, and do it again.
"""

from __future__ import annotations

import ast
import errno
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from inspect import cleandoc
from pathlib import Path

import click
from babel.messages import mofile, pofile
from babel.messages.catalog import Catalog

import gengfu
from gengfu.cli.catalogue import Catalogue
from gengfu.cli.console import Console, Session
from gengfu.language import CHINESE, ENGLISH, FOLDER, Message, speaking
from gengfu.store.ticks import EntryRow, Tick

PACKAGE = Path(gengfu.__file__).parent
PO = FOLDER / CHINESE / "LC_MESSAGES" / "gengfu.po"
MO = PO.with_suffix(".mo")

SAYS = {"say", "note", "fail", "confirm", "progress", "Column", "tr", "worded", "Check", "CheckResult", "Component"}
"""What is called with text for people: its plain strings are looked up whole."""
UNSEEN = {"log", "logger"}
"""What writes lines in English."""
BUGS = {"AssertionError", "AttributeError", "InvalidResponse", "LookupError", "RuntimeError", "TypeError"}
"""Errors that only a programmer sees."""
PLACE = re.compile(r"\{[\w.]+(?:!r)?(?::[.,]?\d{0,2}[a-z]?)?\}|%\(\w+\)s|\$\w+")
LETTERS = re.compile("[A-Za-z]")
PROSE = re.compile(r"[A-Za-z]{2,}[,;:]? [a-z(][a-z(]")
SQL = (
    "TRUNCATE|SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|LOCAL|PRAGMA|LOCK|VALUES|ORDER BY|GROUP|FROM|WHERE|AND|OR|NOT IN"
    "|COPY|OVER|INTO|xx IN|SHOW|SET SESSION|SET GLOBAL|SET time_zone|first_seen_at"
)
TOOLS = "gengfu|chmod|while|run:show|chown|systemctl|bearer|Basic|su|cd"
OTHERS = r": written|while |\^|.*\w\|\w|def |# |yyyy|\w+(, \w+)+$|gengfu: xx$|from gengfu|    listing="
CODE = re.compile(rf"{OTHERS}|({TOOLS}) [^,;]*$|.*\b({SQL})\b", re.DOTALL)
PUNCTUATION = (
    ", ",
    "{heading}:",
    "{label}: {count}",
    "{name}: {part.text}",
    ": {row.pause_reason}",
    "{sentence}.",
    "{found.total} {noun} {went}{lasting}.",
)
"""What has no word of English, and is put otherwise in Chinese."""
LISTS = (
    *(
        "durations.py",
        "testing.py",
        "schedule/cron_words.py",
        "mirror/device.py",
        "mirror/names.py",
        "services/times.py",
    ),
    *("store/enqueue.py", "store/migrations/", "store/ticks.py"),
)
"""Where strings of several words are names, or both languages stand side by side."""
ERRNOS = (
    *(errno.EACCES, errno.EADDRINUSE, errno.EBUSY, errno.ECONNREFUSED, errno.ECONNRESET, errno.EDQUOT, errno.EEXIST),
    *(errno.EHOSTUNREACH, errno.EINVAL, errno.EIO, errno.EISDIR, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG),
    *(errno.ENETUNREACH, errno.ENFILE, errno.ENOENT, errno.ENOMEM, errno.ENOSPC, errno.ENOTDIR, errno.ENOTEMPTY),
    *(errno.EPERM, errno.EPIPE, errno.EROFS, errno.ETIMEDOUT, errno.ETXTBSY, errno.EXDEV),
)
"""What the system most often says why something cannot be done."""
CLICK = ("core", "decorators", "exceptions", "formatting", "parser", "types")


def sources() -> list[Path]:
    """The files of the program."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def sentences() -> dict[str, list[str]]:
    """Each text that people may be shown, with the files that say it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        for text in said(path):
            found[text].add(str(path.relative_to(PACKAGE.parent)))
    for template in PACKAGE.glob("*/templates/*"):
        for text in re.findall(r"\[\[(.+?)\]\]", template.read_text("utf-8"), re.DOTALL):
            found[text].add(str(template.relative_to(PACKAGE.parent)))
    for text in help_texts():
        found[text].add("gengfu/cli")
    for row in (EntryRow, Tick):
        for field in fields(row):
            found[field.name].add("gengfu/cli")
    for text in words_of_click():
        found[text].add("click")
    for number in ERRNOS:
        found[os.strerror(number)].add("errno")
    read = {text for text in found if LETTERS.search(PLACE.sub("", text)) or text in PUNCTUATION}
    return {text: sorted(found[text]) for text in read}


def said(path: Path) -> Iterator[str]:
    """What the code of a file says in plain strings."""
    lists = _place(path).startswith(LISTS)
    says = SAYS if "/store/" not in str(path) else {"tr"}
    for node, parents in walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            caller = parents[-1] if parents else None
            is_said = isinstance(caller, ast.Call) and _called(caller) in says and node in caller.args
            if is_said or _is_word(parents) or (not lists and _is_read(node.value, parents)):
                yield cleandoc(node.value) if "\n    " in node.value else node.value


def composed(path: Path) -> Iterator[tuple[int, str]]:
    """The sentences of a file that are put together by hand, so that nothing can translate them."""
    if _place(path).startswith(LISTS):
        return
    for node, parents in walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            text = "".join("{x}" if part is None else part for part in parts)
            if LETTERS.search("".join(part or " " for part in parts)) and _is_read(text.replace("{x}", "xx"), parents):
                yield node.lineno, text


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _is_read(text: str, parents: list[ast.AST]) -> bool:
    if not PROSE.search(PLACE.sub("xx", text)) or CODE.match(text):
        return False
    calls = [parent.func for parent in parents if isinstance(parent, ast.Call)]
    is_logged = any(isinstance(call, ast.Attribute) and getattr(call.value, "id", "") in UNSEEN for call in calls)
    is_bug = any(_called(parent) in BUGS for parent in parents)
    return not is_logged and not is_bug and not isinstance(parents[-1], ast.Expr)


def _is_word(parents: list[ast.AST]) -> bool:
    """Whether it is the value of a member of an enum, which is a word of tables."""
    return (
        len(parents) > 1
        and isinstance(parents[-1], ast.Assign)
        and isinstance(parents[-2], ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "StrEnum" for base in parents[-2].bases)
    )


def _called(node: ast.AST | None) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def walk(node: ast.AST, parents: list[ast.AST] | None = None) -> Iterator[tuple[ast.AST, list[ast.AST]]]:
    """Each node with those around it, the outermost first."""
    parents = parents or []
    yield node, parents
    if not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from walk(child, [*parents, node])


def help_texts() -> Iterator[str]:
    """Help and metavars of all commands of the program."""
    catalogue = Catalogue()
    for command in catalogue.commands.values():
        text = command.__doc__ or ""
        yield text.template if isinstance(text, Message) else cleandoc(text)
    with speaking(ENGLISH):
        console = Console(Session(as_json=False, catalogue=catalogue))
        context = click.Context(console, info_name="gengfu")
        for command in [console, *(console.get_command(context, name) for name in console.list_commands(context))]:
            assert command is not None
            yield from command.collect_usage_pieces(context)[:1]
            for param in command.params:
                text = getattr(param, "help", None) or ""
                yield text.template if isinstance(text, Message) else text
                yield param.metavar or ""
                yield param.type.name if not param.metavar else ""
        yield console.subcommand_metavar


def words_of_click() -> Iterator[str]:
    """What click itself says."""
    for name in CLICK:
        for node in ast.walk(ast.parse((Path(click.__file__).parent / f"{name}.py").read_text("utf-8"))):
            if _called(node) in ("_", "ngettext"):
                yield from (
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                )


def read_catalogue() -> Catalog:
    """What is translated."""
    with PO.open("rb") as file:
        return pofile.read_po(file, locale=CHINESE)


def bring_up_to_date(catalogue: Catalog) -> None:
    """Gives the catalogue the sentences that there are, and no others."""
    wanted = sentences()
    for message in list(catalogue):
        if message.id and message.id not in wanted:
            catalogue.delete(message.id)
    for text, places in wanted.items():
        before = catalogue.get(text)
        catalogue.delete(text)
        catalogue.add(text, before.string if before else "", [(place, None) for place in places])
    catalogue.obsolete.clear()


def compiled(catalogue: Catalog) -> bytes:
    """The file that the program reads."""
    from io import BytesIO

    file = BytesIO()
    mofile.write_mo(file, catalogue)
    return file.getvalue()


def main() -> None:
    catalogue = read_catalogue()
    bring_up_to_date(catalogue)
    with PO.open("wb") as file:
        pofile.write_po(file, catalogue, width=110, sort_output=True, include_lineno=False)
    MO.write_bytes(compiled(catalogue))
    missing = [message.id for message in catalogue if message.id and not message.string]
    sys.stdout.write(f"{PO}: {len(catalogue)} sentences, {len(missing)} of them without translation\n")


if __name__ == "__main__":
    main()

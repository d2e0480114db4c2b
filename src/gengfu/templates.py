"""Fills in the template files that lie in the folder `templates` of a room."""

from __future__ import annotations

import re
from importlib.resources import files
from string import Template

from gengfu.language import worded

_WORDS = re.compile(r"\[\[(.+?)\]\]", re.DOTALL)
_ALONE = re.compile(r"\$(\w+)\n")


def render(package: str, template: str, **values: object) -> str:
    """The text of the template with each `$name` replaced, and what stands in `[[ ]]` in the current language.

    A name that has a line for itself stands for whole lines: for none where the value is empty.

    Raises:
        KeyError: the template names a value that is not given.
    """
    text = _WORDS.sub(lambda found: worded(found[1]), files(package).joinpath("templates", template).read_text("utf-8"))
    return "".join(_filled(line, values) for line in text.splitlines(keepends=True))


def _filled(line: str, values: dict[str, object]) -> str:
    alone = _ALONE.fullmatch(line)
    if alone is None:
        return Template(line).substitute(values)
    lines = str(values[alone[1]]).removesuffix("\n")
    return f"{lines}\n" if lines else ""

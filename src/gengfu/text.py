"""Text that others wrote, as it may be shown: on a terminal, in a log line, in generated source."""

from __future__ import annotations

import re
import unicodedata

_NEVER_SEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Python takes for printable although Unicode has it show nothing (Default_Ignorable_Code_Point)."""

_PICTURE = "\u2122-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_PICTURE_PARTS = re.compile(
    f"(?<=[\u00a9\u00ae{_PICTURE}])\ufe0f|\ufe0f(?=\u20e3)|(?<=[\ufe0f{_PICTURE}])\u200d(?=[{_PICTURE}])"
)
"""What makes a picture of a sign, and joins one picture to the next: in such a place neither hides anything."""


def visible(text: str) -> str:
    """The text on one line, with whatever would control a terminal, turn the direction of writing or not be seen at all
    written as Python writes it in a string: `\\x1b`, `\\n`, `\\u202e`."""
    if text.isprintable() and _NEVER_SEEN.search(text) is None:
        return text
    harmless = {found.start() for found in _PICTURE_PARTS.finditer(text)}
    return "".join(each if index in harmless else _shown(each) for index, each in enumerate(text))


def _shown(character: str) -> str:
    # Spaces of other widths take their place like any other.
    seen = unicodedata.category(character) == "Zs" or character.isprintable()
    if seen and _NEVER_SEEN.match(character) is None:
        return character
    return character.encode("unicode_escape").decode("ascii")

"""What can be made of JSON that is not quite JSON, so that one broken value does not cost the page around it.

Each function reads its text once, from the first byte to the last, and keeps nothing of what is not broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

MOST_REPAIRS = 10_000
"""A text with more broken values than this stays as it is."""
MOST_LEVELS = 300
"""So many levels of arrays and objects are read; what is nested deeper is cut off."""

_BOM = b"\xef\xbb\xbf"
_PAIR = rb"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = rb"\\(?:[\"\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|" + _PAIR + rb")"
_STRING = rb'"(?:[^"\\\x00-\x1f]++|' + _ESCAPE + rb')*+"'
_BROKEN = re.compile(
    rb'(?P<sound>(?:[^"NI-]++|-(?!I)|' + _STRING + rb')*+)(?:(?P<word>NaN|-?Infinity)|(?P<text>"(?:[^"\\]++|\\.)*+"))',
    re.DOTALL,
)
_BROKEN_CHARACTER = re.compile(
    rb"(?P<sound>(?:[^\\\x00-\x1f]++|" + _ESCAPE + rb")*+)(?:(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|[\x00-\x1f\\])"
)
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+(?:"|\Z))*+([\[\]{}])', re.DOTALL)


def repaired(text: bytes) -> bytes:
    """The text without a byte order mark; with words that JSON does not have (NaN, Infinity) as strings, halves of
    surrogate pairs as the replacement character, and control characters and lone backslashes as JSON writes them."""
    return _written_anew(_BROKEN, text.removeprefix(_BOM), _sound_value)


def _written_anew(broken: re.Pattern[bytes], text: bytes, sound: Callable[[re.Match[bytes]], bytes]) -> bytes:
    parts: list[bytes] = []
    end = 0
    while len(parts) < 2 * MOST_REPAIRS and (found := broken.match(text, end)) is not None:
        parts += (found["sound"], sound(found))
        end = found.end()
    return b"".join((*parts, text[end:]))


def _sound_value(found: re.Match[bytes]) -> bytes:
    inner = found["word"] or _written_anew(_BROKEN_CHARACTER, found["text"][1:-1], _sound_character)
    return b'"%b"' % inner


def _sound_character(found: re.Match[bytes]) -> bytes:
    if found["lone"]:
        return rb"\ufffd"
    wrong = found[0][-1]
    return rb"\\" if wrong == 0x5C else rb"\u%04x" % wrong


def levels(text: bytes) -> int:
    """How deep its arrays and objects are nested."""
    return max((level for level, _ in _brackets(text)), default=0)


def cut_off(text: bytes) -> bytes:
    """The text with null in place of what is nested deeper than MOST_LEVELS."""
    parts: list[bytes] = []
    kept = start = before = 0
    for level, place in _brackets(text):
        if before == MOST_LEVELS and level > before:
            start = place
        elif before > MOST_LEVELS and level == MOST_LEVELS:
            parts += (text[kept:start], b"null")
            kept = place + 1
        before = level
    return b"".join((*parts, text[kept:]))


def _brackets(text: bytes) -> Iterator[tuple[int, int]]:
    """The level that each bracket outside of strings leads to, and its place."""
    level = end = 0
    while (found := _BRACKET.match(text, end)) is not None:
        end = found.end()
        level += 1 if found[1] in b"[{" else -1
        yield level, end - 1

"""Stars in the place of secrets, in whatever spelling a text may carry them."""

from __future__ import annotations

import json
import os
import re
import threading
from base64 import b64encode
from functools import cache
from pathlib import Path
from urllib.parse import quote

from gengfu.addresses import STARS

_KEPT = 64
"""Secrets that make room for later ones are remembered up to so many."""
_SAFE = re.compile("[A-Za-z0-9]+")
"""What every encoding leaves as it is."""
_ENTITIES = {'"': "quot", "'": "apos", "<": "lt", ">": "gt", "&": "amp"}
_CONTROLS = {"\n": "n", "\r": "r", "\t": "t", "\0": "0", "\b": "b", "\f": "f", "\v": "v", "\a": "a"}
_BEFORE_A_SECRET = (
    r"((?i:pass\w*|pwd|secret|token|credentials?|authorization|bearer|密码|口令)(?:\\*[\"'\])]){0,2}"
    r"(?:\s*(?:[:=：]|=>)\s*|\s+(?:is|was)\s+|\s*(?=\\*[\"'(\[]))(?:\\*[\"'(\[]){0,2}|://[^\s/@:]*:|%3[aA])"
)
"""What stands before a value that is a secret: the name of such a value, or the user of an address."""


class Redactor:
    """Replaces secrets in a text: as they are, in URLs, JSON, HTML, a repr, base64 or hex, also one in another.

    A secret that is a common word, or hardly anything, is replaced only where a secret stands: after `password=`, or in
    an address. Elsewhere stars in its place would tell what it is, and make lines unreadable. Safe to use from several
    threads.
    """

    def __init__(self) -> None:
        self._lasting: dict[str, _Spellings] = {}
        self._passing: dict[str, _Spellings] = {}
        self._literals: tuple[str, ...] = ()
        self._patterns: tuple[tuple[re.Pattern[str], str], ...] = ()
        self._lock = threading.Lock()

    def add(self, value: str, *, lasting: bool = False, common: bool = False) -> None:
        """Takes a secret; those that are not lasting make room for later ones. `common`: it is a word of other use."""
        if not value or value in self._lasting or value in self._passing:
            return
        spellings = _Spellings(value, common=common or _is_common(value))
        with self._lock:
            (self._lasting if lasting else self._passing)[value] = spellings
            while len(self._passing) > _KEPT:
                del self._passing[next(iter(self._passing))]
            every = [*self._lasting.values(), *self._passing.values()]
            self._literals = tuple(sorted({each for one in every for each in one.literals}, key=len, reverse=True))
            self._patterns = tuple(each for one in every for each in one.patterns)

    def redact(self, text: str) -> str:
        """The text with stars for secrets; itself, where it has none."""
        for pattern, stars in self._patterns:
            if pattern.search(text):
                text = pattern.sub(stars, text)
        for literal in self._literals:
            if literal in text:
                text = text.replace(literal, STARS)
        return text

    def redact_all(self, texts: list[str]) -> list[str]:
        """The texts, which stand one after the other, with stars; also for a secret that is cut between two of them."""
        if all(self.redact(whole) == whole for whole in ("".join(texts), " ".join(texts))):
            return texts
        shown = [self.redact(text) for text in texts]
        for at in range(len(texts) - 1):
            first, second = shown[at : at + 2]
            if any(self.redact(whole) != whole for whole in (first + second, f"{first} {second}")):
                shown[at : at + 2] = STARS, STARS
        return shown


class _Spellings:
    """How one secret may be written."""

    def __init__(self, secret: str, *, common: bool) -> None:
        self.literals: set[str] = set()
        self.patterns: list[tuple[re.Pattern[str], str]] = []
        if common:
            self.patterns.append((re.compile(rf"{_BEFORE_A_SECRET}{_pattern(secret)}(?!\w)"), rf"\1{STARS}"))
            return
        as_json = {json.dumps(secret, ensure_ascii=only_ascii)[1:-1] for only_ascii in (True, False)}
        written = {secret, *as_json, quote(secret.encode("utf-8", "surrogatepass"))}
        for spelling in {secret}.union(*map(_encoded, written)):
            if _SAFE.fullmatch(spelling):
                self.literals.add(spelling)
            else:
                self.patterns.append((re.compile(_pattern(spelling)), STARS))


def _encoded(secret: str) -> set[str]:
    """What is left of the secret in base64, wherever in a longer text it begins, and in hex; nothing that is so short
    that it may be there by chance."""
    raw = secret.encode("utf-8", "surrogatepass")
    found = {raw.hex(), raw.hex().upper()}
    for before, lead in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(raw)) * 8 // 6
        core = b64encode(bytes(before) + raw).decode()[lead:whole]
        found |= {core, core.translate({ord("+"): "-", ord("/"): "_"})}
    return {each for each in found if len(each) > 5}


def _pattern(secret: str) -> str:
    return "".join(map(_spelled, secret))


@cache
def _spelled(character: str) -> str:
    """All ways in which one character may be written."""
    if _SAFE.fullmatch(character):
        return re.escape(character)
    code, raw = ord(character), character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    ways = [
        "".join(f"%(?:25)*{byte:02x}" for byte in raw),
        "".join(rf"\\+x{byte:02x}" for byte in raw),
        "".join(rf"\\+u{pair}" for pair in pairs),
        rf"\\+U{code:08x}",
        rf"&(?:amp;)*#(?:0*{code}|x0*{code:x});",
    ]
    if code < 256:
        ways.append(rf"\\+x{code:02x}")
    ways = [f"(?i:{way})" for way in ways]
    if character in _ENTITIES:
        ways.append(f"&(?:amp;)*{_ENTITIES[character]};")
    if character in _CONTROLS:
        ways.append(rf"\\+{_CONTROLS[character]}")
    if character == " ":
        ways.append(r"\+")
    if character in "'\"":
        ways.append(character * 2)
    if character == "\\":
        ways.append(r"\\+")
    else:
        ways.append(rf"\\*{re.escape(character)}")
    return f"(?:{'|'.join(ways)})"


def _is_common(secret: str) -> bool:
    """Whether it is likely to stand in a text for another reason: a few characters, or a word of this program."""
    if len(secret) < 4 or (secret.isdecimal() and len(secret) < 7):
        return True
    return len(secret) < 16 and secret.isascii() and secret.isalpha() and secret.lower().encode() in _own_words()


@cache
def _own_words() -> bytes:
    """All that this program might say, in small letters."""
    found = [
        Path(folder, name).read_bytes()
        for folder, _, names in os.walk(Path(__file__).parent)
        for name in names
        if name.endswith(".py")
    ]
    return b"".join(found).lower()

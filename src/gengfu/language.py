"""The language in which people read: a sentence is kept as its template and its values, and worded when shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import cache, reduce
from pathlib import Path
from typing import Any

ENGLISH, CHINESE = "en", "zh_CN"
FOLDER = Path(__file__).with_name("locale")

_KEPT = '{"text": '
"""How the JSON of a sentence begins."""
_current = ContextVar("language", default=ENGLISH)
_PLACE = re.compile(r"\{([\w.]+)(!r)?(?::([.,]?\d{0,2}[a-z]?))?\}")
"""Where a value stands in a template. A template may come from the database, so no more than this is understood."""


class Message(str):
    """A sentence for people, with what it was made from.

    As a string it is English, as logs and `--json` want it; `worded` gives it in the language of whoever reads it.
    """

    template: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        """Itself, so that it goes through `str(error)` whole."""
        return self

    def worded(self, gettext: Callable[[str], str]) -> str:
        """In the language of the catalogue that `gettext` looks texts up in."""
        return _filled(gettext(self.template), self.values, worded)


class _Both(Message):
    """Text that says itself what it is in Chinese."""

    chinese: str

    def worded(self, gettext: Callable[[str], str]) -> str:
        return self.chinese


def both(english: str, chinese: str) -> Message:
    """Text of which both languages are at hand, so that no catalogue has to have it."""
    text = _Both(english)
    text.template, text.values, text.chinese = english, {}, chinese
    return text


def tr(template: str, /, **values: object) -> Message:
    """The sentence with the values in the places of the template, such as `{name}`, `{run.id}`, `{name!r}` or
    `{seconds:.1f}`. A value may be a sentence itself, an error, a word of an enum, or several of these."""
    if isinstance(template, Message):
        return template
    places = {place[1] for place in _PLACE.finditer(template) if place[1].partition(".")[0] in values}
    return _message(template, {place: _plain(_value(place, values)) for place in places})


def joined(separator: str, parts: Iterable[object]) -> Message:
    """Several sentences or words as one."""
    values = {f"part{number}": part for number, part in enumerate(parts)}
    return tr(separator.join(f"{{{name}}}" for name in values), **values)


def either(choices: Sequence[object]) -> Message:
    """One of several."""
    *some, last = choices
    return tr("{some} or {last}", some=some, last=last) if some else tr("{last}", last=last)


def worded(text: str) -> str:
    """The text in the current language; as it is, where the catalogue does not have it."""
    if _current.get() == ENGLISH or not text:
        return text
    gettext = _catalogue(_current.get())
    return text.worded(gettext) if isinstance(text, Message) else gettext(text)


def kept(text: str) -> str:
    """What to keep of a sentence that may be read in the other language: the English one, and in a line after it the
    template with its values as JSON. Plain text is kept as it is."""
    if not (isinstance(text, Message) and text.values):
        return text
    return f"{text}\n{json.dumps(_as_json(text), ensure_ascii=False)}"


def recalled(text: str) -> Message:
    """The sentence that was kept so."""
    english, _, last = text.rpartition("\n")
    try:
        found = _from_json(json.loads(last)) if last.startswith(_KEPT) else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        found = None
    # Whoever wrote other values after it is not believed.
    return found if isinstance(found, Message) and found == english else _message(text, {})


def language_of(environ: Mapping[str, str]) -> str:
    """`GENGFU_LANG`, else what the locale says."""
    names = ("GENGFU_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    named = next((environ[name] for name in names if environ.get(name)), "")
    return CHINESE if named.lower().startswith("zh") else ENGLISH


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Everything is worded in this language while the block lasts."""
    before = _current.set(language)
    try:
        yield
    finally:
        _current.reset(before)


def _message(template: str, values: Mapping[str, Any]) -> Message:
    message = Message(_filled(template, values, str))
    message.template, message.values = template, values
    return message


def _filled(template: str, values: Mapping[str, Any], word: Callable[[str], str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, quoted, form = found.groups()
        if name not in values:
            return found[0]
        shown = _worded_value(values[name], word)
        return repr(shown) if quoted else format(shown, form or "")

    return _PLACE.sub(value, template)


def _worded_value(value: Any, word: Callable[[str], str]) -> Any:
    if isinstance(value, Message) or (isinstance(value, str) and " " in value):
        # Plain text of several words that the catalogue has whole is a sentence of ours, too.
        return word(value)
    if isinstance(value, list):
        return word(_message(", ", {})).join(str(_worded_value(each, word)) for each in value)
    return value


def _as_json(value: Any) -> Any:
    if isinstance(value, Message):
        return {"text": value.template, "values": {name: _as_json(each) for name, each in value.values.items()}}
    return [_as_json(each) for each in value] if isinstance(value, list) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return _message(value["text"], {name: _from_json(each) for name, each in value["values"].items()})
    return [_from_json(each) for each in value] if isinstance(value, list) else value


def _value(place: str, values: Mapping[str, object]) -> object:
    name, *attributes = place.split(".")
    return reduce(getattr, attributes, values[name])


def _plain(value: object) -> Any:
    """What a sentence keeps of a value: text, a number, a sentence, or a list of these."""
    if isinstance(value, BaseException):
        value = value.args[0] if value.args and isinstance(value.args[0], Message) else str(value)
    if isinstance(value, Enum):
        return _message(str(value), {})
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return [_plain(each) for each in value]
    return value if isinstance(value, (str, int, float)) else str(value)


@cache
def _catalogue(language: str) -> Callable[[str], str]:
    import gettext

    return gettext.translation("gengfu", FOLDER, [language], fallback=True).gettext

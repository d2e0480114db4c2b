"""Lengths of time as people write them, in English and Chinese: `90s`, `1.5 h`, `3 days`, `3天`, `半小时`."""

from __future__ import annotations

import re

_UNITS = {
    1: "s sec secs second seconds 秒 秒钟",
    60: "m min mins minute minutes 分 分钟",
    3_600: "h hr hrs hour hours 小时 个小时 钟头 个钟头",
    86_400: "d day days 天 日",
    604_800: "w week weeks 周 星期 个星期 礼拜 个礼拜",
}
_SECONDS = {word: seconds for seconds, words in _UNITS.items() for word in words.split()}
_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2}
_LENGTH = re.compile(
    rf"([0-9]{{1,9}}(?:\.[0-9]{{1,6}})?|an?(?= )|[半{''.join(_DIGITS)}十]{{1,3}}) ?([a-z]+|[^\W\da-z]+)?"
)


def duration(text: str, bare: int = 0) -> float | None:
    """How many seconds that is; None where it is no length of time.

    Args:
        bare: the seconds that a number without a unit counts; 0 where it must have one.
    """
    found = _LENGTH.fullmatch(text.strip().lower())
    if found is None:
        return None
    unit = _SECONDS.get(found[2], 0) if found[2] else bare
    number = _number(found[1])
    return number * unit if unit and number is not None else None


def _number(text: str) -> float | None:
    if text[0].isascii():
        return 1.0 if text.startswith("a") else float(text)
    if text == "半":
        return 0.5
    tens, ten, ones = text.rpartition("十")
    values = [_DIGITS.get(part) for part in (tens or ("一" if ten else "零"), ones or "零")]
    return None if None in values else 10.0 * (values[0] or 0) + (values[1] or 0)

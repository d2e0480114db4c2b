"""A cron expression in words, in English and in Chinese."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from gengfu.language import Message, both

if TYPE_CHECKING:
    from cronsim.explain import Field

_WEEKDAYS = "日一二三四五六日"


def words_of(fields: str) -> Message:
    """When an expression of five or six fields is due: "every 5 minutes", "at 02:00 every day"."""
    return both(_in_english(fields), _in_chinese(fields))


def _even_step(text: str, whole: int) -> int | None:
    """N of `*/N`, where such steps are equally long throughout."""
    step = re.fullmatch(r"\*/([0-9]+)", text)
    number = int(step[1]) if step is not None else 0
    return number if number > 1 and number < whole and whole % number == 0 else None


def _in_english(fields: str) -> str:
    from cronsim.explain import explain

    *second, minute, hour, _day, _month, _weekday = fields.split()
    text = explain(fields)
    text = text[0].lower() + text[1:]
    if second and (step := _even_step(second[0], 60)):
        text = re.sub(r"^every \S+ second of every minute", f"every {step} seconds", text)
    if step := _even_step(minute, 60):
        text = re.sub(r"^every \S+ minute( of every hour)?", f"every {step} minutes", text)
    if step := _even_step(hour, 24):
        text = re.sub(r"^at minute 0 past every \S+ hour", f"every {step} hours", text)
        text = re.sub(r"^(at minutes? .+) past every \S+ hour", rf"every {step} hours \1", text)
    return text


def _in_chinese(fields: str) -> str:
    from cronsim.explain import Expression

    parts = Expression(fields.upper().split())
    day, weekday = _parts(parts.day, _day, "天"), _parts(parts.dow, _weekday, "天")
    # Where both are given, cron takes a day that is either, unless one of them begins with a star.
    days = (" 且 " if parts.day_and else " 或 ").join(text for text in (day, weekday) if text)
    month = _parts(parts.month, " {} 月 ".format, "个月")
    if day and not month:
        days = f"每月 {days}"
    date = " ".join(text for text in (month, days) if text)
    time, is_daily = _time(parts.second, parts.minute, parts.hour)
    text = f"{date or ('每天' if is_daily else '')} {time}"
    return re.sub(r"(?<=[^ -~]) +(?=[^ -~])", "", " ".join(text.split()))


def _time(second: Field, minute: Field, hour: Field) -> tuple[str, bool]:
    """The time of the day, and whether it names the hours."""
    fixed = minute.all_singles and second.zero
    if hour.all_singles and fixed and len(hour.parsed) * len(minute.parsed) <= 8:
        return "、".join(f"{h:02d}:{m:02d}" for h in sorted(hour.singles()) for m in sorted(minute.singles())), True
    texts = [_parts(hour, " {} 点 ".format, "小时") or ("每小时" if fixed or not minute.star else "")]
    if minute.star and second.zero:
        texts.append("每分钟")
    elif minute.zero and second.zero:
        texts.append("整点" if hour.star or hour.single_value is None else "")
    else:
        texts.append(_parts(minute, "第 {} 分 ".format, "分钟") or ("" if second.star else "每分钟"))
    if not second.zero:
        texts.append(_parts(second, "第 {} 秒 ".format, "秒") or "每秒")
    every_minute = hour.star and not minute.all_singles
    return "".join(texts[1:] if every_minute and texts[0] == "每小时" else texts), not hour.star


def _parts(field: Field, label: Callable[[int], str], unit: str) -> str:
    """What a field names; empty where it names everything."""
    texts = []
    for part in field.parsed:
        if part.is_star():
            return ""
        step = f"每 {part.step} {unit}" if part.step > 1 else ""
        if part.start is None or part.stop is None:
            texts.append(step)
        elif part.nth is not None and part.start >= 0:
            which = "最后一个" if part.nth == -1 else f"第 {part.nth} 个"
            texts.append(f"每月{which}{label(part.start)}")
        elif part.start == part.stop:
            texts.append(label(part.start))
        else:
            texts.append(f"{label(part.start)}到{label(part.stop)}{step and f' {step}'}")
    return "、".join(texts)


def _day(number: int) -> str:
    return {-1: "最后一天", -2: "最后一个工作日"}.get(number, f" {number} 日 ")


def _weekday(number: int) -> str:
    return f"周{_WEEKDAYS[number]}"

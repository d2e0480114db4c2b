"""What people read is worded in their language when it is shown, and the Chinese catalogue has all of it."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import translations
from gengfu.cli.help_text import columns, wrapped
from gengfu.errors import UsageError
from gengfu.language import CHINESE, ENGLISH, Message, kept, language_of, recalled, speaking, tr, worded
from gengfu.schedule.cron_words import words_of
from gengfu.store.run_rows import Verdict


def in_chinese(text: str) -> str:
    with speaking(CHINESE):
        return worded(text)


def test_a_sentence_is_english_as_a_string_and_chinese_when_shown() -> None:
    message = tr("{text}; see: {path} --help", text=tr("interrupted"), path="gengfu")
    assert message == "interrupted; see: gengfu --help"
    assert in_chinese(message) == "已中断；说明见：gengfu --help"
    assert in_chinese(str(UsageError(message))) == "已中断；说明见：gengfu --help"


def test_a_sentence_in_a_sentence_an_error_a_word_and_a_list_are_worded_too() -> None:
    told = tr("the output cannot be written: {why}", why=UsageError(tr("interrupted")))
    assert in_chinese(told) == "输出写不进去：已中断"
    assert in_chinese(tr("{done} of {total} {unit}", done=[Verdict.HELD, "x"], total=1.25, unit=tr("pages"))) == (
        "待审批、x / 1.25 页"
    )


def test_what_the_catalogue_does_not_have_stays_as_it_is() -> None:
    assert in_chinese("Lager 3") == "Lager 3"
    assert in_chinese(tr("Lager {number:.1f}", number=2)) == "Lager 2.0"
    assert in_chinese("") == ""


def test_a_sentence_survives_copies() -> None:
    message = tr("interrupted")
    for twin in (copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert isinstance(twin, Message)
        assert in_chinese(twin) == "已中断"


VALUES = st.recursive(
    st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.sampled_from(Verdict)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.builds(lambda value: tr("held: {value}", value=value), inner)
    ),
    max_leaves=5,
)


@given(VALUES, st.text())
def test_what_is_kept_is_recalled_in_either_language(value: object, text: str) -> None:
    message = tr("{value!r} is no time; {hint}", value=text, hint=tr("there are: {there}", there=value))
    again = recalled(kept(message))
    assert again == message
    assert kept(again) == kept(message)
    assert in_chinese(again) == in_chinese(message)


def test_what_is_kept_begins_with_the_english_sentence() -> None:
    assert kept(tr("there is no run {run_id}", run_id=7)).splitlines() == [
        "there is no run 7",
        '{"text": "there is no run {run_id}", "values": {"run_id": 7}}',
    ]
    assert kept("plain") == "plain"
    assert in_chinese(recalled("interrupted")) == "已中断"


@given(st.text())
@example('all is well\n{"text": "nothing was", "values": {}}')
@example('x\n{"text": [], "values": 3}')
@example('x\n{"text": ' + "[" * 100_000)
def test_whatever_lies_in_the_table_is_shown_as_it_is(text: str) -> None:
    assert recalled(text) == text


@given(st.text())
def test_any_text_may_be_a_template_or_a_value(text: str) -> None:
    assert tr(text) == text
    assert tr("{value}", value=text) == text
    if text not in translations.sentences():
        assert in_chinese(tr("{text}; see: {path} --help", text=text, path=text)).count(text) >= 2


def test_no_template_can_look_into_a_value_or_fill_the_memory() -> None:
    for template in ("{value[0]}", "{value:>999999999}", "{value!s}", "{other.__class__}"):
        assert tr(template, value="x") == template


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, ENGLISH),
        ({"LANG": "zh_CN.UTF-8"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, ENGLISH),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN"}, CHINESE),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, ENGLISH),
        ({"LC_ALL": "", "LANG": "zh_TW.UTF-8"}, CHINESE),
        ({"GENGFU_LANG": "en", "LC_ALL": "zh_CN.UTF-8"}, ENGLISH),
        ({"GENGFU_LANG": "zh_CN", "LC_ALL": "C"}, CHINESE),
        ({"GENGFU_LANG": "", "LANG": "zh_CN.GBK"}, CHINESE),
    ],
)
def test_the_setting_decides_then_the_locale(environ: dict[str, str], language: str) -> None:
    assert language_of(environ) == language


CRON_FIELD = {
    name: st.lists(
        st.one_of(
            st.integers(low, high).map(str),
            st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda ends: "{}-{}".format(*sorted(ends))),
            st.integers(1, high).map(lambda step: f"*/{step}"),
            st.just("*"),
        ),
        min_size=1,
        max_size=3,
    ).map(",".join)
    for name, low, high in (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
}


@given(st.fixed_dictionaries(CRON_FIELD))
def test_any_cron_expression_has_words_in_both_languages(fields: dict[str, str]) -> None:
    words = words_of(" ".join(fields[name] for name in CRON_FIELD))
    assert words.isascii()
    assert in_chinese(words)
    assert re.search("[A-Za-z*]", in_chinese(words)) is None


@pytest.mark.parametrize(
    ("expression", "chinese"),
    [
        ("*/5 * * * *", "每 5 分钟"),
        ("0 2 * * *", "每天 02:00"),
        ("30 * * * *", "每小时第 30 分"),
        ("0 9,18 * * 1-5", "周一到周五 09:00、18:00"),
        ("*/10 8-20 * * *", "每天 8 点到 20 点每 10 分钟"),
        ("0 0 1 * *", "每月 1 日 00:00"),
        ("5 4 * * 1#2", "每月第 2 个周一 04:05"),
        ("0 0 L * *", "每月最后一天 00:00"),
        ("*/10 * * * * *", "每分钟每 10 秒"),
    ],
)
def test_a_schedule_is_told_in_chinese(expression: str, chinese: str) -> None:
    assert in_chinese(words_of(expression)) == chinese


@given(st.text(st.sampled_from("abc 设备，。（x）"), max_size=60), st.integers(4, 30))
def test_a_wrapped_text_keeps_its_words_and_its_width(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    words = max((columns(word) for word in re.findall(r"(?:[!-~]+|[^ ])[，。）]*", text)), default=0)
    assert all(columns(line) <= max(width, words) for line in lines)


def test_no_sentence_is_put_together_by_hand() -> None:
    """Otherwise nothing can translate it: see `gengfu.language.tr`."""
    composed = {
        f"{path.name}:{line}": text for path in translations.sources() for line, text in translations.composed(path)
    }
    assert composed == {}


def test_the_catalogue_has_every_sentence_and_no_other() -> None:
    """Otherwise: python tests/translations.py, and write the Chinese."""
    catalogue = translations.read_catalogue()
    assert {message.id for message in catalogue if message.id and not message.string} == set()
    assert {str(message.id) for message in catalogue if message.id} == set(translations.sentences())
    assert [message.id for message in catalogue if message.fuzzy and message.id] == []
    assert list(catalogue.obsolete) == []


def test_both_languages_have_the_same_places() -> None:
    different = {
        str(message.id): str(message.string)
        for message in translations.read_catalogue()
        if message.id
        and sorted(translations.PLACE.findall(str(message.id)))
        != sorted(translations.PLACE.findall(str(message.string)))
    }
    assert different == {}


def test_the_compiled_catalogue_is_that_of_the_sources() -> None:
    assert translations.MO.read_bytes() == translations.compiled(translations.read_catalogue())

"""Words of a fixed set that come with a sentence each."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Described(StrEnum):
    """Members are given as `NAME = "word", "what it means"`."""

    sentence: str

    def __new__(cls, value: str, sentence: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

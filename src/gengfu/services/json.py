"""Turns what services answer with into JSON, for `--json` and for every other program that asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import singledispatch
from pathlib import PurePath
from typing import Any


@singledispatch
def to_json(result: object) -> Any:
    """The result as objects, lists, texts, numbers and truths; moments are in UTC. A dataclass becomes an object of its
    fields, unless the service that answers with it has registered another form.

    Raises:
        TypeError: it has no such form.
    """
    if is_dataclass(result) and not isinstance(result, type):
        return object_of(result)
    raise TypeError(f"{type(result).__name__} has no JSON form")


def object_of(result: Any, *, without: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass as JSON, by name."""
    names = (field.name for field in fields(result))
    return {name: to_json(getattr(result, name)) for name in names if name not in without}


@to_json.register(str)
@to_json.register(int)
@to_json.register(float)
@to_json.register(type(None))
def _itself(value: Any) -> Any:
    return value


@to_json.register(datetime)
def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


@to_json.register(PurePath)
def _path(value: PurePath) -> str:
    return str(value)


@to_json.register(Mapping)
def _object(value: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): to_json(part) for name, part in value.items()}


@to_json.register(list)
@to_json.register(tuple)
@to_json.register(frozenset)
@to_json.register(set)
def _list(value: Collection[Any]) -> list[Any]:
    return [to_json(part) for part in value]

"""The files of a list of one's own: its declaration, the migration of its table, a recorded page, and a test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gengfu.language import tr, worded
from gengfu.templates import render
from gengfu.text import visible

if TYPE_CHECKING:
    from gengfu.mirror.resource import Field, Resource
    from gengfu.vendor.paging import Paging

_TYPES = {"text": "TEXT", "flag": "FLAG", "moment": "MOMENT", "json": "JSON"}


def constant(name: str) -> str:
    """What the declaration is called in its file."""
    return name.upper()


def declaration(resource: Resource) -> str:
    """The file in `app/resources`."""
    listing = resource.listing
    paging = _call(listing.paging)
    names = {"Field", "Listing", "Resource", type(listing.paging).__name__}
    names |= {"Kind"} if any(field.kind != "text" for field in resource.fields) else set()
    query = f", {tuple(listing.query)!r}" if listing.query else ""
    lines = [
        f'"""{worded(tr("The {title}.", title=tr(resource.title)))}"""',
        "",
        f"from gengfu import {', '.join(sorted(names))}",
        "",
        f"{constant(resource.name)} = Resource(",
        f"    name={_text(resource.name)},",
        f"    listing=Listing({_text(listing.path)}{query}, paging={paging}),",
        *([f"    key={_text(resource.key)},"] if resource.key != "id" else []),
        "    fields=(",
        *(f"        {_field(field)}," for field in resource.fields),
        "    ),",
        *([f"    schedule={_text(resource.schedule)},"] if resource.schedule is not None else []),
        ")",
    ]
    return "\n".join(lines) + "\n"


def migration(resource: Resource, number: int, lacking: Sequence[str] | None) -> str:
    """The file in `app/migrations`: makes the table, or adds the columns that it lacks."""
    kinds = {field.column: _TYPES[field.kind] for field in resource.fields}
    columns = kinds if lacking is None else {name: kinds[name] for name in lacking if name in kinds}
    step = "create_mirror" if lacking is None else "add_columns"
    types = sorted(set(columns.values()))
    before = repr(f"{resource.name}_{number - 1:04}").replace("'", '"') if number > 1 else "None"
    title = tr(resource.title)
    makes = tr("Makes the table of the {title}.", title=title)
    what = worded(makes if lacking is None else tr("Adds columns to the table of the {title}.", title=title))
    lines = [
        f'"""{what}"""',
        "",
        f"from gengfu.store.migrations.steps import {', '.join([*types, step])}",
        "",
        f'revision = "{resource.name}_{number:04}"',
        f"down_revision = {before}",
        "",
        "",
        "def upgrade() -> None:",
        f'    """{what}"""',
        f"    {step}(",
        f"        {_text(resource.name)},",
        "        {",
        *(f"            {_text(name)}: {kind}," for name, kind in columns.items()),
        "        },",
        "    )",
    ]
    return "\n".join(lines) + "\n"


def all_of(resource: Resource, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Every file by its place in the working folder; a test comes only with rows to read."""
    name = resource.name
    files = {
        f"app/resources/{name}.py": declaration(resource),
        f"app/migrations/{name}_0001.py": migration(resource, 1, None),
    }
    if rows:
        files[f"app/tests/test_{name}_list.py"] = render(
            "gengfu.scaffold", "resource_test.py.txt", name=name, constant=constant(name)
        )
        files[f"app/tests/{name}_page.json"] = _page(rows)
    return files


def _field(field: Field) -> str:
    from gengfu.mirror.resource import Field

    try:
        column = [] if Field(field.name).column == field.column else [_text(field.column)]
    except ValueError:
        column = [_text(field.column)]
    kind = [] if field.kind == "text" else [f"kind=Kind.{field.kind.name}"]
    volatile = ["volatile=True"] if field.volatile else []
    return f"Field({', '.join([_text(field.name), *column, *kind, *volatile])})"


def _call(paging: Paging) -> str:
    """The style as its constructor is called, with what differs from what it is anyway."""
    told = []
    for each in fields(paging):  # type: ignore[arg-type]
        value = getattr(paging, each.name)
        if value != each.default:
            told.append(f"{each.name}={_text(value) if isinstance(value, str) else repr(value)}")
    return f"{type(paging).__name__}({', '.join(told)})"


def _text(value: str) -> str:
    """As Python has it, with what would not be seen written out."""
    return "".join(map(visible, json.dumps(value, ensure_ascii=False)))


def _page(rows: Sequence[Mapping[str, Any]]) -> str:
    """As JSON, likewise."""
    text = json.dumps(list(rows), ensure_ascii=False, indent=1)
    seen = (each if each == "\n" or visible(each) == each else json.dumps(each)[1:-1] for each in text)
    return "".join(seen) + "\n"

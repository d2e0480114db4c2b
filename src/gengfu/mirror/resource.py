"""What a vendor list is: its address, its fields and its scopes. All else that has to do with it follows from that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from gengfu.errors import ConfigError
from gengfu.language import tr
from gengfu.mirror.names import column_name
from gengfu.store.names import list_job, list_queue
from gengfu.vendor.paging import Listing, Numbered

if TYPE_CHECKING:
    from gengfu.store.tables import ListTable

NAME = r"[a-z][a-z0-9_]{0,23}"
"""What a list may be called."""

OPTIONS = (
    *("text", "file", "all", "gone", "changed_since", "sort", "limit", "after", "columns", "format", "preset", "force"),
    *("mode", "per_account", "online", "offline", "json", "help"),
)
"""The options that commands of lists have by themselves."""


class Kind(StrEnum):
    """How a field's value is read and kept."""

    TEXT = "text"
    """A string; numbers are kept as their digits."""
    FLAG = "flag"
    """True or false, also written as 0 and 1."""
    MOMENT = "moment"
    """A time without zone in the vendor's local time; the year 1 means none."""
    JSON = "json"
    """An object or a list, or a string that holds one."""


def is_field_name(name: str) -> bool:
    """Whether a field can be declared by that name. What others hold stays in the column `other`."""
    return bool(name) and name.isprintable() and '"' not in name and "\\" not in name


def _check_name(name: str) -> None:
    if not is_field_name(name):
        raise ConfigError(
            tr(
                "{name!r} is no name for a field: it is empty, or holds quotes, backslashes or what no one sees",
                name=name,
            )
        )


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a vendor row and the column that keeps it, named after it unless told otherwise."""

    name: str
    column: str = ""
    kind: Kind = Kind.TEXT
    volatile: bool = False
    """Moves on nearly every read: kept fresh, but no change of the row."""
    searched: bool = False
    """Whether a search for a text looks into it. Only texts that are not volatile."""
    en: str = ""
    """What people call it, in English: the column's name, unless told otherwise."""
    zh: str = ""
    """What people call it, in Chinese: as in English, unless told otherwise."""
    filtered: bool = False
    """Whether `<name>:find` and `<name>:export` have an option for it, named after its column. Only texts and flags."""

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: the name is none that a list could have.
            ValueError: no column can be named after it.
        """
        _check_name(self.name)
        if not self.column:
            object.__setattr__(self, "column", column_name(self.name))
        if not self.en:
            object.__setattr__(self, "en", self.column.replace("_", " "))
        if not self.zh:
            object.__setattr__(self, "zh", self.en)


@dataclass(frozen=True, slots=True)
class Scope:
    """One view of a resource."""

    name: str
    query: Mapping[str, str] = field(default_factory=dict)
    """What of the listing's query it replaces."""
    confirms_gone: bool = False
    """Whether being listed here means that the vendor no longer has the row."""


@dataclass(frozen=True)
class Resource:
    """The description of one vendor list. Fields that it does not name are kept in the column `other`.

    It has a command, `<name>:list`, a job, `<Name>ListJob` in the queue `<name>_list`, and a table, `<name>`.

    Raises:
        ConfigError: it cannot be as it is described.
    """

    name: str
    """In lower-case letters, digits and underscores."""
    listing: Listing
    fields: tuple[Field, ...]
    key: str = "id"
    """The vendor's field that identifies a row; a whole number, kept in the column `id`."""
    title: str = ""
    """What people call the list: `list of accounts`; after its name, unless told otherwise."""
    scopes: tuple[Scope, ...] = (Scope("all"),)
    """The first is the live list."""
    probe: str | None = None
    """The field by which a single row can be asked for, if the vendor has such a filter."""
    schedule: str | None = None
    """When the schedule brings it up to date, as a cron expression."""
    names: tuple[str, ...] = ()
    """The fields by which people know a row: the first that has a value is its name."""
    shown: tuple[str, ...] = ()
    """The fields that a table of rows shows beside id and name; the first four, unless told otherwise."""
    totals: tuple[str, ...] = ()
    """The fields whose values `<name>:status` counts; those that are filtered, unless told otherwise."""
    report: tuple[str, ...] = ()
    """The fields that a report shows; all, unless told otherwise."""
    online: str | None = None
    """The flag that says whether a row is online. With it there is `<name>:offline`."""
    last_online: str | None = None
    """The field that tells when the row was last online, by the vendor's word."""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name) or column_name(self.name) != self.name:
            raise ConfigError(
                tr(
                    "{name!r} is no name for a list (at most 24 letters, digits, underscores, no word of SQL); for "
                    "example: price_list",
                    name=self.name,
                )
            )
        _check_name(self.key)
        columns = self.columns
        double = sorted({column for column in columns if columns.count(column) > 1})
        if double:
            raise ConfigError(
                tr("the list {name} has more than one field for the column {double}", name=self.name, double=double)
            )
        self._check_fields()
        if self.probe is not None and not isinstance(self.listing.paging, Numbered):
            raise ConfigError(
                tr("the list {name} cannot ask for single rows, since its pages have no numbers", name=self.name)
            )
        if not self.title:
            object.__setattr__(self, "title", tr("list {name}", name=self.name))

    def _check_fields(self) -> None:
        kinds = {field.name: field.kind for field in self.fields}
        fitting = {"online": (Kind.FLAG,), "last_online": (Kind.MOMENT,)}
        for what in ("names", "shown", "totals", "report", "online", "last_online"):
            named = getattr(self, what) or ()
            for name in (named,) if isinstance(named, str) else named:
                if kinds.get(name) not in fitting.get(what, tuple(Kind)):
                    raise ConfigError(
                        tr(
                            "the list {name} has no fitting field {field!r}, which its {what} names",
                            name=self.name,
                            field=name,
                            what=what,
                        )
                    )
        for each in self.fields:
            if each.filtered and (each.kind not in (Kind.TEXT, Kind.FLAG) or each.column in OPTIONS):
                raise ConfigError(
                    tr(
                        "the list {name} cannot be filtered by {each.name}: that is for texts and flags, and these "
                        "options are taken: {options}",
                        name=self.name,
                        each=each,
                        options=OPTIONS,
                    )
                )

    @property
    def command(self) -> str:
        """The command that brings it up to date."""
        return f"{self.name}:list"

    @property
    def queue(self) -> str:
        """The queue of its jobs."""
        return list_queue(self.name)

    @property
    def job(self) -> str:
        """The name of its jobs."""
        return list_job(self.name)

    @cached_property
    def table(self) -> ListTable:
        """The table that mirrors it."""
        from gengfu.store.tables import list_table

        return list_table(self.name, {field.column: field.kind for field in self.fields})

    def scope(self, name: str) -> Scope:
        """The scope of that name.

        Raises:
            LookupError: there is none.
        """
        for scope in self.scopes:
            if scope.name == name:
                return scope
        raise LookupError(f"{self.name} has no scope {name!r}")

    def listing_of(self, scope: Scope) -> Listing:
        """The list as that scope asks for it."""
        return self.listing.narrowed(**scope.query)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold the vendor's row: the key, the fields, and what else there is."""
        return ("id", *(field.column for field in self.fields), "other")

    @property
    def volatile(self) -> tuple[Field, ...]:
        """The fields that move on nearly every read."""
        return tuple(field for field in self.fields if field.volatile)

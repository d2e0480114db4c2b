"""What a vendor list is: its address, its fields, its scopes and the table that mirrors it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gengfu.vendor.listing import Listing

if TYPE_CHECKING:
    from sqlalchemy import Table


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


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a vendor row and the column that keeps it."""

    name: str
    column: str
    kind: Kind = Kind.TEXT
    volatile: bool = False
    """Moves on nearly every read: kept fresh, but no change of the row."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One view of a resource."""

    name: str
    query: Mapping[str, str]
    """What of the listing's query it replaces."""
    confirms_gone: bool = False
    """Whether being listed here means that the vendor no longer has the row."""


@dataclass(frozen=True)
class Resource:
    """The description of one vendor list. Fields that it does not name are kept in the column `other`."""

    name: str
    listing: Listing
    key: str
    """The vendor's field that identifies a row; a whole number, kept in the column `id`."""
    fields: tuple[Field, ...]
    table: Table
    scopes: tuple[Scope, ...]
    """The first is the live list."""
    probe: str | None = None
    """The field by which a single row can be asked for, if the vendor has such a filter."""

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

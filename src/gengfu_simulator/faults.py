"""The faults: everything that can be made to go wrong, as one frozen object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from gengfu_simulator import values
from gengfu_simulator.bad_rows import BadRow
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.values import BrokenFilter, Failing, Pin


def _fault(group: str, parse: values.Parser, default: Any, meaning: str, metavar: str = "") -> Any:
    return field(default=default, metadata={"group": group, "parse": parse, "help": meaning, "metavar": metavar})


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong at present; as made, nothing does. Times are seconds, shares 0..1; a count of 0 is off."""

    wrong_login: str = _fault(
        "Login",
        values.choice("invalid-grant", "no-token"),
        "invalid-grant",
        "Answer to wrong credentials: 400, or 200 without a token.",
        "invalid-grant|no-token",
    )
    lock_after: int = _fault("Login", values.count, 0, "Lock the account after that many wrong logins in a row.", "N")
    token_lifetime: float = _fault("Login", values.duration, 7200.0, "How long a token really lives.", "TIME")
    expires_in: str = _fault(
        "Login",
        values.expires_in,
        "honest",
        "What the login says of it; text is the number in a string.",
        "honest|missing|null|text|SECONDS",
    )
    no_refresh_token: bool = _fault("Login", values.flag, False, "Leave refresh_token out.")
    revoke_every: int = _fault("Login", values.count, 0, "A token dies after that many list calls made with it.", "N")
    dead_login: str = _fault(
        "Login",
        values.choice("text", "401", "mixed"),
        "text",
        "Answer to a dead token: plain text with 200, 401, or both by turns.",
        "text|401|mixed",
    )

    latency: float = _fault("Load", values.duration, 0.0, "Wait before each answer.", "TIME")
    jitter: float = _fault("Load", values.duration, 0.0, "Up to this much more, by seed.", "TIME")
    capacity: int = _fault("Load", values.count, 0, "Bear at most N requests at once.", "N")
    over_capacity: str = _fault("Load", values.choice("503", "429"), "503", "Answer beyond the capacity.", "503|429")
    rate: float = _fault("Load", values.amount, 0.0, "Bear at most R requests a second; beyond it 429.", "R")
    burst: int = _fault(
        "Load", values.count, 0, "Requests borne at once by --rate; 0: a tenth of a second's worth.", "N"
    )
    retry_after: str = _fault(
        "Load",
        values.retry_after,
        "auto",
        "On each 429: auto, none, garbage, seconds, or an HTTP-date (so many seconds ahead).",
        "auto|none|garbage|SECONDS|date[:SECONDS]",
    )

    fail: tuple[Failing, ...] = _fault(
        "Failing answers",
        values.many(Failing.parse),
        (),
        "That share of list calls fails in this way, by seed. Repeatable.",
        "KIND:SHARE",
    )
    pin: tuple[Pin, ...] = _fault(
        "Failing answers",
        values.many(Pin.parse),
        (),
        "TARGET fails so many times, or for ever. It is a page number, all, device, groups, accounts, friends, offset,"
        " cursor, link, header or login."
        " Repeatable.",
        "TARGET:KIND[:TIMES]",
    )

    order: str = _fault("The list", values.choice("asc", "desc"), "asc", "Order of the list by id.", "asc|desc")
    page_cap: int = _fault("The list", values.count, 0, "Largest page, whatever is asked for.", "N")
    repeat_from: int = _fault(
        "The list", values.index, -1, "Page N and all after it show page N; 0: pageIndex is ignored.", "N"
    )
    total_offset: int = _fault("The list", values.integer, 0, "Added to each total.", "N")
    visible: float = _fault(
        "The list", values.share, 1.0, "Only this first share of the list is shown, and counted.", "SHARE"
    )
    shrink_every: int = _fault("The list", values.count, 0, "Delete the front row after each N-th page.", "N")
    shrink_purges: bool = _fault("The list", values.flag, False, "What shrinks away is not on the deleted list either.")
    grow_front_every: int = _fault(
        "The list", values.count, 0, "Insert a device at the front after each N-th page.", "N"
    )
    grow_end_every: int = _fault("The list", values.count, 0, "Insert a device at the end after each N-th page.", "N")
    move_every: int = _fault("The list", values.count, 0, "Move the front row to the end after each N-th page.", "N")
    drift_limit: int = _fault("The list", values.count, 0, "The four above stop after N changes.", "N")
    broken_filter: tuple[BrokenFilter, ...] = _fault(
        "The list",
        values.many(BrokenFilter.parse),
        (),
        "A filter (imei, keyword, deleteType, ..., all) is ignored, an error, or finds nothing (empty). Repeatable.",
        "NAME:HOW",
    )

    row: tuple[BadRow, ...] = _fault(
        "Rows", values.many(BadRow.parse), (), "An odd row, or that share of them. Repeatable.", "KIND:ID|KIND:SHARE%"
    )
    shuffle_keys: bool = _fault("Rows", values.flag, False, "The keys of each row in another order on each read.")
    heartbeat: float = _fault(
        "Rows", values.share, 0.0, "Share of the living devices whose times move on each read.", "SHARE"
    )

    def changed(self, wanted: Mapping[str, object]) -> Faults:
        """These faults with some set anew, each given as its switch would be or as JSON.

        Raises:
            SimulatorError: a name or a value is not one.
        """
        known = {f.name: f for f in fields(self)}
        new: dict[str, Any] = {}
        for name, value in wanted.items():
            if name not in known:
                raise SimulatorError(f"there is no fault {name!r}; there are: {', '.join(known)}")
            try:
                new[name] = known[name].metadata["parse"](value)
            except SimulatorError as error:
                raise SimulatorError(f"{name}: {error}") from None
        return replace(self, **new)

    def describe(self) -> dict[str, Any]:
        """Each fault by its name, in plain JSON values that `changed` takes back."""
        values_by_name = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: [str(item) for item in value] if isinstance(value, tuple) else value
            for name, value in values_by_name.items()
        }


def switches() -> tuple[Field[Any], ...]:
    """The faults one by one; their metadata tell group, help, metavar and how a value is read."""
    return fields(Faults)

"""A sentence that is kept in a table is read with its values, on every database."""

from __future__ import annotations

from gengfu.language import CHINESE, speaking, tr, worded
from gengfu.store.database import Database
from gengfu.store.logins import Logins
from gengfu.store.statements import Statements, sentence, transact

CAUSE = tr("answered {status}: {excerpt}", status=500, excerpt="'忙\\n'")
REASON = tr("{reason}, after {passes} passes", reason=CAUSE, passes=2)
CHINESE_REASON = "返回了 500：'忙\\n'，已读 2 遍"


def in_chinese(text: str) -> str:
    with speaking(CHINESE):
        return worded(text)


def test_through_the_toolkit(database: Database) -> None:
    logins = Logins(database)
    logins.close_gate("one", REASON, 60)
    gate = logins.gate("one")
    assert gate is not None
    assert gate.reason == REASON
    assert in_chinese(gate.reason) == CHINESE_REASON


def test_through_statements_of_either_kind(database: Database) -> None:
    Logins(database).close_gate("one", "a plain reason", 60)

    def rewrite(statements: Statements) -> tuple[str | None, str | None]:
        read = "SELECT gate_reason FROM login WHERE account = :account"
        before = statements.one(read, {"account": "one"})
        statements.change(
            "UPDATE login SET gate_reason = :reason WHERE account = :account", {"account": "one", "reason": REASON}
        )
        after = statements.one(read, {"account": "one"})
        assert before is not None
        assert after is not None
        return sentence(before["gate_reason"]), sentence(after["gate_reason"])

    for place in (database, *([database.path] if database.path is not None else [])):
        before, after = transact(place, rewrite)
        assert before in ("a plain reason", REASON)
        assert after == REASON
        assert in_chinese(after) == CHINESE_REASON

"""Connections of PyMySQL that know how long a statement the server takes.

A server that gets a longer one ends the connection, which looks like a network that broke.
"""

from __future__ import annotations

from typing import Any

from pymysql import connections, cursors
from pymysql.constants import ER
from pymysql.err import DataError

from gengfu.language import tr

HEAD = 1024
"""Bytes of a statement that its rows leave to everything else."""


class Cursor(cursors.Cursor):  # type: ignore[misc]
    """Sends many rows in statements of a length that the server takes."""

    @property
    def max_stmt_length(self) -> int:
        """The most bytes of one of them."""
        limit: int = self.connection.max_allowed_packet - HEAD
        usual: int = cursors.Cursor.max_stmt_length
        return min(usual, limit)


class Connection(connections.Connection):  # type: ignore[misc]
    """Refuses a statement that the server would not take, before it is sent; the connection lives on."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, cursorclass=Cursor, **named)

    def query(self, sql: Any, unbuffered: bool = False) -> int:
        """See `pymysql.connections.Connection.query`.

        Raises:
            DataError: it is too long.
        """
        statement = sql.encode(self.encoding) if isinstance(sql, str) else sql
        if len(statement) >= self.max_allowed_packet:
            told = tr(
                "a statement has {number} bytes, and max_allowed_packet is {max_allowed_packet}",
                number=len(statement),
                max_allowed_packet=self.max_allowed_packet,
            )
            raise DataError(ER.NET_PACKET_TOO_LARGE, told)
        sent: int = super().query(statement, unbuffered)
        return sent

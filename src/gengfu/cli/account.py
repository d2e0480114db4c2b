"""The command that brings the mirror of the accounts up to date."""

from __future__ import annotations

from gengfu.cli.listing import ListCommand


class AccountList(ListCommand):
    """Bring the mirror of the list of accounts up to date

    Works like device:list, into the table account.
    The schedule runs it only if gengfu.toml says so.

    Examples:
      gengfu account:list
      gengfu account:list --wait
    """

    name = "account:list"
    log_file = "account_list.log"
    resource = "account"
    title = "list of accounts"

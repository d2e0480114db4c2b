"""The command that begins a working folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import click

from gengfu.cli.base import BaseCommand
from gengfu.cli.device_list import DeviceList
from gengfu.cli.output import is_terminal
from gengfu.clock import utcnow
from gengfu.errors import GengfuError, UsageError
from gengfu.language import tr, worded

QUESTIONS = {
    "API_WECHAT_URL": tr("Address of the vendor's API"),
    "API_USERNAME": tr("User name"),
    "API_PASSWORD": tr("Password"),
}


class Init(BaseCommand):
    """Begin a working folder: ask for the login, test it, write .env

    Asks for the address of the vendor's API and for the login, tries them, offers
    what servers there are on this machine, writes .env for its owner alone, and
    brings the list of devices up to date for the first time. Without a terminal,
    give --url and --username, and the password in API_PASSWORD.

    Examples:
      gengfu init
      gengfu init --url https://vendor.example.com/ --username operator
    """

    name = "init"
    begins = True
    options = (
        click.Option(["--url"], help="Address of the vendor's API."),
        click.Option(["--username"], help="User name of the vendor's API."),
        click.Option(["--no-run"], is_flag=True, help="Leave the first run to a later command."),
    )

    def handle(self, url: str | None, username: str | None, no_run: bool) -> int:
        from gengfu.services.beginning import REDIS, databases_here, redis_here, write_settings
        from gengfu.setting_files import DOTENV
        from gengfu.settings import load_settings, working_folder

        home = working_folder()
        if (home / DOTENV).exists():
            raise UsageError(tr("{file} is there already; see: {command}", file=home / DOTENV, command="gengfu config"))
        given = {"API_WECHAT_URL": url, "API_USERNAME": username, "API_PASSWORD": os.environ.get("API_PASSWORD")}
        values = self._login({name: value for name, value in given.items() if value})
        settings = load_settings({**os.environ, **values})
        if settings.redis_url is None and redis_here(settings):
            question = tr("A Redis answers at {address}. Shall it wake the workers?", address=REDIS)
            if self.out.confirm(question):
                values["REDIS_URL"] = REDIS
        for server in databases_here():
            self.out.note(
                tr("a {server} listens on this machine; to use it for SQLite, write DATABASE_URL", server=server)
            )
        file = write_settings(home, values)
        self.out.say(tr("written  {file}", file=file))
        code, run = (0, None) if no_run else DeviceList(self.open_app, self.out).bring_up_to_date(now=True)
        self.out.say(tr("Next: {command}", command="gengfu up"))
        self.out.answer({"file": file, "run": run})
        return code

    def _login(self, given: Mapping[str, str]) -> dict[str, str]:
        """The address and a login that works; asked for until they do, where there is a person to ask."""
        from gengfu.services.beginning import try_login
        from gengfu.settings import load_settings

        asks = is_terminal(sys.stdin) and is_terminal(sys.stderr)
        if not asks and len(given) < len(QUESTIONS):
            raise UsageError(
                "there is no terminal to ask on: give --url and --username, and the password in API_PASSWORD"
            )
        while True:
            values = {name: given.get(name) or self._asked(name) for name in QUESTIONS}
            try:
                try_login(load_settings({**os.environ, **values}), utcnow)
                return values
            except GengfuError as error:
                if not asks:
                    raise
                self.out.note(str(error))
                given = {}

    @staticmethod
    def _asked(name: str) -> str:
        from getpass import getpass

        prompt = f"{worded(QUESTIONS[name])}: "
        if name == "API_PASSWORD":
            return getpass(prompt)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if not answer:
            raise UsageError("the terminal was closed before all was answered")
        return answer.strip()

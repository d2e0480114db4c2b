"""The vendor floor as a process has it, for tests; as a program, one of several that log in at the same moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gengfu.errors import GengfuError
from gengfu.process.monitor import Monitor
from gengfu.process.pids import process_name
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from gengfu.store.logins import Logins, Token
from gengfu.vendor.auth import AuthService
from gengfu.vendor.client import VendorClient
from gengfu.vendor.paging import Failure, Listing, Page

_FILTERS = (
    "accountId keyword imei groupId brand model deleteType operatingSystem softwareVersion phoneAppVersion "
    "recorderVersion contactsVersion rooted xPosed alive hasWechat departmentId"
)
LISTING = Listing("api/device/pageResult", tuple((name, "") for name in _FILTERS.split()))
"""The device list as the contract has it, filtered by nothing."""
PAGES = 30
"""Pages of 10 rows of it that the vendor of the tests has, the last one full."""
DEVICES = PAGES * 10


class Caller:
    """What one process has: its own login, client and connections, on a database that others share."""

    def __init__(self, settings: Settings, database: Database, reread: Callable[[], Settings] | None = None) -> None:
        self.settings = settings
        self.logins = Logins(database)
        self.monitor = Monitor(database, "worker", process_name(), {})
        self._is_watched = False
        self.auth = AuthService(settings, self.logins, self._lease, reread=reread)
        self.client = VendorClient(settings, self.auth)

    def _lease(self) -> int:
        if not self._is_watched:
            self._is_watched = True
            self.monitor.start()
        return self.monitor.lease()

    @property
    def account(self) -> str:
        return self.auth.shared.account

    def token(self) -> Token:
        return self.auth.loop.run(self.auth.tokens.token())

    def renew(self, dead: Token) -> Token:
        return self.auth.loop.run(self.auth.tokens.renew(dead))

    def read(
        self, indices: Iterable[int], size: int = 10, stop: threading.Event | None = None
    ) -> tuple[list[Page], list[Failure]]:
        """The pages and the failures, each in the order in which they came."""
        results = [result for batch in self.client.pages(LISTING, indices, size, stop) for result in batch]
        pages = [result for result in results if isinstance(result, Page)]
        return pages, [result for result in results if isinstance(result, Failure)]

    def together(self, threads: int) -> list[str]:
        """What so many threads get that need a token at the same moment: a token's number, or an error's name."""
        outcomes: list[str] = []
        barrier = threading.Barrier(threads)

        def ask() -> None:
            barrier.wait()
            try:
                outcomes.append(str(self.token().generation))
            except GengfuError as error:
                outcomes.append(type(error).__name__)

        asking = [threading.Thread(target=ask) for _ in range(threads)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        return outcomes

    def close(self) -> None:
        self.client.close()
        if self._is_watched:
            self.monitor.end()


class Processes:
    """Real processes that ask for a token whenever they are told."""

    def __init__(self, number: int) -> None:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.all = [subprocess.Popen([sys.executable, __file__], env=environ, **pipes) for _ in range(number)]

    def ask(self, threads: int = 8, **settings: str) -> None:
        """Has all of them ask at the same moment, with so many threads each."""
        for process in self.all:
            _say(process, json.dumps({**settings, "threads": threads}))
        assert [_hear(process) for process in self.all] == ["ready\n"] * len(self.all)
        for process in self.all:
            _say(process, "go")

    def answers(self) -> list[str]:
        """What all threads got: a token's number, or an error's name."""
        return [word for process in self.all for word in _hear(process).split()]

    def close(self) -> None:
        for process in self.all:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def settings_for(home: Path, url: str, username: str = "demo", password: str = "demo", **more: Any) -> Settings:
    return replace(
        Settings(home),
        api_wechat_url=url,
        api_username=username,
        api_password=Secret(password),
        **more,  # type: ignore[arg-type]
    )


def main() -> None:
    """For each line on stdin, an object of settings, is a new process as far as the login can tell: says `ready`, waits
    for a line, has so many threads ask for a token at once and prints what they got.
    """
    for line in sys.stdin:
        asked = json.loads(line)
        settings = settings_for(Path(asked["home"]), asked["url"], password=asked["password"])
        database = Database(Secret(asked["database_url"]), settings.home)
        caller = Caller(settings, database)
        print("ready", flush=True)
        sys.stdin.readline()
        print(" ".join(caller.together(asked["threads"])), flush=True)
        caller.close()
        database.dispose()


if __name__ == "__main__":
    main()

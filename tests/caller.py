"""The vendor floor as a process has it, for tests; as a program, one of several that log in at the same moment."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import redis

from gengfu.errors import GengfuError
from gengfu.settings import Secret, Settings
from gengfu.store.database import Database
from gengfu.store.refusals import RefusalStore
from gengfu.vendor.auth import AuthService
from gengfu.vendor.client import VendorClient
from gengfu.vendor.listing import Failure, Listing, Page
from gengfu.vendor.shared import RedisFactory, Token

_FILTERS = (
    "accountId keyword imei groupId brand model deleteType operatingSystem softwareVersion phoneAppVersion "
    "recorderVersion contactsVersion rooted xPosed alive hasWechat departmentId"
)
LISTING = Listing("api/device/pageResult", tuple((name, "") for name in _FILTERS.split()))
"""The device list as the contract has it, filtered by nothing."""


class Caller:
    """What one process has: its own login, client and connections, on a database and a Redis that others share."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        factory: RedisFactory,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        self.settings = settings
        self.refusals = RefusalStore(database)
        self.auth = AuthService(settings, factory, self.refusals, reread=reread)
        self.client = VendorClient(settings, self.auth, factory)

    def token(self) -> Token:
        return self.auth.line.run(self.auth.token())

    def renew(self, dead: Token) -> Token:
        return self.auth.line.run(self.auth.renew(dead))

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
    for a line, has 8 threads ask for a token at once and prints what they got.
    """
    for line in sys.stdin:
        asked = json.loads(line)
        settings = settings_for(Path(asked["home"]), asked["url"], password=asked["password"])
        database = Database(Secret(asked["database_url"]), settings.home)
        caller = Caller(settings, database, partial(redis.Redis.from_url, asked["redis_url"]))
        print("ready", flush=True)
        sys.stdin.readline()
        print(" ".join(caller.together(8)), flush=True)
        caller.close()
        database.dispose()


if __name__ == "__main__":
    main()

"""A world for any list: a simulator, a database and a mirror between them, where the test is the worker."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from gengfu.app import App
from gengfu.cli.catalogue import Catalogue
from gengfu.errors import ConfigError, GengfuError, LoginRefused
from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.settings import Secret, Settings
from gengfu.store.run_rows import Run
from gengfu.store.tables import change, job, sync_absence
from gengfu.vendor.listing import Listing
from gengfu.vendor.paging import Cursor, Link, Offset, PreviousId
from gengfu_simulator.testing import Simulator

FIELDS = (
    Field("accountId"),
    Field("wechatId"),
    Field("nickname"),
    Field("conRemark"),
    Field("createTime", kind=Kind.MOMENT),
)

STYLES = {
    "offset": Listing("api/Friend/offset", paging=Offset()),
    "cursor": Listing("api/Friend/cursor", paging=Cursor()),
    "link": Listing("api/Friend/link", paging=Link()),
    "header": Listing("api/Friend/header", paging=Link(rows=None, more=None)),
    "previous": Listing("api/WechatFriend/list", paging=PreviousId("preFriendId")),
}
"""The same 330 friends, in every style that more than one page can have."""

TARGETS = {name: name if name != "previous" else "friends" for name in STYLES}
"""What the simulator calls them."""


def friends(style: str) -> Resource:
    """The friends, as that style lists them."""
    return Resource(name="friend", listing=STYLES[style], fields=FIELDS)


@dataclass(frozen=True)
class Hold:
    job_id: int
    stop: threading.Event = field(default_factory=threading.Event)


class World:
    """Where runs of one list are worked off in the test's own thread."""

    def __init__(
        self, home: Path, database_url: str, redis_url: str, resource: Resource, sim: Simulator, **settings: Any
    ) -> None:
        self.resource = resource
        self.sim = sim
        values: dict[str, Any] = {
            "api_wechat_url": sim.url,
            "api_username": sim.username,
            "api_password": Secret(sim.password),
            "database_url": Secret(database_url),
            "redis_url": Secret(redis_url),
        }
        self.app = App(Settings(home=home, **values | settings), Catalogue())
        self.app.__dict__["resources"] = {resource.name: resource}
        if resource.name == "friend":
            resource.table.create(self.app.db.engine, checkfirst=True)

    def accept(self) -> tuple[int, Hold]:
        start = self.app.runs.start(self.resource.name, self.resource.scopes[0].name)
        assert start.job is not None
        return start.run, Hold(start.job)

    def run(self, tries: int = 3) -> Run:
        """A run with all of its jobs, each tried `tries` times."""
        run_id, _ = self.accept()
        self.work_off(tries)
        return self.get(run_id)

    def work_off(self, tries: int = 3) -> None:
        waiting = select(job.c.id, job.c.args).where(job.c.state == "queued").order_by(job.c.id)
        while True:
            with self.app.db.read() as connection:
                row = connection.execute(waiting).first()
            if row is None:
                return
            for attempt in range(1, tries + 1):
                try:
                    self.app.mirror.work(row.args["run"], Hold(row.id))
                    break
                except GengfuError as error:
                    if attempt == tries or isinstance(error, LoginRefused | ConfigError):
                        self.app.mirror.give_up(row.args["run"], row.id, str(error))
                        break
            self.app.db.write(
                lambda c, done=row.id: c.execute(update(job).where(job.c.id == done).values(state="done"))
            )

    def get(self, run_id: int) -> Run:
        run = self.app.mirror.runs.get(run_id)
        assert run is not None
        return run

    def rows(self, *, live: bool = True) -> dict[int, Mapping[str, Any]]:
        table = self.resource.table
        query = select(table).where(table.c.gone_at.is_(None)) if live else select(table)
        with self.app.db.read() as connection:
            return {row["id"]: dict(row) for row in connection.execute(query).mappings()}

    def changes(self, run: Run) -> list[tuple[str, int, str, Any, Any]]:
        query = select(change).where(change.c.run_id == run.id, change.c.kind != "created").order_by(change.c.seq)
        with self.app.db.read() as connection:
            return [(r.resource, r.row_id, r.field, r.old, r.new) for r in connection.execute(query)]

    def absent(self) -> set[int]:
        with self.app.db.read() as connection:
            return set(connection.scalars(select(sync_absence.c.row_id)))

"""A world for any list: a simulator, a database and a mirror between them, where the test is the worker."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from gengfu.app import App
from gengfu.cli.catalogue import Catalogue
from gengfu.errors import ConfigError, GengfuError, LoginRefused
from gengfu.mirror.device import DEVICE
from gengfu.mirror.resource import Field, Kind, Resource
from gengfu.queue.job import JobContext
from gengfu.settings import Secret, Settings
from gengfu.store.run_rows import Run
from gengfu.store.tables import change, job, sync_absence
from gengfu.vendor.paging import Cursor, Link, Listing, Offset, PreviousId
from gengfu_simulator.testing import Simulator
from truth import assert_true_copy, mirrored

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


def context_of(job_id: int) -> JobContext:
    """What a worker would hand to that job."""
    return JobContext(job_id, 1, 1, threading.Event())


class World:
    """Where runs of one list are worked off in the test's own thread."""

    def __init__(
        self, home: Path, database_url: str, sim: Simulator, resource: Resource = DEVICE, **settings: Any
    ) -> None:
        self.resource = resource
        self.sim = sim
        values: dict[str, Any] = {
            "api_wechat_url": sim.url,
            "api_username": sim.username,
            "api_password": Secret(sim.password),
            "database_url": Secret(database_url),
        }
        self.app = App(Settings(home=home, **values | settings), Catalogue())
        if resource is not DEVICE:
            self.app.__dict__["resources"] = {resource.name: resource}
        if resource.name == "friend":
            resource.table.create(self.app.db.engine, checkfirst=True)

    def accept(self, scope: str | None = None) -> tuple[int, JobContext]:
        start = self.app.runs.start(self.resource.name, scope or self.resource.scopes[0].name)
        assert start.job is not None
        return start.run, context_of(start.job)

    def run(self, scope: str | None = None, tries: int = 3) -> Run:
        """A run with all of its jobs, each tried `tries` times."""
        run_id, _ = self.accept(scope)
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
                    self.app.mirror.work(row.args["run"], context_of(row.id))
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

    def rows(self, *, live: bool = True) -> dict[int, dict[str, Any]]:
        """The rows that are there, or those that are gone, by id."""
        return mirrored(self.app.db, self.resource.table, live=live)

    def changes(self, run: Run) -> list[tuple[int, str, Any, Any]]:
        """What the run changed in rows of this list that were there before."""
        query = select(change).where(change.c.run_id == run.id, change.c.kind != "created").order_by(change.c.seq)
        with self.app.db.read() as connection:
            found = connection.execute(query.where(change.c.resource == self.resource.name)).all()
        return [(row.row_id, row.field, row.old, row.new) for row in found]

    def absent(self) -> set[int]:
        with self.app.db.read() as connection:
            return set(connection.scalars(select(sync_absence.c.row_id)))

    def assert_true_copy(self) -> None:
        assert_true_copy(self.sim, self.app.db)

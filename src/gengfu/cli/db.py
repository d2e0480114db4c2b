"""The command that brings the database up to date."""

from __future__ import annotations

from gengfu.cli.base import BaseCommand


class DbUpgrade(BaseCommand):
    """Bring the tables of the database to this program's version

    SQLite is upgraded without being asked; a database server only by this. The
    migrations in app/migrations, for lists of your own, are run too.

    Example:
      gengfu db:upgrade
    """

    name = "db:upgrade"

    def handle(self) -> int:
        pending = self.app.database.pending()
        if pending.steps:
            self.out.note(f"upgrading {pending.database}: {', '.join(pending.steps)}")
        done = self.app.database.upgrade()
        steps = ", ".join(done.applied)
        words = f"upgraded to {done.version} ({steps})" if done.applied else f"up to date ({done.version})"
        self.out.say(f"The database {done.database} is {words}.")
        if done.app_applied:
            self.out.say(f"Of app/migrations were run: {', '.join(done.app_applied)}.")
        self.out.answer(done)
        return 0

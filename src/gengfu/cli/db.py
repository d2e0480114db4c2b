"""The command that brings the database up to date."""

from __future__ import annotations

from gengfu.cli.base import BaseCommand
from gengfu.language import tr


class DbUpgrade(BaseCommand):
    """Bring the tables of the database to this program's version

    SQLite is upgraded without being asked; a database server only by this. The
    migrations in app/migrations, for lists of your own, are run too.

    Example:
      gengfu db:upgrade
    """

    name = "db:upgrade"
    begins = True

    def handle(self) -> int:
        pending = self.app.database.pending()
        if pending.steps:
            self.out.note(tr("upgrading {pending.database}: {steps}", pending=pending, steps=pending.steps))
        done = self.app.database.upgrade()
        words = (
            tr("upgraded to {done.version} ({steps})", done=done, steps=done.applied)
            if done.applied
            else tr("up to date ({done.version})", done=done)
        )
        self.out.say(tr("The database {done.database} is {words}.", done=done, words=words))
        if done.app_applied:
            self.out.say(tr("Of app/migrations were run: {app_applied}.", app_applied=done.app_applied))
        self.out.answer(done)
        return 0

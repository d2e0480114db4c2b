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
        from gengfu.store import app_schema, schema

        db = self.app.bare_db
        steps = schema.pending(db)
        if steps:
            self.out.note(f"upgrading {db.where}: {', '.join(steps)}")
        done = schema.upgrade(db)
        words = f"upgraded to {schema.HEAD} ({', '.join(done)})" if done else f"up to date ({schema.HEAD})"
        self.out.say(f"The database {db.where} is {words}.")
        added = app_schema.upgrade(db, self.app.settings.home)
        if added:
            self.out.say(f"Of app/migrations were run: {', '.join(added)}.")
        self.out.answer({"database": db.where, "applied": done, "version": schema.HEAD, "app_applied": added})
        return 0

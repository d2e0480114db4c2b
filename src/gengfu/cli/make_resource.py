"""The commands that write a list of one's own: from an endpoint, from a recorded page, or its further migrations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gengfu.cli.making import FORCE, Making
from gengfu.cli.output import Column
from gengfu.language import tr

if TYPE_CHECKING:
    from gengfu.services.scaffolding import Probed


class MakeResource(Making):
    """Write the files that mirror a further list of the vendor

    Reads a page of PATH with the shared login, and asks for a second one to see
    how the list comes in pages; shows what it recognised, and writes
    app/resources/NAME.py, the migration of its table, and a test with the first
    rows of the page. The list then has its own command, NAME:list.

    Examples:
      gengfu make:resource material api/Material/page
      gengfu make:resource friend 'api/WechatFriend/list?preFriendId=0'
      gengfu make:resource tag api/Tag/list --key tagId --schedule "0 3 * * *"
      gengfu make:resource tag api/Tag/list --from page.json
    """

    name = "make:resource"
    options = (
        click.Argument(["name_"], metavar="NAME"),
        click.Argument(["path"], metavar="[PATH]", required=False),
        click.Option(["--key"], metavar="FIELD", help="The field that identifies a row, if that is not clear."),
        click.Option(["--schedule"], metavar="CRON", help="When the schedule brings it up to date."),
        click.Option(["--fields"], metavar="NAMES", help="Which fields get a column, separated by commas."),
        click.Option(["--from", "file"], metavar="FILE", help="A recorded page, in JSON; the vendor is not asked."),
        FORCE,
    )

    def handle(
        self,
        name_: str,
        path: str | None,
        key: str | None,
        schedule: str | None,
        fields: str | None,
        file: str | None,
        force: bool,
    ) -> int:
        from gengfu.services.scaffolding import Wanted

        app = self.app
        columns = [name.strip() for name in (fields or "").split(",") if name.strip()]
        wanted = Wanted(key, schedule, columns, Path(file) if file is not None else None)
        probed = app.scaffold.probe(name_, path, wanted, app.resources, lambda: app.vendor)
        if probed.is_guess:
            self.out.note("how the list comes in pages was guessed and not tried; look at the file")
        self._show(probed)
        return self.tell(app.scaffold.resource(probed, force=force))

    def _show(self, probed: Probed) -> None:
        resource = probed.resource
        self.out.record(
            [(tr("list"), resource.listing.path), (tr("pages"), tr(probed.paging)), (tr("key"), resource.key)]
        )
        columns = [Column("field"), Column("column"), Column("kind", words=True), Column("moves", words=True)]
        lines = [[f.name, f.column, f.kind, "yes" if f.volatile else ""] for f in resource.fields]
        self.out.table(columns, lines)


class MakeMigration(Making):
    """Write the migration that a list's table needs: make it, or add columns

    For a list in app/resources that was written or changed by hand. A column
    that the list no longer names stays.

    Example:
      gengfu make:migration material
    """

    name = "make:migration"
    options = (click.Argument(["name_"], metavar="NAME"),)

    def handle(self, name_: str) -> int:
        app = self.app
        written = app.scaffold.migration(name_, app.resources, lambda: app.db)
        if written is not None:
            return self.tell(written)
        self.out.say(tr("The table {name} has all that it needs.", name=name_))
        self.out.answer({"resource": name_, "file": None})
        return 0

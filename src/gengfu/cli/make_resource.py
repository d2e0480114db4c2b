"""The commands that write a list of one's own: from an endpoint, from a recorded page, or its further migrations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import click

from gengfu.cli.output import Column
from gengfu.cli.parts.writing import Making
from gengfu.errors import FileError, NotFound, UsageError

if TYPE_CHECKING:
    from gengfu.mirror.recognise import Ask, Sample
    from gengfu.mirror.resource import Resource
    from gengfu.vendor.paging import Paging

_RECORDED = 5
"""Rows of the page that the test keeps."""


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
        click.Option(["--force"], is_flag=True, help="Overwrite files that are there."),
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
        from gengfu.cli.parts import resource_files

        wanted = [name.strip() for name in (fields or "").split(",") if name.strip()]
        home = self.app.settings.home
        if name_ in self.app.resources and not (home / "app" / "resources" / f"{name_}.py").exists():
            raise UsageError(f"there is a list {name_} already; choose another name")
        if path is None and file is None:
            raise UsageError("PATH is missing: which list of the vendor? Or give a recorded page with --from")
        resource, rows = self._recognise(name_, path or f"api/{name_}/list", key, schedule, wanted, file)
        self._show(resource)
        files = resource_files.all_of(resource, rows[:_RECORDED])
        steps = ["gengfu db:upgrade", f"gengfu {resource.command} --now", *(["pytest app/tests"] if rows else [])]
        return self.write(files, _told(resource), steps, force=force)

    def _recognise(
        self, name: str, path: str, key: str | None, schedule: str | None, wanted: Sequence[str], file: str | None
    ) -> tuple[Resource, list[Any]]:
        """The list as it was recognised, and the rows of its first page."""
        from gengfu.mirror import recognise
        from gengfu.mirror.resource import Resource
        from gengfu.vendor.listing import Listing

        if "://" in path:
            raise UsageError(f"{path!r} is not below API_WECHAT_URL; for example: api/Material/page")
        bare, _, text = path.strip().lstrip("/").partition("?")
        query = tuple(parse_qsl(text, keep_blank_values=True))
        ask = self._ask(bare, query) if file is None else _recorded(Path(file))
        first = ask(())
        rows, _ = recognise.rows_of(first)
        found = recognise.key_of(rows, key)
        paging = recognise.paging_of(ask, bare, query, first, found, trusting=file is not None)
        if file is not None or len(rows) < recognise.FEW:
            self.out.note("how the list comes in pages was guessed and not tried; look at the file")
        later, _ = recognise.rows_of(ask(()))
        columns = recognise.fields_of(rows, later, found, wanted)
        listing = Listing(bare, _without_paging(query, paging), paging)
        resource = Resource(name=name, listing=listing, key=found, fields=columns, schedule=schedule)
        assert resource.table is not None  # made now, so that a name that is taken is refused
        return resource, list(rows)

    def _ask(self, path: str, query: tuple[tuple[str, str], ...]) -> Ask:
        """Asks the vendor, by the rules and with the login that all calls share."""
        import json

        from gengfu.mirror.recognise import Sample
        from gengfu.vendor.listing import Listing
        from gengfu.vendor.paging import Unknown

        def ask(more: Sequence[tuple[str, str]]) -> Sample:
            given = dict(query) | dict(more)
            (page,) = self.app.vendor.walk(Listing(path, tuple(given.items()), Unknown()), 1)
            return Sample(json.loads(bytes(page.rows[0])), str(page.more) if page.more is not None else None)

        self.app.settings.api()
        return ask

    def _show(self, resource: Resource) -> None:
        style = type(resource.listing.paging).__name__
        self.out.record([("list", resource.listing.path), ("pages", style), ("key", resource.key)])
        columns = [Column("field"), Column("column"), Column("kind"), Column("moves")]
        lines = [[f.name, f.column, f.kind, "yes" if f.volatile else ""] for f in resource.fields]
        self.out.table(columns, lines)


def _told(resource: Resource) -> dict[str, Any]:
    columns = [
        {"field": f.name, "column": f.column, "kind": str(f.kind), "volatile": f.volatile} for f in resource.fields
    ]
    paging = type(resource.listing.paging).__name__
    return {
        "resource": resource.name,
        "path": resource.listing.path,
        "paging": paging,
        "key": resource.key,
        "fields": columns,
    }


def _without_paging(query: tuple[tuple[str, str], ...], paging: Paging) -> tuple[tuple[str, str], ...]:
    """The query without what asks for a page."""
    own = {getattr(paging, name, None) for name in ("number", "name", "size")}
    return tuple(pair for pair in query if pair[0] not in own)


def _recorded(path: Path) -> Ask:
    """Gives the recorded page to the first question; a file cannot tell what other pages would hold."""
    import json

    from gengfu.errors import AnswerError
    from gengfu.mirror.recognise import Sample

    try:
        body = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise FileError(f"{path} is no JSON: {error}") from error

    def ask(more: Sequence[tuple[str, str]]) -> Sample:
        if more:
            raise AnswerError("only one page was recorded")
        return Sample(body)

    return ask


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
        from gengfu.cli.parts import resource_files
        from gengfu.store import app_schema, table_check
        from gengfu.store.tables import metadata

        resource = self.app.resources.get(name_)
        if resource is None or name_ in metadata.tables:
            raise NotFound(f"there is no list {name_} in app/resources")
        home = self.app.settings.home
        waiting = [step for step in app_schema.pending(self.app.db, home) if step[:-5] == name_]
        if waiting:
            raise UsageError(f"app/migrations/{waiting[0]}.py has not been run yet; run: gengfu db:upgrade")
        there, lacking = table_check.state(self.app.db, resource.table)
        if not lacking:
            self.out.say(f"The table {name_} has all that it needs.")
            self.out.answer({"resource": name_, "file": None})
            return 0
        number = len(app_schema.revisions(home).get(name_, ())) + 1
        text = resource_files.migration(resource, number, lacking if there else None)
        file = f"app/migrations/{name_}_{number:04}.py"
        return self.write({file: text}, {"resource": name_, "file": file}, ["gengfu db:upgrade"], force=False)

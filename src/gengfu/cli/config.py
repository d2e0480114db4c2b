"""The command that shows the settings and where they come from."""

from __future__ import annotations

from gengfu.cli.base import BaseCommand
from gengfu.cli.output import Column
from gengfu.errors import ConfigError
from gengfu.language import tr


class Config(BaseCommand):
    """Show every setting, its value and where it comes from

    Where a setting is written in several places, the environment counts before
    .env, and .env before gengfu.toml; the others are named as overridden. What is
    written and read by nobody is told, with what was probably meant. Passwords
    are shown as stars. Exits 2 if a setting is wrong.

    Examples:
      gengfu config
      gengfu config --json
    """

    name = "config"

    def handle(self) -> int:
        from gengfu.services.json import object_of
        from gengfu.settings import explain

        home, settings, remarks = explain()
        self.out.say(tr("working folder: {home}", home=home))
        columns = [Column("setting"), Column("value", wraps=True), Column("from"), Column("overridden", wraps=True)]
        self.out.table(
            columns,
            [
                [
                    each.name,
                    str(each.shown).lower() if isinstance(each.shown, bool) else each.shown,
                    each.source or tr("default"),
                    ", ".join(each.overridden),
                ]
                for each in settings
            ],
        )
        problems = [each.problem for each in settings if each.problem is not None]
        for sentence in [*problems, *remarks]:
            self.out.note(sentence)
        told = [{**object_of(each, without=["value"]), "value": each.shown} for each in settings]
        self.out.answer({"home": home, "settings": told, "remarks": remarks})
        return ConfigError.exit_code if problems else 0
